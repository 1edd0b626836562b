"""An exported record of twelve places in three batches: 0 to 3, 4 to 6 and 7 to 11, and a desk to check copies at.

Lines: a head, then each batch and its entries.
"""

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from gateway.__main__ import main
from gateway.contract import Receipt
from gateway.record.entries import Record, origin_of
from gateway.record.export import export
from gateway.record.merkle import RightEdge, leaf_hash
from gateway.record.notes import verifier_key
from infra.chassis.clock import FixedClock
from tests.support.record import START, RecordHouse

BATCHES = (4, 3, 5)
HEADS = (1, 6, 10)
"""Lines of the batches."""
LINE_OF = {place: place + 2 + sum(place >= first for first in (4, 7)) for place in range(12)}
Line = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Exported:
    house: RecordHouse
    lines: list[Line]
    receipts: list[Receipt]
    unsealed: Receipt
    notes: dict[int, str]
    """Checkpoints by size."""
    key: str


@dataclass(slots=True)
class Desk:
    exported: Exported
    folder: Path
    output: pytest.CaptureFixture[str]
    lines: list[Line] = field(default_factory=list)

    def verify(self, *arguments: str, content: bytes | None = None) -> tuple[int, list[str]]:
        """Exit code, and the findings or what else is said."""
        file = self.folder / "record.ndjson"
        whole = b"".join(json.dumps(line).encode() + b"\n" for line in self.lines)
        file.write_bytes(whole if content is None else content)
        code = main(["record", "verify", str(file), *arguments])
        written = self.output.readouterr()
        return code, [line.strip() for line in (written.out + written.err).splitlines()]

    def findings(self, *arguments: str) -> list[str]:
        code, lines = self.verify("--key", self.exported.key, *arguments)
        assert lines[0].endswith(f"intact, 12 places of {self.exported.lines[0]['origin']}") or code == 1, lines
        return lines[1:]

    def kept(self, name: str, text: str) -> str:
        (self.folder / name).write_text(text, encoding="utf-8")
        return str(self.folder / name)

    def renumber(self) -> None:
        for place, line in enumerate(line for line in self.lines if line["type"] == "entry"):
            line["place"] = place


async def whole_export(house: RecordHouse) -> list[Line]:
    content = b"".join([part async for part in export(house.engine, house.record, house.north)])
    return [json.loads(line) for line in content.splitlines()]


async def exported_record(house: RecordHouse) -> Exported:
    receipts, notes = [], {}
    for count in BATCHES:
        receipts += [await house.append() for _ in range(count)]
        await house.sealer.seal(house.north)
        notes[len(receipts)] = await house.note()
    unsealed = await house.append()
    key = verifier_key(origin_of(house.north), house.record.public_key)
    return Exported(house, await whole_export(house), receipts, unsealed, notes, key)


def changed(line: Line) -> Line:
    content = json.loads(line["canonical"])
    content["body"]["outcome"] = "allow"
    return {**line, "canonical": json.dumps(content, separators=(",", ":"), sort_keys=True)}


def signed_anew(desk: Desk, key: Ed25519PrivateKey, *, beginning_at: int = 0) -> None:
    """The file's batches from that one on, with their checkpoints signed again over what the lines now say."""
    record, edge, size = Record(key, FixedClock(START)), RightEdge(), 0
    for number, head in enumerate(HEADS):
        entries = desk.lines[head + 1 : head + 1 + BATCHES[number]]
        leaves = [leaf_hash(line["canonical"].encode()) for line in entries]
        before = edge.hashes
        for leaf in leaves:
            edge.add(leaf)
        size += len(leaves)
        if number >= beginning_at:
            batch = desk.lines[head]
            batch["left_edge_sha256"] = [sha256.hex() for sha256 in before]
            batch["leaves_sha256"] = [leaf.hex() for leaf in leaves]
            batch["note"] = record.sign_checkpoint(desk.exported.house.north, size=size, root=edge.root())
