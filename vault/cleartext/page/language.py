"""Which language a person reads the page in.

In this order: what they chose by the switch on the page; what the capture names; what their browser asks for
(`Accept-Language`, RFC 9110 section 12.5.4, looked up by its primary subtag as RFC 4647 section 3.4 does); English.
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from vault.contract import PageLanguage

ASKED_BY: Final = "language"
"""The switch is a link to the same page with this in its query, so it works without scripts and without a cookie."""
ACCEPT_LENGTH_MAX: Final = 400
"""Browsers send under 100 characters; more is not a person's list of languages."""
_RANGE: Final = re.compile(r"\s*([A-Za-z]{1,8})(?:-[A-Za-z0-9-]{1,35})?\s*(?:;\s*q\s*=\s*([01](?:\.\d{0,3})?)\s*)?")
_RIGHT_TO_LEFT: Final = frozenset({PageLanguage.ARABIC})
_KNOWN: Final = {language.value: language for language in PageLanguage}


@dataclass(frozen=True, slots=True)
class Reader:
    """What a browser says about whoever reads. `asked` by the switch, as it came; `accepted` is `Accept-Language`."""

    asked: str = ""
    accepted: str = ""

    def language(self, named: str | None = None) -> PageLanguage:
        """What is not one of ours counts as not said. `named` is the capture's."""
        wishes = (self.asked, named or "", *_by_preference(self.accepted))
        return next((_KNOWN[wish] for wish in wishes if wish in _KNOWN), PageLanguage.ENGLISH)

    @property
    def query(self) -> str:
        """What keeps the choice over the next step; empty when nothing of ours was asked for."""
        return f"?{ASKED_BY}={self.asked}" if self.asked in _KNOWN else ""


def direction_of(language: PageLanguage) -> str:
    """The HTML attribute `dir`."""
    return "rtl" if language in _RIGHT_TO_LEFT else "ltr"


def _by_preference(accepted: str) -> Iterable[str]:
    if len(accepted) > ACCEPT_LENGTH_MAX:
        return
    matches = filter(None, map(_RANGE.fullmatch, accepted.split(",")))
    ranges = [(match[1].lower(), float(match[2] or 1)) for match in matches]
    for primary, weight in sorted(ranges, key=lambda wish: -wish[1]):
        if weight > 0:
            yield primary
