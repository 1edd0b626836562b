"""The values that hold a card's digits: they refuse every careless use, and can be wiped."""

import copy
import dataclasses
import json
import pickle
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import msgspec
import pytest

from vault.cleartext.intake import parse_card_form
from vault.cleartext.pan import CardFlaw, CardFlawed, CardNumber, CarelessUse, DigitsWiped, VerificationCode

NOW = datetime(2026, 11, 20, 14, 0, tzinfo=UTC)
VISA = "4242424242424242"
GOOD = {"number": VISA, "expiry": "12/29", "code": "123", "holder": "Ada Okafor"}

CARELESS_USES: list[Callable[[Any], object]] = [
    str,
    "{}".format,
    "%s".__mod__,
    lambda digits: digits == digits,  # noqa: PLR0124 - comparing is what must fail
    lambda digits: digits != "4242",
    hash,
    pickle.dumps,
    copy.copy,
    copy.deepcopy,
    json.dumps,
    msgspec.json.encode,
    msgspec.msgpack.encode,
    bytes,
    list,
    len,
    vars,
]


@pytest.mark.parametrize("use", CARELESS_USES)
@pytest.mark.parametrize("make", [lambda: CardNumber(VISA), lambda: VerificationCode("987")])
@pytest.mark.control("UC-3.6")
def test_digits_refuse_a_careless_use(make: Callable[[], object], use: Callable[[Any], object]):
    digits = make()

    with pytest.raises(TypeError) as refused:
        use(digits)

    assert VISA not in str(refused.value)
    assert "987" not in str(refused.value)


@pytest.mark.control("UC-3.6")
def test_digits_do_not_show_in_a_repr_of_what_holds_them():
    intake = parse_card_form({**GOOD, "code": "987"}, NOW)

    shown = f"{intake!r} {intake.details!r} {[intake.details.number]!r}"

    assert "4242" not in shown
    assert "987" not in shown
    assert "Okafor" not in shown


def test_card_details_cannot_be_copied_into_a_dictionary():
    intake = parse_card_form(GOOD, NOW)

    with pytest.raises(CarelessUse):
        dataclasses.asdict(intake.details)


@pytest.mark.control("UC-3.1")
def test_wiped_digits_are_gone_also_for_who_revealed_them_before():
    card = CardNumber(VISA)
    revealed = card.reveal()

    card.wipe()
    card.wipe()

    assert bytes(revealed) == bytes(16)
    with pytest.raises(DigitsWiped):
        card.reveal()
    assert card.last4 == "4242"


def test_revealed_digits_cannot_be_changed():
    revealed = CardNumber(VISA).reveal()

    with pytest.raises(TypeError):
        revealed[0] = 0


def test_a_refused_number_is_not_in_its_error():
    with pytest.raises(CardFlawed) as flawed:
        CardNumber("4242424242424241")

    assert str(flawed.value) == "number_invalid"
    assert flawed.value.flaw is CardFlaw.NUMBER_INVALID
