"""Refuse what did not come from a program on this machine: other host names (DNS rebinding), other sites' pages."""

from typing import Any
from urllib.parse import urlsplit

from litestar import Request, Response

_NAMES = frozenset({"localhost", "127.0.0.1", "::1"})


def refuse_strangers(request: Request[Any, Any, Any]) -> Response[bytes] | None:
    """A `before_request` hook: 403 unless `Host`, and `Origin` where a browser sends it, name this machine."""
    origin = request.headers.get("origin")
    if not _is_loopback(f"//{request.headers.get('host', '')}") or (origin is not None and not _is_loopback(origin)):
        body = b'{"error": {"type": "invalid_request_error", "message": "The sandbox answers this machine only."}}'
        return Response(body, status_code=403, media_type="application/json")
    return None


def _is_loopback(url: str) -> bool:
    try:
        name = urlsplit(url).hostname
    except ValueError:
        return False
    return name in _NAMES
