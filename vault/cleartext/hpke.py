"""Opens what the card page sealed in the browser: HPKE (RFC 9180), base mode, one key pair per quarter of an hour.

Suite: DHKEM(X25519, HKDF-SHA256), HKDF-SHA256, AES-256-GCM. `info` binds the sealed text to one capture, to the field
schema and to the key, because this suite's one-shot API takes no associated data: a text sealed for another capture,
for an older form or under another key does not open. Private keys exist in this process's memory only. A restart loses
them, and the page then asks the person to type the card again.
"""

import base64
import secrets
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.hpke import AEAD, KDF, KEM, Suite

FORM_SCHEMA: Final = "undercroft-card-form-1"
"""Names the JSON inside: exactly the strings `number`, `expiry`, `code`, `holder`."""
KEY_AGE_MAX: Final = timedelta(minutes=15)
"""A page is given the newest key; a new one is made when it is this old."""
KEY_GRACE: Final = timedelta(minutes=30)
"""A retired key still opens for this long: longer than any capture lives, so an open page never loses its key."""
SEALED_BYTES_MAX: Final = 2048
"""Four short fields are under 400 bytes."""
_KEY_ID_ALPHABET: Final = "abcdefghijkmnpqrstuvwxyz"
_SUITE: Final = Suite(KEM.X25519, KDF.HKDF_SHA256, AEAD.AES_256_GCM)
_ENC_BYTES: Final = KEM.X25519.enc_length()


class SealedFormRefused(ValueError):
    """The sealed text is malformed, tampered with, or was sealed for something else or under a key that is gone."""


@dataclass(frozen=True, slots=True)
class PagePublicKey:
    """What the page gives the browser. `public_key` is base64url without padding."""

    key_id: str
    public_key: str


@dataclass(frozen=True, slots=True)
class SealedForm:
    """What the browser posts, each part as text: the key's id, the encapsulated key, the ciphertext (base64url)."""

    key_id: str
    enc: str
    ct: str


@dataclass(frozen=True, slots=True, eq=False)
class _KeyPair:
    private: X25519PrivateKey
    public: PagePublicKey
    made_at: datetime


class PageKeys:
    """The page's key pairs. Not shared between processes: one process serves a capture from page to post."""

    def __init__(self) -> None:
        self._pairs: list[_KeyPair] = []

    def current(self, now: datetime) -> PagePublicKey:
        """The public key for a page rendered at `now`; makes a new pair when the newest is too old."""
        self._forget_retired(now)
        if not self._pairs or now - self._pairs[-1].made_at >= KEY_AGE_MAX:
            self._pairs.append(_make_pair(now))
        return self._pairs[-1].public

    def open(self, sealed: SealedForm, *, capture_id: str, now: datetime) -> bytes:
        """The JSON that was sealed for this capture. Raises `SealedFormRefused`, which never says why."""
        self._forget_retired(now)
        pair = next((pair for pair in self._pairs if pair.public.key_id == sealed.key_id), None)
        if pair is None:
            raise SealedFormRefused
        message = _decode(sealed.enc) + _decode(sealed.ct)
        if len(_decode(sealed.enc)) != _ENC_BYTES or len(message) > SEALED_BYTES_MAX:
            raise SealedFormRefused
        try:
            return _SUITE.decrypt(message, pair.private, info=_info(capture_id, sealed.key_id))
        except InvalidTag:
            raise SealedFormRefused from None

    def _forget_retired(self, now: datetime) -> None:
        self._pairs = [pair for pair in self._pairs if now - pair.made_at < KEY_AGE_MAX + KEY_GRACE]


def seal_form(plaintext: bytes, key: PagePublicKey, *, capture_id: str) -> SealedForm:
    """What the page's script does, for a client without a browser."""
    public = X25519PublicKey.from_public_bytes(_decode(key.public_key))
    message = _SUITE.encrypt(plaintext, public, info=_info(capture_id, key.key_id))
    return SealedForm(key_id=key.key_id, enc=_encode(message[:_ENC_BYTES]), ct=_encode(message[_ENC_BYTES:]))


def _make_pair(now: datetime) -> _KeyPair:
    private = X25519PrivateKey.generate()
    key_id = "pgk_" + "".join(secrets.choice(_KEY_ID_ALPHABET) for _ in range(16))
    return _KeyPair(private, PagePublicKey(key_id, _encode(private.public_key().public_bytes_raw())), now)


def _info(capture_id: str, key_id: str) -> bytes:
    """Unambiguous because no part can hold a line feed; `card.src.js` builds the same text."""
    return f"{FORM_SCHEMA}\n{capture_id}\n{key_id}".encode()


def _encode(raw: bytes) -> str:
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode("ascii")


def _decode(text: str) -> bytes:
    try:
        return base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True)
    except ValueError:
        raise SealedFormRefused from None
