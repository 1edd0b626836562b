"""The processor's HTTP side: Stripe's routes from one table, and Stripe's answers for everything that goes wrong."""

import hmac
import time
from base64 import b64decode
from collections.abc import Awaitable, Callable
from typing import Any

import msgspec
from litestar import Litestar, Request, Response
from litestar.exceptions import HTTPException
from litestar.handlers import HTTPRouteHandler

from infra.sandbox.bank import bank_routes
from infra.sandbox.control import control_routes
from infra.sandbox.desk import Answer, Call, Desk
from infra.sandbox.errors import BadParameter, StripeError, server_error
from infra.sandbox.exchange import API_VERSION, Operation
from infra.sandbox.form import read_pairs
from infra.sandbox.ids import letters
from infra.sandbox.logs import LOGGER, say
from infra.sandbox.loopback import refuse_strangers
from infra.sandbox.pages import style_sheet

BODY_BYTES_MAX = 64 * 1024  # a payment intent with 50 metadata entries of 500 characters is about 30 kB
_FORM = "application/x-www-form-urlencoded"
_VERSION_LENGTH_MAX = 40

AnyRequest = Request[Any, Any, Any]


def build_app(desk: Desk, *, api_key: str, operations: tuple[Operation, ...]) -> Litestar:
    return Litestar(
        [
            *(_route(desk, operation, api_key) for operation in operations),
            *control_routes(desk),
            *bank_routes(desk),
            style_sheet,
        ],
        before_request=refuse_strangers,
        exception_handlers={
            StripeError: lambda _, problem: _refusal(problem),
            HTTPException: _unknown_url,
            Exception: _our_fault,
        },
        request_max_body_size=BODY_BYTES_MAX,
        openapi_config=None,
        logging_config=None,
    )


def _route(desk: Desk, operation: Operation, api_key: str) -> HTTPRouteHandler:
    async def handle(request: AnyRequest) -> Response[bytes]:
        started = time.perf_counter()
        _check_api_key(request.headers.get("authorization"), api_key)
        call = await _read_call(request, operation)
        answer = await desk.answer(call)
        say(
            "answered",
            operation=operation.name,
            status=answer.status,
            request_id=call.request_id,
            milliseconds=round((time.perf_counter() - started) * 1000, 2),
        )
        return _response(answer, call, request.headers.get("stripe-version"))

    return HTTPRouteHandler(operation.path, http_method=operation.method, name=operation.name, status_code=200)(handle)


async def _read_call(request: AnyRequest, operation: Operation) -> Call:
    if operation.method == "POST":
        encoded = await request.body()
        if encoded and request.headers.get("content-type", "").partition(";")[0].strip() != _FORM:
            raise BadParameter(f"Request bodies are {_FORM}.")
    else:
        encoded = request.scope["query_string"]
    return Call(
        operation=operation,
        path=request.scope["path"],
        target=str(request.path_params.get("target", "")),
        pairs=read_pairs(encoded),
        idempotency_key=request.headers.get("idempotency-key") or None,
        request_id=f"req_{letters(14)}",
        client_gone=_client_gone(request),
    )


def _client_gone(request: AnyRequest) -> Callable[[], Awaitable[None]]:
    async def wait() -> None:
        while (await request.receive())["type"] != "http.disconnect":
            continue

    return wait


def _check_api_key(authorization: str | None, api_key: str) -> None:
    """Bearer, or Basic with the key as user name; raises StripeError(401)."""
    scheme, _, credential = (authorization or "").partition(" ")
    if scheme.lower() == "basic":
        try:
            credential = b64decode(credential, validate=True).decode().partition(":")[0]
        except ValueError:
            credential = ""
    elif scheme.lower() != "bearer":
        credential = ""
    if not credential:
        raise StripeError(
            "You did not provide an API key. You need to provide your API key in the Authorization header, using"
            " Bearer auth (e.g. 'Authorization: Bearer YOUR_SECRET_KEY').",
            status=401,
        )
    if not hmac.compare_digest(credential.encode(), api_key.encode()):
        raise StripeError("Invalid API Key provided: ****", status=401)


def _response(answer: Answer, call: Call, version: str | None) -> Response[bytes]:
    headers = {
        "Request-Id": call.request_id,
        "Stripe-Version": version[:_VERSION_LENGTH_MAX] if version and version.isascii() else API_VERSION,
        "Cache-Control": "no-cache, no-store",
    }
    if call.idempotency_key is not None and call.operation.method == "POST":
        headers["Idempotency-Key"] = call.idempotency_key
    if answer.original_request is not None:
        headers |= {"Idempotent-Replayed": "true", "Original-Request": answer.original_request}
    if answer.retry_advice is not None:
        headers["Stripe-Should-Retry"] = answer.retry_advice
    headers |= answer.headers
    return Response(answer.body, status_code=answer.status, media_type=answer.content_type, headers=headers)


def _refusal(problem: StripeError) -> Response[bytes]:
    return Response(
        msgspec.json.encode(problem.document()),
        status_code=problem.status,
        media_type="application/json",
        headers={"Request-Id": f"req_{letters(14)}", "Cache-Control": "no-cache, no-store"},
    )


def _unknown_url(_: AnyRequest, problem: HTTPException) -> Response[bytes]:
    said = {404: "Unrecognized request URL.", 405: "Unrecognized request URL for this method."}
    return _refusal(StripeError(said.get(problem.status_code, "The request was refused."), status=problem.status_code))


def _our_fault(_: AnyRequest, problem: Exception) -> Response[bytes]:
    LOGGER.error("crashed", exc_info=problem)
    return _refusal(server_error())
