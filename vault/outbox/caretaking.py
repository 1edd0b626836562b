"""What the outbox needs besides delivering: figures for operators, expired cards told of, old events let go.

Runs beside the vault's listeners in every process; the daily work is somebody's alone while it lasts, and killed in
between it is gone on with a day later, or by hand (`undercroft webhooks purge`).
"""

import asyncio
import contextlib
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Final

from infra.chassis import logs
from infra.chassis.clock import Clock
from infra.chassis.crashpoints import reach
from vault.outbox.counters import OutboxCounters
from vault.outbox.settings import OutboxSettings
from vault.outbox.telling import tell_expired
from vault.store import Store, Tx

LOOK_EVERY_SECONDS: Final = 15
DAILY: Final = timedelta(hours=24)
BATCH: Final = 200

log = logs.get_logger()


@dataclass(frozen=True, slots=True)
class Standing:
    """Of one tenant or of all. `oldest_seconds` is 0 when nothing waits."""

    waiting: int = 0
    oldest_seconds: float = 0.0
    dead: int = 0
    disabled: int = 0
    failing: int = 0


class Caretaker:
    def __init__(self, *, store: Store, clock: Clock, settings: OutboxSettings, counters: OutboxCounters) -> None:
        self._store = store
        self._clock = clock
        self._kept = timedelta(days=settings.outbox_days_kept)
        self._dead_kept = timedelta(days=settings.outbox_dead_days_kept)
        self._counters = counters
        self._daily_at = clock.now()

    async def run(self, stop: asyncio.Event) -> None:
        while not stop.is_set():
            try:
                await self.run_once()
            except Exception as error:  # noqa: BLE001 - what fails, for want of a database say, is tried again
                log.warning("outbox_caretaking_failed", error=type(error).__name__)
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(stop.wait(), LOOK_EVERY_SECONDS)

    async def run_once(self) -> None:
        """Look; and once a day, do what is daily."""
        tenants = await self._store.tenants()
        now = self._clock.now()
        if now >= self._daily_at:
            for tenant_id in tenants:
                await self.tell_expired_cards(tenant_id)
                await self.purge(tenant_id)
            self._daily_at = now + DAILY
        self._show([await self._look(tenant_id) for tenant_id in tenants])

    async def tell_expired_cards(self, tenant_id: str) -> int:
        """How many cards were told of, each once, at most four weeks after their month ended."""
        told = 0
        async with self._store.alone(f"telling of expired cards {tenant_id}") as ours:
            while ours:
                async with self._store.transaction(tenant_id) as tx:
                    some = await tell_expired(tx, self._clock.now(), BATCH)
                told += some
                if some < BATCH:
                    break
        return told

    async def purge(self, tenant_id: str) -> int:
        """Delete events owed to nobody any more and old enough, with every attempt; how many there were.

        The database itself keeps every event for a week, and those that are owed.
        """
        deleted = 0
        while True:
            async with self._store.transaction(tenant_id) as tx:
                some = (await tx.run(_PURGE, {**self._limits(), "limit": BATCH})).rowcount
            deleted += some
            reach("outbox_purged")
            if some < BATCH:
                break
        if deleted:
            log.info("outbox_purged", tenant_id=tenant_id, events=deleted)
        return deleted

    async def due(self, tenant_id: str) -> int:
        """How many events a purge would delete now."""
        async with self._store.transaction(tenant_id) as tx:
            return int((await tx.run(_COUNT, self._limits())).scalar_one())

    def _limits(self) -> Mapping[str, object]:
        now = self._clock.now()
        return {"before": now - self._kept, "dead_before": now - self._dead_kept}

    async def _look(self, tenant_id: str) -> Standing:
        async with self._store.transaction(tenant_id) as tx:
            return await standing(tx, self._clock)

    def _show(self, found: list[Standing]) -> None:
        self._counters.waiting.set(sum(one.waiting for one in found))
        self._counters.oldest.set(max((one.oldest_seconds for one in found), default=0.0))
        self._counters.dead.set(sum(one.dead for one in found))
        self._counters.disabled.set(sum(one.disabled for one in found))
        self._counters.failing.set(sum(one.failing for one in found))


async def standing(tx: Tx, clock: Clock) -> Standing:
    row = (await tx.run(_STANDING, {})).mappings().one()
    waits = 0.0 if row["oldest"] is None else max(0.0, (clock.now() - row["oldest"]).total_seconds())
    return Standing(row["waiting"], waits, row["dead"], row["disabled"], row["failing"])


_STANDING: Final = """
SELECT (SELECT count(*) FROM dispatches WHERE tenant_id = :tenant_id AND state = 'waiting') AS waiting,
    (SELECT min(owed_since) FROM dispatches WHERE tenant_id = :tenant_id AND state = 'waiting') AS oldest,
    (SELECT count(*) FROM dispatches WHERE tenant_id = :tenant_id AND state = 'dead') AS dead,
    (SELECT count(*) FROM webhook_endpoints WHERE tenant_id = :tenant_id AND state = 'disabled') AS disabled,
    (SELECT count(*) FROM webhook_endpoints WHERE tenant_id = :tenant_id AND state = 'enabled' AND failures > 0)
        AS failing"""
_SPENT: Final = """tenant_id = :tenant_id AND happened_at < :before AND NOT EXISTS (SELECT 1 FROM dispatches d
    WHERE d.tenant_id = e.tenant_id AND d.event_id = e.event_id
        AND (d.state = 'waiting' OR d.state = 'dead' AND e.happened_at >= :dead_before))"""
_PURGE: Final = f"""
DELETE FROM outbox_events WHERE tenant_id = :tenant_id AND event_id IN (
    SELECT event_id FROM outbox_events e WHERE {_SPENT} LIMIT :limit)"""  # noqa: S608 - our own words
_COUNT: Final = f"SELECT count(*) FROM outbox_events e WHERE {_SPENT}"  # noqa: S608 - likewise
