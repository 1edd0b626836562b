"""Ordinary texts of the split the screen was tuned on."""

import random
import uuid
from collections.abc import Callable
from typing import Final

from tests.chassis.screen_corpus import wording
from tests.chassis.screen_corpus.shapes import Maker, Sample, gs1_check_digit, iban, some_digits

Text = Callable[[random.Random], str]


def _number(chance: random.Random) -> str:
    return chance.choice((
        f"where is order {some_digits(chance, chance.randint(6, 12))}?",
        f"invoice {some_digits(chance, 4)}-{some_digits(chance, 6)} of 2026-{chance.randint(1, 12):02d}-14",
        f"call {some_digits(chance, 3)}-555-{some_digits(chance, 4)} or +43 1 {some_digits(chance, 7)}",
        f"UPS 1Z{some_digits(chance, 16)}",
        f"DHL {some_digits(chance, 20)}",
        f"EAN {_barcode(chance)}",
        iban("NL", f"ABNA{some_digits(chance, 10)}"),
        iban("GB", f"NWBK{some_digits(chance, 14)}"),
        str(uuid.UUID(int=chance.getrandbits(128))),
        f"{chance.randint(1_500_000_000, 2_000_000_000)}.{some_digits(chance, 6)}",
        f"id {some_digits(chance, 16)}",
    ))  # fmt: skip


def _barcode(chance: random.Random) -> str:
    body = "4" + some_digits(chance, 11)
    return body + gs1_check_digit(body)


def _words(chance: random.Random) -> str:
    numbers = [chance.randint(0, 999) for _ in range(4)]
    return chance.choice((
        "I bought {} apples, {} pears and {} plums for {} people".format(*map(wording.english, numbers)),
        "compré {} manzanas y {} peras para {} o {} personas".format(*map(wording.spanish, numbers)),
        "j'ai {} pommes, {} poires, {} prunes et {} cerises".format(*map(wording.french, numbers)),
        "ich habe {} Äpfel, {} Birnen, {} Pflaumen und {} Kirschen".format(*map(wording.german, numbers)),
        "for the two of us, or for three, to be on the safe side, four or five, no more than six",
        "one two three four, testing, one two, is this on?",
        "please add two of the oak ones and one in walnut to my cart, then ship to Vienna",
    ))  # fmt: skip


def _rows(chance: random.Random) -> str:
    return chance.choice((
        " ".join(str(chance.randint(10, 99)) for _ in range(chance.randint(4, 9))),
        ", ".join(f"{chance.randint(1, 99)}.{chance.randint(0, 99):02d}" for _ in range(5)),
        "mixed at {} rpm for {} min, {} ml, {} g, {} %".format(*(chance.randint(1, 999) for _ in range(5))),
        "2021 2022 2023 2024 2025 were good years",
        f"opens 08:30, closes {chance.randint(12, 22)}:15, on 24.12.2026 at 14:00",
        f"{chance.randint(40, 60)}.{some_digits(chance, 5)}, -{chance.randint(1, 99)}.{some_digits(chance, 5)}",
    ))  # fmt: skip


def _talk(chance: random.Random) -> tuple[str, ...]:
    said = [
        f"room {some_digits(chance, 3)}", f"it is order number {some_digits(chance, 7)}",
        f"{chance.randint(1, 9)} chairs",
        f"call me on {some_digits(chance, 9)}", "thank you",
        f"my postcode is {some_digits(chance, 4)}",
        f"we moved in {chance.randint(1960, 2026)}", f"about {chance.randint(20, 900)} euros",
    ]  # fmt: skip
    return tuple(chance.sample(said, 5))


def _one(form: str, write: Text) -> Maker:
    return lambda chance: Sample((write(chance),), False, form, "any")


NEGATIVES: Final[tuple[Maker, ...]] = (
    _one("numbers", _number),
    _one("words", _words),
    _one("rows", _rows),
    lambda chance: Sample(_talk(chance), False, "talk", "any"),
)
