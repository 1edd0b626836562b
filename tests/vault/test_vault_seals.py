"""The envelope and the codes, which have no front door of their own."""

import hashlib
import hmac
import secrets
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from infra.chassis.clock import FixedClock
from infra.chassis.keys import new_key
from infra.chassis.secret import Secret
from vault.codes import CODES_MAX, HELD_AT_MOST, Codes
from vault.envelope import Context, SealBroken, open_sealed, seal, version_of
from vault.fingerprint import FingerprintKeyUnusable, Fingerprints

PLACE = Context(tenant_id="tnt_a", token_id="tok_a", field="number", schema="card-1")
CODE = memoryview(b"123")


@pytest.mark.control("UC-3.5")
def test_what_is_sealed_opens_in_its_own_place_under_its_own_key():
    key = new_key()
    sealed = seal(key, 7, b"plain", PLACE)

    assert open_sealed(key, sealed, PLACE) == b"plain"
    assert version_of(sealed) == 7
    assert b"plain" not in sealed
    assert len(sealed) == 61 + len(b"plain") + 16


@pytest.mark.parametrize("part", ["tenant_id", "token_id", "field", "schema"])
@pytest.mark.control("UC-3.5")
def test_it_opens_nowhere_else(part: str):
    key = new_key()
    sealed = seal(key, 1, b"plain", PLACE)

    with pytest.raises(SealBroken):
        open_sealed(key, sealed, replace(PLACE, **{part: "other"}))


def test_parts_of_the_place_cannot_flow_into_each_other():
    key = new_key()
    sealed = seal(key, 1, b"plain", replace(PLACE, tenant_id="tnt_ab", token_id="c"))

    with pytest.raises(SealBroken):
        open_sealed(key, sealed, replace(PLACE, tenant_id="tnt_a", token_id="bc"))


@pytest.mark.control("UC-3.5")
def test_no_byte_of_it_can_be_changed_and_none_left_out():
    key = new_key()
    sealed = seal(key, 1, b"plain", PLACE)
    changed = [sealed[:at] + bytes([sealed[at] ^ 1]) + sealed[at + 1 :] for at in range(len(sealed))]
    shorter = [sealed[:length] for length in range(len(sealed))]

    for broken in changed + shorter:
        with pytest.raises(SealBroken):
            open_sealed(key, broken, PLACE)


@pytest.mark.control("UC-3.5")
def test_another_key_does_not_open_it():
    sealed = seal(new_key(), 1, b"plain", PLACE)

    with pytest.raises(SealBroken):
        open_sealed(new_key(), sealed, PLACE)


def test_the_format_is_what_its_description_says():
    """Written here a second time from the description alone, so that a change of the format is noticed."""
    key, random = bytes(range(32)), bytes(range(24))
    derived = hmac.new(key, b"undercroft envelope 1" + random, hashlib.sha512).digest()
    parts = [b"tnt_a", b"tok_a", b"number", b"card-1", b"3"]
    associated = b"".join(len(part).to_bytes(4, "big") + part for part in parts)
    sealed = b"\x01" + (3).to_bytes(4, "big") + random + derived[32:]
    sealed += AESGCM(derived[:32]).encrypt(random[12:], b"plain", associated)

    assert open_sealed(Secret(key), sealed, PLACE) == b"plain"
    assert hashlib.sha256(sealed).hexdigest() == "42c8a789711214355244dffb6794179e050e787e6b5c1395b57f7eb2fd70441a"


@pytest.mark.control("UC-3.3.1")
def test_a_code_is_taken_once():
    codes = Codes(FixedClock(datetime.now(UTC)))
    codes.keep("tnt_a", "tok_a", CODE)

    assert codes.holds("tnt_a", "tok_a")
    assert not codes.holds("tnt_b", "tok_a")
    assert bytes(codes.take("tnt_a", "tok_a") or b"") == b"123"
    assert codes.take("tnt_a", "tok_a") is None


@pytest.mark.control("UC-3.3.1")
def test_a_code_is_gone_after_ten_minutes():
    clock = FixedClock(datetime.now(UTC))
    codes = Codes(clock)
    codes.keep("tnt_a", "tok_a", CODE)
    clock.advance(HELD_AT_MOST - timedelta(seconds=1))
    held = codes.holds("tnt_a", "tok_a")
    clock.advance(timedelta(seconds=1))

    assert held
    assert not codes.holds("tnt_a", "tok_a")
    assert codes.take("tnt_a", "tok_a") is None


@pytest.mark.control("UC-3.3.1", "UC-T.3")
def test_a_code_is_of_one_generation_of_a_card_and_an_older_one_is_overwritten():
    clock = FixedClock(datetime.now(UTC))
    codes, soon = Codes(clock), clock.now() + timedelta(minutes=1)
    codes.keep("tnt_a", "tok_a", CODE)
    codes.keep("tnt_a", "tok_a", memoryview(b"456"), 2)
    codes.give_back("tnt_a", "tok_a", CODE, soon)  # taken for a processor before, and late
    codes.keep("tnt_a", "tok_a", CODE, 1)

    assert (codes.holds("tnt_a", "tok_a"), codes.holds("tnt_a", "tok_a", 2)) == (False, True)
    assert codes.take("tnt_a", "tok_a", 1) is None
    codes.forget("tnt_a", "tok_a", before=2)  # the answer to a charge of the old card
    assert bytes(codes.take("tnt_a", "tok_a", 2) or b"") == b"456"

    codes.give_back("tnt_a", "tok_a", CODE, soon)
    before = bytes(codes.pages.view)
    assert codes.take("tnt_a", "tok_a", 2) is None
    assert not codes.holds("tnt_a", "tok_a", 1), "asked for by the newer card, it is destroyed"
    assert bytes(codes.pages.view) != before


def test_codes_do_not_fill_the_memory():
    codes = Codes(FixedClock(datetime.now(UTC)))
    for number in range(CODES_MAX + 1):
        codes.keep("tnt_a", f"tok_{number}", CODE)

    assert codes.take("tnt_a", "tok_0") is None
    assert bytes(codes.take("tnt_a", f"tok_{CODES_MAX}") or b"") == b"123"


@pytest.mark.control("UC-3.5.1.1")
def test_a_fingerprint_needs_its_key():
    digits = memoryview(b"4242424242424242")
    first, second = Fingerprints(Secret(secrets.token_bytes(32))), Fingerprints(Secret(secrets.token_bytes(32)))

    assert first.of("tnt_a", digits) == first.of("tnt_a", digits)
    assert first.of("tnt_a", digits) != first.of("tnt_b", digits)
    assert first.of("tnt_a", digits) != second.of("tnt_a", digits)
    with pytest.raises(FingerprintKeyUnusable):
        Fingerprints(Secret(b"short"))
