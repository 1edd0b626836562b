"""One way to make an app and one way to serve it."""

import asyncio
import re
import signal
import socket
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, cast

import msgspec
from granian.constants import HTTPModes, Interfaces
from granian.server.embed import Server
from litestar import Litestar, MediaType, Request, Response, get
from litestar.di import Provide
from litestar.enums import ScopeType
from litestar.openapi import OpenAPIConfig
from litestar.types import ASGIApp, ControllerRouterHandler, HTTPScope, Message, Receive, Scope, Send
from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, Counter, Histogram, generate_latest

from infra.chassis import logs, openapi, problems, trace
from infra.chassis.openapi import Refusals
from infra.chassis.settings import Bind
from infra.chassis.strict_json import NotStrictJson, decode
from infra.chassis.workers import shared_metrics

BODY_BYTES_MAX = 64 * 1024
"""The largest body of ours is a text of 2,000 characters; 64 KiB leaves room and refuses floods."""
REQUEST_ID_BYTES_MAX = 200
"""Of a caller's own; a UUID has 36."""
METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})
"""A method may be any text a caller likes; only these become a metric's label."""

Check = Callable[[], Awaitable[bool]]
log = logs.get_logger()


@dataclass(frozen=True, slots=True)
class Listener:
    """`http1_only`: where ending a connection with an answer matters, which HTTP/2 has no word for."""

    app: ASGIApp
    bind: Bind
    http1_only: bool = False


class Metrics:
    """Requests by route template and status; never by path, so no id becomes a label."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self.requests = Counter(
            "http_requests_total", "Requests answered.", ["route", "method", "status"], registry=self.registry
        )
        self.seconds = Histogram("http_request_seconds", "Time to answer.", ["route"], registry=self.registry)
        self._known: dict[tuple[str, str, int], tuple[Counter, Histogram]] = {}

    def count(self, route: str, method: str, status: int, seconds: float) -> None:
        """Looked up once for each, because looking up costs more than counting; they are as few as the labels."""
        known = self._known.get((route, method, status))
        if known is None:
            known = self.requests.labels(route, method, str(status)), self.seconds.labels(route)
            self._known[route, method, status] = known
        requests, histogram = known
        requests.inc()
        histogram.observe(seconds)


def build_app(
    *,
    service: str,
    routes: Sequence[ControllerRouterHandler],
    ready: Mapping[str, Check] | None = None,
    dependencies: Mapping[str, Any] | None = None,
    metrics: Metrics | None = None,
    body_bytes_max: int = BODY_BYTES_MAX,
    docs: bool = False,
    refusals: Refusals | None = None,
    operations: bool = True,
    echo_request_id: bool = False,
) -> ASGIApp:
    """A Litestar app with our edges on: limits, strict JSON, problems, trace, health, readiness, metrics.

    `dependencies` maps names to ready-made objects, or to a `Provide` that makes one for each request; handlers take
    them as `NamedDependency[T]`. `ready` maps the name of something needed (e.g. `database`) to a check. With `docs`,
    OpenAPI is served at `/schema`; `refusals` says what operations below a path are refused with. Without
    `operations`, for a listener strangers reach, there is no `/health`, `/ready` and `/metrics`. With
    `echo_request_id` a caller's own `X-Request-ID` comes back to it.
    """
    measured = metrics or Metrics()
    app = Litestar(
        route_handlers=[*routes, *(_operations(ready or {}, measured) if operations else ())],
        dependencies={name: _provide(value) for name, value in (dependencies or {}).items()},
        exception_handlers=problems.HANDLERS,
        openapi_config=OpenAPIConfig(title=f"Undercroft {service}", version="1", path="/schema") if docs else None,
        request_class=_StrictRequest,
        request_max_body_size=body_bytes_max,
        logging_config=None,
    )
    if docs:
        openapi.publish(app, refusals or {})
    return _Edge(app, measured, body_bytes_max, echo_request_id=echo_request_id)


def _provide(value: Any) -> Provide:
    return value if isinstance(value, Provide) else Provide(lambda: value, sync_to_thread=False)


def _operations(ready: Mapping[str, Check], metrics: Metrics) -> list[ControllerRouterHandler]:
    @get("/health", include_in_schema=False)
    async def health() -> dict[str, str]:
        """The process runs."""
        return {"status": "ok"}

    @get("/ready", include_in_schema=False)
    async def readiness() -> Response[dict[str, str]]:
        """Everything this service needs to answer is there."""
        states = {name: "ok" if await _holds(check) else "missing" for name, check in ready.items()}
        return Response(states, status_code=200 if all(s == "ok" for s in states.values()) else 503)

    @get("/metrics", media_type=MediaType.TEXT, include_in_schema=False)
    async def prometheus() -> Response[bytes]:
        return Response(generate_latest(shared_metrics() or metrics.registry), media_type=CONTENT_TYPE_LATEST)

    return [health, readiness, prometheus]


async def _holds(check: Check) -> bool:
    try:
        return await asyncio.wait_for(check(), timeout=2)
    except Exception as error:  # noqa: BLE001 - readiness must answer, whatever the dependency does
        log.warning("not_ready", error=type(error).__name__)
        return False


class _StrictRequest(Request[Any, Any, Any]):
    """Reads JSON bodies strictly and into the handler's own type.

    Litestar converts leniently ("1" becomes 1) and takes the last of two equal keys; here the body becomes the type of
    the handler's `data` before Litestar looks at it.
    """

    async def json(self) -> Any:
        try:
            plain = decode(await self.body())
        except NotStrictJson as error:
            raise problems.BodyInvalid(detail=_sentence(str(error))) from None
        field = self.route_handler.parsed_data_field
        if field is None:
            return plain
        try:
            return msgspec.convert(plain, field.annotation, strict=True)
        except msgspec.ValidationError as error:
            where = _FIELD.search(str(error)) or _MISSING.search(str(error))
            raise problems.FieldsInvalid(fields=[where.group(1)] if where else []) from None


def _sentence(fact: str) -> str:
    return f"{fact[:1].upper()}{fact[1:]}."


_FIELD = re.compile(r"`\$\.([a-z_][a-z_.\[\]0-9]*)`$")
"""The path msgspec appends is made of our own field names; the text before it may repeat the input."""

_MISSING = re.compile(r"missing required field `([a-z_][a-z_0-9]*)`")


class _Edge:
    """Outermost: begins the trace, bounds and reads the body, counts, answers what Litestar never sees."""

    def __init__(self, app: Litestar, metrics: Metrics, body_bytes_max: int, *, echo_request_id: bool) -> None:
        self._echo_request_id = echo_request_id
        self._app = app
        self._metrics = metrics
        self._body_bytes_max = body_bytes_max

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != ScopeType.HTTP:
            await self._app(scope, receive, send)
            return
        await self._http(scope, receive, send)

    async def _http(self, scope: HTTPScope, receive: Receive, send: Send) -> None:
        headers = dict(scope["headers"])
        here = trace.begin(headers.get(b"traceparent", b"").decode("latin-1"))
        started = time.perf_counter()
        status = 500

        async def send_counted(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                request_id = self._own_id(headers) or here.request_id.encode()
                extra = {b"x-request-id": request_id, b"x-content-type-options": b"nosniff"}
                given = [(name, value) for name, value in message["headers"] if name.lower() not in extra]
                message["headers"] = [*given, *extra.items()]
            await send(message)

        try:
            await self._app(scope, await self._bounded(scope, headers, receive), send_counted)
        except problems.Problem as error:
            await _send_problem(error, send_counted)
        finally:
            route = str(scope.get("path_template", "unmatched"))
            method = scope["method"] if scope["method"] in METHODS else "other"
            self._metrics.count(route, method, status, time.perf_counter() - started)

    def _own_id(self, headers: Mapping[bytes, bytes]) -> bytes:
        """The caller's, where it is promised to come back and is short enough to; ours stays in the log."""
        own = headers.get(b"x-request-id", b"") if self._echo_request_id else b""
        return own if len(own) <= REQUEST_ID_BYTES_MAX else b""

    async def _bounded(self, scope: HTTPScope, headers: Mapping[bytes, bytes], receive: Receive) -> Receive:
        if int(headers.get(b"content-length", b"0") or 0) > self._body_bytes_max:
            raise problems.BodyTooLarge
        if scope["method"] not in {"POST", "PUT", "PATCH"}:
            return receive
        body = await self._whole_body(receive)
        return _replay(body, receive)

    async def _whole_body(self, receive: Receive) -> bytes:
        parts = bytearray()
        while True:
            message = await receive()
            if message["type"] != "http.request":
                return bytes(parts)
            parts += message.get("body", b"")
            if len(parts) > self._body_bytes_max:
                raise problems.BodyTooLarge
            if not message.get("more_body", False):
                return bytes(parts)


def _replay(body: bytes, receive: Receive) -> Receive:
    sent = False

    async def again() -> Any:
        nonlocal sent
        if sent:
            return await receive()
        sent = True
        return {"type": "http.request", "body": body, "more_body": False}

    return cast("Receive", again)


async def _send_problem(problem: problems.Problem, send: Send) -> None:
    start = {
        "type": "http.response.start",
        "status": problem.status,
        "headers": [(b"content-type", problems.MEDIA_TYPE.encode())],
    }
    await send(cast("Message", start))
    await send(cast("Message", {"type": "http.response.body", "body": problems.body_of(problem), "more_body": False}))


def require_free(bind: Bind) -> None:
    """Raises OSError when somebody listens there: granian shares a taken port instead of refusing it."""
    family = socket.AF_INET6 if ":" in bind.host else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        probe.bind((bind.host, bind.port))


def _server(item: Listener) -> Server:
    spoken = HTTPModes.http1 if item.http1_only else HTTPModes.auto
    host, port = item.bind.host, item.bind.port
    return Server(item.app, address=host, port=port, interface=Interfaces.ASGINL, http=spoken, log_enabled=False)


Background = Callable[[asyncio.Event], Awaitable[None]]


async def serve(listeners: Sequence[Listener], background: Sequence[Background] = (), *, shared: bool = False) -> None:
    """Serve until SIGTERM or SIGINT. A background task that ends by itself ends the process: it must not die unseen.

    `shared`: beside other workers on the same address, which a supervisor has made sure is nobody else's.
    """
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    for item in listeners if not shared else ():
        require_free(item.bind)
    servers = [_server(item) for item in listeners]
    work = [asyncio.ensure_future(server.serve()) for server in servers]
    work += [asyncio.ensure_future(task(stop)) for task in background]
    stopping = asyncio.ensure_future(stop.wait())
    done, _ = await asyncio.wait([*work, stopping], return_when=asyncio.FIRST_COMPLETED)
    asked = stop.is_set()  # a task may end with the very signal, in the same turn of the loop: it did as it was told
    died = [task for task in done if task is not stopping and not (asked and task.exception() is None)]
    stop.set()
    for server in servers:
        server.stop()  # type: ignore[no-untyped-call]  # granian leaves it untyped
    await asyncio.wait(work, timeout=10)
    for task in died:
        log.error("background_ended", error=type(task.exception()).__name__)
        task.result()
    if died:
        raise SystemExit(1)
