"""A tenant's whole record as a file that needs neither database nor us to be checked: NDJSON, in tree order."""

from collections.abc import AsyncIterator

import msgspec
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from gateway.contract import ExportBatch, ExportEntry, ExportHead
from gateway.record import cosignatures, store
from gateway.record.entries import Record, origin_of
from gateway.record.filewalk import EXPORT_VERSION
from gateway.record.notes import verifier_key
from gateway.record.store import CheckpointRow, EntryRow
from infra.chassis.engine import tenant_transaction


async def export(engine: AsyncEngine, record: Record, tenant_id: str) -> AsyncIterator[bytes]:
    """Everything up to the checkpoint that is the newest now, line by line.

    No transaction stays open while the reader takes its time: what is sealed does not change, so each batch is read in
    one of its own. A file that was cut off in the middle has fewer places than its first line says.
    """
    origin = origin_of(tenant_id)
    async with tenant_transaction(engine, tenant_id) as tx:
        newest = await store.newest_checkpoint(tx, tenant_id)
    end = newest.size if newest else 0
    head = ExportHead(
        version=EXPORT_VERSION,
        origin=origin,
        verifier_key=verifier_key(origin, record.public_key),
        tree_size=end,
        exported_at=record.now(),
    )
    yield _line(head)
    first, edge = 0, tuple[bytes, ...]()
    while first < end:
        async with tenant_transaction(engine, tenant_id) as tx:
            upcoming = await store.next_checkpoint(tx, tenant_id, first)
            if upcoming is None or upcoming.size > end:
                return
            entries = await store.sealed_between(tx, tenant_id, first, upcoming.size)
            head_line = await _batch(tx, tenant_id, upcoming, first, edge, entries)
        yield head_line
        yield b"".join(
            _line(ExportEntry(place=entry.tree_index or 0, canonical=entry.canonical.decode(errors="replace")))
            for entry in entries
            if entry.canonical is not None
        )
        first, edge = upcoming.size, upcoming.right_edge


async def _batch(
    tx: AsyncConnection,
    tenant_id: str,
    row: CheckpointRow,
    first: int,
    edge: tuple[bytes, ...],
    entries: list[EntryRow],
) -> bytes:
    batch = ExportBatch(
        first=first,
        left_edge_sha256=[sha256.hex() for sha256 in edge],
        leaves_sha256=[entry.leaf.hex() for entry in entries if entry.leaf is not None],
        note=row.note + await cosignatures.lines(tx, tenant_id, row.size),
    )
    return _line(batch)


def _line(value: msgspec.Struct) -> bytes:
    return msgspec.json.encode(value) + b"\n"
