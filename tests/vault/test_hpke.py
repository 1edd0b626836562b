"""What the browser sealed opens once, here, for this capture, and nowhere else."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from vault.cleartext.hpke import KEY_AGE_MAX, KEY_GRACE, PageKeys, SealedForm, SealedFormRefused, seal_form

NOW = datetime(2026, 11, 20, 14, 0, tzinfo=UTC)
CAPTURE = "cap_abcdefghjkmnpq"
TYPED = b'{"number":"4242 4242 4242 4242","expiry":"12/29","code":"123","holder":"Ada Okafor"}'


def sealed_now(keys: PageKeys) -> SealedForm:
    return seal_form(TYPED, keys.current(NOW), capture_id=CAPTURE)


def flipped(text: str) -> str:
    """The same base64url text with one bit of its first byte changed."""
    return ("A" if text[0] != "A" else "B") + text[1:]


def test_what_was_sealed_for_a_capture_opens_for_it():
    keys = PageKeys()

    opened = keys.open(sealed_now(keys), capture_id=CAPTURE, now=NOW)

    assert opened == TYPED


def test_sealing_the_same_card_twice_gives_nothing_to_compare():
    keys = PageKeys()

    first, second = sealed_now(keys), sealed_now(keys)

    assert first.enc != second.enc
    assert first.ct != second.ct


@pytest.mark.control("UC-4.2")
def test_what_was_sealed_for_one_capture_does_not_open_for_another():
    keys = PageKeys()

    with pytest.raises(SealedFormRefused):
        keys.open(sealed_now(keys), capture_id="cap_another", now=NOW)


def test_the_key_id_is_part_of_what_is_sealed():
    keys = PageKeys()
    honest = keys.current(NOW)
    mislabelled = seal_form(TYPED, replace(honest, key_id="pgk_another"), capture_id=CAPTURE)

    with pytest.raises(SealedFormRefused):
        keys.open(replace(mislabelled, key_id=honest.key_id), capture_id=CAPTURE, now=NOW)


@pytest.mark.parametrize("part", ["enc", "ct"])
@pytest.mark.control("UC-4.2")
def test_a_changed_bit_anywhere_is_refused(part: str):
    keys = PageKeys()
    sealed = sealed_now(keys)
    changed = {part: flipped(getattr(sealed, part))}

    with pytest.raises(SealedFormRefused):
        keys.open(replace(sealed, **changed), capture_id=CAPTURE, now=NOW)


@pytest.mark.parametrize(
    "rubbish",
    [
        {"enc": ""},
        {"ct": ""},
        {"enc": "A" * 42},
        {"enc": "A" * 43, "ct": "A" * 22},
        {"enc": "not base64!"},
        {"ct": "ключ"},
        {"ct": "A" * 2800},
        {"key_id": ""},
        {"key_id": "pgk_unknown"},
    ],
)
def test_rubbish_is_refused_and_says_nothing(rubbish: dict[str, str]):
    keys = PageKeys()

    with pytest.raises(SealedFormRefused) as refused:
        keys.open(replace(sealed_now(keys), **rubbish), capture_id=CAPTURE, now=NOW)

    assert str(refused.value) == ""


def test_a_page_gets_a_new_key_every_quarter_of_an_hour():
    keys = PageKeys()

    first = keys.current(NOW)
    same = keys.current(NOW + KEY_AGE_MAX - timedelta(seconds=1))
    next_one = keys.current(NOW + KEY_AGE_MAX)

    assert same == first
    assert next_one.key_id != first.key_id
    assert next_one.public_key != first.public_key


@pytest.mark.control("UC-4.2")
def test_a_retired_key_opens_until_its_grace_is_over_and_is_then_gone():
    keys = PageKeys()
    sealed = sealed_now(keys)
    end = NOW + KEY_AGE_MAX + KEY_GRACE
    keys.current(NOW + KEY_AGE_MAX)

    assert keys.open(sealed, capture_id=CAPTURE, now=end - timedelta(seconds=1)) == TYPED
    with pytest.raises(SealedFormRefused):
        keys.open(sealed, capture_id=CAPTURE, now=end)


def test_another_process_cannot_open_it():
    keys, restarted = PageKeys(), PageKeys()
    restarted.current(NOW)

    with pytest.raises(SealedFormRefused):
        restarted.open(sealed_now(keys), capture_id=CAPTURE, now=NOW)
