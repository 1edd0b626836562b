"""The pages on the way to the bank of a card's holder and back: pure functions from a view to HTML.

They come with the card page's headers and texts. None has a script or a form: the bank's page is a link, because a
policy on forms (`form-action`) would also stop the redirects that follow one.
"""

from dataclasses import dataclass
from urllib.parse import urlsplit

from vault.cleartext.page.language import Reader
from vault.cleartext.page.money import amount_text
from vault.cleartext.page.render import render


@dataclass(frozen=True, slots=True)
class AuthenticationView:
    """A charge as its person sees it. `action_url` is the bank's page, of an origin that is allowed (redirects.py)."""

    amount_minor: int
    currency: str
    action_url: str | None = None


def render_authentication_page(view: AuthenticationView, reader: Reader) -> str:
    bank = urlsplit(view.action_url or "").netloc
    return render("authenticate.html", reader.language(), amount=_amount(view, reader), url=view.action_url, bank=bank)


def render_confirmed_page(view: AuthenticationView, reader: Reader) -> str:
    return render("confirmed.html", reader.language(), amount=_amount(view, reader))


def render_unconfirmed_page(view: AuthenticationView, reader: Reader) -> str:
    return render("unconfirmed.html", reader.language(), amount=_amount(view, reader))


def render_over_page(reader: Reader) -> str:
    """Over, unknown, or another browser's: one text, so that it tells nobody which."""
    return render("over.html", reader.language())


def render_bank_away_page(reader: Reader) -> str:
    return render("bank_away.html", reader.language())


def _amount(view: AuthenticationView, reader: Reader) -> str:
    return amount_text(view.amount_minor, view.currency, reader.language())
