"""What people, autofill and attackers put into the card form, and what the vault makes of it.

Card numbers are Stripe's published test numbers; ranges without one are tested by their first digits only.
"""

import json
from datetime import UTC, datetime
from urllib.parse import urlencode

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vault.cleartext.hpke import PageKeys, SealedFor, SealSuite, seal_form
from vault.cleartext.intake import (
    CardFormRefused,
    FormMalformed,
    ascii_digits,
    parse_card_form,
    read_form,
    take_card,
)
from vault.cleartext.issuers import CardBrand, find_issuer
from vault.cleartext.pan import (
    CardFlaw,
    CardNumber,
    expiry_flaw,
)

NOW = datetime(2026, 11, 20, 14, 0, tzinfo=UTC)
PLACE = SealedFor("tnt_abcdefghjkmnpq", "cap_abcdefghjkmnpq")
VISA = "4242424242424242"
AMEX = "378282246310005"
GOOD = {"number": VISA, "expiry": "12/29", "code": "123", "holder": "Ada Okafor"}


def flaws_of(**changed: str) -> tuple[CardFlaw, ...]:
    with pytest.raises(CardFormRefused) as refused:
        parse_card_form({**GOOD, **changed}, NOW)
    return refused.value.flaws


def sealed_fields(plaintext: bytes, keys: PageKeys) -> dict[str, str]:
    sealed = seal_form(plaintext, keys.offered(PLACE, NOW)[0])
    return {"csrf": "x", "sealed_kid": sealed.key_id, "sealed_enc": sealed.enc, "sealed_ct": sealed.ct}


# What is accepted


@pytest.mark.parametrize(
    ("number", "brand"),
    [
        (VISA, CardBrand.VISA),
        ("4000000000000002", CardBrand.VISA),
        ("5555555555554444", CardBrand.MASTERCARD),
        ("2223003122003222", CardBrand.MASTERCARD),
        (AMEX, CardBrand.AMEX),
        ("371449635398431", CardBrand.AMEX),
        ("6011111111111117", CardBrand.DISCOVER),
        ("3056930009020004", CardBrand.DINERS),
        ("36227206271667", CardBrand.DINERS),
        ("3566002020360505", CardBrand.JCB),
        ("6200000000000005", CardBrand.UNIONPAY),
        ("6205500000000000004", CardBrand.UNIONPAY),
    ],
)
def test_every_test_card_is_read_with_its_brand_and_last_four(number: str, brand: CardBrand):
    card = CardNumber(number)

    assert card.brand is brand
    assert card.last4 == number[-4:]
    assert card.masked == "•" * (len(number) - 4) + number[-4:]
    assert bytes(card.reveal()) == number.encode()


@pytest.mark.parametrize(
    ("prefix", "brand"),
    [
        ("22209999", None),
        ("22210000", CardBrand.MASTERCARD),
        ("27209999", CardBrand.MASTERCARD),
        ("27210000", None),
        ("50180000", CardBrand.MAESTRO),
        ("67590000", CardBrand.MAESTRO),
        ("64400000", CardBrand.DISCOVER),
        ("65000000", CardBrand.DISCOVER),
        ("81000000", CardBrand.UNIONPAY),
        ("35270000", None),
        ("35890000", CardBrand.JCB),
        ("99999999", None),
        ("", None),
        ("2", None),
    ],
)
def test_ranges_begin_and_end_where_the_networks_say(prefix: str, brand: CardBrand | None):
    issuer = find_issuer(prefix)

    assert (issuer.brand if issuer else None) is brand


@pytest.mark.parametrize(
    "typed",
    [
        "4242 4242 4242 4242",
        " 4242-4242-4242-4242 ",
        "４２４２ ４２４２ ４２４２ ４２４２",  # noqa: RUF001 - full-width digits are the point
        "4242\u00a04242\u20094242\u30004242",
        "4242–4242—4242−4242".replace("−", "-"),  # noqa: RUF001 - so are typographic dashes
        "\u202a4242424242424242\u202c",
        "42 42 42 42 42 42 42 42",
    ],
)
def test_a_number_is_read_however_it_is_written(typed: str):
    intake = parse_card_form({**GOOD, "number": typed}, NOW)

    assert bytes(intake.details.number.reveal()) == VISA.encode()


@pytest.mark.parametrize(
    "typed",
    ["12/29", "12 / 29", "1229", "12/2029", "122029", "12-29", "12.2029", "１２／２９"],  # noqa: RUF001 - as above
)
def test_an_expiry_is_read_however_it_is_written(typed: str):
    intake = parse_card_form({**GOOD, "expiry": typed}, NOW)

    assert (intake.details.exp_month, intake.details.exp_year) == (12, 2029)


def test_a_single_digit_month_needs_no_zero():
    intake = parse_card_form({**GOOD, "expiry": "4/29"}, NOW)

    assert intake.details.exp_month == 4


@pytest.mark.parametrize("holder", ["Ada Okafor", "  Ada   Okafor ", "Жанна д’Арк", "李小龍", "O'Neil-Smith 3rd"])  # noqa: RUF001 - as above
def test_names_of_people_are_names(holder: str):
    intake = parse_card_form({**GOOD, "holder": holder}, NOW)

    assert intake.details.holder == " ".join(holder.split())


def test_american_express_has_a_code_of_four():
    intake = parse_card_form({**GOOD, "number": AMEX, "code": "1234"}, NOW)

    assert bytes(intake.code.reveal()) == b"1234"


# What is refused


@pytest.mark.parametrize(
    ("field", "typed", "flaw"),
    [
        ("number", "", CardFlaw.NUMBER_MISSING),
        ("number", "   ", CardFlaw.NUMBER_MISSING),
        ("number", "4242 4242 4242 424", CardFlaw.NUMBER_INCOMPLETE),
        ("number", "4", CardFlaw.NUMBER_INCOMPLETE),
        ("number", "4242424242424241", CardFlaw.NUMBER_INVALID),
        ("number", "42424242424242424242", CardFlaw.NUMBER_INVALID),
        ("number", "4242x4242x4242x4242", CardFlaw.NUMBER_INVALID),
        ("number", "9999999999999995", CardFlaw.NUMBER_UNSUPPORTED),
        ("expiry", "", CardFlaw.EXPIRY_MISSING),
        ("expiry", "13/29", CardFlaw.EXPIRY_INVALID),
        ("expiry", "00/29", CardFlaw.EXPIRY_INVALID),
        ("expiry", "1/2/29", CardFlaw.EXPIRY_INVALID),
        ("expiry", "129", CardFlaw.EXPIRY_INVALID),
        ("expiry", "next year", CardFlaw.EXPIRY_INVALID),
        ("expiry", "10/26", CardFlaw.EXPIRY_PAST),
        ("expiry", "10/1999", CardFlaw.EXPIRY_PAST),
        ("expiry", "12/46", CardFlaw.EXPIRY_TOO_FAR),
        ("code", "", CardFlaw.CODE_MISSING),
        ("code", "12", CardFlaw.CODE_LENGTH),
        ("code", "12345", CardFlaw.CODE_LENGTH),
        ("code", "1234", CardFlaw.CODE_LENGTH),
        ("code", "12a", CardFlaw.CODE_INVALID),
        ("holder", "", CardFlaw.HOLDER_MISSING),
        ("holder", "  ", CardFlaw.HOLDER_MISSING),
        ("holder", "A" * 81, CardFlaw.HOLDER_INVALID),
        ("holder", "Ada\u202eOkafor", CardFlaw.HOLDER_INVALID),
        ("holder", VISA, CardFlaw.HOLDER_INVALID),
    ],
)
def test_a_flaw_is_named(field: str, typed: str, flaw: CardFlaw):
    assert flaws_of(**{field: typed}) == (flaw,)


def test_every_flaw_is_named_at_once_and_in_the_order_of_the_fields():
    flaws = flaws_of(number="4242424242424241", expiry="01/20", code="x", holder="")

    assert flaws == (
        CardFlaw.NUMBER_INVALID,
        CardFlaw.EXPIRY_PAST,
        CardFlaw.CODE_INVALID,
        CardFlaw.HOLDER_MISSING,
    )


def test_missing_fields_are_empty_fields():
    with pytest.raises(CardFormRefused) as refused:
        parse_card_form({}, NOW)

    assert len(refused.value.flaws) == 4


@pytest.mark.parametrize(
    ("now", "flaw"),
    [
        (datetime(2026, 11, 30, 23, 59, tzinfo=UTC), None),
        (datetime(2026, 12, 1, 11, 59, tzinfo=UTC), None),
        (datetime(2026, 12, 1, 12, 0, tzinfo=UTC), CardFlaw.EXPIRY_PAST),
    ],
)
def test_a_card_is_good_until_its_month_has_ended_everywhere_on_earth(now: datetime, flaw: CardFlaw | None):
    assert expiry_flaw(11, 2026, now) is flaw


def test_a_card_may_expire_twenty_years_ahead_and_not_a_month_more():
    assert expiry_flaw(11, 2046, NOW) is None
    assert expiry_flaw(12, 2046, NOW) is CardFlaw.EXPIRY_TOO_FAR


@given(st.lists(st.sampled_from([VISA, "4242 4242 4242 4242", "987", "12/29", "Ada", "x"]), min_size=4, max_size=4))
def test_what_is_kept_for_the_form_never_holds_a_number_or_a_code(typed: list[str]):
    fields = dict(zip(("number", "expiry", "code", "holder"), typed, strict=True))
    try:
        parse_card_form(fields, NOW)
    except CardFormRefused as refused:
        kept, said = refused.kept, str(refused)

        assert kept.holder in {"", "Ada", "x"}
        assert kept.expiry in {"", "12/29"}
        assert not any(character.isdigit() for character in said)


@given(st.dictionaries(st.sampled_from(sorted(GOOD)), st.text(max_size=40)))
def test_whatever_is_typed_is_a_card_or_a_named_flaw(typed: dict[str, str]):
    try:
        intake = parse_card_form({**GOOD, **typed}, NOW)
    except CardFormRefused as refused:
        intake, flaws = None, refused.flaws
    else:
        flaws = ()

    assert (intake is None) == bool(flaws)


# The post


def test_a_plain_post_is_read():
    intake = take_card(read_form(urlencode({"csrf": "x", **GOOD}).encode()), place=PLACE, keys=PageKeys(), now=NOW)

    assert intake.suite is None
    assert intake.details.holder == "Ada Okafor"


def test_a_sealed_post_is_read():
    keys = PageKeys()
    body = urlencode(sealed_fields(json.dumps(GOOD).encode(), keys)).encode()

    intake = take_card(read_form(body), place=PLACE, keys=keys, now=NOW)

    assert intake.suite is SealSuite.X_WING
    assert intake.details.number.last4 == "4242"


@pytest.mark.parametrize(
    "plaintext",
    [
        b"",
        b"[]",
        b'{"number":"1"}',
        b'{"number":1,"expiry":"12/29","code":"123","holder":"A"}',
        b'{"number":"1","number":"2","expiry":"12/29","code":"123","holder":"A"}',
        b'{"number":"1","expiry":"12/29","code":"123","holder":"A","amount":"1"}',
        b"\xff\xfe",
    ],
)
def test_a_sealed_text_of_another_shape_is_refused(plaintext: bytes):
    keys = PageKeys()

    with pytest.raises(CardFormRefused) as refused:
        take_card(sealed_fields(plaintext, keys), place=PLACE, keys=keys, now=NOW)

    assert refused.value.flaws == (CardFlaw.SEALED_UNREADABLE,)
    assert refused.value.__context__ is None or refused.value.__suppress_context__


def test_a_sealed_post_with_a_typing_error_names_it():
    keys = PageKeys()
    fields = sealed_fields(json.dumps({**GOOD, "number": "4242424242424241"}).encode(), keys)

    with pytest.raises(CardFormRefused) as refused:
        take_card(fields, place=PLACE, keys=keys, now=NOW)

    assert refused.value.flaws == (CardFlaw.NUMBER_INVALID,)
    assert refused.value.kept.holder == "Ada Okafor"


@pytest.mark.parametrize("missing", ["sealed_kid", "sealed_enc", "sealed_ct"])
def test_half_a_sealed_post_is_malformed(missing: str):
    keys = PageKeys()
    fields = sealed_fields(json.dumps(GOOD).encode(), keys)
    del fields[missing]

    with pytest.raises(FormMalformed):
        take_card(fields, place=PLACE, keys=keys, now=NOW)


def test_plain_and_sealed_at_once_is_malformed():
    keys = PageKeys()
    fields = {**sealed_fields(json.dumps(GOOD).encode(), keys), "number": VISA}

    with pytest.raises(FormMalformed):
        take_card(fields, place=PLACE, keys=keys, now=NOW)


@pytest.mark.parametrize(
    "body",
    [
        b"number",
        b"number=4242424242424242&number=1",
        b"number=%FF%FE",
        b"n\xc3\xbcmber=1",
        b"amount=1",
        b"&".join(b"number=1" for _ in range(50)),
        b"number=" + b"4" * 65,
        b"holder=" + b"A" * 9000,
        b'{"number":"4242424242424242"}',
    ],
)
def test_what_our_page_cannot_have_posted_is_malformed_and_not_repeated(body: bytes):
    with pytest.raises(FormMalformed) as malformed:
        read_form(body)

    assert "4242" not in str(malformed.value)


def test_an_empty_post_has_no_fields():
    assert read_form(b"") == {}


def test_what_is_typed_in_ascii_is_read_as_each_of_its_characters_would_be():
    """The table beside the rule: `12 ` is all ASCII, and a letter of another script makes every character be asked."""
    typed = [f"{chr(number)}12{chr(number)}" for number in range(128)]

    assert [ascii_digits(one) for one in typed] == [ascii_digits(f"{one}é")[:-1] for one in typed]
