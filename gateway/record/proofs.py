"""What a tenant may see of its record: the newest checkpoint, an entry, and the proof that the one holds the other."""

from dataclasses import dataclass

from sqlalchemy.ext.asyncio import AsyncConnection

from gateway.record import store
from gateway.record.merkle import inclusion_path, nodes_for_inclusion
from gateway.record.store import CheckpointRow
from infra.chassis.problems import NotFound


@dataclass(frozen=True, slots=True)
class Inclusion:
    """RFC 9162 section 2.1.3: `path` leads from the leaf at `tree_index` to the root that `checkpoint` signs."""

    tree_index: int
    path: list[bytes]
    checkpoint: CheckpointRow


async def inclusion_proof(tx: AsyncConnection, tenant_id: str, tree_index: int) -> Inclusion:
    """Reads at most two tiles of 256 hashes for each eight levels of the tree. Raises NotFound before it is sealed."""
    checkpoint = await store.newest_checkpoint(tx, tenant_id)
    if checkpoint is None or not 0 <= tree_index < checkpoint.size:
        raise NotFound
    kept = await store.kept_nodes(tx, tenant_id, nodes_for_inclusion(tree_index, checkpoint.size))
    return Inclusion(tree_index, inclusion_path(tree_index, checkpoint.size, kept), checkpoint)
