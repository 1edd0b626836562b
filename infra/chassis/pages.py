"""HTML pages: templates that escape, and the headers that keep them to themselves."""

from collections.abc import Mapping
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined, select_autoescape
from litestar import MediaType, Response

HEADERS: Mapping[str, str] = {
    "Cache-Control": "no-store",
    "Referrer-Policy": "no-referrer",
    "X-Frame-Options": "DENY",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(), microphone=(), geolocation=(), payment=()",
}


def environment(folder: Path) -> Environment:
    """Autoescapes everything; an undefined name is an error, not an empty string."""
    return Environment(
        loader=FileSystemLoader(folder), autoescape=select_autoescape(default=True), undefined=StrictUndefined
    )


def policy(*, script: str = "'none'", form_action: str = "'self'") -> str:
    """A content security policy that allows nothing but our own style sheet, pictures and the named sources."""
    return (
        f"default-src 'none'; script-src {script}; style-src 'self'; img-src 'self' data:; form-action {form_action}; "
        "frame-ancestors 'none'; base-uri 'none'"
    )


def page(
    html: str, *, status: int = 200, csp: str | None = None, headers: Mapping[str, str] | None = None
) -> Response[str]:
    all_headers = {**HEADERS, "Content-Security-Policy": csp or policy(), **(headers or {})}
    return Response(html, status_code=status, media_type=MediaType.HTML, headers=all_headers)
