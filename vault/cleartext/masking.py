"""How much of a card number may be shown: the issuer's digits and the last four, never so much that it can be guessed.

PCI DSS 4.0.1, 3.4.1: at most the BIN and the last four digits are displayed. PCI SSC FAQ 1091 (June 2022) says what may
be left of a number that is cut: of sixteen digits the first eight and four others; of fifteen (American Express) the
first six and the last four; of shorter ones (Discover, Diners) the first six and four others. It does not name longer
ones, which hide more. It was read in copies whose table had lost these counts: they are as quoted elsewhere.

We show less where that leaves fewer than four digits unknown: with the check digit, three are a hundred guesses. What
the page, receipts, events and answers show today is the last four alone.
"""

from dataclasses import dataclass
from typing import Final

HIDDEN: Final = "\N{BULLET}"
LAST: Final = 4


@dataclass(frozen=True, slots=True)
class Showable:
    """How many digits may be shown, from the beginning and from the end."""

    first: int
    last: int = LAST


def showable(length: int) -> Showable:
    """Of a number of `length` digits. At least four are hidden; of what is shorter than a card, all."""
    if length >= 16:  # noqa: PLR2004 - FAQ 1091
        return Showable(8)
    if length >= 14:  # noqa: PLR2004 - FAQ 1091; of fourteen, six and four leave four
        return Showable(6)
    return Showable(0) if length > 2 * LAST else Showable(0, 0)


def masked(digits: str, *, first: int = 0) -> str:
    """The last four of a number, and as many of its first digits as are asked for and may be shown; the rest hidden."""
    may = showable(len(digits))
    head = digits[: min(max(first, 0), may.first)]
    tail = digits[len(digits) - may.last :]
    return f"{head}{HIDDEN * (len(digits) - len(head) - len(tail))}{tail}"
