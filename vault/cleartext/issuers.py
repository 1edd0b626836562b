"""Which brand a card number belongs to, and what follows from it: its lengths and the length of its verification code.

The rows are those of `infra/chassis/screen/ranges.toml`, with their sources; the card screen and the card page have the
same. A number without a row is refused rather than guessed at.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from infra.chassis.screen.ranges import RANGES

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
    """Numbers whose first digits lie between `first` and `last`, both included and equally long. Lengths in digits."""

    first: str
    last: str
    brand: CardBrand
    lengths: tuple[int, ...]
    code_length: int

    def may_hold(self, head: str) -> bool:
        """Whether a number that begins with `head` can be in this range; `head` may be shorter than the prefix."""
        size = min(len(head), len(self.first))
        return self.first[:size] <= head[:size] <= self.last[:size]


ISSUER_RANGES: Final = tuple(
    IssuerRange(row.first, row.last, CardBrand(row.brand), row.lengths, row.code_length) for row in RANGES
)
"""A brand in the file that has no name here starts no vault."""


_PREFIX_LENGTH: Final = 4
"""No range is told by more digits than that."""


def _by_prefix() -> dict[str, IssuerRange]:
    found: dict[str, IssuerRange] = {}
    for issuer in ISSUER_RANGES:
        spare = 10 ** (_PREFIX_LENGTH - len(issuer.first))
        for number in range(int(issuer.first) * spare, (int(issuer.last) + 1) * spare):
            found[f"{number:0{_PREFIX_LENGTH}}"] = issuer
    return found


_BY_PREFIX: Final = _by_prefix()


def possible_ranges(head: str) -> Iterator[IssuerRange]:
    """Of a number of which only the first digits are known, from none on: every range it can still be in."""
    return (issuer for issuer in ISSUER_RANGES if issuer.may_hold(head))


def find_issuer(digits: str) -> IssuerRange | None:
    """The range the leading digits fall into. The whole number is not needed: four digits always decide."""
    if len(digits) >= _PREFIX_LENGTH:
        return _BY_PREFIX.get(digits[:_PREFIX_LENGTH])
    return next((issuer for issuer in possible_ranges(digits) if len(digits) >= len(issuer.first)), None)
