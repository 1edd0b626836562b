"""What a tenant may see of its record: checkpoints, proofs that one holds an entry or an older tree, tiles, bundles."""

from dataclasses import dataclass, replace

from sqlalchemy.ext.asyncio import AsyncConnection

from gateway.record import cosignatures, store
from gateway.record.merkle import (
    NodeRange,
    consistency_path,
    inclusion_path,
    nodes_for_consistency,
    nodes_for_inclusion,
)
from gateway.record.store import CheckpointRow
from gateway.record.tiles import Tile, bundle
from infra.chassis.problems import NotFound


class RecordIncomplete(Exception):
    """Something below the newest checkpoint is gone. Run `verify`."""


@dataclass(frozen=True, slots=True)
class Inclusion:
    """RFC 9162 section 2.1.3: `path` leads from the leaf at `tree_index` to the root that `checkpoint` signs."""

    tree_index: int
    path: list[bytes]
    checkpoint: CheckpointRow


async def checkpoint(tx: AsyncConnection, tenant_id: str, *, cosigned: bool = False) -> CheckpointRow:
    """The newest, or the newest that a witness cosigned; its note carries the cosignatures. Raises NotFound."""
    size = await cosignatures.newest_size(tx, tenant_id) if cosigned else None
    if cosigned and size is None:
        raise NotFound
    row = await store.newest_checkpoint(tx, tenant_id, size=size)
    if row is None:
        raise NotFound
    return replace(row, note=row.note + await cosignatures.lines(tx, tenant_id, row.size))


async def inclusion_proof(tx: AsyncConnection, tenant_id: str, tree_index: int) -> Inclusion:
    """Reads at most two tiles of 256 hashes for each eight levels of the tree. Raises NotFound before it is sealed."""
    newest = await checkpoint(tx, tenant_id)
    return Inclusion(tree_index, await inclusion_in(tx, tenant_id, tree_index, newest.size), newest)


async def inclusion_in(tx: AsyncConnection, tenant_id: str, tree_index: int, size: int) -> list[bytes]:
    """The path in the tree as it was at any `size` up to the newest. Raises NotFound."""
    await _require_sealed(tx, tenant_id, size)
    if not 0 <= tree_index < size:
        raise NotFound
    return inclusion_path(
        tree_index, size, await store.kept_nodes(tx, tenant_id, nodes_for_inclusion(tree_index, size))
    )


async def consistency(tx: AsyncConnection, tenant_id: str, first: int, second: int) -> list[bytes]:
    """RFC 9162 section 2.1.4: that the tree of `second` leaves began as the tree of `first`. Raises NotFound."""
    await _require_sealed(tx, tenant_id, second)
    if not 0 <= first <= second:
        raise NotFound
    kept = await store.kept_nodes(tx, tenant_id, nodes_for_consistency(first, second))
    return consistency_path(first, second, kept)


async def tile_bytes(tx: AsyncConnection, tenant_id: str, tile: Tile) -> bytes:
    """C2SP tlog-tiles. Raises NotFound for a tile that the newest tree does not have, or not that wide yet."""
    newest = await store.newest_checkpoint(tx, tenant_id)
    wanted = None if newest is None else tile.range(newest.size)
    if wanted is None:
        raise NotFound
    if tile.level is None:
        entries = await store.sealed_between(tx, tenant_id, wanted.start, wanted.stop)
        return bundle(_complete([entry.canonical for entry in entries if entry.canonical is not None], wanted))
    found = await store.kept_nodes(tx, tenant_id, [wanted])
    return b"".join(_complete([found[node] for node in sorted(found, key=lambda node: node.position)], wanted))


def _complete(found: list[bytes], wanted: NodeRange) -> list[bytes]:
    if len(found) != wanted.stop - wanted.start:
        raise RecordIncomplete
    return found


async def _require_sealed(tx: AsyncConnection, tenant_id: str, size: int) -> None:
    newest = await store.newest_checkpoint(tx, tenant_id)
    if newest is None or size > newest.size:
        raise NotFound
