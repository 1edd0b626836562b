"""`POST /v1/forward`: send the person's stored card to a registered destination."""

from litestar import Router, post
from litestar.di import NamedDependency
from litestar.params import JSONBody

from gateway.callers import Caller, Callers
from gateway.contract import ForwardRequest, ForwardView
from gateway.forwards import Forwards
from gateway.routes import router_of


@post("/forward", status_code=200)
async def forward_card(
    data: JSONBody[ForwardRequest], caller: NamedDependency[Caller], forwards: NamedDependency[Forwards]
) -> ForwardView:
    """Decide whether the person's card may be sent there, record the decision, and have the vault send it."""
    return await forwards.forward(data, caller)


def router(callers: Callers) -> Router:
    return router_of(callers, [forward_card])
