"""`POST /v1/recalls/preparations`: a recall is about to be asked for."""

from litestar import Router, post
from litestar.di import NamedDependency
from litestar.params import JSONBody

from gateway.callers import Caller, Callers
from gateway.contract import PreparationRequest, PreparationView
from gateway.preparing import Preparing
from gateway.routes import router_of


@post("/recalls/preparations")
async def prepare(
    data: JSONBody[PreparationRequest], caller: NamedDependency[Caller], preparing: NamedDependency[Preparing]
) -> PreparationView:
    """Begin a recall's work early; its result is seen only through a recall, decided then."""
    return await preparing.prepare(data, caller)


def router(callers: Callers) -> Router:
    return router_of(callers, [prepare])
