"""Shares of the custody key: the arithmetic against published vectors, and how they are written and typed again."""

import hashlib
import hmac
import itertools
import json
import random
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from infra.chassis.secret import Secret
from vault.custodians import ceremony, sheets
from vault.custodians.shamir import SharesUnfit, combine, interpolate, multiply, split
from vault.custodians.sheets import Share, SheetUnreadable

VECTORS: dict[str, Any] = json.loads(Path(__file__).with_name("vectors").joinpath("shares.json").read_text())
SLIP39_PASSPHRASE = b"TREZOR"
KEY = bytes(range(32))


def share(**changes: Any) -> Share:
    values: dict[str, Any] = {"ceremony": b"abcde", "threshold": 2, "number": 3, "value": bytearray(KEY)}
    return Share(**values | changes)


def typed(text: str) -> Share:
    return sheets.read(bytearray(text.encode()))


@pytest.mark.parametrize(("left", "right", "product"), VECTORS["field"]["products"])
def test_the_field_is_that_of_aes(left: str, right: str, product: str):
    assert multiply(int(left, 16), int(right, 16)) == int(product, 16)


def test_every_element_but_zero_has_an_inverse():
    for element in range(1, 256):
        (inverse,) = [other for other in range(256) if multiply(element, other) == 1]
        line = {element: bytes((1,)), 0: bytes((0,))}  # a straight line through the origin, of slope 1 / element

        assert interpolate(line, 1) == bytes((inverse,))


@pytest.mark.control("UC-3.6.1.2")
def test_the_published_shares_give_the_published_secret():
    published = VECTORS["secret_at_zero"]
    shares = {int(number): bytes.fromhex(value) for number, value in published["shares"].items()}

    assert combine(shares, published["threshold"]) == bytes.fromhex(published["secret"])


@pytest.mark.parametrize("case", VECTORS["slip39"]["cases"], ids=lambda case: case["name"])
def test_the_shares_of_slip39_give_its_master_secret(case: dict[str, Any]):
    """The whole way: interpolation at 255 and 254, the digest they carry, and the cipher the standard puts before."""
    points = {int(at): bytes.fromhex(value) for at, value in case["shares"].items()}

    sealed, digest = bytes(interpolate(points, 255)), bytes(interpolate(points, 254))

    assert hmac.new(digest[4:], sealed, hashlib.sha256).digest()[:4] == digest[:4]
    assert slip39_master_secret(sealed, case).hex() == case["master_secret"]


def slip39_master_secret(sealed: bytes, case: dict[str, Any]) -> bytes:
    """SLIP-0039, "Encryption of the master secret": four Feistel rounds of PBKDF2."""
    left, right = sealed[: len(sealed) // 2], sealed[len(sealed) // 2 :]
    salt = b"shamir" + case["identifier"].to_bytes(2, "big")
    for turn in (3, 2, 1, 0):
        passphrase, rounds = bytes((turn,)) + SLIP39_PASSPHRASE, 2500 << case["iteration_exponent"]
        mask = hashlib.pbkdf2_hmac("sha256", passphrase, salt + right, rounds, len(right))
        left, right = right, bytes(a ^ b for a, b in zip(left, mask, strict=True))
    return right + left


@given(secret=st.binary(min_size=1, max_size=40), data=st.data())
def test_any_threshold_of_shares_gives_the_secret_and_each_is_as_long_as_it(secret: bytes, data: st.DataObject):
    count = data.draw(st.integers(2, 10))
    threshold = data.draw(st.integers(2, count))
    chosen = data.draw(st.permutations(range(1, count + 1)))[:threshold]

    shares = split(secret, threshold, count)

    assert {len(value) for value in shares.values()} == {len(secret)}
    assert combine({number: shares[number] for number in chosen}, threshold) == secret


@pytest.mark.control("UC-3.6.1.2")
def test_one_share_too_few_fits_every_secret_alike():
    """Exactly, for one byte: beside any share there is one second share for each of the 256 secrets."""
    for known in (0, 1, 0x53, 255):
        secrets = {bytes(interpolate({1: bytes((known,)), 2: bytes((other,))}, 0)) for other in range(256)}

        assert len(secrets) == 256


def test_no_share_of_a_key_is_a_part_of_it():
    shares = split(KEY, 2, 3)

    for value in shares.values():
        assert not any(KEY[start : start + 4] in value for start in range(29))


@pytest.mark.parametrize(("threshold", "count"), [(1, 3), (0, 3), (4, 3), (2, 11), (2, 1)])
def test_a_threshold_that_one_person_meets_or_nobody_can_is_refused(threshold: int, count: int):
    with pytest.raises(SharesUnfit):
        split(KEY, threshold, count)


def test_shares_that_are_too_few_too_many_or_of_two_lengths_are_refused():
    shares = split(KEY, 2, 3)

    unfit_ones: list[dict[int, bytes | bytearray]] = [{1: shares[1]}, {**shares}, {}, {0: KEY, 1: shares[1]}]
    for unfit in unfit_ones:
        with pytest.raises(SharesUnfit):
            combine(unfit, 2)
    with pytest.raises(SharesUnfit):
        interpolate({1: b"one", 2: b"three"}, 0)
    with pytest.raises(SharesUnfit):
        interpolate({1: b"one", 256: b"two"}, 0)


# on paper


@pytest.mark.parametrize("text", VECTORS["bech32m"]["valid"])
def test_what_bip350_calls_valid_is_read_and_written_the_same(text: str):
    prefix, values = sheets.decode(bytearray(text.encode()))

    assert sheets.encode(prefix, values) == text.lower()


@pytest.mark.parametrize("text", VECTORS["bech32m"]["invalid"])
def test_what_bip350_calls_invalid_is_not_read(text: str):
    with pytest.raises(SheetUnreadable):
        sheets.decode(bytearray(text.encode()))


def test_the_form_on_paper_the_digest_and_the_check_value_stay_what_they_were():
    ours = VECTORS["ours"]
    known = share(ceremony=bytes.fromhex(ours["ceremony"]), number=ours["number"], threshold=ours["threshold"])

    assert sheets.write(known) == ours["sheet"]
    assert ceremony.share_digest(known) == ours["digest"]
    assert ceremony.check_value(Secret(bytes.fromhex(ours["key"]))) == ours["check_value"]


@pytest.mark.parametrize(
    "how", [str.upper, str.lower, lambda text: text.replace(" ", ""), lambda t: t.replace(" ", "-")]
)
def test_a_share_is_read_as_people_write(how: Any):
    text = sheets.write(share())

    again = typed(f"  {how(text)} \n")

    assert (again.ceremony, again.threshold, again.number, again.value) == (b"abcde", 2, 3, bytearray(KEY))


@pytest.mark.control("UC-3.6.1.2")
def test_every_single_slip_and_every_swap_of_neighbours_is_noticed():
    letters = sheets.write(share()).replace(" ", "")
    prefix, body = letters[:4], letters[4:]

    slips = [
        body[:place] + other + body[place + 1 :]
        for place, other in itertools.product(range(len(body)), sheets.LETTERS)
        if body[place] != other
    ]
    swaps = [
        body[:place] + body[place + 1] + body[place] + body[place + 2 :]
        for place in range(len(body) - 1)
        if body[place] != body[place + 1]
    ]
    lost = [body[:place] + body[place + 1 :] for place in range(len(body))]

    for wrong in (*slips, *swaps, *lost):
        with pytest.raises(SheetUnreadable):
            typed(prefix + wrong)


def test_up_to_four_slips_at_once_are_noticed():
    letters = list(sheets.write(share()).replace(" ", ""))
    chance = random.Random(20261121)  # noqa: S311 - the same slips each time

    for _ in range(500):
        wrong = letters.copy()
        for place in chance.sample(range(4, len(letters)), chance.randint(2, 4)):
            wrong[place] = chance.choice([letter for letter in sheets.LETTERS if letter != letters[place]])
        with pytest.raises(SheetUnreadable):
            typed("".join(wrong))


@pytest.mark.parametrize(
    "text",
    [
        "",
        "ucs1",
        "ucs",
        "hello",
        "bc1qar0srrr7xfkvy5l643lydnw9re59gtzzwf5mdq",
        "ucs1" + "q" * 300,
        "ücs1qqqqqqqq",
        "1" * 80,
    ],
)
def test_what_is_no_share_is_refused_and_not_repeated(text: str):
    with pytest.raises(SheetUnreadable) as refused:
        typed(text)

    assert len(text) < 5 or text not in str(refused.value)


def test_another_prefix_or_length_is_no_share_though_its_check_letters_agree():
    whole = [0] * 61  # 38 bytes are 304 bits, in 61 letters of five, the last bit of which stays 0
    other = sheets.encode("ucx", whole)
    short = sheets.encode("ucs", [0] * 60)
    long = sheets.encode("ucs", [0] * 63)
    ragged = sheets.encode("ucs", [*whole[:-1], 1])
    assert typed(sheets.encode("ucs", whole)).value == bytes(32)

    for text in (other, short, long, ragged):
        with pytest.raises(SheetUnreadable):
            typed(text)


def test_what_was_typed_and_what_was_read_can_be_wiped():
    buffer = bytearray(sheets.write(share()).encode())
    again = sheets.read(buffer)

    sheets.wipe(buffer)
    again.wipe()

    assert not any(buffer)
    assert not any(again.value)


def test_a_share_does_not_show_its_value_by_accident():
    assert repr(share()) == "Share(3 of 6162636465)"
