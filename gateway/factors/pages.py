"""From what is to be shown to an HTML answer: the pages of links and of passkeys, in the look of the other pages."""

import base64
import hashlib
from datetime import datetime
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

from litestar import Response

import gateway.browser
from gateway.browser import render
from gateway.browser.amounts import show_amount
from gateway.factors.keeping import Kept
from gateway.factors.passkeys import Offer
from gateway.factors.providers import Provider
from gateway.factors.stepping import Ways
from gateway.factors.store import Challenge
from gateway.oauth import redirects
from infra.chassis import pages

_TEMPLATES: Final = pages.environment(Path(gateway.browser.__file__).parent / "templates")
_TEMPLATES.globals["stylesheet"] = render.STYLESHEET_PATH
SCRIPT: Final = (Path(gateway.browser.__file__).parent / "assets" / "passkey.js").read_text(encoding="utf-8")
_SCRIPT_SOURCE: Final = f"'sha256-{base64.b64encode(hashlib.sha256(SCRIPT.encode()).digest()).decode()}'"
_TEMPLATES.trim_blocks = True
_TEMPLATES.lstrip_blocks = True


def sign_in_page(challenge: Challenge, provider: Provider, link: str, csrf: str) -> Response[str]:
    """Its form is answered with a redirect to the provider, which may go on to further hosts of its own."""
    target = "https:" if provider.issuer.startswith("https:") else "https: http://127.0.0.1:* http://localhost:*"
    html = _TEMPLATES.get_template("openid.html").render(
        challenge=challenge, provider=provider, host=urlsplit(provider.issuer).hostname, link=link, csrf=csrf
    )
    return pages.page(html, csp=pages.policy(form_action=f"'self' {target}"), headers=render.SAME_ORIGIN)


def passed_page(challenge: Challenge) -> Response[str]:
    sentences = (f"{challenge.brand_name} now knows that it is you.", "You can close this page and go on talking.")
    return render.notice_page("That worked", sentences, status=200)


def refused_page() -> Response[str]:
    sentences = ("Nothing was confirmed, and the link no longer works.", "If somebody sent it to you, do not answer.")
    return render.notice_page("Refused", sentences, status=200)


def link_over_page() -> Response[str]:
    sentences = (
        "This link was used already, has expired, or was opened in another browser.",
        "Go back to your conversation and ask for a new one. Cookies must be allowed for this site.",
    )
    return render.notice_page("This link no longer works", sentences, status=410)


def not_this_person_page() -> Response[str]:
    """One page for another person's conversation and for somebody who is not known here."""
    sentences = (
        "You signed in, but this conversation cannot be continued as that person. Nothing was shared.",
        "If you have several accounts, open the link again and use the one that belongs to this conversation.",
    )
    return render.notice_page("That did not work", sentences, status=409)


def sign_in_failed_page() -> Response[str]:
    sentences = ("Signing in did not work, so nothing was confirmed.", "Open the link again to try once more.")
    return render.notice_page("That did not work", sentences, status=422)


def worth_nothing_page() -> Response[str]:
    sentences = (
        "You signed in, but in a way that is not safe enough here. Nothing was confirmed.",
        "Open the link again and use a safer way, such as a second factor.",
    )
    return render.notice_page("A safer way is needed", sentences, status=422)


def passkey_page(challenge: Challenge, offer: Offer, link: str, csrf: str) -> Response[str]:
    title = "Show that it is you" if challenge.confirms is None else "Confirm this"
    return _passkey(
        "passkey.html",
        title=title,
        challenge=challenge,
        confirms=_confirms(challenge),
        offer=offer,
        link=link,
        csrf=csrf,
    )


def step_up_page(ways: Ways, csrf: str) -> Response[str]:
    """Its last form is answered with a redirect to the assistant."""
    target = redirects.form_target((ways.visit.request or {}).get("redirect_uri", ""))
    html = _TEMPLATES.get_template("step_up.html").render(ways=ways, visit=ways.visit, csrf=csrf, script=SCRIPT)
    csp = pages.policy(script=_SCRIPT_SOURCE, form_action=f"'self' {target}")
    return pages.page(html, csp=csp, headers=render.SAME_ORIGIN)


def passkeys_page(kept: Kept, csrf: str) -> Response[str]:
    return _passkey("passkeys.html", kept=kept, csrf=csrf)


def next_passkey_page(kept: Kept, csrf: str) -> Response[str]:
    return _passkey("passkey_next.html", kept=kept, csrf=csrf)


def passkey_refused_page() -> Response[str]:
    sentences = ("The passkey was not accepted, so nothing was done.", "Open the page again to try once more.")
    return render.notice_page("That did not work", sentences, status=422)


def must_rest_page(until: datetime) -> Response[str]:
    sentence = f"A passkey was removed lately; the next first one can be added from {until:%-d %B %Y, %H:%M} UTC."
    return render.notice_page("Not yet", (sentence,), status=409)


def _passkey(template: str, **shown: object) -> Response[str]:
    html = _TEMPLATES.get_template(template).render(script=SCRIPT, **shown)
    return pages.page(html, csp=pages.policy(script=_SCRIPT_SOURCE), headers=render.SAME_ORIGIN)


def _confirms(challenge: Challenge) -> list[tuple[str, str]] | None:
    """What the person agrees to, as rows of name and value; None where it is only about who they are."""
    facts = challenge.confirms
    if facts is None:
        return None
    if facts["action"] == "purchase":
        amount = show_amount(facts["amount_minor"], facts["currency"])
        return [("Pay", amount), ("To", challenge.brand_name), ("For", facts["description"])]
    about = f"“{facts['query']}”" if facts["query"] else "anything"
    return [
        ("Show", "what is remembered about you, also what is kept most strictly"),
        ("To", f"{challenge.brand_name}, in this conversation, once"),
        ("About", about),
        ("At most", f"{facts['limit']} entries"),
    ]
