"""Ends a browser's connection after each form it posts that may hold a card.

The web server reads what comes by a connection into one buffer, and keeps it as long as the connection lives: a minute
or more, for a browser keeps it open for the next page. A form that is not sealed (no JavaScript) has the card in clear.
When the connection ends the buffer is given back, and so overwritten (vault/scrubbing.py). This is HTTP/1.1's way to
say so (RFC 9112 section 9.6); HTTP/2 has none, so the page's listener does not speak it.
"""

from typing import Final

from litestar.enums import ScopeType
from litestar.types import ASGIApp, Message, Receive, Scope, Send

CLOSE: Final = (b"connection", b"close")
DOOR: Final = "/open"
"""Where a form holds a grant, which is used up, and never a card."""


class HangingUp:
    """Stands before the whole app: also what refuses a form before it is read says so."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != ScopeType.HTTP or scope["method"] != "POST" or scope["path"].endswith(DOOR):
            await self._app(scope, receive, send)
            return

        async def send_last(message: Message) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = [*message["headers"], CLOSE]
            await send(message)

        await self._app(scope, receive, send_last)
