"""Where a processor may send a card's holder: to origins the vault was told, over https, and nowhere else.

A processor's answer is believed about money, and about where a person's browser goes only within this list: whoever
could make it name another page would have one that a person trusts because we led them there.
"""

from dataclasses import replace
from typing import Final
from urllib.parse import urlsplit

from infra.chassis.screen import find_card_number
from vault.cleartext.processors import Payment, PaymentState

LENGTH_MAX: Final = 4_000
"""Longer than any we have seen by far; it goes into a page."""
_FORBIDDEN: Final = frozenset("\\\"'<>`{}|^ \t\r\n")


def led_to_the_bank(payment: Payment, url: str | None, origins: frozenset[str]) -> Payment:
    """A payment that waits for its person, with the page they may be sent to; any other as it is."""
    if payment.state is not PaymentState.NEEDS_AUTHENTICATION:
        return payment
    return replace(payment, action_url=allowed_url(url, origins))


def allowed_url(url: str | None, origins: frozenset[str]) -> str | None:
    """The URL if a person may be sent there. `origins` are written `https://host` or `https://host:port`."""
    if url is None or len(url) > LENGTH_MAX or not (url.isascii() and url.isprintable()):
        return None
    if not _FORBIDDEN.isdisjoint(url) or find_card_number(url) is not None:
        return None
    try:
        parts = urlsplit(url)
    except ValueError:
        return None
    origin = f"{parts.scheme}://{parts.netloc}"
    return url if "@" not in parts.netloc and url.startswith(f"{origin}/") and origin in origins else None
