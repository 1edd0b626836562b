"""What both pages of the vault read of a person's browser, and how they answer it."""

from http import HTTPStatus
from typing import Any
from urllib.parse import parse_qsl

import jwt
from litestar import Request, Response

from vault.cleartext.page.language import ASKED_BY, Reader
from vault.cleartext.page.render import PAGE_HEADERS

Page = Response[str]
AnyRequest = Request[Any, Any, Any]


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


def html_page(html: str, status: HTTPStatus, headers: dict[str, str] | None = None) -> Page:
    return Response(
        html,
        status_code=status,
        headers={**PAGE_HEADERS, **(headers or {})},
        media_type=PAGE_HEADERS["Content-Type"],
    )
