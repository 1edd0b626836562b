"""The sealer: gives entries their places in the tenant's tree, in batches, and signs what the tree is then.

Any number of processes may run one; PostgreSQL lets one at a time seal a tenant. A batch (places, stored nodes,
checkpoint) is one transaction: killed in the middle, it never was. Nothing is remembered between batches but the
newest checkpoint, whose signature and right edge are checked before anything is built on it.
"""

import asyncio
import contextlib
from collections.abc import Awaitable, Callable
from datetime import timedelta
from typing import Final

from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from gateway.record import store
from gateway.record.entries import Record, origin_of
from gateway.record.merkle import TILE_LEVELS, EdgeImpossible, RightEdge
from gateway.record.notes import Checkpoint, NoteRefused
from gateway.record.store import CheckpointRow, Unsealed
from gateway.store import all_tenants
from infra.chassis import crashpoints, logs
from infra.chassis.engine import directory_transaction, tenant_transaction

INTERVAL_SECONDS: Final = 0.25
"""Between two rounds: with the time a batch takes, entries stay well under the second that was promised."""
BATCH_ENTRIES_MAX: Final = 1_000
"""Hashed in about 5 ms and stored in about 20."""
TOUCHED_FOR: Final = timedelta(seconds=30)
"""How long an append here is remembered at most: longer than any transaction of ours may last."""
TURN_SECONDS: Final = 0.5
OTHERS_AT_ONCE: Final = 16
"""Tenants looked at in a turn without a hint: what another process appended before it died, one after the other."""
Due = Callable[[], Awaitable[list[str]]]
log = logs.get_logger()


class RecordDamaged(Exception):
    """What is stored is not what was signed here; sealing on would sign a second history. Run `verify`."""


class Sealer:
    def __init__(self, engine: AsyncEngine, record: Record) -> None:
        self._engine = engine
        self._record = record
        self._signed: dict[str, Checkpoint] = {}
        """The newest checkpoint this process saw or signed, so that a record cut back while it runs is noticed."""
        self._others: list[str] = []

    async def run(self, stop: asyncio.Event) -> None:
        """Until `stop`. A tenant whose round fails is logged and tried again; it does not hold up the others.

        Whoever was appended to here never waits for the turn of all: that goes round beside it.
        """
        await asyncio.gather(
            self._keep(self._unsettled, stop, INTERVAL_SECONDS), self._keep(self._next_in_turn, stop, TURN_SECONDS)
        )

    async def seal(self, tenant_id: str) -> None:
        """Seal everything of one tenant that is committed by now, unless another sealer is at it.

        Raises RecordDamaged.
        """
        while await self._batch(tenant_id) == BATCH_ENTRIES_MAX:
            continue

    async def _keep(self, due: Due, stop: asyncio.Event, seconds: float) -> None:
        while True:
            await self._round(due)
            await pause(stop, seconds)
            if stop.is_set():
                return

    async def _round(self, due: Due) -> None:
        try:
            tenants = await due()
        except Exception as error:  # noqa: BLE001 - a background task must outlive what it depends on
            log.warning("sealing_failed", error=type(error).__name__)
            return
        for tenant_id in tenants:
            try:
                await self.seal(tenant_id)
            except RecordDamaged:
                log.critical("record_damaged", tenant_id=tenant_id)
            except Exception as error:  # noqa: BLE001 - a background task must outlive what it depends on
                log.warning("sealing_failed", tenant_id=tenant_id, error=type(error).__name__)

    async def _unsettled(self) -> list[str]:
        """Tenants with appends of this process that may not be sealed yet.

        A tenant is looked at every round until each transaction that wrote for it here has ended and was looked at: a
        round costs by what is new, and not by how many tenants there were of late.
        """
        self._record.forget(self._record.now() - TOUCHED_FOR)
        return list(self._record.unsettled)

    async def _next_in_turn(self) -> list[str]:
        """A few of all the others."""
        if not self._others:
            async with directory_transaction(self._engine) as tx:
                self._others = await all_tenants(tx)
        now, self._others = self._others[:OTHERS_AT_ONCE], self._others[OTHERS_AT_ONCE:]
        return [tenant_id for tenant_id in now if tenant_id not in self._record.unsettled]

    async def _batch(self, tenant_id: str) -> int:
        """One transaction. Returns how many entries got their place."""
        try:
            async with tenant_transaction(self._engine, tenant_id) as tx:
                if not await store.take_sealing(tx, tenant_id):
                    return 0
                crashpoints.reach("sealer_turn")
                newest = await store.newest_checkpoint(tx, tenant_id)
                edge = self._trusted_edge(tenant_id, newest)
                since = newest.settled_below if newest else 0
                unsealed = await store.unsealed_entries(tx, tenant_id, since=since, limit=BATCH_ENTRIES_MAX)
                if unsealed.entries:
                    await self._write(tx, tenant_id, edge, unsealed)
        except IntegrityError:
            raise RecordDamaged from None
        crashpoints.reach("sealer_committed")
        self._signed[tenant_id] = Checkpoint(origin_of(tenant_id), edge.size, edge.root())
        if len(unsealed.entries) < BATCH_ENTRIES_MAX:
            self._record.settle(tenant_id, unsealed.settled_below)
        return len(unsealed.entries)

    async def _write(self, tx: AsyncConnection, tenant_id: str, edge: RightEdge, unsealed: Unsealed) -> None:
        """Grows `edge` by the entries and stores what it grew to."""
        first = edge.size
        completed = [item for entry in unsealed.entries for item in edge.add(entry.leaf)]
        kept = [item for item in completed if item[0].level % TILE_LEVELS == 0]
        row = CheckpointRow(
            size=edge.size,
            root=edge.root(),
            right_edge=edge.hashes,
            settled_below=_settled_below(unsealed),
            note=self._record.sign_checkpoint(tenant_id, size=edge.size, root=edge.root()),
            signed_at=self._record.now(),
        )
        await store.add_leaves(tx, tenant_id, first, [entry.entry_id for entry in unsealed.entries])
        crashpoints.reach("sealer_places")
        await store.add_nodes(tx, tenant_id, kept)
        crashpoints.reach("sealer_tiles")
        await store.add_checkpoint(tx, tenant_id, row)
        crashpoints.reach("sealer_checkpoint")

    def _trusted_edge(self, tenant_id: str, newest: CheckpointRow | None) -> RightEdge:
        """The tree as it was signed. Raises RecordDamaged: also when it is less than this process saw before."""
        seen = self._signed.get(tenant_id)
        if newest is None:
            if seen is not None and seen.size > 0:
                raise RecordDamaged
            return RightEdge()
        try:
            signed = self._record.open_checkpoint(tenant_id, newest.note)
            edge = RightEdge(newest.size, newest.right_edge)
        except (NoteRefused, EdgeImpossible):
            raise RecordDamaged from None
        if (signed.size, signed.root) != (edge.size, edge.root()):
            raise RecordDamaged
        if seen is not None and (seen.size > signed.size or (seen.size == signed.size and seen.root != signed.root)):
            raise RecordDamaged
        return edge


async def pause(stop: asyncio.Event, seconds: float) -> None:
    """Until `stop`, and for so long at most."""
    with contextlib.suppress(TimeoutError):
        await asyncio.wait_for(stop.wait(), seconds)


def _settled_below(unsealed: Unsealed) -> int:
    """Where the next batch begins to look. A full batch may have left entries of its last transaction behind."""
    if len(unsealed.entries) < BATCH_ENTRIES_MAX:
        return unsealed.settled_below
    return min(unsealed.settled_below, unsealed.entries[-1].transaction_id)
