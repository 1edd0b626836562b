"""Airwallex's routes from one table, and what it does not have: faults, what was charged, what banks answer."""

import hmac
from collections.abc import Awaitable, Callable
from typing import Annotated, Any, Literal

import msgspec
from litestar import Litestar, Request, Response, delete, get, post
from litestar.exceptions import HTTPException
from litestar.handlers import HTTPRouteHandler
from litestar.params import FromPath

from infra.sandbox.airwallex import operations
from infra.sandbox.airwallex.books import Dispute, Intent
from infra.sandbox.airwallex.desk import ENCODER, Answer, Call, Desk
from infra.sandbox.airwallex.operations import OPERATIONS, Exchange, Operation
from infra.sandbox.airwallex.refusals import Refusal, broken, invalid, wrong_status
from infra.sandbox.control import json_response, read_json
from infra.sandbox.errors import StripeError
from infra.sandbox.faults import Fault
from infra.sandbox.form import read_pairs
from infra.sandbox.logs import LOGGER, say
from infra.sandbox.loopback import refuse_strangers
from infra.sandbox.money import shown
from infra.sandbox.pages import challenge, style_sheet

BODY_BYTES_MAX = 64 * 1024
ROOT = "/api/v1/pa"
NEWEST = 1_000

AnyRequest = Request[Any, Any, Any]


class FaultAsked(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    fault: Fault
    times: Annotated[int, msgspec.Meta(ge=1, le=1_000)] = 1
    operation: str | None = None


class Outcome(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    outcome: Literal["pass", "fail"]


class Ended(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    status: Literal["WON", "LOST"]


def build_airwallex(desk: Desk, *, client_id: str, api_key: str) -> Litestar:
    @post("/api/v1/authentication/login", status_code=201)
    async def log_in(request: AnyRequest) -> Response[bytes]:
        if desk.faults.down:
            return _refusal(Refusal("service_unavailable", "Switched off.", status=503))
        given = (request.headers.get("x-client-id", ""), request.headers.get("x-api-key", ""))
        right = [hmac.compare_digest(*map(str.encode, pair)) for pair in zip(given, (client_id, api_key), strict=True)]
        if not all(right):
            return _refusal(Refusal("credentials_invalid", "Access denied, authentication failed", status=401))
        return json_response(desk.log_in(), status=201)

    return Litestar(
        [log_in, *(_route(desk, one) for one in OPERATIONS), *_control(desk), *_bank(desk)],
        before_request=refuse_strangers,
        exception_handlers={
            Refusal: lambda _, problem: _refusal(problem),
            StripeError: lambda _, problem: _refusal(invalid(problem.param or "body")),
            HTTPException: lambda _, problem: _refusal(
                Refusal("not_found", "The requested endpoint does not exist", status=problem.status_code)
            ),
            Exception: _our_fault,
        },
        request_max_body_size=BODY_BYTES_MAX,
        openapi_config=None,
        logging_config=None,
    )


def _route(desk: Desk, operation: Operation) -> HTTPRouteHandler:
    async def handle(request: AnyRequest) -> Response[bytes]:
        scheme, _, bearer = request.headers.get("authorization", "").partition(" ")
        if scheme != "Bearer" or not desk.knows(bearer):
            return _refusal(Refusal("unauthorized", "Access denied", status=401))
        call = Call(
            operation=operation,
            target=str(request.path_params.get("target", "")),
            wanted={name: str(value) for name, value in request.query_params.items()},
            content=await request.body(),
            client_gone=_client_gone(request),
        )
        answer = await desk.answer(call)
        say("answered", operation=f"airwallex {operation.name}", status=answer.status)
        return _response(answer)

    route = HTTPRouteHandler(
        ROOT + operation.path, http_method=operation.method, name=f"airwallex {operation.name}", status_code=200
    )
    return route(handle)


def _control(desk: Desk) -> list[HTTPRouteHandler]:
    @get(["/health", "/ready"])
    async def health() -> Response[bytes]:
        return json_response({"status": "ok", "down": desk.faults.down})

    @post("/_sandbox/faults", status_code=200)
    async def add_fault(request: AnyRequest) -> Response[bytes]:
        asked = read_json(await request.body(), FaultAsked)
        try:
            desk.faults.add(asked.fault, times=asked.times, aim=asked.operation)
        except ValueError:
            raise invalid("operation") from None
        return json_response({"faults": len(desk.faults.switches)})

    @delete("/_sandbox/faults", status_code=200)
    async def clear_faults() -> Response[bytes]:
        desk.faults.clear()
        return json_response({"faults": 0})

    @post("/_sandbox/release", status_code=200)
    async def release() -> Response[bytes]:
        return json_response({"released": desk.waiting_room.release()})

    @post("/_sandbox/down", status_code=200)
    async def switch_off() -> Response[bytes]:
        desk.faults.down = True
        return json_response({"down": True})

    @delete("/_sandbox/down", status_code=200)
    async def switch_on() -> Response[bytes]:
        desk.faults.down = False
        return json_response({"down": False})

    @delete("/_sandbox/bearers", status_code=200)
    async def forget_bearers() -> Response[bytes]:
        desk.bearers.clear()
        return json_response({"bearers": 0})

    @get("/_sandbox/charges")
    async def charges() -> Response[bytes]:
        """The newest payments a card was presented for, in minor units."""
        found, _ = desk.books.listed(Intent, None, number=0, size=NEWEST)
        return json_response({"charges": [_charge_view(intent) for intent in found if intent.attempt is not None]})

    return [health, add_fault, clear_faults, release, switch_off, switch_on, forget_bearers, charges]


def _bank(desk: Desk) -> list[HTTPRouteHandler]:
    """What banks do, by hand. The page stands for Airwallex's own and for the bank's to which that leads."""

    @get("/_sandbox/authenticate/{intent_id:str}")
    async def ask(intent_id: FromPath[str]) -> Response[str]:
        return _page(desk.by_hand(lambda exchange: exchange.find(Intent, intent_id)))

    @post("/_sandbox/holds/{intent_id:str}/expire", status_code=200)
    async def expire(intent_id: FromPath[str]) -> Response[bytes]:
        def act(exchange: Exchange) -> Intent:
            intent = exchange.find(Intent, intent_id)
            if intent.status != "REQUIRES_CAPTURE":
                raise wrong_status(intent.status)
            return operations.let_go(exchange, intent, "EXPIRED", None)

        return json_response({"status": desk.by_hand(act).status})

    @post("/_sandbox/disputes/{dispute_id:str}/close", status_code=200)
    async def close(dispute_id: FromPath[str], request: AnyRequest) -> Response[bytes]:
        ended = read_json(await request.body(), Ended)

        def act(exchange: Exchange) -> Dispute:
            closed = msgspec.structs.replace(exchange.find(Dispute, dispute_id), status=ended.status)
            exchange.books.save(closed)
            return closed

        return json_response({"status": desk.by_hand(act).status})

    @post("/_sandbox/authenticate/{intent_id:str}", status_code=200)
    async def answer(intent_id: FromPath[str], request: AnyRequest) -> Response[Any]:
        """A decline that follows is in the payment's attempt."""
        body = await request.body()
        typed = request.headers.get("content-type", "").startswith("application/json")
        content = body if typed else msgspec.json.encode(dict(read_pairs(body)))
        passed = read_json(content, Outcome).outcome == "pass"
        try:
            desk.by_hand(lambda exchange: _authenticate(exchange, intent_id, passed))
        except Refusal as refused:
            if not refused.used_up:
                raise
        intent = desk.by_hand(lambda exchange: exchange.find(Intent, intent_id))
        return json_response({"status": intent.status}) if typed else _page(intent)

    return [ask, expire, close, answer, style_sheet]


def _page(intent: Intent) -> Response[str]:
    """What Airwallex adds to the way back is not published, so nothing is."""
    return challenge(
        intent.id,
        shown(intent.amount, intent.currency.lower()),
        intent.currency,
        waiting=intent.status == "REQUIRES_CUSTOMER_ACTION",
        state=intent.status,
        back_url=None if intent.attempt is None else intent.attempt.back_url,
    )


def _authenticate(exchange: Exchange, intent_id: str, passed: bool) -> Intent:
    """The person answered the 3-D Secure challenge. Raises Refusal for a decline, whose traces are kept."""
    intent = exchange.find(Intent, intent_id)
    if intent.status != "REQUIRES_CUSTOMER_ACTION" or intent.attempt is None:
        raise wrong_status(intent.status)
    if not passed:
        failed = msgspec.structs.replace(intent.attempt, status="FAILED", failure_code="authentication_declined")
        return exchange.keep(intent, status="REQUIRES_PAYMENT_METHOD", attempt=failed)
    return operations.charge(exchange, intent, msgspec.structs.replace(intent.attempt, authenticated=True))


def _charge_view(intent: Intent) -> dict[str, object]:
    attempt = intent.attempt
    if attempt is None:
        return {}
    return {
        "payment_intent": intent.id,
        "amount_minor": intent.amount,
        "amount_settled_minor": attempt.captured,
        "amount_refunded_minor": attempt.refunded,
        "currency": intent.currency,
        "status": intent.status,
        "attempt": attempt.status,
        "moto": intent.card_input_via == "moto",
        "last4": attempt.card.last4,
        "metadata": intent.metadata,
    }


def _client_gone(request: AnyRequest) -> Callable[[], Awaitable[None]]:
    async def wait() -> None:
        while (await request.receive())["type"] != "http.disconnect":
            continue

    return wait


def _response(answer: Answer) -> Response[bytes]:
    return Response(
        answer.body,
        status_code=answer.status,
        media_type=answer.content_type,
        headers={"Cache-Control": "no-store", **answer.headers},
    )


def _refusal(problem: Refusal) -> Response[bytes]:
    return Response(ENCODER.encode(problem.document()), status_code=problem.status, media_type="application/json")


def _our_fault(_: AnyRequest, problem: Exception) -> Response[bytes]:
    LOGGER.error("crashed", exc_info=problem)
    return _refusal(broken())
