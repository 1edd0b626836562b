"""Remember: classify, seal, keep."""

from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from infra.chassis import grants, logs
from infra.chassis.clock import Clock
from infra.chassis.engine import directory_transaction, tenant_transaction
from infra.chassis.problems import CardNumberRefused
from infra.chassis.screen.turns import TurnScreen
from memory import store
from memory.classify import tier_of
from memory.contract import RememberOrder, RememberView, Tier
from memory.errors import MemoryIdReused, MemoryRefused, OvertakenByForgetting, SubjectFull
from memory.seal import Content, Place, Sealer, SubjectKeys

log = logs.get_logger()


class Remembering:
    def __init__(self, engine: AsyncEngine, keys: SubjectKeys, clock: Clock) -> None:
        self._engine = engine
        self._keys = keys
        self._clock = clock
        self._turns = TurnScreen(clock)

    async def keep(self, order: RememberOrder, grant: grants.Grant) -> RememberView:
        """Store the memory once.

        Raises CardNumberRefused, MemoryRefused, MemoryIdReused, SubjectFull, OvertakenByForgetting.

        The grant is used up first: whatever fails afterwards needs a new one. A card number is also refused when its
        parts come as several memories of one subject, from whatever conversations: only the last part is, though.
        """
        if not self._turns.read(f"{order.tenant_id}/{order.subject_id}", order.text).clear:
            raise CardNumberRefused
        tier = max(tier_of(order.text), order.tier_min)
        if tier is Tier.FORBIDDEN:
            raise MemoryRefused
        async with tenant_transaction(self._engine, order.tenant_id) as tx:
            await grants.redeem(tx, grant)
            wrapped = await store.wrapped_keys(tx, order.tenant_id, order.subject_id)
        wrapped = wrapped or await self._made_keys(order)
        key = await self._keys.open_subject_key(wrapped.tenant, wrapped.subject, order.tenant_id, order.subject_id)
        try:
            async with tenant_transaction(self._engine, order.tenant_id) as tx:
                if await store.wrapped_keys(tx, order.tenant_id, order.subject_id) != wrapped:
                    raise OvertakenByForgetting
                return await self._keep_once(tx, order, tier, Sealer(key))
        except IntegrityError:
            # The subject was forgotten, or this very memory stored, between our look and our insert: nothing was kept.
            log.warning("remember_overtaken")
            raise OvertakenByForgetting from None

    async def _keep_once(self, tx: AsyncConnection, order: RememberOrder, tier: Tier, sealer: Sealer) -> RememberView:
        place = _place(order, tier)
        content = Content(text=order.text, provenance=order.provenance)
        kept = await store.memory(tx, order.tenant_id, order.subject_id, order.memory_id)
        if kept is not None:
            same_place = kept.brand_id == order.brand_id and kept.tier == tier
            if not same_place or sealer.open(place, kept.sealed) != content:
                raise MemoryIdReused
            return RememberView(memory_id=kept.memory_id, tier=tier, remembered_at=kept.remembered_at)
        if await store.count_of(tx, order.tenant_id, order.subject_id) >= store.MEMORIES_PER_SUBJECT_MAX:
            raise SubjectFull
        now = self._clock.now()
        row = store.SealedMemory(order.memory_id, order.brand_id, tier, sealer.seal(place, content), now)
        await store.add_memory(tx, order.tenant_id, order.subject_id, row)
        return RememberView(memory_id=order.memory_id, tier=tier, remembered_at=now)

    async def _made_keys(self, order: RememberOrder) -> store.WrappedKeys:
        """The subject's first keys. The first of two racing requests makes them; both read back what is there.

        The key service is asked between transactions: it may be another machine, and no lock waits for it.
        """
        async with directory_transaction(self._engine) as tx:
            tenant_key = await store.tenant_key(tx, order.tenant_id)
        if tenant_key is None:
            new_tenant_key = await self._keys.new_tenant_key(order.tenant_id)
            async with directory_transaction(self._engine) as tx:
                await store.add_tenant(tx, order.tenant_id, new_tenant_key)
                tenant_key = await store.tenant_key(tx, order.tenant_id) or new_tenant_key
        subject_key = await self._keys.new_subject_key(tenant_key, order.tenant_id, order.subject_id)
        async with tenant_transaction(self._engine, order.tenant_id) as tx:
            await store.add_subject(tx, order.tenant_id, order.subject_id, subject_key, self._clock.now())
            made = await store.wrapped_keys(tx, order.tenant_id, order.subject_id)
        if made is None:
            raise OvertakenByForgetting
        return made


def _place(order: RememberOrder, tier: Tier) -> Place:
    return Place(
        tenant_id=order.tenant_id,
        subject_id=order.subject_id,
        memory_id=order.memory_id,
        brand_id=order.brand_id,
        tier=tier,
    )
