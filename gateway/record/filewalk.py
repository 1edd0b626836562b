"""The rules of checking an exported record, pure: a walk over its lines from top to bottom.

What is believed is the key and nothing else. A batch is believed when its leaf hashes, added to the right edge before
them, lead to the root that its checkpoint signs; nobody finds others that do. After that each entry is judged by its
own hash, so damage is named by place (counted from 0) however much there is, and one damage does not hide another.
"""

from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from gateway.contract import ExportBatch, ExportEntry, ExportHead
from gateway.record.cosignatures import cosigned_time
from gateway.record.merkle import EMPTY_ROOT, EdgeImpossible, RightEdge, leaf_hash
from gateway.record.notes import (
    COSIGNATURE,
    Checkpoint,
    NoteRefused,
    checkpoint_of,
    key_id,
    open_note,
    split_note,
    verifier_key,
)

EXPORT_VERSION: Final = 1
SHA256_BYTES: Final = 32


@dataclass(frozen=True, slots=True)
class Verifier:
    """A key that notes are checked with, and the name it signs under."""

    name: str
    key: Ed25519PublicKey

    def open(self, note: str) -> Checkpoint:
        """Raises NoteRefused unless this key signed it for the log of this name."""
        checkpoint = checkpoint_of(open_note(note, name=self.name, key=self.key))
        if checkpoint.origin != self.name:
            raise NoteRefused
        return checkpoint


@dataclass(frozen=True, slots=True)
class Stray:
    """An entry in the file that its batch does not have. `after` is the place before it, -1 at the beginning."""

    leaf: bytes
    after: int
    label: int


@dataclass(frozen=True, slots=True)
class Proven:
    """A batch whose leaves lead to the signed root."""

    first: int
    edge_before: tuple[bytes, ...]
    leaves: Sequence[bytes]
    checkpoint: Checkpoint


@dataclass(slots=True)
class FileWalk:
    """Call `head`, `batch` or `entry` for each line in its order, then `end`. No `findings`: the file is whole."""

    log: Verifier
    outside: Checkpoint | None = None
    """Kept elsewhere."""
    witnesses: Sequence[Verifier] = ()
    promised_leaves: frozenset[bytes] = frozenset()
    """Of receipts; those found are in `kept_promises`."""
    findings: list[str] = field(default_factory=list)
    size: int = 0
    kept_promises: dict[bytes, int] = field(default_factory=dict)
    seen_by: dict[str, tuple[int, int]] = field(default_factory=dict)
    """Witness → the largest size it cosigned, and when."""
    _head: ExportHead | None = None
    _batch: ExportBatch | None = None
    _entries: list[ExportEntry] = field(default_factory=list)
    _edge: RightEdge | None = field(default_factory=RightEdge)
    """None after what could not be proven."""
    _missing: dict[int, bytes] = field(default_factory=dict)
    _strays: list[Stray] = field(default_factory=list)
    _last: int = -1
    _compared: bool = False

    def head(self, line: ExportHead) -> None:
        if self._head is not None:
            self.findings.append("There is a second head: two exports in one file.")
            return
        self._head = line
        if line.version != EXPORT_VERSION:
            self.findings.append(f"The export is of version {line.version}; this is made for {EXPORT_VERSION}.")
        if (line.origin, line.verifier_key) != (self.log.name, verifier_key(self.log.name, self.log.key)):
            self.findings.append("The head names another record or another key.")
        self._compare(0, EMPTY_ROOT)

    def batch(self, line: ExportBatch) -> None:
        self._close()
        self._batch = line

    def entry(self, line: ExportEntry) -> None:
        self._entries.append(line)

    def end(self) -> None:
        self._close()
        self._reconcile()
        promised = self._head.tree_size if self._head else 0
        if self._head is None:
            self.findings.append("There is no head.")
        if promised > self.size:
            self.findings.append(f"{places(self.size, promised)} missing: the file was cut off.")
        if promised < self.size:
            self.findings.append(f"The head promises {promised} places; there are {self.size}.")
        if self.outside is not None and self.outside.size > max(self.size, promised):
            cut = places(max(self.size, promised), self.outside.size)
            self.findings.append(f"{cut} missing, says the checkpoint kept elsewhere: cut off.")
        elif self.outside is not None and not self._compared:
            self.findings.append("The checkpoint kept elsewhere could not be compared: what it signs is damaged.")
        for witness in self.witnesses:
            if witness.name not in self.seen_by:
                self.findings.append(f"No checkpoint in this file is cosigned by {witness.name}.")

    def _close(self) -> None:
        """Judge the batch whose last line was read."""
        batch, entries = self._batch, self._entries
        self._batch, self._entries = None, []
        own = [leaf_hash(entry.canonical.encode()) for entry in entries]
        if batch is None:
            self._strays += self._all_stray(own, entries)
            return
        proven = self._proven(batch, own)
        if proven is None:
            return
        if proven.first < self.size:
            self.findings.append(f"{places(proven.first, proven.checkpoint.size)} there twice or out of order.")
            return
        self._continue(proven)
        self._judge_entries(proven, own, entries)
        self._cosigners(batch.note, proven.checkpoint.size)

    def _proven(self, batch: ExportBatch, own: list[bytes]) -> Proven | None:
        try:
            signed = self.log.open(batch.note)
        except NoteRefused:
            stop = batch.first + max(len(batch.leaves_sha256), len(own))
            self.findings.append(f"{places(batch.first, stop)} under a forged or damaged checkpoint.")
            self.size, self._edge = max(self.size, stop), None
            return None
        listed = _hashes(batch.leaves_sha256)
        before = _hashes(batch.left_edge_sha256)
        known = list(self._edge.hashes) if self._edge is not None else None
        for edge in (before, known):
            for leaves in (listed, own):
                found = _leading_to(signed, edge, leaves)
                if found is not None:
                    if (leaves, edge, found.first) != (listed, before, batch.first):
                        self.findings.append(f"The head of the batch of {places(found.first, signed.size)} damaged.")
                    return found
        self.findings.append(f"{places(self.size, signed.size)} not what was signed, nor are their hashes.")
        self.size, self._edge = max(self.size, signed.size), None
        return None

    def _continue(self, proven: Proven) -> None:
        if proven.first > self.size:
            self.findings.append(f"{places(self.size, proven.first)} missing.")
        elif self._edge is not None and self._edge.hashes != proven.edge_before:
            self.findings.append(f"Two histories were signed: one up to place {self.size - 1}, another after it.")
        edge = RightEdge(proven.first, proven.edge_before)
        self._compare(edge.size, edge.root())
        for place, leaf in enumerate(proven.leaves, proven.first):
            edge.add(leaf)
            if self.outside is not None and edge.size == self.outside.size:
                self._compare(edge.size, edge.root())
            if leaf in self.promised_leaves:
                self.kept_promises[leaf] = place
        self._edge, self.size = edge, edge.size

    def _judge_entries(self, proven: Proven, own: list[bytes], entries: list[ExportEntry]) -> None:
        place_of = {leaf: place for place, leaf in enumerate(proven.leaves, proven.first)}
        order: list[int] = []
        unseen = dict(place_of)
        for leaf, entry in zip(own, entries, strict=True):
            place = place_of.get(leaf)
            if place is None:
                self._strays.append(Stray(leaf, self._last, entry.place))
                continue
            if unseen.pop(leaf, None) is None:
                self.findings.append(f"Place {place} stands twice: again after place {self._last}.")
                continue
            if entry.place != place:
                self.findings.append(f"Place {place} is numbered {entry.place}.")
            order.append(place)
            self._last = place
        self._moved(order)
        self._missing |= {place: leaf for leaf, place in unseen.items()}

    def _moved(self, order: list[int]) -> None:
        stayed = set(_longest_rising(order))
        for index, place in enumerate(order):
            if place not in stayed:
                after = f"after place {order[index - 1]}" if index else "at the beginning of its batch"
                self.findings.append(f"Place {place} was moved: it stands {after}.")

    def _all_stray(self, own: list[bytes], entries: list[ExportEntry]) -> list[Stray]:
        return [Stray(leaf, self._last, entry.place) for leaf, entry in zip(own, entries, strict=True)]

    def _reconcile(self) -> None:
        """Entries that belong nowhere against places that have none: moved, changed, added, missing."""
        place_of = {leaf: place for place, leaf in self._missing.items()}
        rest = []
        for stray in self._strays:
            place = place_of.get(stray.leaf)
            if place is None:
                rest.append(stray)
            elif self._missing.pop(place, None) is not None:
                self.findings.append(f"Place {place} was moved: it stands {_after(stray)}.")
        for stray in rest:
            place = next((place for place in (stray.label, stray.after + 1) if place in self._missing), None)
            if place is None:
                self.findings.append(f"An entry was added: it stands {_after(stray)}.")
            else:
                del self._missing[place]
                self.findings.append(f"Place {place} was changed.")
        self.findings += [f"Place {place} is missing." for place in sorted(self._missing)]

    def _cosigners(self, note: str, size: int) -> None:
        body, lines = split_note(note)
        for witness in self.witnesses:
            identifier = key_id(witness.name, witness.key, kind=COSIGNATURE)
            for line in lines:
                if (line.name, line.key_id) != (witness.name, identifier):
                    continue
                try:
                    self.seen_by[witness.name] = size, cosigned_time(line.signature, body, witness.key)
                except NoteRefused:
                    self.findings.append(f"The cosignature of {witness.name} at size {size} is forged or damaged.")

    def _compare(self, size: int, root: bytes) -> None:
        if self.outside is None or self.outside.size != size or self._compared:
            return
        self._compared = True
        if self.outside.root != root:
            self.findings.append(
                f"The record up to size {size} is not the one that the checkpoint kept elsewhere signs."
            )


def places(start: int, stop: int) -> str:
    return f"Place {start} is" if stop == start + 1 else f"Places {start} to {stop - 1} are"


def _after(stray: Stray) -> str:
    return f"after place {stray.after}" if stray.after >= 0 else "before place 0"


def _hashes(given: Sequence[str]) -> list[bytes] | None:
    try:
        found = [bytes.fromhex(one) for one in given]
    except ValueError:
        return None
    exact = all(len(one) == SHA256_BYTES and one.hex() == text for one, text in zip(found, given, strict=True))
    return found if exact else None


def _leading_to(signed: Checkpoint, edge: Sequence[bytes] | None, leaves: Sequence[bytes] | None) -> Proven | None:
    """The batch, if this edge with these leaves gives what is signed."""
    if edge is None or not leaves or len(leaves) > signed.size:
        return None
    first = signed.size - len(leaves)
    try:
        tree = RightEdge(first, edge)
    except EdgeImpossible:
        return None
    for leaf in leaves:
        tree.add(leaf)
    return Proven(first, tuple(edge), leaves, signed) if tree.root() == signed.root else None


def _longest_rising(order: Sequence[int]) -> list[int]:
    """The most places that stand in order among themselves: all others were moved."""
    ends: list[int] = []
    at: list[int] = []
    before: list[int | None] = []
    for index, place in enumerate(order):
        length = bisect_left(ends, place)
        before.append(at[length - 1] if length else None)
        ends[length : length + 1] = [place]
        at[length : length + 1] = [index]
    found, index_back = [], at[-1] if at else None
    while index_back is not None:
        found.append(order[index_back])
        index_back = before[index_back]
    return found
