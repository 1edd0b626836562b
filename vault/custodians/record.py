"""What custodians did, a line each, only added to: who, when, which shares, which key check value; never a share.

    {"previous": "<hex>", "signatures": {"ada": "<base64>"}, "statement": {"act": "entered", …}}

A line is RFC 8785 JSON. `previous` is the SHA-256 of the line before, of nothing for the first. Each signature is
Ed25519 over the statement, by the custodian it names, whose key stands in his `enrolled`; or, as `custody`, by a key
derived from the custody key, which only enough shares together bring forth. `check` finds a line that was changed, put
in, taken out or moved, and a signature that is missing. Lines cut off at the end it finds only as far as the sealed
file names a ceremony that is then missing; so custodians note the head that `status` shows.

A line is added whole or not at all: one without its end was being written when somebody was killed, and the next
writer takes it away.
"""

import base64
import fcntl
import hashlib
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import msgspec
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from infra.chassis.canonical import canonical_json
from infra.chassis.durable import flush_folder, make_folder
from infra.chassis.sealing import joined

CUSTODY: Final = "custody"
"""Who signs with the key that all shares together give. No custodian can be called this: `enrol` refuses it."""
SIGNED: Final = b"undercroft custody statement 1"
APPROVED: Final = frozenset({"export approved", "exported", "import approved"})
"""What is done with cards, and not with shares (vault/batch/approving.py)."""
APPROVERS_MIN: Final = 2
RECORD_BYTES_MAX: Final = 1 << 24
"""Half a kilobyte a start: a lifetime."""
NOTHING_BEFORE: Final = hashlib.sha256(b"").hexdigest()

Statement = dict[str, Any]


class RecordBroken(Exception):
    """Says which line, and what is wrong with it."""


class Entry(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    statement: Statement
    signatures: dict[str, str]
    previous: str = NOTHING_BEFORE

    def line(self) -> bytes:
        return canonical_json(self) + b"\n"

    def digest(self) -> str:
        return hashlib.sha256(self.line()).hexdigest()


def head(entries: Sequence[Entry]) -> str:
    """SHA-256 of the last line, in hex: whoever notes it can tell later whether anything before it was changed."""
    return entries[-1].digest() if entries else NOTHING_BEFORE


def signed(statement: Statement, keys: Mapping[str, Ed25519PrivateKey]) -> Entry:
    """The statement, signed by each of these; not yet in its place."""
    said = signable(statement)
    return Entry(statement, {name: base64.b64encode(key.sign(said)).decode() for name, key in keys.items()})


def signable(statement: Statement) -> bytes:
    return joined(SIGNED, canonical_json(statement))


def signed_by(entry: Entry, name: str, public_key: bytes) -> bool:
    """Whether the holder of `public_key` signed this as `name`."""
    try:
        signature = base64.b64decode(entry.signatures.get(name, ""), validate=True)
        Ed25519PublicKey.from_public_bytes(public_key).verify(signature, signable(entry.statement))
    except (InvalidSignature, ValueError):
        return False
    return True


@dataclass(frozen=True, slots=True)
class Checked:
    """A record that is whole. `custodians`: name → public key, of all who were enrolled."""

    entries: list[Entry]
    custodians: dict[str, bytes]


class Record:
    def __init__(self, folder: Path) -> None:
        self.path = folder / "record.jsonl"

    def add(self, entry: Entry, *, unless_there: bool = False) -> None:
        """Put the entry at its place, on the disk; or leave it, when its statement stands there already.

        Raises OSError, RecordBroken.
        """
        with self._alone() as descriptor:
            entries = self._cut_to_whole_lines(descriptor)
            if unless_there and any(one.statement == entry.statement for one in entries):
                return
            line = msgspec.structs.replace(entry, previous=head(entries)).line()
            if os.write(descriptor, line) != len(line):
                raise OSError("the record's disk is full")
            os.fsync(descriptor)

    def entries(self) -> list[Entry]:
        """What stands there whole. Raises OSError, RecordBroken for what is no entry."""
        try:
            with self.path.open("rb") as file:
                return _entries(_content(file.fileno()))[0]
        except FileNotFoundError:
            return []

    def check(self) -> "Checked":
        """All entries, each in its place and signed by whom it must be. Raises OSError, RecordBroken."""
        entries, keys, before = self.entries(), dict[str, bytes](), NOTHING_BEFORE
        for number, entry in enumerate(entries, 1):
            if entry.previous != before:
                raise RecordBroken(f"line {number} does not follow the one before it")
            before = entry.digest()
            _learn(entry, keys, number)
            for name in _signers(entry.statement, number):
                if name not in keys or not signed_by(entry, name, keys[name]):
                    raise RecordBroken(f"line {number} is not signed by {name}")
        return Checked(entries, {name: key for name, key in keys.items() if name != CUSTODY})

    @contextmanager
    def _alone(self) -> Iterator[int]:
        make_folder(self.path.parent)
        descriptor = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o600)
        try:
            flush_folder(self.path.parent)  # each time: who created it may have been killed before he came to this
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            yield descriptor
        finally:
            os.close(descriptor)

    @staticmethod
    def _cut_to_whole_lines(descriptor: int) -> list[Entry]:
        entries, length = _entries(_content(descriptor))
        os.ftruncate(descriptor, length)
        return entries


def _content(descriptor: int) -> bytes:
    """All of it: what was not read would be cut off. Raises OSError, RecordBroken."""
    content = os.pread(descriptor, RECORD_BYTES_MAX + 1, 0)
    if len(content) > RECORD_BYTES_MAX:
        raise RecordBroken(f"the record is longer than {RECORD_BYTES_MAX} bytes")
    return content


def _entries(content: bytes) -> tuple[list[Entry], int]:
    """The whole lines, and how many bytes they have."""
    whole = content[: content.rfind(b"\n") + 1]
    entries = []
    for number, line in enumerate(whole.splitlines(keepends=True), 1):
        try:
            entry = msgspec.json.decode(line, type=Entry)
        except msgspec.MsgspecError:
            raise RecordBroken(f"line {number} is no entry") from None
        if entry.line() != line:
            raise RecordBroken(f"line {number} was written by somebody else")
        entries.append(entry)
    return entries, len(whole)


def _learn(entry: Entry, keys: dict[str, bytes], number: int) -> None:
    """Keys that hold from this entry on: a new custodian's, or a new custody's."""
    said = entry.statement
    names = {"enrolled": said.get("custodian"), "generated": CUSTODY, "reshared": CUSTODY}
    name = names.get(str(said.get("act")))
    if name is None:
        return
    if said.get("act") == "enrolled" and name in keys:
        raise RecordBroken(f"line {number} enrols {name} once more")
    try:
        keys[str(name)] = base64.b64decode(str(said.get("public_key")), validate=True)
    except ValueError:
        raise RecordBroken(f"line {number} has no key") from None


def _signers(said: Statement, number: int) -> list[str]:
    """Who must have signed: those who did it, and where all shares came together, the custody."""
    act = said.get("act")
    if act in {"enrolled", "entered", "verified"}:
        return [str(said.get("custodian"))]
    if act in {"generated", "reshared"}:
        return [CUSTODY, *(str(one) for one in said.get("present", ()))]
    if act == "opened":
        return [CUSTODY]
    if act in APPROVED:
        return _approvers(said, number)
    raise RecordBroken(f"line {number} tells of an act that is none of ours")


def _approvers(said: Statement, number: int) -> list[str]:
    """Two at least, whoever they are; and the custody, where its shares came together for it."""
    present = [str(one) for one in said.get("present", ())]
    if len(set(present)) < APPROVERS_MIN:
        raise RecordBroken(f"line {number} was approved by fewer than {APPROVERS_MIN}")
    return [*present, CUSTODY] if said.get("ceremony") is not None else present
