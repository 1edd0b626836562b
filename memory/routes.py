"""The memory's API: five verbs, each on a grant for exactly this body."""

from litestar import post
from litestar.di import NamedDependency
from litestar.params import JSONBody

from infra.chassis.grants import GrantVerifier, Presented
from memory.contract import (
    Action,
    ForgetOrder,
    ForgetView,
    PreparedView,
    PrepareOrder,
    RecallOrder,
    RecallView,
    ReleaseOrder,
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


@post("/v1/preparations", status_code=200)
async def prepare(
    data: JSONBody[PrepareOrder],
    presented: NamedDependency[Presented],
    verifier: NamedDependency[GrantVerifier],
    recalling: NamedDependency[Recalling],
) -> PreparedView:
    """Do a recall's work early; tells nothing."""
    return await recalling.prepare(data, verifier.check_order(presented, action=Action.PREPARE, order=data))


@post("/v1/releases", status_code=200)
async def release(
    data: JSONBody[ReleaseOrder],
    presented: NamedDependency[Presented],
    verifier: NamedDependency[GrantVerifier],
    recalling: NamedDependency[Recalling],
) -> RecallView:
    """A recall, sooner if it was prepared."""
    return await recalling.release(data, verifier.check_order(presented, action=Action.RELEASE, order=data))


@post("/v1/erasures", status_code=200)
async def erase(
    data: JSONBody[ForgetOrder],
    presented: NamedDependency[Presented],
    verifier: NamedDependency[GrantVerifier],
    forgetting: NamedDependency[Forgetting],
) -> ForgetView:
    """Forget one memory, or shred the subject's key and everything it sealed."""
    return await forgetting.forget(data, verifier.check_order(presented, action=Action.FORGET, order=data))
