"""The small pure parts, over generated input."""

from contextlib import suppress
from typing import Any
from urllib.parse import urlencode
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st
from stripe._encode import _api_encode

from infra.sandbox import luhn
from infra.sandbox.errors import BadParameter
from infra.sandbox.form import Parameters, read_pairs

DIGITS = st.text("0123456789", min_size=11, max_size=17)
TEXTS = st.text(st.characters(codec="utf-8", exclude_categories=["Cs"]), min_size=1, max_size=30)
NAMES = st.text("abcdefghijklmnopqrstuvwxyz_", min_size=1, max_size=10)


def with_check_digit(digits: str) -> str:
    return next(digits + last for last in "0123456789" if luhn.passes(digits + last))


@given(digits=DIGITS, place=st.integers(0, 10), change=st.integers(1, 9))
def test_one_wrong_digit_never_passes_the_check(digits: str, place: int, change: int):
    number = with_check_digit(digits)
    wrong = str((int(number[place]) + change) % 10)

    assert luhn.passes(number)
    assert not luhn.passes(number[:place] + wrong + number[place + 1 :])


@given(digits=st.text("0123456789", min_size=14, max_size=14), separator=st.sampled_from(["", " ", "-"]))
def test_a_card_number_is_found_inside_text_however_it_is_spaced(digits: str, separator: str):
    number = with_check_digit("4" + digits)
    spaced = separator.join(number[at : at + 4] for at in range(0, 16, 4))

    assert luhn.find_card_number(f"please charge {spaced}, thanks")
    assert not luhn.find_card_number(f"order 9{number}9 of {number[:12]}")
    assert not luhn.find_card_number(f"7e3a-{spaced}")


@given(metadata=st.dictionaries(NAMES, TEXTS.filter(lambda text: not luhn.find_card_number(text)), max_size=5))
def test_what_the_sdk_encodes_is_read_back(metadata: dict[str, str]):
    sent: dict[str, Any] = {"amount": 12, "confirm": True, "expand": ["a", "b.c"], "metadata": metadata}

    parameters = Parameters.of(read_pairs(urlencode(list(_api_encode(sent))).encode()))

    assert parameters.whole("amount") == 12
    assert parameters.flag("confirm") is True
    assert parameters.texts("expand") == ("a", "b.c")
    assert parameters.metadata() == metadata
    parameters.finish()


@given(body=st.binary(max_size=200))
def test_no_body_makes_the_reader_fail_in_another_way_than_refusing(body: bytes):
    with suppress(BadParameter):
        parameters = Parameters.of(read_pairs(body))
        parameters.metadata()
        parameters.texts("expand")
        parameters.child("card").text("number")
        parameters.finish()


@given(key=st.uuids())
def test_a_key_the_sdk_makes_is_no_card_number(key: UUID):
    assert not luhn.find_card_number(str(key))


def test_what_nobody_reads_is_refused_by_name():
    parameters = Parameters.of([("card[number]", "4"), ("card[colour]", "red")])
    card = parameters.child("card")
    card.text("number")

    with pytest.raises(BadParameter) as refused:
        parameters.finish()

    assert refused.value.param == "card[colour]"
