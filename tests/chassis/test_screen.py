"""Published test numbers of the processors only."""

import base64
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from infra.chassis.ids import new_id
from infra.chassis.screen import find_card_number, luhn

VISA = "4242424242424242"
AMEX = "378282246310005"


@pytest.mark.control("UC-3.3")
@pytest.mark.parametrize(
    "text",
    [
        VISA,
        AMEX,
        "5555555555554444",
        "my card is 4242 4242 4242 4242, thanks",
        "4242-4242-4242-4242",
        "4242.4242.4242.4242",
        "4242 - 4242 - 4242 - 4242",
        "4 2 4 2 4 2 4 2 4 2 4 2 4 2 4 2",
        "3782 822463 10005",
        "\uff14\uff12" * 8,
        "٤٢" * 8,
        f"order 12 card{VISA}x",
        "four two four two four two four two four two four two four two four two",
        "Four-two, four-two, four-two, four-two, four-two, four-two, four-two, four-two",
        "forty-two forty-two forty-two forty-two forty-two forty-two forty-two forty-two",
        "triple five five triple five five triple five five double four double four",
        base64.b64encode(VISA.encode()).decode(),
        base64.urlsafe_b64encode(f"card={VISA}".encode()).decode().rstrip("="),
        VISA.encode().hex(),
        VISA.encode().hex(" "),
    ],
)
def test_a_card_number_is_found_however_it_is_written(text: str):
    assert find_card_number(text) is not None


@pytest.mark.parametrize(
    "text",
    [
        "",
        "hello",
        "my reference is 1234 5678 9012",
        "call me on +1 (415) 555-0132 tomorrow between 9 and 11",
        "order ord_kqzwvxbcdfghjkmnpqrstvwxyz of 2026-11-20",
        "0000000000000000",
        "I want two of the four lamps, or maybe three for one room",
        "4242 people liked it and 4242 did not, 42 left in 4242 seconds flat",
        "2026-11-20T14:37:01.434713Z",
    ],
)
def test_ordinary_text_passes(text: str):
    assert find_card_number(text) is None


@given(st.text(max_size=200))
def test_no_text_breaks_the_screen(text: str):
    find_card_number(text)


def test_our_own_ids_cannot_look_like_cards():
    assert all(not any(character.isdigit() for character in new_id("tok")) for _ in range(200))


def test_a_body_full_of_digits_does_not_hold_everybody_up():
    started = time.process_time()

    assert find_card_number("5" * 60_000) is None

    assert time.process_time() - started < 0.9


@given(st.text("0123456789", min_size=13, max_size=60))
def test_every_place_in_a_run_of_digits_is_looked_at(digits: str):
    spans = [
        (start, start + length)
        for start in range(len(digits))
        for length in {"2": [16], "3": [14, 15, 16], "4": [13, 16, 19]}.get(digits[start], range(13, 20))
        if start + length <= len(digits) and digits[start] in "23456"
    ]
    cards = [span for span in spans if luhn(digits[slice(*span)]) and len(set(digits[slice(*span)])) > 1]

    assert find_card_number(digits) == next(iter(cards), None)
