"""What the browser sealed opens once, here, for this capture, and nowhere else."""

import hashlib
import json
import string
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.mlkem import MLKEM768PrivateKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey
from cryptography.hazmat.primitives.hpke import MLKEM768X25519PrivateKey

from vault.cleartext.hpke import (
    ENC_BYTES,
    KEY_AGE_MAX,
    KEY_GRACE,
    PageKeys,
    PagePublicKey,
    PrivateKey,
    SealedFor,
    SealedForm,
    SealedFormRefused,
    SealedFormReplayed,
    SealSuite,
    _encode,
    _KeyPair,
    seal_form,
)

VECTORS = json.loads((Path(__file__).parent / "vectors/hpke.json").read_text())
NOW = datetime(2026, 11, 20, 14, 0, tzinfo=UTC)
PLACE = SealedFor("tnt_abcdefghjkmnpq", "cap_abcdefghjkmnpq")
TYPED = b'{"number":"4242 4242 4242 4242","expiry":"12/29","code":"123","holder":"Ada Okafor"}'
BASE64URL = string.ascii_uppercase + string.ascii_lowercase + string.digits + "-_"
EVERY_SUITE = pytest.mark.parametrize("suite", SealSuite)


def key_of(keys: PageKeys, suite: SealSuite, place: SealedFor = PLACE) -> PagePublicKey:
    return next(key for key in keys.offered(place, NOW) if key.suite is suite)


def sealed_now(keys: PageKeys, suite: SealSuite = SealSuite.X_WING) -> SealedForm:
    return seal_form(TYPED, key_of(keys, suite))


def flipped(text: str) -> str:
    """The same base64url text with one bit of its first byte changed."""
    return ("A" if text[0] != "A" else "B") + text[1:]


def private_key_of(vector: dict[str, str]) -> PrivateKey:
    """X-Wing's private key is a seed: SHAKE-256 of it gives ML-KEM's seed and X25519's key (draft, 5.2)."""
    raw = bytes.fromhex(vector["private_key"])
    if vector["suite"] == SealSuite.X25519:
        return X25519PrivateKey.from_private_bytes(raw)
    expanded = hashlib.shake_256(raw).digest(96)
    return MLKEM768X25519PrivateKey(
        MLKEM768PrivateKey.from_seed_bytes(expanded[:64]), X25519PrivateKey.from_private_bytes(expanded[64:])
    )


def test_x_wing_is_offered_before_x25519_each_with_a_key_of_its_own():
    offered = PageKeys().offered(PLACE, NOW)

    assert [key.suite for key in offered] == [SealSuite.X_WING, SealSuite.X25519]
    assert len({key.key_id for key in offered}) == 2
    assert [key.info.split("\n")[3:] for key in offered] == [[key.suite, key.key_id] for key in offered]


@EVERY_SUITE
def test_what_was_sealed_for_a_capture_opens_for_it_once(suite: SealSuite):
    keys = PageKeys()
    sealed = sealed_now(keys, suite)

    opened = keys.open(sealed, place=PLACE, now=NOW)

    assert (opened.plaintext, opened.suite) == (TYPED, suite)
    assert "4242" not in repr(opened)
    with pytest.raises(SealedFormReplayed):
        keys.open(sealed, place=PLACE, now=NOW)


@pytest.mark.control("UC-4.2")
def test_the_same_text_spelled_otherwise_is_a_replay_too():
    """The last letter of unpadded base64 has bits that decode to nothing."""
    keys = PageKeys()
    sealed = sealed_now(keys, SealSuite.X25519)
    keys.open(sealed, place=PLACE, now=NOW)
    respelled = replace(sealed, enc=sealed.enc[:-1] + BASE64URL[BASE64URL.index(sealed.enc[-1]) ^ 1])

    with pytest.raises(SealedFormReplayed):
        keys.open(respelled, place=PLACE, now=NOW)


@pytest.mark.parametrize("vector", VECTORS, ids=lambda vector: vector["suite"])
def test_what_the_scripts_packages_sealed_elsewhere_opens_here(vector: dict[str, str]):
    keys, suite = PageKeys(), SealSuite(vector["suite"])
    place, key_id = SealedFor("tnt_vector", "cap_vector"), "pgk_vector"
    pair = _KeyPair(suite, key_id, private_key_of(vector), "", NOW)
    keys._pairs.append(pair)  # noqa: SLF001 - the one way to give it a key from outside
    enc, ct = bytes.fromhex(vector["enc"]), bytes.fromhex(vector["ct"])

    opened = keys.open(SealedForm(key_id, _encode(enc), _encode(ct)), place=place, now=NOW)

    assert opened.plaintext.decode() == vector["plaintext"]
    assert vector["info"] == pair.offered(place).info
    assert len(enc) == ENC_BYTES[suite]


@EVERY_SUITE
def test_sealing_the_same_card_twice_gives_nothing_to_compare(suite: SealSuite):
    keys = PageKeys()

    first, second = sealed_now(keys, suite), sealed_now(keys, suite)

    assert first.enc != second.enc
    assert first.ct != second.ct


@EVERY_SUITE
@pytest.mark.parametrize("other", [replace(PLACE, capture_id="cap_another"), replace(PLACE, tenant_id="tnt_another")])
@pytest.mark.control("UC-4.2")
def test_what_was_sealed_for_one_capture_or_tenant_does_not_open_for_another(suite: SealSuite, other: SealedFor):
    keys = PageKeys()

    with pytest.raises(SealedFormRefused):
        keys.open(sealed_now(keys, suite), place=other, now=NOW)


@EVERY_SUITE
@pytest.mark.parametrize("part", range(5))
@pytest.mark.control("UC-4.2")
def test_schema_tenant_capture_suite_and_key_id_are_each_part_of_what_is_sealed(suite: SealSuite, part: int):
    keys = PageKeys()
    honest = key_of(keys, suite)
    parts = honest.info.split("\n")
    parts[part] += "x"
    sealed = seal_form(TYPED, replace(honest, info="\n".join(parts)))

    with pytest.raises(SealedFormRefused):
        keys.open(sealed, place=PLACE, now=NOW)


@pytest.mark.control("UC-4.2")
def test_a_text_sealed_with_one_suite_cannot_be_passed_off_as_the_other():
    """Who sits between browser and vault cannot turn what was sealed post-quantum into what was not, or back."""
    keys = PageKeys()
    strong, weak = (key_of(keys, suite) for suite in SealSuite)

    for sealed, label in ((seal_form(TYPED, strong), weak), (seal_form(TYPED, weak), strong)):
        with pytest.raises(SealedFormRefused):
            keys.open(replace(sealed, key_id=label.key_id), place=PLACE, now=NOW)


@EVERY_SUITE
@pytest.mark.parametrize("part", ["enc", "ct"])
@pytest.mark.control("UC-4.2")
def test_a_changed_bit_anywhere_is_refused(part: str, suite: SealSuite):
    keys = PageKeys()
    sealed = sealed_now(keys, suite)
    changed = {part: flipped(getattr(sealed, part))}

    with pytest.raises(SealedFormRefused):
        keys.open(replace(sealed, **changed), place=PLACE, now=NOW)


@EVERY_SUITE
@pytest.mark.parametrize(
    "rubbish",
    [
        {"enc": ""},
        {"ct": ""},
        {"enc": "A" * 42},
        {"enc": "A" * 43, "ct": "A" * 22},
        {"enc": "A" * 1494, "ct": "A" * 22},
        {"enc": "_" * 1494},
        {"enc": "not base64!"},
        {"ct": "ключ"},
        {"ct": "A" * 2800},
        {"key_id": ""},
        {"key_id": "pgk_unknown"},
    ],
)
def test_rubbish_is_refused_and_says_nothing(rubbish: dict[str, str], suite: SealSuite):
    keys = PageKeys()

    with pytest.raises(SealedFormRefused) as refused:
        keys.open(replace(sealed_now(keys, suite), **rubbish), place=PLACE, now=NOW)

    assert str(refused.value) == ""


def test_a_page_gets_new_keys_every_quarter_of_an_hour():
    keys = PageKeys()

    first = keys.offered(PLACE, NOW)
    same = keys.offered(PLACE, NOW + KEY_AGE_MAX - timedelta(seconds=1))
    next_ones = keys.offered(PLACE, NOW + KEY_AGE_MAX)

    assert same == first
    assert [key.suite for key in next_ones] == list(SealSuite)
    assert not {key.key_id for key in first} & {key.key_id for key in next_ones}
    assert not {key.public_key for key in first} & {key.public_key for key in next_ones}


@EVERY_SUITE
@pytest.mark.control("UC-4.2")
def test_a_retired_key_opens_until_its_grace_is_over_and_is_then_gone(suite: SealSuite):
    keys = PageKeys()
    sealed, second = sealed_now(keys, suite), sealed_now(keys, suite)
    end = NOW + KEY_AGE_MAX + KEY_GRACE
    keys.offered(PLACE, NOW + KEY_AGE_MAX)

    assert keys.open(sealed, place=PLACE, now=end - timedelta(seconds=1)).plaintext == TYPED
    with pytest.raises(SealedFormRefused):
        keys.open(second, place=PLACE, now=end)


@EVERY_SUITE
def test_another_process_cannot_open_it(suite: SealSuite):
    keys, restarted = PageKeys(), PageKeys()
    restarted.offered(PLACE, NOW)

    with pytest.raises(SealedFormRefused):
        restarted.open(sealed_now(keys, suite), place=PLACE, now=NOW)
