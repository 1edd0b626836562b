"""From what is to be shown to an HTML answer. Content security policies are here, each as narrow as its page allows."""

import base64
import hashlib
from collections.abc import Sequence
from datetime import UTC
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

from litestar import Response

from gateway.approvals import ApprovalView
from gateway.browser.amounts import show_amount
from gateway.browser.consent import ConsentView
from gateway.browser.door import Entry
from gateway.browser.spending_limits import MORE_FIELDS
from gateway.browser.visits import Visit
from gateway.captures import AuthenticationDoor, DoorView
from gateway.contract import PurchaseState
from gateway.facts import ApprovalState
from gateway.oauth import redirects
from gateway.oauth.scopes import SCOPES, in_order
from infra.chassis import pages
from infra.chassis.problems import Problem

_HERE: Final = Path(__file__).parent
STYLESHEET: Final = (_HERE / "assets" / "pages.css").read_bytes()
STYLESHEET_PATH: Final = f"/assets/{hashlib.sha256(STYLESHEET).hexdigest()[:16]}.css"
ENTER_SCRIPT: Final = "document.forms[0].submit()"
"""The one script of these pages, on the one page that has nothing to read: it presses the only button."""
_ENTER_SCRIPT_SOURCE: Final = f"'sha256-{base64.b64encode(hashlib.sha256(ENTER_SCRIPT.encode()).digest()).decode()}'"
SAME_ORIGIN: Final = {"Referrer-Policy": "same-origin"}
"""With `no-referrer` browsers would post our own forms with `Origin: null`, which we refuse."""
_TEMPLATES: Final = pages.environment(_HERE / "templates")
_TEMPLATES.globals["stylesheet"] = STYLESHEET_PATH
_TEMPLATES.trim_blocks = True
_TEMPLATES.lstrip_blocks = True


def address_page(visit: Visit, csrf: str, *, flaw: str = "", status: int = 200) -> Response[str]:
    return _page("address.html", status=status, visit=visit, csrf=csrf, flaw=flaw)


def code_page(visit: Visit, csrf: str, *, flaw: str = "", status: int = 200) -> Response[str]:
    return _page("code.html", status=status, visit=visit, csrf=csrf, flaw=flaw)


def consent_page(visit: Visit, view: ConsentView, csrf: str, *, status: int = 200) -> Response[str]:
    typed = view.typed
    return _page(
        "consent.html",
        status=status,
        csp=pages.policy(form_action=f"'self' {redirects.form_target(view.asked.redirect_uri)}"),
        visit=visit,
        view=view,
        asked=view.asked,
        csrf=csrf,
        host=redirects.shown_host(view.asked.redirect_uri),
        scopes=[SCOPES[scope] for scope in in_order(view.asked.scopes)],
        amounts=[
            ("payment_cap", "For one payment", typed.payment_cap),
            ("day_cap", "For one day", typed.day_cap),
        ],
        more_open=typed.has_more or not MORE_FIELDS.isdisjoint(view.flaws),
        until=f"{view.expires_at:%-d %B %Y}",
    )


def door_page(door: DoorView, csrf: str, vault_page_url: str) -> Response[str]:
    amount = show_amount(door.amount_minor, door.currency)
    return _page("door.html", door=door, csrf=csrf, amount=amount, vault_host=urlsplit(vault_page_url).netloc)


def entry_page(door: DoorView, entry: Entry) -> Response[str]:
    return _entry("entry.html", door, entry)


def authentication_door_page(door: AuthenticationDoor, csrf: str, vault_page_url: str) -> Response[str]:
    amount = show_amount(door.amount_minor, door.currency)
    vault_host = urlsplit(vault_page_url).netloc
    return _page("authentication.html", door=door, csrf=csrf, amount=amount, vault_host=vault_host)


def authentication_entry_page(door: AuthenticationDoor, entry: Entry) -> Response[str]:
    return _entry("authentication_entry.html", door, entry)


def authentication_closed_page(door: AuthenticationDoor) -> Response[str]:
    amount = show_amount(door.amount_minor, door.currency)
    if door.state == PurchaseState.PAID:
        sentences = (f"The payment of {amount} to {door.brand_name} is made.", "Go back to your assistant.")
        return notice_page("Confirmed and paid", sentences, status=200)
    over = (
        f"The payment of {amount} to {door.brand_name} does not wait for you any more.",
        "Go back to your assistant and ask how it stands.",
    )
    return notice_page("This link no longer works", over, status=410)


def notice_page(title: str, sentences: Sequence[str], *, status: int, sign_out: bool = False) -> Response[str]:
    return _page("notice.html", status=status, title=title, sentences=sentences, sign_out=sign_out)


def not_found_page() -> Response[str]:
    """One page for an unknown capture, for somebody else's, and for the wrong person's code."""
    sentences = (
        "This link does not lead anywhere for you. It may have been used already, or it belongs to somebody else.",
        "If you use several e-mail addresses: sign out here, open the link again and use the one your assistant knows.",
    )
    return notice_page("There is nothing here", sentences, status=404, sign_out=True)


def visit_over_page() -> Response[str]:
    sentences = (
        "This page was open for too long, was used already, or was opened in another browser.",
        "Go back to your assistant and start again. Nothing was shared. Cookies must be allowed for this site.",
    )
    return notice_page("Please start again", sentences, status=410)


def form_refused_page() -> Response[str]:
    sentences = ("The form did not come from this site's own page, so nothing was done.", "Go back and try again.")
    return notice_page("That did not work", sentences, status=403)


def problem_page(problem: Problem) -> Response[str]:
    """What a program would be told as a problem document, for a person."""
    return notice_page("That did not work", (problem.detail, "Go back and try again."), status=problem.status)


def busy_page() -> Response[str]:
    sentences = ("Many people are signing in at the moment.", "Wait a minute, then start again from your assistant.")
    return notice_page("Please try again shortly", sentences, status=503)


def request_refused_page(error: str) -> Response[str]:
    """For an authorization request whose sender cannot be told by redirect: its client or redirect URI is unsound."""
    sentences = (
        "The assistant's request cannot be trusted, so it is not answered. Nothing was shared.",
        f"For its makers, the error is: {error}.",
    )
    return notice_page("This request is not valid", sentences, status=400)


def door_closed_page(door: DoorView) -> Response[str]:
    if door.state == "completed":
        sentences = ("A card was added with this link.", "Go back to your assistant and tell it to continue.")
        return notice_page("Your card is saved", sentences, status=200)
    sentences = (
        "Links to add a card work once and for a short time.",
        "Go back to your assistant and ask for a new one.",
    )
    return notice_page("This link no longer works", sentences, status=410)


def approval_page(asked: ApprovalView, csrf: str) -> Response[str]:
    """The question while it is open; afterwards how it was answered, or that it no longer can be."""
    amount = show_amount(asked.amount_minor, asked.currency)
    if asked.answerable:
        until = f"{asked.expires_at.astimezone(UTC):%H:%M}"
        return _page("approval.html", asked=asked, csrf=csrf, amount=amount, until=until)
    to = f"{amount} to {asked.brand_name}"
    match asked.state:
        case ApprovalState.APPROVED | ApprovalState.USED:
            approved = (f"You approved the payment of {to}.", "Go back to your assistant and tell it to continue.")
            return notice_page("Approved", approved, status=200)
        case ApprovalState.REFUSED:
            return notice_page("Refused", (f"You refused the payment of {to}. It was not made.",), status=200)
        case ApprovalState.OPEN:
            over = (
                f"The payment of {to} was not approved in time, or you ended the permission for it.",
                "Nothing was paid. If you want it after all, ask your assistant to pay again.",
            )
            return notice_page("This can no longer be approved", over, status=410)


def signed_out_page() -> Response[str]:
    return notice_page("You are signed out", ("This browser has forgotten who you are.",), status=200)


def _entry(template: str, door: DoorView | AuthenticationDoor, entry: Entry) -> Response[str]:
    """Posts to the vault and to nowhere else, and tells it where the form came from (its door check)."""
    parts = urlsplit(entry.url)
    csp = pages.policy(script=_ENTER_SCRIPT_SOURCE, form_action=f"{parts.scheme}://{parts.netloc}")
    html = _TEMPLATES.get_template(template).render(door=door, entry=entry, script=ENTER_SCRIPT)
    return pages.page(html, csp=csp, headers={"Referrer-Policy": "strict-origin"})


def _page(template: str, *, status: int = 200, csp: str | None = None, **shown: object) -> Response[str]:
    html = _TEMPLATES.get_template(template).render(**shown)
    return pages.page(html, status=status, csp=csp, headers=SAME_ORIGIN)
