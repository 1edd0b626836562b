"""What both pages of the vault read of a person's browser, and how they answer it."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Any, Final, cast
from urllib.parse import parse_qsl

import jwt
from litestar import Request
from litestar.types import Message, Receive, Scope, Send

from vault.cleartext.page.language import ASKED_BY, Reader
from vault.cleartext.page.render import PAGE_HEADERS

AnyRequest = Request[Any, Any, Any]
_SHARED: Final = {name.lower().encode(): value.encode() for name, value in PAGE_HEADERS.items()}


@dataclass(frozen=True, slots=True)
class Page:
    """An answer with `PAGE_HEADERS` and those given. Litestar sends it as it is, which spares half of its work."""

    html: str
    status: HTTPStatus
    headers: Mapping[str, str] = field(default_factory=dict)

    async def __call__(self, _scope: Scope, _receive: Receive, send: Send) -> None:
        body = self.html.encode()
        own = {name.lower().encode(): value.encode("latin-1") for name, value in self.headers.items()}
        headers = {**_SHARED, **own, b"content-length": b"%d" % len(body)}
        start = {"type": "http.response.start", "status": int(self.status), "headers": list(headers.items())}
        await send(cast("Message", start))
        await send(cast("Message", {"type": "http.response.body", "body": body, "more_body": False}))


def entry_grant(body: bytes) -> str:
    """The only field of the door's form; empty when it is any other form."""
    try:
        fields = parse_qsl(body.decode("ascii"), strict_parsing=True, keep_blank_values=True, max_num_fields=1)
    except ValueError:
        return ""
    return dict(fields).get("grant", "")


def claimed_subject(compact: str) -> str:
    """Not verified: it only says which parameters the grant must be signed for. A false claim fails that check."""
    try:
        return str(jwt.decode(compact, options={"verify_signature": False}).get("sub"))
    except jwt.PyJWTError:
        return ""


def reader_of(request: AnyRequest) -> Reader:
    return Reader(request.query_params.get(ASKED_BY, ""), request.headers.get("accept-language", ""))
