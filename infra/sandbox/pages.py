"""The sandbox's two pages, for the person who runs `up`: the inbox, and the bank's 3-D Secure challenge."""

from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from litestar import Response, get

_FOLDER = Path(__file__).parent / "templates"
_ENVIRONMENT = Environment(loader=FileSystemLoader(_FOLDER), autoescape=True, undefined=StrictUndefined)
_HEADERS = {
    "Cache-Control": "no-store",
    "Content-Security-Policy": "default-src 'none'; style-src 'self'; form-action 'self'; frame-ancestors 'none';"
    " base-uri 'none'",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "same-origin",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
}


def page(template: str, *, status: int = 200, **values: object) -> Response[str]:
    html = _ENVIRONMENT.get_template(template).render(values)
    return Response(html, status_code=status, media_type="text/html", headers=_HEADERS)


def challenge(
    payment: str, amount: str, currency: str, *, waiting: bool, state: str, back_url: str | None
) -> Response[str]:
    """What a bank asks of a card's holder. Once it is answered, the browser goes back by itself."""
    shown = page(
        "challenge.html",
        intent=payment,
        amount=amount,
        currency=currency.upper(),
        waiting=waiting,
        state=state.lower().replace("_", " "),
        return_url=back_url,
    )
    if back_url is not None and not waiting:
        shown.headers["Refresh"] = f"0; url={back_url}"
    return shown


@get("/_sandbox/style.css")
async def style_sheet() -> Response[str]:
    return Response(
        (_FOLDER / "style.css").read_text(encoding="utf-8"),
        media_type="text/css",
        headers={"Cache-Control": "max-age=300", "X-Content-Type-Options": "nosniff"},
    )
