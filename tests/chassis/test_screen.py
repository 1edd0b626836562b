"""Published test numbers of the processors only."""

import base64
import re
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from infra.chassis.ids import new_id
from infra.chassis.screen import MASK, find_card_number, find_cards, mask
from infra.chassis.screen.judging import Digits, parts_of
from infra.chassis.screen.networks import LENGTH_MAX, LENGTH_MIN, lengths_of
from infra.chassis.screen.reading import read, readings
from tests.chassis.screen_corpus.shapes import iban
from vault.cleartext.issuers import ISSUER_RANGES

VISA = "4242424242424242"
AMEX = "378282246310005"
BODY = 64 * 1024
"""The largest body a service reads."""
SECONDS_MAX = 4.0
"""Of processor time for a whole body made to be slow; an honest one takes a tenth. Ten times as much is not linear."""


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
        "四二" * 8,
        "4\ufe0f\u20e32\ufe0f\u20e3" * 8,
        "4\u200b2\u200b" * 8,
        f"order 12 card{VISA}x",
        f"{VISA}1226123",
        f"99{VISA}",
        "four two four two four two four two four two four two four two four two",
        "Four-two, four-two, four-two, four-two, four-two, four-two, four-two, four-two",
        "forty-two forty-two forty-two forty-two forty-two forty-two forty-two forty-two",
        "triple five five triple five five triple five five double four double four",
        "four fives four fives four fives four fours",
        "charge it to for to for to for to for to for to for to for to for to for me",
        "cuarenta y dos " * 8,
        "quarante-deux " * 8,
        "zweiundvierzig" * 8,
        "zwei und vierzig " * 8,
        "quatre mille deux cent quarante-deux " * 4,
        "viertausendzweihundertzweiundvierzig, " * 4,
        "42 forty-two 4242 four two four two quarante-deux zwei und vierzig",
        "4242 then another 4242 followed by this 4242 and lastly 4242",
        "%34%32" * 8,
        "%2534%2532" * 8,
        "&#52;&#x32;" * 8,
        "\\u0034\\u0032" * 8,
        "=34=32" * 8,
        base64.b64encode(VISA.encode()).decode(),
        base64.urlsafe_b64encode(f"card={VISA}".encode()).decode().rstrip("="),
        VISA.encode().hex(),
        VISA.encode().hex(" "),
    ],
)
def test_a_card_number_is_found_however_it_is_written(text: str):
    assert find_card_number(text) is not None


@pytest.mark.parametrize(
    "said",
    [
        # Soixante onze is 71, and 60 11; quatre vingt dix is 90, and 80 10, and 4 20 10.
        "soixante onze zéro zéro zéro neuf quatre vingt dix treize quatre vingt quatorze vingt quatre",
        "sixty eleven zero zero zero nine ninety thirteen ninety four twenty four",
        # Dos siete mil: the seven ends one group, and 1667 begins with mil.
        "tres mil seiscientos veintidós siete dos cero seis dos siete mil seiscientos sesenta y siete",
        "dreitausendfünfhundertdreißig eintausendeinhundertdreizehn dreitausenddreihundertdreißig null null null null",
    ],
)
def test_words_that_can_be_read_in_two_ways_are_read_in_both(said: str):
    assert find_card_number(said) is not None


@pytest.mark.parametrize(
    "text",
    [
        "",
        "hello",
        "my reference is 1234 5678 9012",
        "call me on +1 (415) 555-0132 tomorrow between 9 and 11",
        "+49 3012 3456 78903",
        "order ord_kqzwvxbcdfghjkmnpqrstvwxyz of 2026-11-20",
        "0000000000000000",
        "I want two of the four lamps, or maybe three for one room",
        "4242 people liked it and 4242 did not, 42 left in 4242 seconds flat",
        "2026-11-20T14:37:01.434713Z",
        "won ton soup for two, to go, for eight o'clock; oh, and one for free, too",
    ],
)
def test_ordinary_text_passes(text: str):
    assert find_card_number(text) is None


@pytest.mark.parametrize(
    ("text", "digits"),
    [
        (f"to {iban('AT', VISA)}", VISA),
        ("we met at 42.424242, 42.424242", VISA),
        ("it was 42.42, 42.42, 42.42, 42.42", VISA),
        ("30/01/2026 16:43:00", "".join(filter(str.isdigit, "30/01/2026 16:43:00"))),
    ],
)
def test_what_says_that_it_is_something_else_passes_only_as_that(text: str, digits: str):
    assert find_card_number(digits) is not None
    assert find_card_number(text) is None


@given(
    country=st.sampled_from([("DE", 18), ("FR", 23), ("ES", 20), ("AT", 16), ("PL", 24), ("NO", 11)]),
    digits=st.text("0123456789", min_size=24, max_size=24),
    around=st.sampled_from(["{}", "to {}, please", "IBAN {} BIC", "({})"]),
)
def test_no_account_number_is_taken_for_a_card(country: tuple[str, int], digits: str, around: str):
    number = iban(country[0], digits[: country[1]])
    grouped = " ".join(number[at : at + 4] for at in range(0, len(number), 4))

    assert find_card_number(around.format(number)) is None
    assert find_card_number(around.format(grouped)) is None


def test_a_mask_takes_out_the_number_and_nothing_else():
    assert mask(f"pay {VISA} and {AMEX}, or four two") == f"pay {MASK} and {MASK}, or four two"
    assert mask("x \uff14\u200b\uff12" + "\uff14\uff12" * 7 + " y") == f"x {MASK} y"
    assert mask(f"n={'%34%32' * 8}&x=1") == f"n={MASK}&x=1"
    assert mask("nothing here") == "nothing here"


@given(st.text(max_size=200))
def test_no_text_breaks_the_screen(text: str):
    assert all(0 <= start < end <= len(text) for start, end in find_cards(text))


@given(
    st.lists(
        st.sampled_from(
            [
                "four",
                "42",
                "double",
                "mille",
                "quatre",
                "vingt",
                "dix",
                "und",
                "zero",
                "4",
                "\\u0034",
                "%34",
                "&#52;",
                ",",
                "-",
                "soixante",
            ]
        )
    )
)
def test_no_heap_of_number_words_breaks_the_screen(said: list[str]):
    text = " ".join(said)

    assert all(0 <= start < end <= len(text) for start, end in find_cards(text))


@given(before=st.text(max_size=40), after=st.text(max_size=40))
def test_a_printed_number_between_line_breaks_is_found_whatever_stands_around(before: str, after: str):
    assert find_card_number(f"{before}\n\n4242 4242 4242 4242\n\n{after}") is not None


def test_nothing_on_the_way_prints_what_it_read():
    seen = read("it is 4012888888881881, or 4012 then x 8888 eighteen")
    atoms = [atom for run in seen.runs for reading in readings(run) for atom in reading]
    parts = [part for run in seen.runs for part in parts_of(run)]

    shown = repr((seen, seen.runs, atoms, parts, Digits(["4012888888881881"])))

    assert len(atoms) >= 4
    assert len(parts) >= 2
    assert not any(digits in shown for digits in ("4012", "8888", "1881"))


@pytest.mark.parametrize(
    "text",
    [
        "4a2b4c2d4e2f4g2h4i2j4k2l4m2n4o2p",
        AMEX[::-1],
        f"99{VISA}99",
        "quattro due " * 8,
        "fourty-second " * 8,
        "4012888818888",
        base64.b32encode(VISA.encode()).decode(),
    ],
    ids=["letters between", "reversed", "glued at both ends", "Italian", "ordinals", "barcode", "base32"],
)
def test_what_the_decision_says_is_not_known_still_passes(text: str):
    """Whoever teaches the screen one of these takes it out of the decision's list, too."""
    assert find_card_number(text) is None


def test_our_own_ids_cannot_look_like_cards():
    assert all(not any(character.isdigit() for character in new_id("tok")) for _ in range(200))


@pytest.mark.parametrize(
    "piece",
    [
        "5", "4 ", "4 x ", "four ", "forty two ", "vier", "und ", "%34", "\\", "34", "\uff14", "4\u200b", "DE89",
        "six mille onze cent ", "4242 um um um um um ",
    ],
)  # fmt: skip
def test_a_body_made_to_be_slow_takes_time_in_proportion(piece: str):
    whole = (piece * (BODY // len(piece) + 1))[:BODY]
    started = time.process_time()

    find_cards(whole)

    assert time.process_time() - started < SECONDS_MAX


def test_the_screen_knows_every_number_the_vault_takes():
    for issuer in ISSUER_RANGES:
        for prefix in {issuer.first, issuer.last, str((int(issuer.first) + int(issuer.last)) // 2)}:
            for ending in ("0000", "9999"):
                known = lengths_of((prefix + ending)[:4])
                missing = [size for size in issuer.lengths if size >= LENGTH_MIN and not known >> size & 1]
                assert not missing, (prefix, missing)
    assert max(size for issuer in ISSUER_RANGES for size in issuer.lengths) == LENGTH_MAX


@pytest.mark.parametrize("before", [b"", b"x", b"xy", b"\xff"])
def test_no_digits_in_base64_look_like_an_id_of_ours(before: bytes):
    """Ids are not read at all, so nothing that is written like one may hold a number."""
    written = [base64.b64encode(before + f"{number:019d}".encode()).decode() for number in range(0, 10**19, 10**16 + 7)]

    assert not [text for text in written if re.search(r"[bcdfghjkmnpqrstvwxyz]{4}", text)]
    assert find_cards(new_id("tok")) == find_cards(f"tok_{new_id('tok')}") == []
