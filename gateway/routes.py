"""The API: a handler parses, calls one verb, answers. Every route takes a caller; see callers.py for who that is."""

import re
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Annotated, Any, Final

import msgspec
from litestar import Request, Router, delete, get, post, put
from litestar.connection import ASGIConnection
from litestar.di import NamedDependency, Provide
from litestar.handlers import BaseRouteHandler
from litestar.params import FromPath, FromQuery, JSONBody, QueryParameter
from litestar.types import ControllerRouterHandler

from gateway.callers import Caller, CallerKind, Callers, authenticate
from gateway.contract import (
    AnswerRequest,
    ChallengeRequest,
    ChallengeView,
    ConversationList,
    ConversationRequest,
    ConversationView,
    ForgetRequest,
    ForgetView,
    MandateList,
    PurchaseList,
    PurchasePage,
    PurchaseRequest,
    PurchaseView,
    QuoteRequest,
    QuoteView,
    RecallRequest,
    RecallView,
    RefundRequest,
    RefundView,
    RememberedView,
    RememberRequest,
    RevocationRequest,
    RevocationView,
)
from gateway.contract.values import IDENTIFIER_PATTERN
from gateway.conversations import Conversations
from gateway.disclosures import Disclosures
from gateway.factors.asking import ELSEWHERE, Asking
from gateway.listing import LIMIT_MAX, Listing, Page
from gateway.mandates import Mandates
from gateway.purchases import Purchases
from gateway.quotes import Quotes
from gateway.refunds import Refunds
from gateway.step_up import add_challenge, preferring
from infra.chassis.problems import FieldsInvalid, NotFound
from infra.chassis.screen import find_card_number

IDENTIFIER: Final = re.compile(rf"(?=.{{5,64}}$){IDENTIFIER_PATTERN}")
"""As contract.Identifier, for ids that stand in a path."""


def checked(identifier: str) -> str:
    """Raises NotFound: what is no id names nothing."""
    if IDENTIFIER.fullmatch(identifier) is None:
        raise NotFound
    return identifier


@post("/conversations")
async def open_conversation(
    data: JSONBody[ConversationRequest], caller: NamedDependency[Caller], conversations: NamedDependency[Conversations]
) -> ConversationView:
    """Begin a dialogue with nobody in particular."""
    return await conversations.open(data, caller)


@get("/conversations")
async def list_conversations(
    caller: NamedDependency[Caller],
    listing: NamedDependency[Listing],
    after: FromQuery[str | None] = None,
    limit: Annotated[int, QueryParameter(ge=1, le=LIMIT_MAX)] = 50,
) -> ConversationList:
    """The open conversations that this agent holds, newest first."""
    return await listing.conversations(Page(limit, after), caller)


@get("/conversations/{conversation_id:str}")
async def read_conversation(
    conversation_id: FromPath[str], caller: NamedDependency[Caller], conversations: NamedDependency[Conversations]
) -> ConversationView:
    """How sure the gateway is, at this moment, of who is on the other side."""
    return await conversations.read(checked(conversation_id), caller)


@delete("/conversations/{conversation_id:str}")
async def close_conversation(
    conversation_id: FromPath[str], caller: NamedDependency[Caller], conversations: NamedDependency[Conversations]
) -> None:
    """End a dialogue; its evidence is of no use afterwards."""
    await conversations.close(checked(conversation_id), caller)


@post("/conversations/{conversation_id:str}/challenges")
async def send_challenge(
    conversation_id: FromPath[str],
    data: JSONBody[ChallengeRequest],
    caller: NamedDependency[Caller],
    conversations: NamedDependency[Conversations],
    asking: NamedDependency[Asking],
) -> ChallengeView:
    """Send the person a one-time code, or ask them in their browser or on their phone."""
    if data.method in ELSEWHERE or data.confirm is not None:
        return await asking.begin(checked(conversation_id), data, caller)
    return await conversations.challenge(checked(conversation_id), data, caller)


@post("/challenges/{challenge_id:str}/answers", status_code=200)
async def answer_challenge(
    challenge_id: FromPath[str],
    data: JSONBody[AnswerRequest],
    caller: NamedDependency[Caller],
    conversations: NamedDependency[Conversations],
) -> ConversationView:
    """Hand in the code that the person read out."""
    return await conversations.answer(checked(challenge_id), data, caller)


@put("/quotes/{checkout_id:str}")
async def put_quote(
    checkout_id: FromPath[str],
    data: JSONBody[QuoteRequest],
    caller: NamedDependency[Caller],
    quotes: NamedDependency[Quotes],
) -> QuoteView:
    """Say what a checkout costs, as the brand's mcp_server. This id is the caller's choice, so it is screened."""
    if IDENTIFIER.fullmatch(checkout_id) is None or find_card_number(checkout_id) is not None:
        raise FieldsInvalid(fields=["checkout_id"])
    return await quotes.put(checkout_id, data, caller)


@get("/quotes/{checkout_id:str}")
async def read_quote(
    checkout_id: FromPath[str],
    caller: NamedDependency[Caller],
    quotes: NamedDependency[Quotes],
    conversation_id: FromQuery[str | None] = None,
) -> QuoteView:
    """What a checkout of this conversation's subject costs."""
    return await quotes.read(checked(checkout_id), conversation_id, caller)


@post("/purchases", status_code=200)
async def create_purchase(
    data: JSONBody[PurchaseRequest], caller: NamedDependency[Caller], purchases: NamedDependency[Purchases]
) -> PurchaseView:
    """Decide whether a purchase is allowed, record the decision either way, and carry it as far as it goes."""
    return await purchases.buy(data, caller)


@get("/purchases")
async def list_purchases(
    caller: NamedDependency[Caller],
    purchases: NamedDependency[Purchases],
    listing: NamedDependency[Listing],
    paid_state: Annotated[str | None, QueryParameter(name="state")] = None,
    brand_id: FromQuery[str | None] = None,
    conversation_id: FromQuery[str | None] = None,
    after: FromQuery[str | None] = None,
    limit: Annotated[int, QueryParameter(ge=1, le=LIMIT_MAX)] = 50,
) -> PurchasePage | PurchaseList:
    """For mcp_server: the paid purchases of one brand, in the order they were paid. For others: the person's own."""
    if caller.kind is CallerKind.MCP_SERVER:
        return await purchases.paid(caller, state=paid_state or "", brand_id=brand_id or "", after=after or "0")
    if paid_state is not None or brand_id is not None:
        raise FieldsInvalid(fields=["state" if paid_state is not None else "brand_id"])
    return await listing.purchases(conversation_id, Page(limit, after), caller)


@post("/purchases/{purchase_id:str}/refunds", status_code=200)
async def create_refund(
    purchase_id: FromPath[str],
    data: JSONBody[RefundRequest],
    caller: NamedDependency[Caller],
    refunds: NamedDependency[Refunds],
) -> RefundView:
    """Decide whether money goes back, and give it back."""
    return await refunds.give_back(checked(purchase_id), data, caller)


@post("/memories", status_code=200)
async def remember(
    data: JSONBody[RememberRequest], caller: NamedDependency[Caller], disclosures: NamedDependency[Disclosures]
) -> RememberedView:
    """Keep something about the person."""
    return await disclosures.remember(data, caller)


@post("/recalls", status_code=200)
async def recall(
    data: JSONBody[RecallRequest], caller: NamedDependency[Caller], disclosures: NamedDependency[Disclosures]
) -> RecallView:
    """What is remembered of the person, as far as the present level may see."""
    return await disclosures.recall(data, caller)


@post("/erasures", status_code=200)
async def forget(
    data: JSONBody[ForgetRequest], caller: NamedDependency[Caller], disclosures: NamedDependency[Disclosures]
) -> ForgetView:
    """Forget one memory, or everything about the person."""
    return await disclosures.forget(data, caller)


@get("/mandates")
async def list_mandates(
    caller: NamedDependency[Caller],
    mandates: NamedDependency[Mandates],
    conversation_id: FromQuery[str | None] = None,
    after: FromQuery[str | None] = None,
    limit: Annotated[int, QueryParameter(ge=1, le=LIMIT_MAX)] = LIMIT_MAX,
) -> MandateList:
    """What the person consented to with this brand."""
    return await mandates.read(conversation_id, Page(limit, after), caller)


@post("/mandates/{mandate_id:str}/revocations", status_code=200)
async def revoke_mandate(
    mandate_id: FromPath[str],
    data: JSONBody[RevocationRequest],
    caller: NamedDependency[Caller],
    mandates: NamedDependency[Mandates],
) -> RevocationView:
    """Take a consent back."""
    return await mandates.revoke(checked(mandate_id), data, caller)


HANDLERS = (
    open_conversation,
    list_conversations,
    read_conversation,
    close_conversation,
    send_challenge,
    answer_challenge,
    put_quote,
    read_quote,
    create_purchase,
    list_purchases,
    create_refund,
    remember,
    recall,
    forget,
    list_mandates,
    revoke_mandate,
)


def router(callers: Callers) -> Router:
    return router_of(callers, HANDLERS)


def router_of(callers: Callers, handlers: Sequence[ControllerRouterHandler]) -> Router:
    """The API. Who calls is found out before any of the body is read: a stranger gets 401 for whatever it sends.

    So is whether it calls too often. Whom an agent speaks of is known from the body, so that limit comes after it.
    """

    async def known_caller(request: Request[Any, Any, Any]) -> Caller:
        caller: Caller = request.state.caller
        named = _conversation_named(request.path_params, request.query_params, await request.body())
        if named is not None:
            await callers.admit_conversation(caller, named)
        return caller

    async def bearer_first(connection: ASGIConnection[Any, Any, Any, Any], _: BaseRouteHandler) -> None:
        connection.state.caller = await authenticate(Request(connection.scope), callers)

    return Router(
        path="/v1",
        guards=[bearer_first],
        dependencies={"caller": Provide(known_caller)},
        route_handlers=handlers,
        after_request=add_challenge,
        middleware=[preferring],
    )


class _Named(msgspec.Struct):
    """What may be said of a conversation in any body; everything else of it is the handler's."""

    conversation_id: str | None = None


def _conversation_named(path: Mapping[str, Any], query: Mapping[str, Any], body: bytes) -> str | None:
    """In the path, the query or the body, in this order. What cannot be read names none; the handler refuses it."""
    named = path.get("conversation_id") or query.get("conversation_id")
    if named is None and body:
        with suppress(msgspec.MsgspecError):
            named = msgspec.json.decode(body, type=_Named).conversation_id
    return named if isinstance(named, str) and IDENTIFIER.fullmatch(named) else None
