"""What a sample is, and the tools both splits share: facts of languages and encodings, no habits of speakers."""

import random
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Final

from compliance.checks.words import TEST_CARDS

VARIED: Final = sorted(card for card in TEST_CARDS if card.count("0") <= 6)
ROUND: Final = sorted(TEST_CARDS.difference(VARIED))
"""Most published test numbers are mostly zeros, as no real card is: a few of those are enough."""
TUNING_CARDS: Final = (*VARIED[0::2], *ROUND[0::6])
HELD_BACK_CARDS: Final = (*VARIED[1::2], *ROUND[1::6])
"""Published test numbers only, dealt in turn, so that no number is in both splits."""


@dataclass(frozen=True, slots=True)
class Sample:
    """One conversation of one turn or several. `holds_card`: whether the turns together say a card number."""

    turns: tuple[str, ...]
    holds_card: bool
    form: str
    language: str


Maker = Callable[[random.Random], Sample]


def made(makers: Sequence[Maker], each: int, seed: int) -> Iterator[Sample]:
    """`each` samples of every maker; the same for the same seed."""
    for number, maker in enumerate(makers):
        chance = random.Random(f"{seed}/{number}")  # noqa: S311 - repeatable samples, no secret is drawn
        for _ in range(each):
            yield maker(chance)


def groups_of(digits: str, sizes: Sequence[int]) -> list[str]:
    """Cut into `sizes`, the last of them repeated until the digits end."""
    cut: list[str] = []
    at = 0
    while at < len(digits):
        size = sizes[min(len(cut), len(sizes) - 1)]
        cut.append(digits[at : at + size])
        at += size
    return cut


def printed(digits: str) -> list[str]:
    """The groups that are embossed: 4-6-5 on American Express, 4-6-4 on Diners Club, fours on all others."""
    return groups_of(digits, {15: (4, 6, 5), 14: (4, 6, 4)}.get(len(digits), (4,)))


def in_script(digits: str, zero: str) -> str:
    """The same digits in the script whose zero is given, as far as its ten digits stand in a row."""
    return "".join(chr(ord(zero) + int(digit)) for digit in digits)


def gs1_check_digit(digits: str) -> str:
    """GS1 General Specifications 7.9: weights 3 and 1 from the right."""
    total = sum(int(digit) * (3, 1)[place % 2] for place, digit in enumerate(reversed(digits)))
    return str(-total % 10)


def iban(country: str, account: str) -> str:
    """ISO 13616: check digits by ISO 7064 mod 97-10."""
    as_number = "".join(str(int(character, 36)) for character in f"{account}{country}00")
    return f"{country}{98 - int(as_number) % 97:02d}{account}"


def some_digits(chance: random.Random, count: int) -> str:
    return "".join(chance.choices("0123456789", k=count))
