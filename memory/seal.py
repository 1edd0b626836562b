"""Sealing memories: root key → tenant key → subject key → one sub-key per tier.

A sealed memory is `version (1) || nonce (12) || AES-256-GCM ciphertext and tag`, with tenant, subject, memory, tier
and version as bound context: a row moved to another place or lifted to another tier does not open. The plain text is
JSON `{"text", "provenance"}`. Random nonces are safe here: a subject has at most MEMORIES_PER_SUBJECT_MAX memories, far
from the 2**32 uses of one key (facts/vault.md).

What this does not do: a dump taken before a subject is forgotten still holds the wrapped subject key, and opens with
the root key. Destroying the key reaches the live database and every later dump; see README.md.
"""

import secrets

import msgspec
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from infra.chassis.canonical import canonical_json
from infra.chassis.keys import KEY_BYTES, NONCE_BYTES, KeyService, new_key
from infra.chassis.secret import Secret
from memory.contract import Provenance, Tier

VERSION = b"\x01"


class SealBroken(Exception):
    """A stored memory does not open: moved, edited, or sealed under another key. Never skipped silently."""


class Content(msgspec.Struct, frozen=True, kw_only=True):
    """What is inside the seal."""

    text: str
    provenance: Provenance


class Place(msgspec.Struct, frozen=True, kw_only=True):
    """Where a sealed memory belongs; bound into it."""

    tenant_id: str
    subject_id: str
    memory_id: str
    brand_id: str
    tier: int


class SubjectKeys:
    """Makes and opens the wrapped keys. Holds no key longer than a request."""

    def __init__(self, service: KeyService) -> None:
        self._service = service

    async def new_tenant_key(self, tenant_id: str) -> bytes:
        """Wrapped, to be stored."""
        return await self._service.wrap(new_key(), _tenant_context(tenant_id))

    async def new_subject_key(self, wrapped_tenant_key: bytes, tenant_id: str, subject_id: str) -> bytes:
        """Wrapped, to be stored."""
        tenant_key = await self._service.unwrap(wrapped_tenant_key, _tenant_context(tenant_id))
        nonce = secrets.token_bytes(NONCE_BYTES)
        context = VERSION + _subject_context(tenant_id, subject_id)
        sealed = AESGCM(tenant_key.reveal()).encrypt(nonce, new_key().reveal(), context)
        return VERSION + nonce + sealed

    async def open_subject_key(
        self, wrapped_tenant_key: bytes, wrapped_subject_key: bytes, tenant_id: str, subject_id: str
    ) -> Secret[bytes]:
        tenant_key = await self._service.unwrap(wrapped_tenant_key, _tenant_context(tenant_id))
        plain = _open(AESGCM(tenant_key.reveal()), wrapped_subject_key, _subject_context(tenant_id, subject_id))
        return Secret(plain)


class Sealer:
    """Seals and opens one subject's memories; each tier's key is derived once, and gone with this object."""

    def __init__(self, subject_key: Secret[bytes]) -> None:
        self._subject_key = subject_key
        self._ciphers: dict[int, AESGCM] = {}

    def seal(self, place: Place, content: Content) -> bytes:
        nonce = secrets.token_bytes(NONCE_BYTES)
        plain = msgspec.json.encode(content)
        return VERSION + nonce + self._cipher(place.tier).encrypt(nonce, plain, VERSION + _place_context(place))

    def open(self, place: Place, sealed: bytes) -> Content:
        """Raises SealBroken."""
        plain = _open(self._cipher(place.tier), sealed, _place_context(place))
        return msgspec.json.decode(plain, type=Content)

    def _cipher(self, tier: int) -> AESGCM:
        if tier not in self._ciphers:
            info = b"undercroft memory tier " + str(Tier(tier).value).encode()
            derivation = HKDF(algorithm=SHA256(), length=KEY_BYTES, salt=None, info=info)
            self._ciphers[tier] = AESGCM(derivation.derive(self._subject_key.reveal()))
        return self._ciphers[tier]


def _open(cipher: AESGCM, sealed: bytes, context: bytes) -> bytes:
    if sealed[:1] != VERSION:
        raise SealBroken
    try:
        return cipher.decrypt(sealed[1 : 1 + NONCE_BYTES], sealed[1 + NONCE_BYTES :], VERSION + context)
    except InvalidTag:
        raise SealBroken from None


def _place_context(place: Place) -> bytes:
    """One byte string for one place: JSON of plain text and a number, in the fixed order of the struct's fields."""
    return msgspec.json.encode(place)


def _tenant_context(tenant_id: str) -> bytes:
    return canonical_json({"purpose": "memory tenant key", "tenant_id": tenant_id})


def _subject_context(tenant_id: str, subject_id: str) -> bytes:
    return canonical_json({"purpose": "memory subject key", "tenant_id": tenant_id, "subject_id": subject_id})
