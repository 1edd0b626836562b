"""Nothing is kept longer than it is needed (PCI DSS 3.2.1): expired cards are shredded, spent rows deleted, and told.

So are cards for one charge: from the first of the month after it was made. Not at once, because each shredding brings a
round within a day, in which every card of the tenant is sealed anew: once a month, with those that expired.

A card's month stands beside it in clear, so nothing is opened to find what is to go. The month is cardholder data, of
which PCI DSS 3.5 asks only the number to be unreadable; it is no sensitive authentication data (3.3).
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from datetime import UTC, datetime, timedelta
from typing import Final

from infra.chassis import crashpoints, logs
from infra.chassis.clock import Clock
from vault.keys import rows
from vault.keys.acts import note
from vault.keys.settings import LifecycleSettings
from vault.keys.shredding import count_spent, empty_expired, empty_spent, order
from vault.outbox.telling import tell_shredded
from vault.store import Store, Tx

BATCH: Final = 200
GRANTS_KEPT: Final = timedelta(hours=2)
"""A grant lives for 30 seconds; the database lets none go before an hour."""
MONTHS_A_YEAR: Final = 12
TOO_OLD: Final[Mapping[str, tuple[str, str]]] = {
    "captures": ("captures", "expires_at < :before"),
    "events": ("inbox_events", "received_at < :before AND handled_at IS NOT NULL"),
    "grants": ("redeemed_grants", "expires_at < :before"),
    "inquiries": ("card_inquiries", "asked_at < :before"),
}
"""What is counted → its table, and which of its rows go. What the database itself keeps longer it does not let go."""

log = logs.get_logger()


@dataclass(frozen=True, slots=True)
class Purged:
    """Counts, and nothing of what was in the rows. `cards` (expired) and `spent` are shredded, the others deleted."""

    cards: int = 0
    captures: int = 0
    events: int = 0
    grants: int = 0
    spent: int = 0
    inquiries: int = 0

    def __str__(self) -> str:
        return ", ".join(f"{name} {count}" for name, count in asdict(self).items())


class Purging:
    def __init__(self, *, store: Store, clock: Clock, settings: LifecycleSettings) -> None:
        self._store = store
        self._clock = clock
        self._settings = settings

    async def due(self, tenant_id: str) -> Purged:
        """What a purge would take now; nothing is changed."""
        before = self._limits()
        async with self._store.transaction(tenant_id) as tx:
            counts = {name: await _count(tx, name, before[name]) for name in TOO_OLD}
            spent = await count_spent(tx, before["spent"])
            return Purged(cards=await _count_expired(tx, before["cards"]), spent=spent, **counts)

    async def purge(self, tenant_id: str, actor: str) -> Purged | None:
        """Killed in between, what is done stays done and the next one takes the rest.

        None: another process is at it.
        """
        async with self._store.alone(f"purging {tenant_id}") as ours:
            if not ours:
                return None
            before = self._limits()
            counts = {
                "cards": await self._purge_cards(tenant_id, before["cards"], actor),
                "spent": await self._purge_spent(tenant_id, before["spent"], actor),
            }
            for name in TOO_OLD:
                counts[name] = await self._delete(tenant_id, name, before[name])
            purged = Purged(**counts)
            if any(counts.values()):
                now = self._clock.now()
                async with self._store.transaction(tenant_id) as tx:
                    await note(tx, now, actor=actor, act="purged", what="what expired", outcome=asdict(purged))
                log.info("purged", tenant_id=tenant_id, **counts)
            return purged

    async def _purge_cards(self, tenant_id: str, before: datetime, actor: str) -> int:
        count = 0
        while True:
            now = self._clock.now()
            async with self._store.transaction(tenant_id) as tx:
                through = await rows.newest_for_shredding(tx)
                tokens = await empty_expired(tx, before, now, BATCH)
                await order(tx, tokens, cause="expired", actor=actor, through=through, now=now)
                await tell_shredded(tx, tokens, "expired", now)
            if not tokens:
                return count
            count += len(tokens)
            crashpoints.reach("purge_cards_batch")

    async def _purge_spent(self, tenant_id: str, before: datetime, actor: str) -> int:
        """By token, so that those spent long ago are gone through once."""
        count, after = 0, ""
        while True:
            now = self._clock.now()
            async with self._store.transaction(tenant_id) as tx:
                through = await rows.newest_for_shredding(tx)
                tokens = await empty_spent(tx, before, now, after, BATCH)
                await order(tx, tokens, cause="spent", actor=actor, through=through, now=now)
                await tell_shredded(tx, tokens, "spent", now)
            if not tokens:
                return count
            count, after = count + len(tokens), tokens[-1]
            crashpoints.reach("purge_spent_batch")

    async def _delete(self, tenant_id: str, name: str, before: datetime) -> int:
        count = 0
        while True:
            async with self._store.transaction(tenant_id) as tx:
                deleted = await _delete_some(tx, name, before)
            count += deleted
            if deleted < BATCH:
                return count
            crashpoints.reach("purge_rows_batch")

    def _limits(self) -> dict[str, datetime]:
        """For each kind, the moment before which it is too old."""
        now, kept = self._clock.now(), self._settings
        return {
            "cards": first_of_month(now, months_back=kept.card_months_kept),
            "spent": first_of_month(now, months_back=0),
            "captures": now - timedelta(days=kept.capture_days_kept),
            "events": now - timedelta(days=kept.event_days_kept),
            "grants": now - GRANTS_KEPT,
            "inquiries": now - timedelta(days=kept.inquiry_days_kept),
        }


def first_of_month(now: datetime, *, months_back: int) -> datetime:
    """A card good through August, kept for 3 months, goes on the first of December."""
    months = now.year * MONTHS_A_YEAR + now.month - 1 - months_back
    return datetime(months // MONTHS_A_YEAR, months % MONTHS_A_YEAR + 1, 1, tzinfo=UTC)


async def _count(tx: Tx, name: str, before: datetime) -> int:
    table, condition = TOO_OLD[name]
    sql = f"SELECT count(*) FROM {table} WHERE tenant_id = :tenant_id AND {condition}"  # noqa: S608 - from the table above
    return int((await tx.run(sql, {"before": before})).scalar_one())


async def _count_expired(tx: Tx, before: datetime) -> int:
    sql = """SELECT count(*) FROM cards WHERE tenant_id = :tenant_id AND shredded_at IS NULL
        AND good_through < :before"""
    return int((await tx.run(sql, {"before": before.date()})).scalar_one())


async def _delete_some(tx: Tx, name: str, before: datetime) -> int:
    """At most BATCH rows. Of used-up grants all there are: the reconciler forgets them every ten minutes anyway."""
    table, condition = TOO_OLD[name]
    sql = f"DELETE FROM {table} WHERE tenant_id = :tenant_id AND {condition}"  # noqa: S608 - from the table above
    if name != "grants":
        some = f"SELECT ctid FROM {table} WHERE tenant_id = :tenant_id AND {condition} LIMIT {BATCH}"  # noqa: S608 - likewise
        sql = f"{sql} AND ctid = ANY(ARRAY({some}))"
    return (await tx.run(sql, {"before": before})).rowcount
