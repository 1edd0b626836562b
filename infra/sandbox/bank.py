"""What banks do, by hand: the answer to a 3-D Secure challenge (a page, or JSON), the ends of disputes and of holds."""

from typing import Any, Literal
from urllib.parse import urlencode, urlsplit

import msgspec
from litestar import Request, Response, get, post
from litestar.handlers import HTTPRouteHandler
from litestar.params import FromPath

from infra.sandbox import charging, disputes, payment_intents
from infra.sandbox.control import json_response, read_json
from infra.sandbox.desk import Desk
from infra.sandbox.errors import StripeError, missing
from infra.sandbox.exchange import Exchange
from infra.sandbox.form import read_pairs
from infra.sandbox.money import shown
from infra.sandbox.pages import challenge
from infra.sandbox.resources import PaymentIntent

AnyRequest = Request[Any, Any, Any]


class Ended(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    status: disputes.Ending


class Outcome(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    outcome: Literal["pass", "fail"]


def bank_routes(desk: Desk) -> list[HTTPRouteHandler]:
    @get("/_sandbox/authenticate/{intent_id:str}")
    async def ask(intent_id: FromPath[str]) -> Response[str]:
        intent = desk.ledger.find(PaymentIntent, intent_id)
        if intent is None:
            raise missing("payment_intent", "", "intent")
        return _page(intent)

    @post("/_sandbox/authenticate/{intent_id:str}", status_code=200)
    async def answer(intent_id: FromPath[str], request: AnyRequest) -> Response[Any]:
        body = await request.body()
        if request.headers.get("content-type", "").startswith("application/json"):
            outcome = read_json(body, Outcome)
            intent = _finish(desk, intent_id, outcome)
            return json_response(desk.documents.show(intent))
        outcome = read_json(msgspec.json.encode(dict(read_pairs(body))), Outcome)
        return _page(_finish(desk, intent_id, outcome))

    @post("/_sandbox/disputes/{dispute_id:str}/close", status_code=200)
    async def close(dispute_id: FromPath[str], request: AnyRequest) -> Response[bytes]:
        ended = read_json(await request.body(), Ended)
        dispute = desk.by_hand(dispute_id, lambda exchange: disputes.end(exchange, ended.status))
        return json_response(desk.documents.show(dispute))

    @post("/_sandbox/holds/{intent_id:str}/expire", status_code=200)
    async def expire(intent_id: FromPath[str]) -> Response[bytes]:
        return json_response(desk.documents.show(desk.by_hand(intent_id, payment_intents.expire)))

    return [ask, answer, close, expire]


def _finish(desk: Desk, intent_id: str, outcome: Outcome) -> PaymentIntent:
    """Raises StripeError when no challenge is open for the intent."""

    def act(exchange: Exchange) -> PaymentIntent:
        intent = exchange.get(PaymentIntent, intent_id, param="intent")
        if intent.status != "requires_action":
            raise StripeError(f"No challenge is open: this PaymentIntent has a status of {intent.status}.")
        return charging.finish_authentication(exchange, intent, passed=outcome.outcome == "pass")

    return desk.by_hand(intent_id, act)


def _page(intent: PaymentIntent) -> Response[str]:
    """The way back has what Stripe adds to the address."""
    return challenge(
        intent.id,
        shown(intent.amount, intent.currency),
        intent.currency,
        waiting=intent.status == "requires_action",
        state=intent.status,
        back_url=_back_url(intent),
    )


def _back_url(intent: PaymentIntent) -> str | None:
    """docs.stripe.com/payments/3d-secure/authentication-flow: both names are added to the query of `return_url`."""
    if intent.return_url is None:
        return None
    added = urlencode({"payment_intent": intent.id, "payment_intent_client_secret": intent.client_secret})
    return f"{intent.return_url}{'&' if urlsplit(intent.return_url).query else '?'}{added}"
