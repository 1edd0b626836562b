"""`POST /v1/conversations/{id}/caller-id`: what the carrier signed about this call."""

from litestar import Router, post
from litestar.di import NamedDependency
from litestar.params import FromPath, JSONBody

from gateway.caller_ids import CallerIds
from gateway.callers import Caller, Callers
from gateway.contract import CallerIdRequest, ConversationView
from gateway.routes import checked, router_of


@post("/conversations/{conversation_id:str}/caller-id", status_code=200)
async def add_caller_id(
    conversation_id: FromPath[str],
    data: JSONBody[CallerIdRequest],
    caller: NamedDependency[Caller],
    caller_ids: NamedDependency[CallerIds],
) -> ConversationView:
    """Hand on the call's `Identity` header; the answer is the conversation, whether or not it recognised anybody."""
    return await caller_ids.add(checked(conversation_id), data, caller)


def router(callers: Callers) -> Router:
    return router_of(callers, [add_caller_id])
