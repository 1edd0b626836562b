"""What a sealed vault answers: 503 `sealed` to everybody, before any grant is looked at; and that it is alive."""

from http import HTTPStatus
from typing import Final, cast

from litestar.enums import ScopeType
from litestar.types import ASGIApp, Message, Receive, Scope, Send

from infra.chassis import problems, trace
from infra.chassis.keys.custody import Custody
from vault.errors import VaultSealed

STILL_ANSWERED: Final = frozenset({"/ready", "/metrics"})
HEALTH: Final = "/health"
RETRY_SECONDS: Final = 10


class Gate:
    """Stands before an app of the vault; with `operations`, before one that has health, readiness and metrics."""

    def __init__(self, app: ASGIApp, custody: Custody, *, operations: bool) -> None:
        self._app = app
        self._custody = custody
        self._operations = operations

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != ScopeType.HTTP or not self._custody.closed or self._passes(scope["path"]):
            await self._app(scope, receive, send)
        elif self._operations and scope["path"] == HEALTH:
            await _answer(send, HTTPStatus.OK, "application/json", b'{"status":"sealed"}')
        else:
            headers = dict(scope["headers"])
            trace.begin(headers.get(b"traceparent", b"").decode("latin-1"))
            await _answer(send, VaultSealed.status, problems.MEDIA_TYPE, problems.body_of(VaultSealed()))

    def _passes(self, path: str) -> bool:
        return self._operations and path in STILL_ANSWERED


async def _answer(send: Send, status: int, media_type: str, body: bytes) -> None:
    here = trace.current.get()
    headers = {
        "content-type": media_type,
        "retry-after": str(RETRY_SECONDS),
        "cache-control": "no-store",
        "x-content-type-options": "nosniff",
        "x-request-id": "" if here is None else here.request_id,
    }
    given = [(name.encode(), value.encode()) for name, value in headers.items() if value]
    await send(cast("Message", {"type": "http.response.start", "status": status, "headers": given}))
    await send(cast("Message", {"type": "http.response.body", "body": body, "more_body": False}))
