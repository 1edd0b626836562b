"""Forget: one memory, or the subject's key and all it sealed."""

import asyncio
from contextlib import suppress
from datetime import timedelta

from sqlalchemy.ext.asyncio import AsyncEngine

from infra.chassis import grants, logs
from infra.chassis.clock import Clock
from infra.chassis.engine import directory_transaction, tenant_transaction
from memory import store
from memory.contract import ForgetOrder, ForgetView
from memory.prepared import Preparations

PURGE_EVERY_SECONDS = 60
KEPT_AFTER_EXPIRY = timedelta(hours=1)
"""What the database lets us delete at the earliest; a grant itself ends after 30 seconds."""
log = logs.get_logger()


class Forgetting:
    def __init__(self, engine: AsyncEngine, prepared: Preparations) -> None:
        self._engine = engine
        self._prepared = prepared

    async def forget(self, order: ForgetOrder, grant: grants.Grant) -> ForgetView:
        """Afterwards nothing of it is in the live database, whether or not there was anything before."""
        async with tenant_transaction(self._engine, order.tenant_id) as tx:
            await grants.redeem(tx, grant)
            if order.memory_id is None:
                await store.shred_subject(tx, order.tenant_id, order.subject_id)
            else:
                await store.drop_memory(tx, order.tenant_id, order.subject_id, order.memory_id)
        self._prepared.drop_subject(order.tenant_id, order.subject_id)
        return ForgetView()


async def purge_redeemed_grants(engine: AsyncEngine, clock: Clock, stop: asyncio.Event) -> None:
    """Drop used-up grants that have long expired, every minute until `stop`."""
    while not stop.is_set():
        try:
            async with directory_transaction(engine) as tx:
                tenants = await store.tenants(tx)
            for tenant_id in tenants:
                async with tenant_transaction(engine, tenant_id) as tx:
                    await store.drop_expired_grants(tx, tenant_id, clock.now() - KEPT_AFTER_EXPIRY)
        except Exception as error:  # noqa: BLE001 - a background task must outlive what it depends on
            log.warning("purge_postponed", error=type(error).__name__)
        with suppress(TimeoutError):
            await asyncio.wait_for(stop.wait(), PURGE_EVERY_SECONDS)
