"""`POST /v1/decisions`: whether something may be done."""

from litestar import Router, post
from litestar.di import NamedDependency
from litestar.params import JSONBody

from gateway.callers import Caller, Callers
from gateway.contract import DecisionRequest, DecisionView
from gateway.enquiries import Enquiries
from gateway.routes import router_of


@post("/decisions", status_code=200)
async def ask(
    data: JSONBody[DecisionRequest], caller: NamedDependency[Caller], enquiries: NamedDependency[Enquiries]
) -> DecisionView:
    """Whether this would be allowed now, why, and what would help. Recorded; nothing is reserved or bound."""
    return await enquiries.answer(data, caller)


def router(callers: Callers) -> Router:
    return router_of(callers, [ask])
