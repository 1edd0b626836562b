"""What follows from a number's first digits: one file says it, and the vault, the card page and the screen agree."""

import json
import re
from datetime import UTC, datetime
from html import unescape
from itertools import pairwise

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from compliance.checks.words import TEST_CARDS
from infra.chassis.screen import find_card_number, luhn
from infra.chassis.screen.networks import LENGTH_MIN, lengths_of
from infra.chassis.screen.ranges import RANGES, RangesUnsound, read_ranges
from tests.support.cases import cases
from vault.cleartext.intake import CardFormRefused, parse_card_form
from vault.cleartext.issuers import ISSUER_RANGES, CardBrand, IssuerRange, find_issuer, possible_ranges
from vault.cleartext.masking import HIDDEN, masked, showable
from vault.cleartext.page.language import Reader
from vault.cleartext.page.render import CardPageView, render_card_page
from vault.cleartext.pan import CardFlaw, CardFlawed, CardNumber

NOW = datetime(2026, 11, 21, 12, 0, tzinfo=UTC)
BY_ROW = pytest.mark.parametrize("row", ISSUER_RANGES, ids=lambda row: f"{row.brand}-{row.first}")
LENGTHS = {
    CardBrand.VISA: {13, 16, 19},
    CardBrand.MASTERCARD: {16},
    CardBrand.AMEX: {15},
    CardBrand.DISCOVER: {16, 17, 18, 19},
    CardBrand.DINERS: {14, 16, 17, 18, 19},
    CardBrand.JCB: {16, 17, 18, 19},
    CardBrand.UNIONPAY: {16, 17, 18, 19},
    CardBrand.MAESTRO: set(range(12, 20)),
}
"""Written a second time, so that an edit of the file is seen."""
PUBLISHED = {
    "4": "visa", "51": "mastercard", "52": "mastercard", "55": "mastercard", "22": "mastercard", "34": "amex",
    "37": "amex", "6011": "discover", "305": "diners", "36": "diners", "38": "diners", "35": "jcb", "62": "unionpay",
    "56": "maestro", "67": "maestro",
}  # fmt: skip
"""Beginning → whose the published test numbers that begin so are, as their publishers say. 5610 was Bankcard's, which
has ended; its beginning is Maestro's now."""


def whole(row: IssuerRange, length: int, filling: str = "0") -> str:
    """A number of this row and length that passes Luhn. Made here and never written down."""
    head = (row.first + filling * length)[: length - 1]
    return next(head + last for last in "0123456789" if luhn(head + last))


@BY_ROW
def test_every_row_takes_its_lengths_and_no_other(row: IssuerRange):
    assert set(row.lengths) == LENGTHS[row.brand]
    for length in range(8, 21):
        number = whole(row, length)
        if length in row.lengths:
            assert CardNumber(number).brand is row.brand
            continue
        with pytest.raises(CardFlawed) as flawed:
            CardNumber(number)
        short = length < max(row.lengths)
        assert flawed.value.flaw is (CardFlaw.NUMBER_INCOMPLETE if short else CardFlaw.NUMBER_INVALID)


@BY_ROW
def test_every_row_takes_a_code_of_its_length_and_no_other(row: IssuerRange):
    form = {"number": whole(row, row.lengths[0]), "expiry": "12/29", "holder": "Ada Okafor"}
    right, wrong = ("1234", "123") if row.brand is CardBrand.AMEX else ("123", "1234")

    assert parse_card_form({**form, "code": right}, NOW).code.length == len(right)
    with pytest.raises(CardFormRefused) as refused:
        parse_card_form({**form, "code": wrong}, NOW)
    assert refused.value.flaws == (CardFlaw.CODE_LENGTH,)


@BY_ROW
def test_every_row_ends_where_it_says(row: IssuerRange):
    for edge, outside in ((row.first, int(row.first) - 1), (row.last, int(row.last) + 1)):
        assert find_issuer(edge + "0000") is row
        assert find_issuer(f"{outside:0{len(row.first)}}9999") is not row


@pytest.mark.control("UC-3.3")
@BY_ROW
@cases(20)
@given(data=st.data())
def test_the_screen_and_the_vault_agree_about_every_number_of_a_row(row: IssuerRange, data: st.DataObject):
    length = data.draw(st.integers(12, 19))
    tail = data.draw(st.text("0123456789", min_size=18, max_size=18))
    head = str(data.draw(st.integers(int(row.first), int(row.last))))

    taken = length in row.lengths
    known = bool(lengths_of(head + tail) >> length & 1)

    assert find_issuer(head + tail) is row
    assert known is (taken and length >= LENGTH_MIN)
    if known and length >= 14:  # of thirteen digits some are an article's, which the screen lets pass
        start = (head + tail)[: length - 1]
        number = next(start + last for last in "0123456789" if luhn(start + last))
        assert find_card_number(number) == (0, length)


def test_what_nobody_issues_neither_of_them_knows():
    unknown = [f"{number:04}" for number in range(10_000) if find_issuer(f"{number:04}") is None]

    assert len(unknown) > 5000
    assert [head for head in unknown if lengths_of(head)] == []


def test_the_card_page_gets_the_same_rows():
    view = CardPageView("cap_abc", "Larkspur & Vale", 7998, "USD", "made-up", keys=())
    page = render_card_page(view, Reader("en"))
    found = re.search(r'data-issuers="([^"]*)"', page)
    assert found is not None

    assert json.loads(unescape(found[1])) == [
        [row.first, row.last, row.brand, list(row.lengths), row.code_length] for row in RANGES
    ]


@pytest.mark.parametrize("number", sorted(TEST_CARDS), ids=lambda number: f"{number[:6]}-{number[-4:]}")
def test_every_published_test_number_is_taken_with_its_brand(number: str):
    (brand,) = {brand for head, brand in PUBLISHED.items() if number.startswith(head)}

    card = CardNumber(number)

    assert card.brand == brand
    assert card.code_length == (4 if brand == "amex" else 3)


# A number of which only the beginning is known


@pytest.mark.parametrize(
    ("head", "brands"),
    [
        ("", {*CardBrand}),
        ("1", set()),
        ("2", {"mastercard"}),
        ("22", {"mastercard"}),
        ("2220", set()),
        ("3", {"amex", "diners", "jcb"}),
        ("30", {"diners"}),
        ("306", set()),
        ("35", {"jcb"}),
        ("352", {"jcb"}),
        ("3527", set()),
        ("4", {"visa"}),
        ("5", {"mastercard", "maestro"}),
        ("50", {"maestro"}),
        ("5019", set()),
        ("6", {"discover", "unionpay", "maestro"}),
        ("60", {"discover"}),
        ("63", {"maestro"}),
        ("64", {"discover"}),
        ("643", set()),
        ("81", {"unionpay"}),
    ],
)
def test_a_beginning_leaves_the_brands_it_can_still_be(head: str, brands: set[str]):
    assert {issuer.brand for issuer in possible_ranges(head)} == brands


@given(st.text("0123456789", max_size=8))
@cases(300)
def test_more_digits_never_bring_a_brand_back_and_four_leave_one_at_most(digits: str):
    left = [{issuer.brand for issuer in possible_ranges(digits[:size])} for size in range(len(digits) + 1)]

    assert all(after <= before for before, after in pairwise(left))
    if len(digits) >= 4:
        issuer = find_issuer(digits)
        assert left[-1] == (set() if issuer is None else {issuer.brand})


# What may be shown


@pytest.mark.control("UC-3.4")
@pytest.mark.parametrize(
    ("length", "first", "last"),
    [(19, 8, 4), (18, 8, 4), (17, 8, 4), (16, 8, 4), (15, 6, 4), (14, 6, 4), (13, 0, 4), (12, 0, 4), (8, 0, 0)],
)
def test_at_most_what_the_rule_allows_is_shown_whatever_is_asked_for(length: int, first: int, last: int):
    digits = "1234567890123456789"[:length]
    hidden = HIDDEN * (length - first - last)

    assert (showable(length).first, showable(length).last) == (first, last)
    for asked in (first, first + 1, 19, 1000):
        assert masked(digits, first=asked) == digits[:first] + hidden + digits[length - last :]
    for asked in (0, -1, -1000):
        assert masked(digits, first=asked) == HIDDEN * (length - last) + digits[length - last :]


@pytest.mark.control("UC-3.4")
@given(st.text("0123456789", max_size=40), st.integers(-50, 50))
@cases(300)
def test_a_mask_keeps_the_length_and_hides_at_least_four(digits: str, first: int):
    shown = masked(digits, first=first)

    assert len(shown) == len(digits)
    assert all(now in (was, HIDDEN) for was, now in zip(digits, shown, strict=True))
    assert shown.count(HIDDEN) >= min(4, len(digits))


# The file


GOOD = '[[range]]\nbrand = "visa"\nprefixes = ["4"]\nlengths = [16]\ncode_length = 3\nsources = ["tests"]\n'


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ('["4"]', '["4", "42"]'),
        ('["4"]', '["4", "3-5"]'),
        ('["4"]', '["51-5"]'),
        ('["4"]', '["55-51"]'),
        ("[[range]]", GOOD + "[[range]]"),
    ],
)
def test_a_file_that_contradicts_itself_is_refused(old: str, new: str):
    assert len(read_ranges(GOOD)) == 1
    with pytest.raises(RangesUnsound):
        read_ranges(GOOD.replace(old, new))


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ('["4"]', "[]"),
        ('["4"]', '["4\\n"]'),
        ('["4"]', '["x"]'),
        ('["4"]', '["42424"]'),
        ("[16]", "[]"),
        ("[16]", "[11]"),
        ("[16]", "[20]"),
        ("= 3", "= 5"),
        ('["tests"]', "[]"),
        ('["tests"]', '["a friend"]'),
        ("brand", "Brand"),
    ],
)
def test_a_file_of_another_shape_is_refused(old: str, new: str):
    with pytest.raises(msgspec.ValidationError):
        read_ranges(GOOD.replace(old, new))


def test_the_quick_way_to_a_range_finds_what_looking_through_all_of_them_finds():
    heads = [f"{number:04}" for number in range(10_000)]

    slow = {head: [row for row in possible_ranges(head) if len(row.first) <= 4] for head in heads}

    assert {head: [found] if (found := find_issuer(head)) else [] for head in heads} == slow
    assert find_issuer("4") is not None
    assert find_issuer("") is None
