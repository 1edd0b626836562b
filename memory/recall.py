"""Recall: open what the tier allows, rank it, answer the best."""

from sqlalchemy.ext.asyncio import AsyncEngine

from infra.chassis import grants
from infra.chassis.engine import tenant_transaction
from memory import store
from memory.contract import MemoryView, RecallOrder, RecallView, Tier
from memory.rank import rank
from memory.seal import Place, Sealer, SubjectKeys


class Recalling:
    def __init__(self, engine: AsyncEngine, keys: SubjectKeys) -> None:
        self._engine = engine
        self._keys = keys

    async def find(self, order: RecallOrder, grant: grants.Grant) -> RecallView:
        """An unknown subject and one without memories get the same answer. Raises SealBroken (a 500) on damage."""
        async with tenant_transaction(self._engine, order.tenant_id) as tx:
            await grants.redeem(tx, grant)
            wrapped = await store.wrapped_keys(tx, order.tenant_id, order.subject_id)
            rows = await store.memories_up_to(
                tx, order.tenant_id, order.subject_id, order.brand_id, min(order.tier_max, Tier.RESTRICTED)
            )
        if wrapped is None:
            return RecallView(memories=[])
        key = await self._keys.open_subject_key(wrapped.tenant, wrapped.subject, order.tenant_id, order.subject_id)
        sealer = Sealer(key)
        opened = []
        for row in rows:
            place = Place(
                tenant_id=order.tenant_id,
                subject_id=order.subject_id,
                memory_id=row.memory_id,
                brand_id=row.brand_id,
                tier=row.tier,
            )
            content = sealer.open(place, row.sealed)
            view = MemoryView(
                memory_id=row.memory_id,
                text=content.text,
                tier=Tier(row.tier),
                provenance=content.provenance,
                remembered_at=row.remembered_at,
            )
            opened.append(view)
        chosen = rank(order.query, [view.text for view in opened], order.limit)
        return RecallView(memories=[opened[place] for place in chosen])
