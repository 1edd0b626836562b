"""Payments that may have been left open at a processor: a charge ended without anybody seeing its payment cancelled.

The answer that named a payment was lost, its carrier was killed or overtaken, or the processor was silent when it was
asked to cancel. Nobody confirms such a payment any more, so no money moves; but it stands there, open. So it is looked
for by our own ids when the processor's search knows it (at Stripe within a minute, after an outage of theirs within the
hour: docs.stripe.com/search), twice, and cancelled.

One that took money all the same is an alarm for people: it is not refunded here, as nobody knows yet why it did. The
alarm is given again each hour (`payment_astray` in the log, `vault_payments_astray_total`) until an operator says that
it was seen to (`undercroft astray`), or the processor says that the payment was cancelled after all.
"""

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from infra.chassis import logs
from infra.chassis.clock import Clock
from vault.cleartext.processors import Payment, PaymentState, ProcessorRefused, ProcessorSilent
from vault.contract import ChargeReason
from vault.counters import Counters
from vault.processors import Processors
from vault.store import Store, Tx

LOOKED_FOR: Final = frozenset(
    {ChargeReason.NEVER_SENT, ChargeReason.PROCESSOR_UNREACHABLE, ChargeReason.CARD_UNREADABLE}
)
"""Why a charge failed of which a payment may be there that nobody has heard of. One that has a name is looked for
whatever the reason: it is cancelled after its charge has failed, and who was to do it may be gone by then."""
LOOK_AFTER: Final = (timedelta(minutes=2), timedelta(hours=2))
"""The first time after the end, then after the look before. After the last the row goes."""
SILENT_FOR: Final = timedelta(minutes=1)
"""How long a processor that does not answer is not asked about this again."""
ASTRAY_EVERY: Final = timedelta(hours=1)
ROWS_AT_ONCE: Final = 20
SILENCES_MAX: Final = 3
_TOOK_MONEY: Final = frozenset({PaymentState.SUCCEEDED, PaymentState.PROCESSING})

log = logs.get_logger()


@dataclass(frozen=True, slots=True)
class Leftover:
    tenant_id: str
    charge_id: str
    processor: str
    looks: int
    look_at: datetime
    astray_ref: str | None
    """Of a payment that took money: the alarm is on."""


class Leftovers:
    """A round of the reconciler."""

    def __init__(self, store: Store, processors: Processors, clock: Clock, counters: Counters) -> None:
        self._store = store
        self._processors = processors
        self._clock = clock
        self._counters = counters

    async def run_tenant(self, tenant_id: str) -> int:
        """How many payments were cancelled."""
        async with self._store.transaction(tenant_id) as tx:
            due = await due_leftovers(tx, self._clock.now())
        cancelled = silences = 0
        for left in due:
            if silences >= SILENCES_MAX:
                break
            try:
                cancelled += await self._clear(left)
            except ProcessorSilent:
                silences += 1
                async with self._store.transaction(tenant_id) as tx:
                    await look_again(tx, left, left.looks, self._clock.now() + SILENT_FOR, astray_ref=left.astray_ref)
        return cancelled

    async def _clear(self, left: Leftover) -> int:
        """Look once, and say when to look next. Raises ProcessorSilent."""
        processor, cancelled, astray = self._processors.of(left.processor), 0, left.astray_ref
        try:
            found = await processor.find_payments(left.tenant_id, left.charge_id)
            astray = _took_money(found, left)
            for payment in found:
                if payment.state not in {*_TOOK_MONEY, PaymentState.CANCELLED}:
                    await processor.cancel_payment(payment.ref)
                    cancelled += 1
        except ProcessorRefused as refused:
            log.warning("payment_left_open", charge_id=left.charge_id, error=type(refused).__name__)
        if astray is not None:
            log.error("payment_astray", charge_id=left.charge_id, processor=left.processor, ref=astray)
            self._counters.payments_astray.inc()
        await self._looked(left, astray)
        if cancelled:
            log.info("payments_left_open_cancelled", charge_id=left.charge_id, cancelled=cancelled)
        return cancelled

    async def _looked(self, left: Leftover, astray: str | None) -> None:
        looks, now = left.looks + 1, self._clock.now()
        async with self._store.transaction(left.tenant_id) as tx:
            if astray is not None:
                await look_again(tx, left, looks, now + ASTRAY_EVERY, astray_ref=astray)
            elif looks < len(LOOK_AFTER):
                await look_again(tx, left, looks, now + LOOK_AFTER[looks])
            else:
                await tx.run(_FORGET, {"charge_id": left.charge_id, "processor": left.processor})


async def look_for_payment(tx: Tx, charge_id: str, processor: str, now: datetime) -> None:
    """In the transaction in which the charge fails or is given to another processor; once is enough."""
    row = {"charge_id": charge_id, "processor": processor, "at": now + LOOK_AFTER[0]}
    await tx.run(_NOTE, row)


async def due_leftovers(tx: Tx, now: datetime) -> list[Leftover]:
    """Longest due first."""
    return [Leftover(**row) for row in (await tx.run(_DUE, {"now": now, "limit": ROWS_AT_ONCE})).mappings()]


async def look_again(tx: Tx, left: Leftover, looks: int, at: datetime, *, astray_ref: str | None = None) -> None:
    row = {"charge_id": left.charge_id, "processor": left.processor, "looks": looks, "at": at, "astray_ref": astray_ref}
    await tx.run(_LOOK_AGAIN, row)


async def payments_astray(tx: Tx) -> list[Leftover]:
    """Those of which the alarm is on."""
    return [Leftover(**row) for row in (await tx.run(_ASTRAY, {})).mappings()]


async def seen_to(tx: Tx, astray_ref: str) -> bool:
    """The alarm goes off. False when there was none of this payment."""
    return (await tx.run(_SEEN_TO, {"astray_ref": astray_ref})).first() is not None


def _took_money(found: list[Payment], left: Leftover) -> str | None:
    """The name of a payment that did; the one known of when the processor's search finds none at all today."""
    took = [payment.ref for payment in found if payment.state in _TOOK_MONEY]
    return took[0] if took else None if found else left.astray_ref


_NOTE: Final = """INSERT INTO leftovers (tenant_id, charge_id, processor, look_at)
    VALUES (:tenant_id, :charge_id, :processor, :at) ON CONFLICT DO NOTHING"""
_DUE: Final = """SELECT tenant_id, charge_id, processor, looks, look_at, astray_ref FROM leftovers
    WHERE tenant_id = :tenant_id AND look_at <= :now ORDER BY look_at LIMIT :limit"""
_LOOK_AGAIN: Final = """UPDATE leftovers SET looks = :looks, look_at = :at, astray_ref = :astray_ref
    WHERE tenant_id = :tenant_id AND charge_id = :charge_id AND processor = :processor"""
_ASTRAY: Final = """SELECT tenant_id, charge_id, processor, looks, look_at, astray_ref FROM leftovers
    WHERE tenant_id = :tenant_id AND astray_ref IS NOT NULL ORDER BY charge_id"""
_SEEN_TO: Final = """DELETE FROM leftovers
    WHERE tenant_id = :tenant_id AND astray_ref = :astray_ref RETURNING charge_id"""
_FORGET: Final = """DELETE FROM leftovers
    WHERE tenant_id = :tenant_id AND charge_id = :charge_id AND processor = :processor"""
