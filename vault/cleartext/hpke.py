"""Opens what the card page sealed in the browser: HPKE (RFC 9180), base mode, under keys of a quarter of an hour.

What the media guard seals of a telephone call (vault/keyed) is opened here too, under the same keys and another schema.

Two suites, both with HKDF-SHA256 and AES-256-GCM, offered in this order: the KEM X-Wing (ML-KEM-768 with X25519,
draft-connolly-cfrg-xwing-kem; KEM id 0x647a), so that what is recorded today is not opened by a quantum computer later;
and DHKEM(X25519, HKDF-SHA256) for browsers that cannot do it. The key's id says which suite a text was sealed with.

The one-shot API takes no associated data, so `info` binds it all: the form's schema, tenant, capture, suite and key.
A text sealed for another capture, an older form, another suite or under another key does not open, and none opens
twice. Private keys exist in this process's memory only. A restart loses them, and the page asks to type the card again.
"""

import base64
import hashlib
import secrets
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Final

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.asymmetric.mlkem import MLKEM768PrivateKey, MLKEM768PublicKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.hpke import (
    AEAD,
    KDF,
    KEM,
    MLKEM768X25519PrivateKey,
    MLKEM768X25519PublicKey,
    Suite,
)

FORM_SCHEMA: Final = "undercroft-card-form-2"
"""Names the JSON inside, exactly the strings `number`, `expiry`, `code`, `holder`, and the order of parts in `info`."""
KEY_AGE_MAX: Final = timedelta(minutes=15)
"""A page is given the newest keys; new ones are made when they are this old."""
KEY_GRACE: Final = timedelta(minutes=30)
"""A retired key still opens for this long: longer than any capture lives, so an open page never loses its key."""
SEALED_BYTES_MAX: Final = 2048
"""Of ciphertext. Four short fields are under 400 bytes."""
_KEY_ID_ALPHABET: Final = "abcdefghijkmnpqrstuvwxyz"
_MLKEM768_PUBLIC_BYTES: Final = 1184
"""FIPS 203, table 3. An X-Wing public key is this one and X25519's 32 bytes."""
_REMEMBERED_BYTES: Final = 16
SEED_BYTES: Final = 32
_MLKEM_SEED_BYTES: Final = 64
"""FIPS 203: d and z."""

PrivateKey = X25519PrivateKey | MLKEM768X25519PrivateKey
PublicKey = X25519PublicKey | MLKEM768X25519PublicKey


class SealSuite(StrEnum):
    """In the order in which a browser is to try them."""

    X_WING = "x-wing"
    X25519 = "x25519"


_KEMS: Final = {SealSuite.X_WING: KEM.MLKEM768_X25519, SealSuite.X25519: KEM.X25519}
SUITES: Final = {name: Suite(kem, KDF.HKDF_SHA256, AEAD.AES_256_GCM) for name, kem in _KEMS.items()}
"""By name: what seals with a public key and opens with its private one."""
ENC_BYTES: Final = {name: kem.enc_length() for name, kem in _KEMS.items()}


class SealedFormRefused(ValueError):
    """The sealed text is malformed, tampered with, or was sealed for something else or under a key that is gone."""


class SealedFormReplayed(ValueError):
    """This very text has been opened before."""


@dataclass(frozen=True, slots=True)
class SealedFor:
    """What a form is sealed for: two ids, whose alphabet (contract.py) has no line feed, so `info` is unambiguous.

    `schema` names what is sealed. One for each way a card comes in: what was sealed for one opens on no other.
    """

    tenant_id: str
    capture_id: str
    schema: str = FORM_SCHEMA


@dataclass(frozen=True, slots=True)
class PagePublicKey:
    """What the page gives the browser for one capture. `public_key` is base64url without padding, `info` plain text."""

    suite: SealSuite
    key_id: str
    public_key: str
    info: str


@dataclass(frozen=True, slots=True)
class SealedForm:
    """What the browser posts, each part as text: the key's id, the encapsulated key, the ciphertext (base64url)."""

    key_id: str
    enc: str
    ct: str


@dataclass(frozen=True, slots=True, eq=False)
class OpenedForm:
    plaintext: bytes = field(repr=False)
    suite: SealSuite


@dataclass(frozen=True, slots=True, eq=False)
class _KeyPair:
    suite: SealSuite
    key_id: str
    private: PrivateKey
    public_key: str
    made_at: datetime
    opened: set[bytes] = field(default_factory=set)
    """Digests of the encapsulated keys it has opened: about 100 bytes a form until the key is gone."""

    def offered(self, place: SealedFor) -> PagePublicKey:
        return PagePublicKey(self.suite, self.key_id, self.public_key, _info(place, self.suite, self.key_id))


class PageKeys:
    """The page's key pairs. Not shared between processes: one process serves a capture from page to post."""

    def __init__(self) -> None:
        self._pairs: list[_KeyPair] = []

    def offered(self, place: SealedFor, now: datetime) -> tuple[PagePublicKey, ...]:
        """One public key a suite, the preferred one first, for a page rendered at `now`. New pairs when due."""
        self._forget_retired(now)
        if not self._pairs or now - self._pairs[-1].made_at >= KEY_AGE_MAX:
            self._pairs += [_make_pair(suite, now) for suite in SealSuite]
        return tuple(pair.offered(place) for pair in self._pairs[-len(SealSuite) :])

    def open(self, sealed: SealedForm, *, place: SealedFor, now: datetime) -> OpenedForm:
        """The JSON that was sealed for this capture.

        Raises `SealedFormRefused`, which never says why, and `SealedFormReplayed` for what was opened before.
        """
        self._forget_retired(now)
        pair = next((pair for pair in self._pairs if pair.key_id == sealed.key_id), None)
        if pair is None:
            raise SealedFormRefused
        enc, ct = _decode(sealed.enc), _decode(sealed.ct)
        if len(enc) != ENC_BYTES[pair.suite] or len(ct) > SEALED_BYTES_MAX:
            raise SealedFormRefused
        info = _info(place, pair.suite, pair.key_id).encode()
        try:
            plaintext = SUITES[pair.suite].decrypt(enc + ct, pair.private, info=info)
        except InvalidTag:
            raise SealedFormRefused from None
        seen = hashlib.sha256(enc).digest()[:_REMEMBERED_BYTES]
        if seen in pair.opened:
            raise SealedFormReplayed
        pair.opened.add(seen)
        return OpenedForm(plaintext, pair.suite)

    def _forget_retired(self, now: datetime) -> None:
        self._pairs = [pair for pair in self._pairs if now - pair.made_at < KEY_AGE_MAX + KEY_GRACE]


def seal_form(plaintext: bytes, key: PagePublicKey) -> SealedForm:
    """What the page's script does, for a client without a browser."""
    message = SUITES[key.suite].encrypt(
        plaintext, public_key(key.suite, _decode(key.public_key)), info=key.info.encode()
    )
    length = ENC_BYTES[key.suite]
    return SealedForm(key_id=key.key_id, enc=_encode(message[:length]), ct=_encode(message[length:]))


def info_of(place: SealedFor, key: PagePublicKey) -> str:
    """The `info` this key must have on a page for this place."""
    return _info(place, key.suite, key.key_id)


def _make_pair(suite: SealSuite, now: datetime) -> _KeyPair:
    key_id = "pgk_" + "".join(secrets.choice(_KEY_ID_ALPHABET) for _ in range(16))
    private, public = key_pair(suite, secrets.token_bytes(SEED_BYTES))
    return _KeyPair(suite, key_id, private, _encode(public), now)


def key_pair(suite: SealSuite, seed: bytes) -> tuple[PrivateKey, bytes]:
    """From 32 bytes, which are X25519's own private key, or what X-Wing expands with SHAKE256 (its draft, 5.2).

    The public key's bytes: 32 of X25519, or 1,184 of ML-KEM-768 with those behind them.
    """
    if suite is SealSuite.X25519:
        alone = X25519PrivateKey.from_private_bytes(seed)
        return alone, alone.public_key().public_bytes_raw()
    expanded = hashlib.shake_256(seed).digest(_MLKEM_SEED_BYTES + SEED_BYTES)
    mlkem = MLKEM768PrivateKey.from_seed_bytes(expanded[:_MLKEM_SEED_BYTES])
    x25519 = X25519PrivateKey.from_private_bytes(expanded[_MLKEM_SEED_BYTES:])
    public = mlkem.public_key().public_bytes_raw() + x25519.public_key().public_bytes_raw()
    return MLKEM768X25519PrivateKey(mlkem, x25519), public


def public_key(suite: SealSuite, raw: bytes) -> PublicKey:
    """Raises ValueError for what is none."""
    if suite is SealSuite.X25519:
        return X25519PublicKey.from_public_bytes(raw)
    mlkem, x25519 = raw[:_MLKEM768_PUBLIC_BYTES], raw[_MLKEM768_PUBLIC_BYTES:]
    return MLKEM768X25519PublicKey(
        MLKEM768PublicKey.from_public_bytes(mlkem), X25519PublicKey.from_public_bytes(x25519)
    )


def _info(place: SealedFor, suite: SealSuite, key_id: str) -> str:
    return f"{place.schema}\n{place.tenant_id}\n{place.capture_id}\n{suite}\n{key_id}"


def _encode(raw: bytes) -> str:
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode("ascii")


def _decode(text: str) -> bytes:
    try:
        return base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True)
    except ValueError:
        raise SealedFormRefused from None
