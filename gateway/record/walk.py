"""The rules of verification, pure: a walk over the places of a tenant's tree from left to right.

Damage is named by place (counted from 0, as in the tree). An entry whose content was changed is named exactly; one
that was exchanged together with its hash, or moved, is narrowed to the places that one batch sealed. After a damaged
stretch the walk goes on from the next signed checkpoint, so that one edit does not hide another.
"""

from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Final

import msgspec

from gateway.contract import RecordVerification
from gateway.record.entries import Record
from gateway.record.merkle import TILE_LEVELS, EdgeImpossible, Node, RightEdge, leaf_hash
from gateway.record.notes import Checkpoint, NoteRefused
from gateway.record.store import CheckpointRow, EntryRow

FINDINGS_MAX: Final = 100
"""What a person reads; how many more there are is said in one line."""
SEALED_WITHIN: Final = timedelta(seconds=60)
"""Entries are sealed within a second: after a minute one was hidden from the sealer, or no sealer runs."""


class _Content(msgspec.Struct):
    """Of an entry's bytes, what the row's columns say too."""

    tenant_id: str
    decision_id: str
    recorded_at: datetime


@dataclass(slots=True)
class Walk:
    """Call `reach`, `pass_checkpoint` and `place` by rising place, then `beyond`, `end` and `without_place`."""

    record: Record
    tenant_id: str
    stored_nodes: dict[Node, bytes]
    outside: Checkpoint | None = None
    size: int = 0
    edge: RightEdge | None = field(default_factory=RightEdge)
    """None where something is missing on the left, until the next signed checkpoint says what it was."""
    judged: int = 0
    """Size of the last signed checkpoint that was passed."""
    promised: int = 0
    """Size of the largest signed checkpoint."""
    unsealed: int = 0
    _computed: dict[Node, bytes] = field(default_factory=dict)
    _findings: list[str] = field(default_factory=list)
    _more: int = 0

    def find(self, sentence: str) -> None:
        if len(self._findings) < FINDINGS_MAX:
            self._findings.append(sentence)
        else:
            self._more += 1

    def take_outside(self, note: str) -> None:
        """A checkpoint that was kept elsewhere, to compare with."""
        try:
            self.outside = self.record.open_checkpoint(self.tenant_id, note)
        except NoteRefused:
            self.find("The checkpoint kept elsewhere was not signed by this record's key for this tenant.")
        self._compare_outside()

    def reach(self, index: int) -> None:
        """The next row is for this place."""
        if index > self.size:
            self.find(f"{_places(self.size, index)} missing.")
            self.edge, self.size = None, index

    def pass_checkpoint(self, row: CheckpointRow) -> None:
        """A stored checkpoint of at most the size reached."""
        signed = self._signed_edge(row)
        if signed is None or row.size < self.size:
            return
        holds = self.edge is not None and self.edge.root() == signed.root()
        if self.edge is not None and not holds:
            self.find(f"{_places(self.judged, row.size)} not what was signed: exchanged, moved, added or removed.")
        self._judge_nodes(row.size, clean=holds)
        self.edge, self.judged = signed, row.size

    def place(self, entry: EntryRow, index: int) -> None:
        if index < self.size:
            self.find(f"Place {index} is taken twice.")
            self.edge = None
            return
        self.size = index + 1
        leaf = self._leaf(entry, f"Place {index}")
        if leaf is None:
            self.edge = None
        elif self.edge is not None:
            self._computed.update(self.edge.add(leaf))
        self._compare_outside()

    def beyond(self, row: CheckpointRow) -> None:
        """A stored checkpoint of more places than there are."""
        if self._signed_edge(row) is not None:
            self.promised = max(self.promised, row.size)

    def end(self) -> None:
        """After the last place and the last checkpoint."""
        if self.promised > self.size:
            self.find(f"{_places(self.size, self.promised)} missing: signed at size {self.promised}, cut off since.")
        if self.size > self.judged:
            self.find(
                f"{_places(self.judged, self.size)} under no signed checkpoint: it was removed, or they are forged."
            )
        if self.outside is not None and self.outside.size > self.size:
            self.find(f"{_places(self.size, self.outside.size)} missing, says the checkpoint kept elsewhere: cut off.")
        for node in self.stored_nodes:
            self.find(f"The stored node {node.position} of level {node.level} has no sealed entries under it.")

    def without_place(self, entry: EntryRow) -> None:
        self.unsealed += 1
        name = f"The unsealed entry {entry.entry_id}"
        self._leaf(entry, name)
        if entry.recorded_at is not None and entry.recorded_at < self.record.now() - SEALED_WITHIN:
            self.find(f"{name}, recorded at {entry.recorded_at.astimezone(UTC):%Y-%m-%dT%H:%M:%SZ}, has no place.")

    def result(self) -> RecordVerification:
        more = [f"{self._more} more findings."] if self._more else []
        return RecordVerification(
            intact=not self._findings,
            tree_size=self.size,
            unsealed=self.unsealed,
            findings=[*self._findings, *more],
        )

    def _leaf(self, entry: EntryRow, name: str) -> bytes | None:
        """The stored hash, after a comparison with the content: whether *it* is the signed one, the tree tells."""
        if entry.canonical is None:
            self.find(f"{name} is missing: its entry is gone.")
            return None
        if leaf_hash(entry.canonical) != entry.leaf:
            self.find(f"{name} was changed: its content does not have its hash.")
        elif not self._columns_agree(entry.canonical, entry):
            self.find(f"{name} was changed: its row does not say what its content says.")
        return entry.leaf

    def _columns_agree(self, canonical: bytes, entry: EntryRow) -> bool:
        try:
            content = msgspec.json.decode(canonical, type=_Content)
        except msgspec.DecodeError:
            return False
        said = (content.tenant_id, content.decision_id, content.recorded_at)
        return said == (self.tenant_id, entry.decision_id, entry.recorded_at)

    def _signed_edge(self, row: CheckpointRow) -> RightEdge | None:
        """The tree that the checkpoint signs; None, with a finding, when its row is not to be believed."""
        try:
            signed = self.record.open_checkpoint(self.tenant_id, row.note)
            edge = RightEdge(row.size, row.right_edge)
        except (NoteRefused, EdgeImpossible):
            self.find(f"The checkpoint of size {row.size} is forged or damaged.")
            return None
        if (signed.size, signed.root, signed.root) != (row.size, row.root, edge.root()):
            self.find(f"The checkpoint of size {row.size} is damaged: its row does not say what its note says.")
            return None
        return edge

    def _judge_nodes(self, size: int, *, clean: bool) -> None:
        """The stored nodes that became complete since the last checkpoint."""
        for level in range(TILE_LEVELS, size.bit_length(), TILE_LEVELS):
            for position in range(self.judged >> level, size >> level):
                node = Node(level, position)
                stored = self.stored_nodes.pop(node, None)
                if clean and stored != self._computed[node]:
                    self.find(f"The stored node {position} of level {level} is not what the entries under it give.")
        self._computed.clear()

    def _compare_outside(self) -> None:
        if self.outside is None or self.outside.size != self.size or self.edge is None:
            return
        if self.edge.root() != self.outside.root:
            self.find(f"The record up to size {self.size} is not the one that the checkpoint kept elsewhere signs.")


def _places(start: int, stop: int) -> str:
    return f"Place {start} is" if stop == start + 1 else f"Places {start} to {stop - 1} are"
