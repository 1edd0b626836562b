"""Remember: classify, seal, keep."""

from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from infra.chassis import grants, logs
from infra.chassis.clock import Clock
from infra.chassis.engine import tenant_transaction
from infra.chassis.problems import CardNumberRefused, PeerUnreachable
from infra.chassis.screen import find_card_number
from memory import store
from memory.classify import tier_of
from memory.contract import RememberOrder, RememberView, Tier
from memory.errors import MemoryIdReused, MemoryRefused, SubjectFull
from memory.seal import Content, Place, SubjectKeys, open_sealed, seal

log = logs.get_logger()


class Remembering:
    def __init__(self, engine: AsyncEngine, keys: SubjectKeys, clock: Clock) -> None:
        self._engine = engine
        self._keys = keys
        self._clock = clock

    async def keep(self, order: RememberOrder, grant: grants.Grant) -> RememberView:
        """Store the memory once. Raises CardNumberRefused, MemoryRefused, MemoryIdReused, SubjectFull."""
        if find_card_number(order.text) is not None:
            raise CardNumberRefused
        tier = max(tier_of(order.text), order.tier_min)
        if tier is Tier.FORBIDDEN:
            raise MemoryRefused
        try:
            async with tenant_transaction(self._engine, order.tenant_id) as tx:
                await grants.redeem(tx, grant)
                return await self._keep_once(tx, order, tier)
        except IntegrityError:
            # The subject was forgotten, or the same memory stored, while this was on its way. Nothing was kept of it.
            log.warning("remember_raced")
            raise PeerUnreachable(code="try_again", headers={"Retry-After": "1"}) from None

    async def _keep_once(self, tx: AsyncConnection, order: RememberOrder, tier: Tier) -> RememberView:
        wrapped = await self._wrapped_keys(tx, order)
        key = await self._keys.open_subject_key(wrapped.tenant, wrapped.subject, order.tenant_id, order.subject_id)
        place = _place(order, tier)
        content = Content(text=order.text, provenance=order.provenance)
        kept = await store.memory(tx, order.tenant_id, order.subject_id, order.memory_id)
        if kept is not None:
            if kept.brand_id != order.brand_id or kept.tier != tier:
                raise MemoryIdReused
            if open_sealed(key, place, kept.sealed) != content:
                raise MemoryIdReused
            return RememberView(memory_id=kept.memory_id, tier=tier, remembered_at=kept.remembered_at)
        if await store.count_of(tx, order.tenant_id, order.subject_id) >= store.MEMORIES_PER_SUBJECT_MAX:
            raise SubjectFull
        now = self._clock.now()
        row = store.SealedMemory(order.memory_id, order.brand_id, tier, seal(key, place, content), now)
        await store.add_memory(tx, order.tenant_id, order.subject_id, row)
        return RememberView(memory_id=order.memory_id, tier=tier, remembered_at=now)

    async def _wrapped_keys(self, tx: AsyncConnection, order: RememberOrder) -> store.WrappedKeys:
        """The subject's keys, made on first use. The first of two racing requests makes them, both read them back."""
        found = await store.wrapped_keys(tx, order.tenant_id, order.subject_id)
        if found is not None:
            return found
        if await store.tenant_key(tx, order.tenant_id) is None:
            await store.add_tenant(tx, order.tenant_id, await self._keys.new_tenant_key(order.tenant_id))
        tenant_key = await store.tenant_key(tx, order.tenant_id)
        if tenant_key is None:
            raise PeerUnreachable(code="try_again")
        subject_key = await self._keys.new_subject_key(tenant_key, order.tenant_id, order.subject_id)
        await store.add_subject(tx, order.tenant_id, order.subject_id, subject_key, self._clock.now())
        made = await store.wrapped_keys(tx, order.tenant_id, order.subject_id)
        if made is None:
            raise PeerUnreachable(code="try_again")
        return made


def _place(order: RememberOrder, tier: Tier) -> Place:
    return Place(
        tenant_id=order.tenant_id,
        subject_id=order.subject_id,
        memory_id=order.memory_id,
        brand_id=order.brand_id,
        tier=tier,
    )
