"""Checkout.com's login and its account updater, and what it does not have: faults, and what is known of which card."""

import hmac
from base64 import b64decode
from collections.abc import Awaitable, Callable, Mapping
from typing import Annotated, Any, Final
from urllib.parse import parse_qs

import msgspec
from litestar import Litestar, Request, Response, delete, get, post
from litestar.exceptions import HTTPException
from litestar.handlers import HTTPRouteHandler

from infra.sandbox.checkout.answers import (
    OPERATION,
    RATE_LIMITED,
    UNPROCESSABLE,
    Inquiry,
    Known,
    Refused,
    Updater,
)
from infra.sandbox.control import json_response, read_json
from infra.sandbox.errors import StripeError
from infra.sandbox.faults import ECHOES, Aim, Fault, HoldEnd
from infra.sandbox.logs import LOGGER, say
from infra.sandbox.loopback import refuse_strangers

BODY_BYTES_MAX: Final = 16 * 1024
SCOPE: Final = "vault:real-time-account-updater"
AIMS: Final = (OPERATION, Aim.ANY, Aim.CHARGE, Aim.CARD)

AnyRequest = Request[Any, Any, Any]


class FaultAsked(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    fault: Fault
    times: Annotated[int, msgspec.Meta(ge=1, le=1_000)] = 1
    operation: str | None = None


def build_checkout(updater: Updater, *, client_id: str, client_secret: str) -> Litestar:
    @post("/connect/token", status_code=200)
    async def log_in(request: AnyRequest) -> Response[bytes]:
        scheme, _, given = request.headers.get("authorization", "").partition(" ")
        form = parse_qs((await request.body()).decode("ascii", "replace"))
        expected = f"{client_id}:{client_secret}".encode()
        if scheme != "Basic" or not hmac.compare_digest(_plain(given), expected):
            return json_response({"error": "invalid_client"}, status=400)
        if form != {"grant_type": ["client_credentials"], "scope": [SCOPE]}:
            return json_response({"error": "invalid_scope"}, status=400)
        return json_response(updater.log_in(SCOPE))

    @post("/account-updater/cards", status_code=200)
    async def inquire(request: AnyRequest) -> Response[bytes]:
        scheme, _, bearer = request.headers.get("authorization", "").partition(" ")
        if scheme != "Bearer" or not updater.lets_in(bearer):
            return Response(b"", status_code=401)
        answer = await _answered(updater, await request.body(), _client_gone(request))
        say("answered", operation="checkout inquiries", status=answer.status_code)
        return answer

    return Litestar(
        [log_in, inquire, *_control(updater)],
        before_request=refuse_strangers,
        exception_handlers={
            Refused: lambda _, problem: _refusal(problem),
            StripeError: lambda _, problem: json_response(problem.document(), status=problem.status),
            HTTPException: lambda _, problem: _refusal(Refused(problem.status_code)),
            Exception: _our_fault,
        },
        request_max_body_size=BODY_BYTES_MAX,
        openapi_config=None,
        logging_config=None,
    )


async def _answered(updater: Updater, body: bytes, client_gone: Callable[[], Awaitable[None]]) -> Response[bytes]:
    try:
        card = msgspec.json.decode(body, type=Inquiry).source_options.card
    except (msgspec.MsgspecError, UnicodeDecodeError):
        raise Refused(UNPROCESSABLE, "request_body_malformed") from None
    if card is None:
        raise Refused(UNPROCESSABLE, "source_options_invalid")
    fault = updater.faults.take(*AIMS)
    if fault in ECHOES:
        return _echo(fault, card.number)
    match fault:
        case Fault.ERROR_500:
            raise Refused(500)
        case Fault.ERROR_503:
            raise Refused(502)
        case Fault.RATE_LIMIT:
            raise Refused(RATE_LIMITED)
        case Fault.NOT_JSON:
            return _page(b"<html><h1>502 Bad Gateway</h1></html>")
    if fault is Fault.TIMEOUT_BEFORE_CHARGE and await updater.waiting_room.hold(client_gone) is not HoldEnd.RELEASED:
        raise Refused(502)
    answer = json_response(updater.answer(card))
    if fault in {Fault.TIMEOUT_DURING_CHARGE, Fault.TIMEOUT_AFTER_CHARGE}:
        await updater.waiting_room.hold(client_gone)
    return answer


def _control(updater: Updater) -> list[HTTPRouteHandler]:
    @get(["/health", "/ready"])
    async def health() -> Response[bytes]:
        return json_response({"status": "ok"})

    @post("/_sandbox/faults", status_code=200)
    async def add_fault(request: AnyRequest) -> Response[bytes]:
        asked = read_json(await request.body(), FaultAsked)
        try:
            updater.faults.add(asked.fault, times=asked.times, aim=asked.operation)
        except ValueError:
            raise Refused(UNPROCESSABLE, "operation") from None
        return json_response({"faults": len(updater.faults.switches)})

    @delete("/_sandbox/faults", status_code=200)
    async def clear() -> Response[bytes]:
        """Whatever it was told, it forgets."""
        updater.faults.clear()
        updater.known.clear()
        updater.asked.clear()
        return json_response({"released": updater.waiting_room.release()})

    @delete("/_sandbox/bearers", status_code=200)
    async def forget_bearers() -> Response[bytes]:
        updater.bearers.clear()
        return json_response({"bearers": 0})

    @post("/_sandbox/cards", status_code=200)
    async def know(request: AnyRequest) -> Response[bytes]:
        known = read_json(await request.body(), Known)
        updater.known[known.number] = known
        return json_response({"cards": len(updater.known)})

    @get("/_sandbox/inquiries")
    async def inquiries() -> Response[bytes]:
        return json_response({"last4": updater.asked})

    return [health, add_fault, clear, forget_bearers, know, inquiries]


def _echo(fault: Fault | None, number: str) -> Response[bytes]:
    """An updater, or a proxy of its, that says back what it must not."""
    page = f"<html><h1>502 Bad Gateway</h1><pre>number: {number}</pre></html>".encode()
    if fault is Fault.ECHO_IN_HTML:
        return _page(page)
    if fault is Fault.ECHO_IN_REDIRECT:
        return _page(page, status=307, headers={"Location": f"/account-updater/cards/{number}?number={number}"})
    if fault is Fault.ECHO_CARD_NUMBER:
        return _refusal(Refused(UNPROCESSABLE, f"card_number_{number}_invalid"))
    headers = {"Cko-Request-Id": number, "Set-Cookie": f"card={number}", "Retry-After": number}
    return json_response(Refused(RATE_LIMITED, "too_many").document(), status=RATE_LIMITED, headers=headers)


def _page(body: bytes, *, status: int = 502, headers: Mapping[str, str] | None = None) -> Response[bytes]:
    return Response(body, status_code=status, media_type="text/html", headers=dict(headers or {}))


def _refusal(problem: Refused) -> Response[bytes]:
    """Without a body where Checkout.com publishes none."""
    if not problem.codes:
        return Response(b"", status_code=problem.status, headers=problem.headers)
    return json_response(problem.document(), status=problem.status, headers=problem.headers)


def _plain(given: str) -> bytes:
    try:
        return b64decode(given, validate=True)
    except ValueError:
        return b""


def _client_gone(request: AnyRequest) -> Callable[[], Awaitable[None]]:
    async def wait() -> None:
        while (await request.receive())["type"] != "http.disconnect":
            continue

    return wait


def _our_fault(_: AnyRequest, problem: Exception) -> Response[bytes]:
    LOGGER.error("crashed", exc_info=problem)
    return _refusal(Refused(500))
