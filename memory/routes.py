"""The memory's API: three verbs, each on a grant for exactly this body."""

from litestar import post
from litestar.di import NamedDependency
from litestar.params import JSONBody

from infra.chassis.grants import GrantVerifier, Presented
from memory.contract import (
    Action,
    ForgetOrder,
    ForgetView,
    RecallOrder,
    RecallView,
    RememberOrder,
    RememberView,
)
from memory.forget import Forgetting
from memory.recall import Recalling
from memory.remember import Remembering


@post("/v1/memories")
async def remember(
    data: JSONBody[RememberOrder],
    presented: NamedDependency[Presented],
    verifier: NamedDependency[GrantVerifier],
    remembering: NamedDependency[Remembering],
) -> RememberView:
    """Keep one memory, sealed under its subject's key, at the tier its text deserves."""
    return await remembering.keep(data, verifier.check_order(presented, action=Action.REMEMBER, order=data))


@post("/v1/recalls", status_code=200)
async def recall(
    data: JSONBody[RecallOrder],
    presented: NamedDependency[Presented],
    verifier: NamedDependency[GrantVerifier],
    recalling: NamedDependency[Recalling],
) -> RecallView:
    """The best matches at or under the tier the gateway decided on."""
    return await recalling.find(data, verifier.check_order(presented, action=Action.RECALL, order=data))


@post("/v1/erasures", status_code=200)
async def erase(
    data: JSONBody[ForgetOrder],
    presented: NamedDependency[Presented],
    verifier: NamedDependency[GrantVerifier],
    forgetting: NamedDependency[Forgetting],
) -> ForgetView:
    """Forget one memory, or shred the subject's key and everything it sealed."""
    return await forgetting.forget(data, verifier.check_order(presented, action=Action.FORGET, order=data))
