"""Which brand a card number belongs to, and what follows from it: its lengths and the length of its verification code.

Prefixes are public facts of the card networks (ISO/IEC 7812 assigns them, the networks' own acceptance guides list
them). The more specific prefix wins. A number without a row here is refused rather than guessed at.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

NUMBER_LENGTH_MIN: Final = 12
NUMBER_LENGTH_MAX: Final = 19
"""ISO/IEC 7812-1: at most 19 digits. Twelve is the shortest in use (Maestro)."""


class CardBrand(StrEnum):
    """Named as the processor names them, so no second vocabulary is needed."""

    VISA = "visa"
    MASTERCARD = "mastercard"
    AMEX = "amex"
    DISCOVER = "discover"
    DINERS = "diners"
    JCB = "jcb"
    UNIONPAY = "unionpay"
    MAESTRO = "maestro"


@dataclass(frozen=True, slots=True)
class IssuerRange:
    """Numbers whose first digits lie between `first` and `last`, both included and equally long."""

    first: str
    last: str
    brand: CardBrand
    lengths: tuple[int, ...]
    code_length: int = 3

    def holds(self, digits: str) -> bool:
        return self.first <= digits[: len(self.first)] <= self.last and len(digits) >= len(self.first)


def _ranges(brand: CardBrand, lengths: tuple[int, ...], *prefixes: str, code_length: int = 3) -> Iterator[IssuerRange]:
    for prefix in prefixes:
        first, _, last = prefix.partition("-")
        yield IssuerRange(first, last or first, brand, lengths, code_length)


_SIXTEEN_UP: Final = (16, 17, 18, 19)

ISSUER_RANGES: Final = tuple(
    sorted(
        (
            *_ranges(CardBrand.VISA, (13, 16, 19), "4"),
            *_ranges(CardBrand.MASTERCARD, (16,), "51-55", "2221-2720"),
            *_ranges(CardBrand.AMEX, (15,), "34", "37", code_length=4),
            *_ranges(CardBrand.DISCOVER, _SIXTEEN_UP, "6011", "644-649", "65"),
            *_ranges(CardBrand.DINERS, (14, 15, 16, 17, 18, 19), "300-305", "3095", "36", "38-39"),
            *_ranges(CardBrand.JCB, _SIXTEEN_UP, "3528-3589"),
            *_ranges(CardBrand.UNIONPAY, _SIXTEEN_UP, "62", "81"),
            *_ranges(
                CardBrand.MAESTRO,
                (12, 13, 14, 15, 16, 17, 18, 19),
                *("5018", "5020", "5038", "56-58", "5893", "6304", "6390", "67"),
            ),
        ),
        key=lambda issuer: -len(issuer.first),
    )
)
"""Longest prefix first, so that the first match is the most specific one."""


def find_issuer(digits: str) -> IssuerRange | None:
    """The range the leading digits fall into. The whole number is not needed: eight digits (the BIN) decide."""
    return next((issuer for issuer in ISSUER_RANGES if issuer.holds(digits)), None)
