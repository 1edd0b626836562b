"""Witnesses: others who saw a checkpoint, checked that it only adds to what they saw before, and signed that.

C2SP tlog-cosignature, the Ed25519 kind (0x04): a time and a signature over it and the checkpoint. Whose cosignatures
are taken is configured in `witnesses` beside the keys: verifier keys, one a line. Anybody may carry a cosignature here;
what counts is the witness's key. One is kept for each witness and checkpoint, the first.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Final

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from gateway.record.notes import (
    COSIGNATURE,
    NoteRefused,
    SignatureLine,
    key_id,
    read_verifier_key,
    split_note,
)
from infra.chassis import regular
from infra.chassis.settings import SettingsIncomplete

TIMESTAMP_BYTES: Final = 8
SIGNATURE_BYTES: Final = 64
AHEAD_MAX: Final = timedelta(minutes=5)
"""How far a witness's clock may be before ours; the specification lets us refuse any time in the future."""
WITNESSES_MAX: Final = 15
"""A reader of notes need not read more than 16 signatures (C2SP signed-note), and one is ours."""
FILE_NAME: Final = "witnesses"


class WitnessesUnusable(SettingsIncomplete):
    """The file of witnesses names something that is no verifier key of kind 0x04."""


@dataclass(frozen=True, slots=True)
class Cosignature:
    """`line` is the signature line as it stands in a note, with its newline."""

    witness: str
    line: str
    cosigned_at: int
    """Seconds since 1970, as the witness said."""


class Witnesses:
    def __init__(self, keys: Mapping[tuple[str, bytes], Ed25519PublicKey]) -> None:
        self._keys = keys

    @classmethod
    def load(cls, folder: Path) -> "Witnesses":
        """From `witnesses` in the folder of keys; none there, none trusted. Raises WitnessesUnusable."""
        file = folder / FILE_NAME
        try:
            lines = regular.read(file).decode().splitlines() if file.exists() else []
        except (OSError, UnicodeDecodeError) as error:
            raise WitnessesUnusable(f"{FILE_NAME} cannot be read ({type(error).__name__})") from None
        keys: dict[tuple[str, bytes], Ed25519PublicKey] = {}
        for line in filter(None, map(str.strip, lines)):
            try:
                name, key = read_verifier_key(line, kind=COSIGNATURE)
            except NoteRefused:
                raise WitnessesUnusable(f"{FILE_NAME}: not a verifier key of a cosigner (0x04)") from None
            keys[name, key_id(name, key, kind=COSIGNATURE)] = key
        if len(keys) > WITNESSES_MAX or len({name for name, _ in keys}) < len(keys):
            raise WitnessesUnusable(f"{FILE_NAME}: at most {WITNESSES_MAX} witnesses, each with a name of its own")
        return cls(keys)

    def cosignatures_on(self, note: str, now: datetime) -> tuple[str, list[Cosignature]]:
        """The note's text and the cosignatures of our witnesses on it.

        Raises NoteRefused for what is no note, when none of our witnesses signed it, and when one of theirs is wrong or
        from the future. Signatures of anybody else are passed over, as the specification demands.
        """
        body, signatures = split_note(note)
        known = [line for line in signatures if (line.name, line.key_id) in self._keys]
        if not known or len({line.name for line in known}) < len(known):
            raise NoteRefused
        return body, [self._checked(line, body, now) for line in known]

    def _checked(self, line: SignatureLine, body: str, now: datetime) -> Cosignature:
        cosigned_at = cosigned_time(line.signature, body, self._keys[line.name, line.key_id])
        if cosigned_at > (now + AHEAD_MAX).timestamp():
            raise NoteRefused
        return Cosignature(line.name, line.text, cosigned_at)


def cosigned_time(signature: bytes, body: str, key: Ed25519PublicKey) -> int:
    """When this key says it saw `body` as the largest tree. Raises NoteRefused unless the signature holds."""
    if len(signature) != TIMESTAMP_BYTES + SIGNATURE_BYTES:
        raise NoteRefused
    cosigned_at = int.from_bytes(signature[:TIMESTAMP_BYTES], "big")
    try:
        key.verify(signature[TIMESTAMP_BYTES:], cosigned_message(body, cosigned_at))
    except InvalidSignature:
        raise NoteRefused from None
    return cosigned_at


def cosigned_message(body: str, cosigned_at: int) -> bytes:
    return f"cosignature/v1\ntime {cosigned_at}\n{body}".encode()


async def add(tx: AsyncConnection, tenant_id: str, size: int, given: Cosignature, now: datetime) -> None:
    """Kept unless this witness's is there already."""
    key = {
        "tenant_id": tenant_id,
        "size": size,
        "witness": given.witness,
        "line": given.line,
        "cosigned_at": given.cosigned_at,
        "received_at": now,
    }
    await tx.execute(_ADD, key)


async def lines(tx: AsyncConnection, tenant_id: str, size: int) -> str:
    """To stand below our own signature in the note of this checkpoint."""
    rows = await tx.execute(_LINES, {"tenant_id": tenant_id, "size": size})
    return "".join(line for (line,) in rows)


async def newest_size(tx: AsyncConnection, tenant_id: str) -> int | None:
    """Of the newest checkpoint that anybody cosigned."""
    size = (await tx.execute(_NEWEST_SIZE, {"tenant_id": tenant_id})).scalar_one()
    return None if size is None else int(size)


_ADD = text(
    "INSERT INTO record_cosignatures (tenant_id, tree_size, witness, line, cosigned_at, received_at)"
    " VALUES (:tenant_id, :size, :witness, :line, :cosigned_at, :received_at) ON CONFLICT DO NOTHING"
)
_LINES = text(
    "SELECT line FROM record_cosignatures WHERE tenant_id = :tenant_id AND tree_size = :size ORDER BY witness"
)
_NEWEST_SIZE = text("SELECT max(tree_size) FROM record_cosignatures WHERE tenant_id = :tenant_id")
