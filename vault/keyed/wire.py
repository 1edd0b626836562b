"""The contract between the media guard and the vault. Nothing in this file can hold a card number or a code.

1.  `GET /v1/captures/{capture_id}/keys`, grant `offer_keys`, parameters `{"capture_id": …}`: the keys to seal with.
2.  The guard seals `{"number": "…", "expiry": "MMYY", "code": "…"}` with the first suite it can do, `info` as given.
3.  `POST /v1/captures/{capture_id}/keyed` with the envelope, grant `take_keyed`, parameters
    `{"capture_id": …, "envelope_sha256": …}`: the SHA-256, in hex, of the envelope in canonical JSON (RFC 8785). So
    whoever mints the grant needs the hash alone, and the grant fits no other envelope and no other capture.

Each grant's `cnf` names the key of whoever sends the call: the guard's, and each is used up by its first use. An answer
that was lost is asked for again with a new grant and the same envelope: a capture that has its card answers with that
one, and else the envelope is told to have been opened before, and counted.
"""

from enum import StrEnum
from typing import Annotated

import msgspec

from infra.chassis.screen import find_card_number
from vault.contract import CaptureState

KeyId = Annotated[str, msgspec.Meta(min_length=1, max_length=32)]
Encapsulated = Annotated[str, msgspec.Meta(min_length=1, max_length=1_500)]
"""Of X-Wing 1,120 bytes, in base64url without padding."""
Ciphertext = Annotated[str, msgspec.Meta(min_length=1, max_length=2_800)]
"""At most `vault.cleartext.hpke.SEALED_BYTES_MAX`, likewise."""


class KeyedFlaw(StrEnum):
    """What the caller has to key in again, or the guard to seal again; never with a value."""

    NUMBER_MISSING = "number_missing"
    NUMBER_INCOMPLETE = "number_incomplete"
    NUMBER_INVALID = "number_invalid"
    NUMBER_UNSUPPORTED = "number_unsupported"
    EXPIRY_MISSING = "expiry_missing"
    EXPIRY_INVALID = "expiry_invalid"
    EXPIRY_PAST = "expiry_past"
    EXPIRY_TOO_FAR = "expiry_too_far"
    CODE_MISSING = "code_missing"
    CODE_INVALID = "code_invalid"
    CODE_LENGTH = "code_length"
    SEALED_UNREADABLE = "sealed_unreadable"
    """Sealed for something else, under keys that are gone, or not what a keypad gives."""
    SEALED_REPLAYED = "sealed_replayed"
    """This very envelope was opened before; it took nothing now."""


class KeyedCard(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """The envelope: HPKE's parts, as the card page posts them."""

    key_id: KeyId
    enc: Encapsulated
    ct: Ciphertext

    def __post_init__(self) -> None:
        if any(find_card_number(text) for text in (self.key_id, self.enc, self.ct)):
            raise ValueError("an envelope holds a card number that is not sealed")


class SealingKey(msgspec.Struct, frozen=True, kw_only=True):
    """`public_key` is base64url without padding, `info` the text to bind the envelope to."""

    suite: str
    key_id: str
    public_key: str
    info: str


class SealingKeys(msgspec.Struct, frozen=True, kw_only=True):
    """In the order in which they are to be tried. Good for as long as the capture is."""

    capture_id: str
    keys: list[SealingKey]


class KeyedView(msgspec.Struct, frozen=True, kw_only=True):
    """How the capture stands after the envelope. While it is `open` the caller may key in `tries_left` times more."""

    capture_id: str
    state: CaptureState
    tries_left: int
    flaws: list[KeyedFlaw] = []
    token_id: str | None = None
    card_brand: str | None = None
    last4: str | None = None
