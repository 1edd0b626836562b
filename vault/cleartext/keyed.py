"""From what the media guard sealed of a telephone call to card details and a verification code, or to every flaw.

The guard holds the keys a caller presses and seals them where it hears them; up to here nobody else can read them. A
keypad has twelve keys: what is no digit was not keyed, so the guard that sealed it is not ours.
"""

from datetime import datetime
from typing import Final

import msgspec

from infra.chassis import strict_json
from vault.cleartext.hpke import PageKeys, SealedFor, SealedForm, SealedFormRefused
from vault.cleartext.intake import CardFormRefused, CardIntake, KeptFields, parse_card_form
from vault.cleartext.pan import CardFlaw

KEYED_SCHEMA: Final = "undercroft-keyed-card-1"
"""Names the JSON inside, exactly the strings `number`, `expiry` (MMYY) and `code`, of digits alone or empty."""


class _Keyed(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    number: str
    expiry: str
    code: str


def place_of(tenant_id: str, capture_id: str) -> SealedFor:
    """What a keyed card is sealed for. A form sealed for the page of the same capture does not open there."""
    return SealedFor(tenant_id, capture_id, KEYED_SCHEMA)


def take_keyed(sealed: SealedForm, *, place: SealedFor, keys: PageKeys, now: datetime) -> CardIntake:
    """The card in an envelope. Raises CardFormRefused, or SealedFormReplayed for one that was opened before."""
    try:
        opened = keys.open(sealed, place=place, now=now)
        keyed = msgspec.structs.asdict(msgspec.convert(strict_json.decode(opened.plaintext), type=_Keyed))
    except (SealedFormRefused, strict_json.NotStrictJson, msgspec.ValidationError):
        raise _unreadable() from None
    if not all(digits.isascii() and (digits.isdecimal() or not digits) for digits in keyed.values()):
        raise _unreadable()
    return parse_card_form(keyed, now, opened.suite, named=False)


def _unreadable() -> CardFormRefused:
    return CardFormRefused((CardFlaw.SEALED_UNREADABLE,), KeptFields())
