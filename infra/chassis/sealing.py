"""The one way bytes are sealed under a 256-bit key here: committing, and with a fresh key for every text.

A sealed body, byte by byte:

    offset  bytes  what
    0       24     random, fresh for every seal
    24      32     commitment to the key
    56      n+16   AES-256-GCM ciphertext and tag

`HMAC-SHA512(key, label || random)` gives 64 bytes: the first 32 are the text's own AES key, the last 32 the commitment,
compared before decrypting. So a key seals more texts than random 96-bit nonces would allow (NIST SP 800-38D, 8.3: 2^32
of one key), and no second key opens the same text, which AES-GCM alone does not promise. The shape is that of DNDK-GCM
(draft-gueron-cfrg-dndkgcm); the AES-GCM nonce is the last 12 bytes of `random`. `label` keeps the uses of a key apart.
"""

import hashlib
import hmac
import secrets
from typing import Final

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from infra.chassis.secret import Secret

RANDOM_BYTES: Final = 24
COMMITMENT_BYTES: Final = 32
TAG_BYTES: Final = 16
OVERHEAD_BYTES: Final = RANDOM_BYTES + COMMITMENT_BYTES + TAG_BYTES
_NONCE_BYTES: Final = 12


class SealBroken(Exception):
    """Wrong key, wrong place or damaged; which of them is not said."""


def seal_under(key: Secret[bytes], label: bytes, plaintext: bytes | memoryview, associated: bytes) -> bytes:
    """`plaintext` and 72 bytes more. It opens with the same key, label and associated data only."""
    random = secrets.token_bytes(RANDOM_BYTES)
    text_key, commitment = _derive(key, label, random)
    return random + commitment + AESGCM(text_key).encrypt(random[-_NONCE_BYTES:], plaintext, associated)


def open_under(key: Secret[bytes], label: bytes, sealed: bytes, associated: bytes) -> bytes:
    """What was sealed. Raises SealBroken."""
    if len(sealed) < OVERHEAD_BYTES:
        raise SealBroken
    random = sealed[:RANDOM_BYTES]
    text_key, commitment = _derive(key, label, random)
    if not hmac.compare_digest(commitment, sealed[RANDOM_BYTES : RANDOM_BYTES + COMMITMENT_BYTES]):
        raise SealBroken
    try:
        return AESGCM(text_key).decrypt(random[-_NONCE_BYTES:], sealed[RANDOM_BYTES + COMMITMENT_BYTES :], associated)
    except InvalidTag:
        raise SealBroken from None


def joined(*parts: bytes) -> bytes:
    """Each part preceded by its length in four bytes, so that no two lists of parts give the same bytes."""
    return b"".join([len(part).to_bytes(4, "big") + part for part in parts])


def _derive(key: Secret[bytes], label: bytes, random: bytes) -> tuple[bytes, bytes]:
    derived = hmac.new(key.reveal(), label + random, hashlib.sha512).digest()
    return derived[:32], derived[32:]
