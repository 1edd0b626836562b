"""`undercroft record verify FILE`: an exported record checked with nothing but keys. No database, no settings."""

import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import BinaryIO, Final

import msgspec

from gateway.contract import ExportBatch, ExportEntry, ExportHead, Receipt
from gateway.record.entries import origin_of, receipt_holds
from gateway.record.filewalk import FileWalk, Verifier
from gateway.record.notes import COSIGNATURE, Checkpoint, NoteRefused, read_verifier_key

LINE_BYTES_MAX: Final = 64 * 1024 * 1024
"""A batch of the sealer is 70 kB of hashes, an entry 64 kB; where checkpoints were removed, batches are joined."""
FINDINGS_SHOWN_MAX: Final = 100
INTACT, DAMAGED, UNUSABLE = 0, 1, 2
"""Exit codes."""
Line = ExportHead | ExportBatch | ExportEntry


class Unusable(Exception):
    """What was given beside the file cannot be used. The text says what."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Given:
    """`key` and `witnesses` are verifier keys, the others files."""

    file: Path
    key: str | None = None
    checkpoint: Path | None = None
    witnesses: Sequence[str] = ()
    receipts: Sequence[Path] = ()


def verify_file(given: Given) -> int:
    """Writes what was found. Returns the exit code: 0 whole, 1 damaged, 2 something given cannot be used."""
    try:
        with given.file.open("rb") as file:
            log = _log(given.key, file)
            receipts = [_receipt(path, log) for path in given.receipts]
            walk = FileWalk(
                log,
                outside=_outside(given.checkpoint, log),
                witnesses=[_verifier(text, kind=COSIGNATURE) for text in given.witnesses],
                promised_leaves=frozenset(bytes.fromhex(receipt.leaf_sha256) for receipt in receipts),
            )
            file.seek(0)
            _through(file, walk)
    except (OSError, Unusable) as error:
        sys.stderr.write(f"gateway: {error}\n")
        return UNUSABLE
    walk.findings += _broken_promises(receipts, walk)
    sys.stdout.write(_report(given, walk))
    return DAMAGED if walk.findings else INTACT


def _log(key: str | None, file: BinaryIO) -> Verifier:
    """From the key given, or from the file's head. Raises Unusable."""
    if key is not None:
        return _verifier(key)
    head = _parsed(file.readline(LINE_BYTES_MAX))
    if not isinstance(head, ExportHead):
        raise Unusable("the file does not begin with a head; give the record's key with --key")
    return _verifier(head.verifier_key)


def _verifier(text: str, *, kind: bytes | None = None) -> Verifier:
    try:
        name, key = read_verifier_key(text) if kind is None else read_verifier_key(text, kind=kind)
    except NoteRefused:
        raise Unusable("what was given as a key is no verifier key of the kind needed") from None
    return Verifier(name, key)


def _outside(path: Path | None, log: Verifier) -> Checkpoint | None:
    if path is None:
        return None
    try:
        return log.open(path.read_text(encoding="utf-8"))
    except (NoteRefused, UnicodeDecodeError):
        raise Unusable(f"{path} is no checkpoint signed by this record's key") from None


def _receipt(path: Path, log: Verifier) -> Receipt:
    """Raises Unusable for what this record's key did not promise: that says nothing about the record."""
    tenant_id = log.name.removeprefix(origin_of(""))
    try:
        receipt = msgspec.json.decode(path.read_bytes(), type=Receipt)
    except msgspec.DecodeError:
        raise Unusable(f"{path} is no receipt") from None
    if not receipt_holds(receipt, tenant_id, log.key):
        raise Unusable(f"{path} is no receipt signed by this record's key")
    return receipt


def _through(file: BinaryIO, walk: FileWalk) -> None:
    for number, content in enumerate(_lines(file), 1):
        match _parsed(content):
            case ExportHead() as head:
                walk.head(head)
            case ExportBatch() as batch:
                walk.batch(batch)
            case ExportEntry() as entry:
                walk.entry(entry)
            case None:
                walk.findings.append(f"Line {number} is not a line of an export.")
    walk.end()


def _lines(file: BinaryIO) -> Iterator[bytes]:
    while content := file.readline(LINE_BYTES_MAX):
        yield content


def _parsed(content: bytes) -> Line | None:
    try:
        return msgspec.json.decode(content, type=Line) if content.endswith(b"\n") else None
    except (msgspec.DecodeError, UnicodeDecodeError):
        return None


def _broken_promises(receipts: Sequence[Receipt], walk: FileWalk) -> list[str]:
    return [
        f"{receipt.decision_id} was promised at {receipt.signed_at.astimezone(UTC):%Y-%m-%dT%H:%M:%SZ}"
        " and is not in this file."
        for receipt in receipts
        if bytes.fromhex(receipt.leaf_sha256) not in walk.kept_promises
    ]


def _report(given: Given, walk: FileWalk) -> str:
    state = "DAMAGED" if walk.findings else "intact"
    lines = [f"{given.file}: {state}, {walk.size} places of {walk.log.name}"]
    lines += [f"  {finding}" for finding in walk.findings[:FINDINGS_SHOWN_MAX]]
    if len(walk.findings) > FINDINGS_SHOWN_MAX:
        lines.append(f"  {len(walk.findings) - FINDINGS_SHOWN_MAX} more findings.")
    for witness, (size, moment) in walk.seen_by.items():
        lines.append(f"  {witness} saw the first {size} places at {_moment(moment)}.")
    if given.key is None:
        lines.append("  The key is the file's own: hold it against one you have from elsewhere, or give that as --key.")
    return "\n".join([*lines, ""])


def _moment(seconds: int) -> str:
    try:
        return f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%dT%H:%M:%SZ}"
    except (OverflowError, ValueError, OSError):
        return f"second {seconds}"
