"""Seals bytes under a 256-bit key, bound to where they belong. The only place in the vault that encrypts at rest.

A sealed text, byte by byte (all lengths fixed but the last):

    offset  bytes  what
    0       1      format, 0x01
    1       4      version of the key it was sealed under, unsigned, big-endian
    5       24     random, fresh for every seal
    29      32     commitment to the key
    61      n+16   AES-256-GCM ciphertext and tag

From offset 5 on it is the body of infra/chassis/sealing.py, label "undercroft envelope 1": a key of its own for every
text, and a commitment to the key it was sealed under.

Associated data: every part of the context (tenant, token, field, schema) and the key's version, each preceded by its
length in four bytes, and the terms where there are some. A sealed text moved to another row, field or tenant does not
open, nor does one whose terms were changed beside it.
"""

from dataclasses import dataclass
from typing import Final

from infra.chassis.sealing import OVERHEAD_BYTES, SealBroken, joined, open_under, seal_under
from infra.chassis.secret import Secret

__all__ = ["Context", "SealBroken", "open_sealed", "seal", "version_of"]

FORMAT: Final = b"\x01"
PREFIX_BYTES: Final = 1 + 4
_LABEL: Final = b"undercroft envelope 1"


@dataclass(frozen=True, slots=True)
class Context:
    """Where a sealed text belongs. `schema` names the form of what is inside: an old form is not read as a new one.

    `terms` stand in clear beside it; None for what was sealed before there were any.
    """

    tenant_id: str
    token_id: str
    field: str
    schema: str
    terms: str | None = None

    def associated_data(self, key_version: int) -> bytes:
        bound = () if self.terms is None else (self.terms,)
        parts = (self.tenant_id, self.token_id, self.field, self.schema, str(key_version), *bound)
        return joined(*[part.encode() for part in parts])


def seal(key: Secret[bytes], key_version: int, plaintext: bytes | memoryview, context: Context) -> bytes:
    sealed = seal_under(key, _LABEL, plaintext, context.associated_data(key_version))
    return FORMAT + key_version.to_bytes(4, "big") + sealed


def open_sealed(key: Secret[bytes], sealed: bytes, context: Context) -> bytes:
    """What was sealed. Raises SealBroken."""
    associated = context.associated_data(version_of(sealed))
    return open_under(key, _LABEL, sealed[PREFIX_BYTES:], associated)


def version_of(sealed: bytes) -> int:
    """Which version of its key a text was sealed under. Raises SealBroken if it is no sealed text."""
    if sealed[:1] != FORMAT or len(sealed) < PREFIX_BYTES + OVERHEAD_BYTES:
        raise SealBroken
    return int.from_bytes(sealed[1:PREFIX_BYTES], "big")
