"""Recall: open what the tier allows, rank it, answer the best. Prepared: the opening is done before it is asked for."""

import asyncio
from typing import Final

from sqlalchemy.ext.asyncio import AsyncEngine

from infra.chassis import grants
from infra.chassis.engine import tenant_transaction
from memory import store
from memory.contract import (
    MemoryView,
    Order,
    PreparedView,
    PrepareOrder,
    RecallOrder,
    RecallView,
    ReleaseOrder,
    Tier,
)
from memory.prepared import Opened, Preparations, Whose
from memory.rank import count, rank, rank_counted, wanted_stems
from memory.seal import Place, Sealer, SubjectKeys
from memory.store import SealedMemory, WrappedKeys

OPENED_AT_ONCE: Final = 200
"""Some 5 ms of processor time; then others get their turn, who may be waiting for an answer and not preparing one."""


class Recalling:
    def __init__(self, engine: AsyncEngine, keys: SubjectKeys, prepared: Preparations) -> None:
        self._engine = engine
        self._keys = keys
        self._prepared = prepared

    async def find(self, order: RecallOrder, grant: grants.Grant) -> RecallView:
        """An unknown subject and one without memories get the same answer. Raises SealBroken (a 500) on damage.

        Whatever was prepared for this subject is thrown away: it was for another request.
        """
        self._prepared.drop(_whose(order))
        wrapped, rows = await self._sealed(order, order.tier_max, grant)
        opened = await self._open(order, wrapped, rows)
        chosen = rank(order.query, [view.text for view in opened], order.limit)
        return RecallView(memories=[opened[place] for place in chosen])

    async def prepare(self, order: PrepareOrder, grant: grants.Grant) -> PreparedView:
        """Open what `find` would open, and hold it. Answers the same whatever there is. Raises SealBroken."""
        whose = _whose(order)
        self._prepared.begin(whose, order.preparation_id)
        wrapped, rows = await self._sealed(order, order.tier_max, grant)
        memories = await self._open(order, wrapped, rows)
        if len(rows) < store.MEMORIES_PER_SUBJECT_MAX:
            counted = [count(memory.text) for memory in memories]
            said = wanted_stems(order.query)
            opened = Opened(
                memories=memories,
                counted=counted,
                digests=store.digests_of(rows),
                tier_max=_recallable(order.tier_max),
                said=said,
                ranked=rank_counted(said, counted, len(counted)),
            )
            self._prepared.keep(whose, order.preparation_id, opened)
        return PreparedView()

    async def release(self, order: ReleaseOrder, grant: grants.Grant) -> RecallView:
        """What `find` answers at this moment: what was prepared is used only if it is still all that is stored."""
        opened = self._prepared.take(_whose(order), order.preparation_id)
        tier_max = _recallable(order.tier_max)
        if opened is None or tier_max > opened.tier_max:
            return await self.find(order, grant)
        async with tenant_transaction(self._engine, order.tenant_id) as tx:
            await grants.redeem(tx, grant)
            stored = await store.digests_up_to(tx, order.tenant_id, order.subject_id, order.brand_id, tier_max)
        if stored == opened.digests_up_to(tier_max):
            return RecallView(memories=opened.best(order.query, tier_max, order.limit))
        wrapped, rows = await self._sealed(order, tier_max)
        memories = await self._open(order, wrapped, rows)
        chosen = rank(order.query, [view.text for view in memories], order.limit)
        return RecallView(memories=[memories[place] for place in chosen])

    async def _sealed(
        self, order: Order, tier_max: int, grant: grants.Grant | None = None
    ) -> tuple[WrappedKeys | None, list[SealedMemory]]:
        """As they are stored, newest first. The grant is used up in the same transaction, unless it was before."""
        async with tenant_transaction(self._engine, order.tenant_id) as tx:
            if grant is not None:
                await grants.redeem(tx, grant)
            wrapped = await store.wrapped_keys(tx, order.tenant_id, order.subject_id)
            rows = await store.memories_up_to(
                tx, order.tenant_id, order.subject_id, order.brand_id, _recallable(tier_max)
            )
        return wrapped, list(rows)

    async def _open(self, order: Order, wrapped: WrappedKeys | None, rows: list[SealedMemory]) -> list[MemoryView]:
        """The key was read before the rows: what was forgotten in between has no rows, or no key to open them."""
        if wrapped is None:
            return []
        key = await self._keys.open_subject_key(wrapped.tenant, wrapped.subject, order.tenant_id, order.subject_id)
        sealer, opened = Sealer(key), []
        for place, row in enumerate(rows, start=1):
            opened.append(_opened(order, row, sealer))
            if place % OPENED_AT_ONCE == 0:
                await asyncio.sleep(0)
        return opened


def _opened(order: Order, row: SealedMemory, sealer: Sealer) -> MemoryView:
    place = Place(
        tenant_id=order.tenant_id,
        subject_id=order.subject_id,
        memory_id=row.memory_id,
        brand_id=row.brand_id,
        tier=row.tier,
    )
    content = sealer.open(place, row.sealed)
    return MemoryView(
        memory_id=row.memory_id,
        text=content.text,
        tier=Tier(row.tier),
        provenance=content.provenance,
        remembered_at=row.remembered_at,
    )


def _recallable(tier_max: int) -> int:
    return min(tier_max, Tier.RESTRICTED)


def _whose(order: Order) -> Whose:
    return Whose(order.tenant_id, order.brand_id, order.subject_id)
