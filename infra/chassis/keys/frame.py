"""The first six bytes of every wrapped key, whoever wrapped it.

    offset  bytes  what
    0       1      format, 0x02
    1       1      provider: 1 software, 2 PKCS#11, 3 transit, 4 AWS KMS
    2       4      version of the root key, unsigned, big-endian
    6       n      what the provider made of it

Format 0x01 is what the software service wrote before roots had versions; it is read as software, version 1.
The frame is bound into what follows it, so that a wrap cannot be passed off as another version's or provider's.

What a remote provider (2, 3, 4) seals is 64 bytes: SHA-256 of the context, then the key. The context is its associated
data as well, but a server may ignore that; and AES-GCM alone does not promise that only one root opens a wrap, which 32
known bytes in front do (Albertini et al., "How to Abuse and Fix Authenticated Encryption Without Key Commitment",
USENIX Security 2022, 5.3).
"""

import hashlib
import hmac
from dataclasses import dataclass
from enum import IntEnum
from typing import Final

from infra.chassis.keys.protocol import CONTEXT_BYTES_MAX, KEY_BYTES, WRAPPED_BYTES_MAX, KeyUnusable
from infra.chassis.sealing import joined
from infra.chassis.secret import Secret

FORMAT: Final = 2
FORMAT_BEFORE_VERSIONS: Final = 1
HEADER_BYTES: Final = 6
DIGEST_BYTES: Final = 32


class Provider(IntEnum):
    SOFTWARE = 1
    PKCS11 = 2
    TRANSIT = 3
    KMS = 4


@dataclass(frozen=True, slots=True)
class Wrap:
    """A wrapped key, taken apart. `header` is empty for the format before versions."""

    header: bytes
    version: int
    body: bytes


def header(provider: Provider, version: int) -> bytes:
    return bytes((FORMAT, provider)) + version.to_bytes(4, "big")


def parse(wrapped: bytes, provider: Provider) -> Wrap:
    """Raises KeyUnusable for anything this provider did not write."""
    if not wrapped or len(wrapped) > WRAPPED_BYTES_MAX:
        raise KeyUnusable
    if wrapped[0] == FORMAT_BEFORE_VERSIONS and provider is Provider.SOFTWARE:
        return Wrap(b"", 1, wrapped[1:])
    if len(wrapped) <= HEADER_BYTES or wrapped[:2] != bytes((FORMAT, provider)):
        raise KeyUnusable
    return Wrap(wrapped[:HEADER_BYTES], int.from_bytes(wrapped[2:HEADER_BYTES], "big"), wrapped[HEADER_BYTES:])


def key_to_wrap(key: Secret[bytes], context: bytes) -> bytes:
    """The bytes of `key`, if both are of a size that is wrapped here. Raises ValueError: a mistake of the caller's."""
    plain = key.reveal()
    if len(plain) != KEY_BYTES or not 0 < len(context) <= CONTEXT_BYTES_MAX:
        raise ValueError(f"wrapped are keys of {KEY_BYTES} bytes with 1 to {CONTEXT_BYTES_MAX} bytes of context")
    return plain


def bound(key: Secret[bytes], context: bytes) -> bytes:
    """What a remote provider seals: the context's digest and the key."""
    return _digest(context) + key_to_wrap(key, context)


def unbound(plain: bytes, context: bytes) -> Secret[bytes]:
    """The key out of what `bound` made. Raises KeyUnusable when it was made for another context."""
    if not hmac.compare_digest(plain[:DIGEST_BYTES], _digest(context)):
        raise KeyUnusable
    return unwrapped(plain[DIGEST_BYTES:])


def associated(provider: Provider, context: bytes) -> bytes:
    """What a remote provider is given as associated data. No version: it is the provider who says which it used."""
    return joined(b"undercroft root wrap", bytes((FORMAT, provider)), context)


def _digest(context: bytes) -> bytes:
    return hashlib.sha256(joined(b"undercroft bound key", context)).digest()


def unwrapped(plain: bytes) -> Secret[bytes]:
    """Raises KeyUnusable if it has not the size of a key."""
    if len(plain) != KEY_BYTES:
        raise KeyUnusable
    return Secret(plain)
