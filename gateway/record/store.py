"""What the record reads and writes, each statement named for what it returns; all inside a tenant's transaction."""

from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import TextClause, bindparam, text
from sqlalchemy.dialects.postgresql import ARRAY, BYTEA
from sqlalchemy.ext.asyncio import AsyncConnection

from gateway.record.merkle import Node, NodeRange

ROWS_AT_ONCE = 1_000
"""Of a stream: about 1 MB of entries, hashed in some 10 ms before others get their turn."""


@dataclass(frozen=True, slots=True)
class UnsealedEntry:
    transaction_id: int
    entry_id: int
    leaf: bytes


@dataclass(frozen=True, slots=True)
class Unsealed:
    """`settled_below`: every transaction with a smaller id has ended, so nothing can turn up below it any more."""

    settled_below: int
    entries: Sequence[UnsealedEntry]


@dataclass(frozen=True, slots=True)
class CheckpointRow:
    size: int
    root: bytes
    right_edge: tuple[bytes, ...]
    settled_below: int
    note: str
    signed_at: datetime


@dataclass(frozen=True, slots=True)
class EntryRow:
    """`tree_index` is None before it is sealed."""

    tree_index: int | None
    entry_id: int
    decision_id: str | None
    canonical: bytes | None
    leaf: bytes | None
    recorded_at: datetime | None
    """The last four are None when a place in the tree points to an entry that is gone."""


async def take_sealing(tx: AsyncConnection, tenant_id: str) -> bool:
    """True if this transaction is now the only one to seal this tenant's record; ends with the transaction."""
    return bool((await tx.execute(_TAKE_SEALING, {"tenant_id": tenant_id})).scalar_one())


async def unsealed_entries(tx: AsyncConnection, tenant_id: str, *, since: int, limit: int) -> Unsealed:
    """Entries without a place, of transaction `since` or later, in the order in which their transactions began."""
    key = {"tenant_id": tenant_id, "since": since, "limit": limit}
    rows = (await tx.execute(_UNSEALED, key)).all()
    entries = [UnsealedEntry(*row[1:]) for row in rows if row.entry_id is not None]
    return Unsealed(settled_below=rows[0].settled_below, entries=entries)


async def newest_checkpoint(tx: AsyncConnection, tenant_id: str, *, size: int | None = None) -> CheckpointRow | None:
    """With `size`, the one of that size."""
    statement, key = (_NEWEST_CHECKPOINT, {}) if size is None else (_CHECKPOINT_OF_SIZE, {"size": size})
    row = (await tx.execute(statement, {"tenant_id": tenant_id, **key})).mappings().one_or_none()
    return None if row is None else _checkpoint(row)


async def add_leaves(tx: AsyncConnection, tenant_id: str, first_index: int, entry_ids: Sequence[int]) -> None:
    key = {"tenant_id": tenant_id, "first": first_index, "entry_ids": list(entry_ids)}
    await tx.execute(_ADD_LEAVES, key)


async def add_nodes(tx: AsyncConnection, tenant_id: str, nodes: Sequence[tuple[Node, bytes]]) -> None:
    if not nodes:
        return
    key = {
        "tenant_id": tenant_id,
        "levels": [node.level for node, _ in nodes],
        "positions": [node.position for node, _ in nodes],
        "hashes": [sha256 for _, sha256 in nodes],
    }
    await tx.execute(_ADD_NODES, key)


async def add_checkpoint(tx: AsyncConnection, tenant_id: str, row: CheckpointRow) -> None:
    key = {
        "tenant_id": tenant_id,
        "size": row.size,
        "root": row.root,
        "right_edge": list(row.right_edge),
        "settled_below": row.settled_below,
        "note": row.note,
        "signed_at": row.signed_at,
    }
    await tx.execute(_ADD_CHECKPOINT, key)


async def entry_of_decision(tx: AsyncConnection, tenant_id: str, decision_id: str) -> EntryRow | None:
    key = {"tenant_id": tenant_id, "decision_id": decision_id}
    row = (await tx.execute(_ENTRY_OF_DECISION, key)).one_or_none()
    return None if row is None else EntryRow(*row)


async def kept_nodes(tx: AsyncConnection, tenant_id: str, ranges: Sequence[NodeRange]) -> dict[Node, bytes]:
    """Level 0 from the entries, higher levels as the sealer stored them."""
    found: dict[Node, bytes] = {}
    for wanted in ranges:
        key = {"tenant_id": tenant_id, "level": wanted.level, "start": wanted.start, "stop": wanted.stop}
        rows = await tx.execute(_LEAF_HASHES if wanted.level == 0 else _NODES, key)
        found |= {Node(wanted.level, position): sha256 for position, sha256 in rows}
    return found


async def all_nodes(tx: AsyncConnection, tenant_id: str) -> dict[Node, bytes]:
    """One in 256 entries: 4,000 for a million."""
    rows = await tx.execute(_ALL_NODES, {"tenant_id": tenant_id})
    return {Node(level, position): sha256 for level, position, sha256 in rows}


async def sealed_entries(tx: AsyncConnection, tenant_id: str) -> AsyncIterator[EntryRow]:
    """By place in the tree; a place whose entry is gone too."""
    async for row in _stream(tx, _SEALED, tenant_id):
        yield EntryRow(*row)


async def sealed_between(tx: AsyncConnection, tenant_id: str, start: int, stop: int) -> list[EntryRow]:
    """Places `start` (in) to `stop` (out), by place."""
    rows = await tx.execute(_SEALED_BETWEEN, {"tenant_id": tenant_id, "start": start, "stop": stop})
    return [EntryRow(*row) for row in rows]


async def next_checkpoint(tx: AsyncConnection, tenant_id: str, after: int) -> CheckpointRow | None:
    """The smallest that is larger than `after`."""
    row = (await tx.execute(_NEXT_CHECKPOINT, {"tenant_id": tenant_id, "after": after})).mappings().one_or_none()
    return None if row is None else _checkpoint(row)


async def entries_without_place(tx: AsyncConnection, tenant_id: str) -> AsyncIterator[EntryRow]:
    async for row in _stream(tx, _WITHOUT_PLACE, tenant_id):
        yield EntryRow(*row)


async def checkpoints(tx: AsyncConnection, tenant_id: str) -> AsyncIterator[CheckpointRow]:
    """By size."""
    async for row in _stream(tx, _CHECKPOINTS, tenant_id):
        yield _checkpoint(row._mapping)  # noqa: SLF001 - SQLAlchemy's documented name for a row as a mapping


async def _stream(tx: AsyncConnection, statement: TextClause, tenant_id: str) -> AsyncIterator[Any]:
    options = {"yield_per": ROWS_AT_ONCE}
    async with tx.stream(statement, {"tenant_id": tenant_id}, execution_options=options) as rows:
        async for row in rows:
            yield row


def _checkpoint(row: Mapping[Any, Any]) -> CheckpointRow:
    return CheckpointRow(
        size=row["tree_size"],
        root=row["root_sha256"],
        right_edge=tuple(row["right_edge"]),
        settled_below=row["settled_below"],
        note=row["note"],
        signed_at=row["signed_at"],
    )


_TAKE_SEALING = text("SELECT pg_try_advisory_xact_lock(hashtextextended('record sealing ' || :tenant_id, 0))")

# OFFSET 0 keeps the planner from turning the probe into a join over all leaves: one index look-up for each entry of
# `since` or later, whatever the size of the record. A `since` from another cluster (restored from a dump, whose
# transaction ids begin anew) lies above every id here; then everything is looked at.
_UNSEALED = text(
    """
    WITH horizon AS MATERIALIZED (
        SELECT pg_snapshot_xmin(pg_current_snapshot())::text::bigint AS settled_below,
            CASE WHEN CAST(:since AS bigint) <= pg_snapshot_xmax(pg_current_snapshot())::text::bigint
                THEN CAST(:since AS bigint) ELSE 0 END AS since
    )
    SELECT h.settled_below, u.transaction_id, u.entry_id, u.leaf_sha256
    FROM horizon h LEFT JOIN LATERAL (
        SELECT e.transaction_id, e.entry_id, e.leaf_sha256 FROM record_entries e
        WHERE e.tenant_id = :tenant_id AND e.transaction_id >= h.since AND NOT EXISTS (
            SELECT 1 FROM record_leaves l WHERE l.tenant_id = e.tenant_id AND l.entry_id = e.entry_id OFFSET 0
        )
        ORDER BY e.transaction_id, e.entry_id LIMIT :limit
    ) u ON true
    ORDER BY u.transaction_id, u.entry_id
    """
)
_CHECKPOINT_COLUMNS = "tree_size, root_sha256, right_edge, settled_below, note, signed_at"
_NEWEST_CHECKPOINT = text(
    f"SELECT {_CHECKPOINT_COLUMNS} FROM record_checkpoints WHERE tenant_id = :tenant_id"  # noqa: S608 - constants only
    " ORDER BY tree_size DESC LIMIT 1"
)
_CHECKPOINT_OF_SIZE = text(
    f"SELECT {_CHECKPOINT_COLUMNS} FROM record_checkpoints WHERE tenant_id = :tenant_id AND tree_size = :size"  # noqa: S608 - constants only
)
_NEXT_CHECKPOINT = text(
    f"SELECT {_CHECKPOINT_COLUMNS} FROM record_checkpoints WHERE tenant_id = :tenant_id AND tree_size > :after"  # noqa: S608 - constants only
    " ORDER BY tree_size LIMIT 1"
)
_CHECKPOINTS = text(
    f"SELECT {_CHECKPOINT_COLUMNS} FROM record_checkpoints WHERE tenant_id = :tenant_id ORDER BY tree_size"  # noqa: S608 - constants only
)
_ADD_LEAVES = text(
    "INSERT INTO record_leaves (tenant_id, tree_index, entry_id) SELECT :tenant_id, :first + place - 1, entry_id"
    " FROM unnest(CAST(:entry_ids AS bigint[])) WITH ORDINALITY AS given(entry_id, place)"
)
_ADD_NODES = text(
    "INSERT INTO record_nodes (tenant_id, level, position, sha256) SELECT :tenant_id, level, position, sha256"
    " FROM unnest(CAST(:levels AS smallint[]), CAST(:positions AS bigint[]), CAST(:hashes AS bytea[]))"
    " AS given(level, position, sha256)"
).bindparams(bindparam("hashes", type_=ARRAY(BYTEA)))
_ADD_CHECKPOINT = text(
    "INSERT INTO record_checkpoints (tenant_id, tree_size, root_sha256, right_edge, settled_below, note, signed_at)"
    " VALUES (:tenant_id, :size, :root, :right_edge, :settled_below, :note, :signed_at)"
).bindparams(bindparam("right_edge", type_=ARRAY(BYTEA)))
_ENTRY_COLUMNS = "e.decision_id, e.canonical, e.leaf_sha256, e.recorded_at"
_ENTRY_OF_DECISION = text(
    f"SELECT l.tree_index, e.entry_id, {_ENTRY_COLUMNS} FROM record_entries e"  # noqa: S608 - constants only
    " LEFT JOIN record_leaves l USING (tenant_id, entry_id)"
    " WHERE e.tenant_id = :tenant_id AND e.decision_id = :decision_id"
)
_SEALED = text(
    f"SELECT l.tree_index, l.entry_id, {_ENTRY_COLUMNS} FROM record_leaves l"  # noqa: S608 - constants only
    " LEFT JOIN record_entries e USING (tenant_id, entry_id) WHERE l.tenant_id = :tenant_id ORDER BY l.tree_index"
)
_SEALED_BETWEEN = text(
    f"SELECT l.tree_index, l.entry_id, {_ENTRY_COLUMNS} FROM record_leaves l"  # noqa: S608 - constants only
    " LEFT JOIN record_entries e USING (tenant_id, entry_id)"
    " WHERE l.tenant_id = :tenant_id AND l.tree_index >= :start AND l.tree_index < :stop ORDER BY l.tree_index"
)
_WITHOUT_PLACE = text(
    f"SELECT NULL, e.entry_id, {_ENTRY_COLUMNS} FROM record_entries e"  # noqa: S608 - constants only
    " WHERE e.tenant_id = :tenant_id AND NOT EXISTS ("
    " SELECT 1 FROM record_leaves l WHERE l.tenant_id = e.tenant_id AND l.entry_id = e.entry_id) ORDER BY e.entry_id"
)
_LEAF_HASHES = text(
    "SELECT l.tree_index, e.leaf_sha256 FROM record_leaves l JOIN record_entries e USING (tenant_id, entry_id)"
    " WHERE l.tenant_id = :tenant_id AND l.tree_index >= :start AND l.tree_index < :stop AND :level = 0"
)
_NODES = text(
    "SELECT position, sha256 FROM record_nodes WHERE tenant_id = :tenant_id AND level = :level"
    " AND position >= :start AND position < :stop"
)
_ALL_NODES = text("SELECT level, position, sha256 FROM record_nodes WHERE tenant_id = :tenant_id")
