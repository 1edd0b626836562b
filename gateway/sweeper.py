"""What requests leave behind: reservations nobody came back for, charges and refunds whose end is not known.

Works tenant by tenant and may run in any number of processes: each step is guarded where it writes.
"""

import asyncio
from datetime import datetime, timedelta
from typing import Final

from sqlalchemy.ext.asyncio import AsyncEngine

from gateway import ledger, refunds
from gateway.charging import Charging, note
from gateway.record.entries import Record
from gateway.refunds import Refunds
from gateway.store import all_tenants, purchase_for_update
from infra.chassis import logs
from infra.chassis.clock import Clock
from infra.chassis.engine import directory_transaction, tenant_transaction
from infra.chassis.problems import Problem

INTERVAL_SECONDS: Final = 2
CALL_TIME: Final = timedelta(seconds=15)
"""A call of the vault ends within 10 s; whatever is `charging` for longer has lost its process. And between two
questions about a charge whose person is asked by their bank."""
UNKNOWN_TIME: Final = timedelta(seconds=5)
"""Between two questions about the same unknown charge or refund."""
OTHERS_AT_ONCE: Final = 50
"""Tenants looked at in a round without a hint, at some 4 ms each: of 10,000 each has its turn every seven minutes."""
log = logs.get_logger()


class Sweeper:
    def __init__(
        self, *, engine: AsyncEngine, charging: Charging, refunding: Refunds, record: Record, clock: Clock
    ) -> None:
        self._engine = engine
        self._charging = charging
        self._refunding = refunding
        self._record = record
        self._clock = clock
        self._others: list[str] = []

    async def run(self, stop: asyncio.Event) -> None:
        """Until `stop`. A round that fails is logged and the next one comes; the database may be away for a while."""
        while not stop.is_set():
            try:
                await self.sweep(self._clock.now())
            except Exception as error:  # noqa: BLE001 - a background task must outlive what it depends on
                log.warning("sweep_failed", error=type(error).__name__)
            try:
                await asyncio.wait_for(stop.wait(), INTERVAL_SECONDS)
            except TimeoutError:
                continue

    async def sweep(self, now: datetime) -> None:
        """One round, as of `now`: tenants that something was decided for here of late, and some of all in turn."""
        for tenant_id in await self._due():
            await self._void_stale(tenant_id, now)
            await self._resume_charges(tenant_id, now)
            await self._resume_refunds(tenant_id, now)

    async def _due(self) -> list[str]:
        if not self._others:
            async with directory_transaction(self._engine) as tx:
                self._others = await all_tenants(tx)
        now, self._others = self._others[:OTHERS_AT_ONCE], self._others[OTHERS_AT_ONCE:]
        return [*now, *(tenant_id for tenant_id in self._record.touched if tenant_id not in now)]

    async def _void_stale(self, tenant_id: str, now: datetime) -> None:
        async with tenant_transaction(self._engine, tenant_id) as tx:
            for purchase_id in await ledger.void_stale(tx, tenant_id, now):
                purchase = await purchase_for_update(tx, tenant_id, purchase_id)
                await note(self._record, tx, purchase, "voided", now, reason="reservation_expired")

    async def _resume_charges(self, tenant_id: str, now: datetime) -> None:
        async with tenant_transaction(self._engine, tenant_id) as tx:
            waiting = await ledger.unfinished(
                tx, tenant_id, charging_before=now - CALL_TIME, unknown_before=now - UNKNOWN_TIME
            )
        for purchase_id in waiting:
            try:
                purchase = await self._charging.resume(tenant_id, purchase_id, called_before=now - UNKNOWN_TIME, at=now)
                log.info("charge_resumed", purchase_id=purchase_id, state=purchase.state.value)
            except Problem as problem:
                log.warning("charge_waits", purchase_id=purchase_id, code=problem.code)

    async def _resume_refunds(self, tenant_id: str, now: datetime) -> None:
        before = now - CALL_TIME
        async with tenant_transaction(self._engine, tenant_id) as tx:
            waiting = await refunds.unfinished(tx, tenant_id, called_before=before)
        for refund_id in waiting:
            await self._refunding.resume(tenant_id, refund_id)
