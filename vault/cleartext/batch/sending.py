"""The sender's side: a file of lines, checked for what must not travel, sealed for one vault. It needs no secret."""

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import BinaryIO

from infra.chassis import durable
from vault.cleartext.batch.lines import LineRefused, read_shape
from vault.cleartext.batch.sealed_file import LINE_BYTES_MAX, Recipient, SealedWriter, is_good


class NotSealed(ValueError):
    """Says which line or key is why. No file was made."""


@dataclass(frozen=True, slots=True)
class Sealed:
    """`digest` is the file's SHA-256 in hex, to be told to the other side by another way."""

    batch_id: str
    lines: int
    digest: str


def seal_file(lines: Path, recipient: Recipient, out: Path, now: datetime) -> Sealed:
    """Raises NotSealed for a key that has ended and for a line that is none, or has a code; and OSError.

    Whether a number is a card's, and a month is to come, the vault says of each line.
    """
    if not is_good(recipient, now):
        raise NotSealed("the key has ended; ask for another one")
    count = 0
    with lines.open("rb") as file, durable.replacing(out) as made:
        writer = SealedWriter(made, recipient)
        for count, line in enumerate(_each(file), 1):
            try:
                read_shape(line)
            except LineRefused as refused:
                raise NotSealed(f"line {count}: {refused}") from None
            writer.add(line)
        writer.end()
    return Sealed(writer.batch_id, count, digest_of(out).hex())


def digest_of(path: Path) -> bytes:
    """SHA-256 of a file, a piece at a time. Raises OSError."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").digest()


def _each(file: BinaryIO) -> Iterator[bytes]:
    """One that is too long is given as far as it is known to be."""
    while line := file.readline(LINE_BYTES_MAX + 2):
        yield line.removesuffix(b"\n")
