"""Events of the processor: signed, taken once each, and believed in nothing but where to look.

An event is noted before it is thanked for; what it makes us look at is looked at by the reconciler's next round, which
an event starts at once. So a crash, a processor that is away or a database that fails costs a repetition and loses
nothing, and the order of events means nothing: each look sees the present. An event can be looked at again by hand.
"""

from dataclasses import dataclass
from datetime import datetime
from typing import Final

from infra.chassis import logs
from infra.chassis.clock import Clock
from infra.chassis.crashpoints import reach
from vault.cleartext.processors import EventRefused, ProcessorEvent, ProcessorRefused, ProcessorSilent
from vault.contract import ChargeState
from vault.counters import Counters
from vault.disputes import Disputes
from vault.errors import WebhookRefused
from vault.holds.keeping import HoldKeeper
from vault.outcomes import CHARGE_ENDS
from vault.processors import Processors
from vault.reconcile import Reconciler
from vault.store import Store, Tx
from vault.tables import ChargeRow

EVENTS_AT_ONCE: Final = 50
SILENCES_MAX: Final = 3
ABOUT_DISPUTES: Final = ("charge.dispute.", "payment_dispute.")
"""As Stripe and Airwallex name these events."""
log = logs.get_logger()


@dataclass(frozen=True, slots=True)
class EventRow:
    event_id: str
    kind: str
    payment_ref: str | None
    received_at: datetime
    handled_at: datetime | None


class Inbox:
    def __init__(
        self, *, store: Store, processors: Processors, reconciler: Reconciler, clock: Clock, counters: Counters
    ) -> None:
        self._store = store
        self._processors = processors
        self._reconciler = reconciler
        self._clock = clock
        self._counters = counters

    async def take(self, processor: str, body: bytes, signature: str | None) -> None:
        """Raises WebhookRefused. Late, repeated and reordered events do no harm: the processor is asked again."""
        try:
            event = self._processors.of(processor).read_event(body, signature)
        except (EventRefused, ProcessorSilent):
            self._counters.webhooks.labels("refused").inc()
            raise WebhookRefused from None
        fresh = await self._note(event)
        self._counters.webhooks.labels("taken" if fresh else "ignored").inc()
        if fresh:
            reach("event_noted")
            self._reconciler.nudge()

    async def _note(self, event: ProcessorEvent) -> bool:
        """Whether the event is about one of our tenants and came for the first time."""
        tenant_id = event.tenant_id
        if event.payment_ref is not None:
            tenant_id = await self._store.tenant_of_payment(event.payment_ref) or tenant_id
        if tenant_id is None:
            return False
        async with self._store.transaction(tenant_id) as tx:
            return await tx.has_tenant() and await _insert(tx, event, self._clock.now())


class Events:
    """Looks at what noted events are about. A round of the reconciler."""

    def __init__(
        self, *, store: Store, reconciler: Reconciler, keeper: HoldKeeper, disputes: Disputes, clock: Clock
    ) -> None:
        self._store = store
        self._reconciler = reconciler
        self._keeper = keeper
        self._disputes = disputes
        self._clock = clock

    async def run_tenant(self, tenant_id: str) -> int:
        """How many events were seen to. One that meets a silent processor waits for the next round."""
        async with self._store.transaction(tenant_id) as tx:
            waiting = await waiting_events(tx, EVENTS_AT_ONCE)
        done = silences = 0
        for event in waiting:
            if silences >= SILENCES_MAX:
                break
            try:
                seen_to = await self._see_to(tenant_id, event)
            except (ProcessorRefused, ProcessorSilent) as error:
                log.warning("event_waits", event_id=event.event_id, error=type(error).__name__)
                seen_to = False
            silences, done = silences + (not seen_to), done + seen_to
        return done

    async def _see_to(self, tenant_id: str, event: EventRow) -> bool:
        """False when what the event is about is still under way, so that it must be looked at again."""
        async with self._store.transaction(tenant_id) as tx:
            charge = None if event.payment_ref is None else await charge_of_payment(tx, event.payment_ref)
        if charge is not None and not await self._look(event, charge):
            return False
        reach("event_seen_to")
        async with self._store.transaction(tenant_id) as tx:
            await tx.run(_HANDLED, {"event_id": event.event_id, "now": self._clock.now()})
        return True

    async def _look(self, event: EventRow, charge: ChargeRow) -> bool:
        about_dispute = event.kind.startswith(ABOUT_DISPUTES)
        if charge.state not in CHARGE_ENDS:
            charge = await self._reconciler.end_charge(charge.tenant_id, charge.charge_id)
        if charge.state == ChargeState.HELD:
            await self._keeper.look(charge)
        if about_dispute and charge.state not in CHARGE_ENDS:
            return False
        if about_dispute and charge.state in {ChargeState.APPROVED, ChargeState.SETTLED}:
            await self._disputes.look(charge)
        return True


async def waiting_events(tx: Tx, limit: int) -> list[EventRow]:
    """Noted and not seen to, oldest first."""
    return [EventRow(**row) for row in (await tx.run(_WAITING, {"limit": limit})).mappings()]


async def recent_events(tx: Tx, limit: int) -> list[EventRow]:
    """Newest first."""
    return [EventRow(**row) for row in (await tx.run(_RECENT, {"limit": limit})).mappings()]


async def replay_event(tx: Tx, event_id: str) -> bool:
    """Have an event looked at again; whether there is such an event."""
    return (await tx.run(_REPLAY, {"event_id": event_id})).first() is not None


async def charge_of_payment(tx: Tx, payment_ref: str) -> ChargeRow | None:
    row = (await tx.run(_CHARGE, {"ref": payment_ref})).mappings().first()
    return None if row is None else ChargeRow(**row)


async def _insert(tx: Tx, event: ProcessorEvent, now: datetime) -> bool:
    """False when the event came before."""
    row = {"event_id": event.event_id, "kind": event.kind, "payment_ref": event.payment_ref, "now": now}
    return (await tx.run(_INSERT, row)).first() is not None


_INSERT: Final = """
INSERT INTO inbox_events (tenant_id, event_id, kind, payment_ref, received_at)
VALUES (:tenant_id, :event_id, :kind, :payment_ref, :now) ON CONFLICT DO NOTHING RETURNING event_id"""
_WAITING: Final = """
SELECT event_id, kind, payment_ref, received_at, handled_at FROM inbox_events
WHERE tenant_id = :tenant_id AND handled_at IS NULL ORDER BY received_at LIMIT :limit"""
_RECENT: Final = """
SELECT event_id, kind, payment_ref, received_at, handled_at FROM inbox_events
WHERE tenant_id = :tenant_id ORDER BY received_at DESC, event_id LIMIT :limit"""
_REPLAY: Final = """
UPDATE inbox_events SET handled_at = NULL WHERE tenant_id = :tenant_id AND event_id = :event_id RETURNING event_id"""
_HANDLED: Final = "UPDATE inbox_events SET handled_at = :now WHERE tenant_id = :tenant_id AND event_id = :event_id"
_CHARGE: Final = "SELECT * FROM charges WHERE tenant_id = :tenant_id AND processor_ref = :ref"
