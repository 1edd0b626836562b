"""Seals bytes under a 256-bit key, bound to where they belong. The only place in the vault that encrypts at rest.

A sealed text, byte by byte (all lengths fixed but the last):

    offset  bytes  what
    0       1      format, 0x01
    1       4      version of the key it was sealed under, unsigned, big-endian
    5       24     random, fresh for every seal
    29      32     commitment to the key
    61      n+16   AES-256-GCM ciphertext and tag

`HMAC-SHA512(key, "undercroft envelope 1" || random)` gives 64 bytes: the first 32 are the message's own AES key, the
last 32 the commitment, compared before decrypting. So a key seals more messages than random 96-bit nonces would allow,
and no second key opens the same text (AES-GCM alone does not promise that). The shape is that of DNDK-GCM
(draft-gueron-cfrg-dndkgcm); the AES-GCM nonce is the last 12 bytes of `random`.

Associated data: every part of the context (tenant, token, field, schema) and the key's version, each preceded by its
length in four bytes. A sealed text moved to another row, field or tenant does not open.
"""

import hashlib
import hmac
import secrets
from dataclasses import dataclass
from typing import Final

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from infra.chassis.secret import Secret

FORMAT: Final = b"\x01"
RANDOM_BYTES: Final = 24
COMMITMENT_BYTES: Final = 32
NONCE_BYTES: Final = 12
HEADER_BYTES: Final = 1 + 4 + RANDOM_BYTES + COMMITMENT_BYTES
_LABEL: Final = b"undercroft envelope 1"


class SealBroken(Exception):
    """Wrong key, wrong place or damaged; which of them is not said."""


@dataclass(frozen=True, slots=True)
class Context:
    """Where a sealed text belongs. `schema` names the form of what is inside: an old form is not read as a new one."""

    tenant_id: str
    token_id: str
    field: str
    schema: str

    def associated_data(self, key_version: int) -> bytes:
        parts = (self.tenant_id, self.token_id, self.field, self.schema, str(key_version))
        return b"".join(len(part.encode()).to_bytes(4, "big") + part.encode() for part in parts)


def seal(key: Secret[bytes], key_version: int, plaintext: bytes | memoryview, context: Context) -> bytes:
    random = secrets.token_bytes(RANDOM_BYTES)
    message_key, commitment = _derive(key, random)
    header = FORMAT + key_version.to_bytes(4, "big") + random + commitment
    sealed = AESGCM(message_key).encrypt(random[-NONCE_BYTES:], plaintext, context.associated_data(key_version))
    return header + sealed


def open_sealed(key: Secret[bytes], sealed: bytes, context: Context) -> bytes:
    """What was sealed. Raises SealBroken."""
    key_version = version_of(sealed)
    random = sealed[5 : 5 + RANDOM_BYTES]
    message_key, commitment = _derive(key, random)
    if not hmac.compare_digest(commitment, sealed[5 + RANDOM_BYTES : HEADER_BYTES]):
        raise SealBroken
    associated = context.associated_data(key_version)
    try:
        return AESGCM(message_key).decrypt(random[-NONCE_BYTES:], sealed[HEADER_BYTES:], associated)
    except InvalidTag:
        raise SealBroken from None


def version_of(sealed: bytes) -> int:
    """Which version of its key a text was sealed under. Raises SealBroken if it is no sealed text."""
    if sealed[:1] != FORMAT or len(sealed) < HEADER_BYTES:
        raise SealBroken
    return int.from_bytes(sealed[1:5], "big")


def _derive(key: Secret[bytes], random: bytes) -> tuple[bytes, bytes]:
    derived = hmac.new(key.reveal(), _LABEL + random, hashlib.sha512).digest()
    return derived[:32], derived[32:]
