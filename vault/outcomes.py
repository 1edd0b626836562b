"""Writing how a charge, the end of a hold or a refund came out. One way for the carrier and for the reconciler.

Each outcome is one transaction: the state, what follows from it, its posting, and the event that tells the tenant.
What was written first stands.
"""

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from infra.chassis import logs
from infra.chassis.clock import Clock
from infra.chassis.crashpoints import reach
from vault.authentications.rows import let_go
from vault.codes import Codes
from vault.contract import ChargeReason, ChargeState, HoldEndState, RefundState
from vault.counters import Counters
from vault.holds.rows import HoldEndRow, close_hold, close_hold_end, hold_end
from vault.ledger.accounts import Event, Happened
from vault.ledger.posting import write_down
from vault.leftovers import LOOKED_FOR, look_for_payment
from vault.outbox.telling import tell_charge, tell_refund
from vault.states import Mover, starts_of
from vault.store import RowMissing, Store, Tx
from vault.tables import ChargeRow, RefundRow

CHARGE_ENDS: Final = frozenset(ChargeState) - {ChargeState.UNKNOWN, ChargeState.NEEDS_ACTION}
"""Ends of the order to charge or to hold; a held charge goes on from there by other orders."""
ANSWERED: Final = CHARGE_ENDS - {ChargeState.FAILED}
"""The card's bank has spoken, so the verification code has done its work."""
REFUND_ENDS: Final = frozenset({RefundState.REFUNDED, RefundState.FAILED})
HOLD_LASTS: Final = timedelta(days=7)
"""An online card's hold at Stripe (docs.stripe.com/payments/place-a-hold-on-a-payment-method); then we look."""

log = logs.get_logger()


@dataclass(frozen=True, slots=True)
class HoldOutcome:
    """How a hold ended: settled with what was taken, voided or expired."""

    state: ChargeState
    taken_minor: int = 0


class Outcomes:
    def __init__(
        self, *, store: Store, codes: Codes, clock: Clock, counters: Counters, action_lasts: timedelta
    ) -> None:
        """`action_lasts`: how long a card's holder has to confirm at their bank, from the order on.

        Not from when we learned that they are asked: somebody holds goods for them that long and no longer.
        """
        self._action_lasts = action_lasts
        self._store = store
        self._codes = codes
        self._clock = clock
        self._counters = counters

    async def close_charge(
        self, row: ChargeRow, state: ChargeState, reason: ChargeReason | None, *, by: Mover
    ) -> ChargeRow:
        """The charge as it now stands; an outcome written earlier wins. An approved card is on file from now on."""
        now = self._clock.now()
        starts = starts_of("charges", state, by)
        until = {ChargeState.HELD: now + HOLD_LASTS, ChargeState.NEEDS_ACTION: row.created_at + self._action_lasts}
        async with self._store.transaction(row.tenant_id) as tx:
            written = await tx.close_charge(row.charge_id, state, reason, now, starts=starts, until=until.get(state))
            reach("charge_written")
            if written is not None and state in CHARGE_ENDS:
                await write_down(tx, _of_charge(written, Event(state.value)))
                await tell_charge(tx, written)
            if written is not None and state is ChargeState.FAILED and (reason in LOOKED_FOR or written.processor_ref):
                await look_for_payment(tx, row.charge_id, written.processor, now)
            if written is not None and state in {ChargeState.APPROVED, ChargeState.HELD}:
                await tx.put_on_file(row.token_id, row.card_generation, now)
            reach("charge_posted")
            stands = written or await tx.charge(row.charge_id)
        if stands is None:
            raise RowMissing("charge")
        if written is not None:
            self._counters.charges.labels(state.value).inc()
            log.info("charge", charge_id=row.charge_id, state=state.value, reason=reason)
        if stands.state in ANSWERED or reason is ChargeReason.CARD_REPLACED:
            self._codes.forget(row.tenant_id, row.token_id, before=row.card_generation + 1)
        return stands

    async def keep_waiting(self, row: ChargeRow) -> ChargeRow:
        """Nothing new about a charge whose person is asked, or nobody knows: whoever looked stops working on it."""
        async with self._store.transaction(row.tenant_id) as tx:
            await let_go(tx, row)
            stands = await tx.charge(row.charge_id)
        if stands is None:
            raise RowMissing("charge")
        return stands

    async def close_hold(self, row: ChargeRow, outcome: HoldOutcome, *, by: Mover) -> ChargeRow:
        """End a hold. The order to end it that is under way, if there is one, comes out as the hold did."""
        now = self._clock.now()
        starts_of("charges", outcome.state, by)
        async with self._store.transaction(row.tenant_id) as tx:
            written = await close_hold(tx, row.charge_id, outcome.state, outcome.taken_minor, now)
            reach("hold_written")
            if written is not None:
                await write_down(tx, _of_charge(written, Event(outcome.state.value)))
                await tell_charge(tx, written)
            reach("hold_posted")
            stands = written or await tx.charge(row.charge_id)
            if stands is None:
                raise RowMissing("charge")
            await close_hold_end(tx, stands, now)
        if written is not None:
            self._counters.charges.labels(outcome.state.value).inc()
            log.info("hold", charge_id=row.charge_id, state=outcome.state.value, taken_minor=outcome.taken_minor)
        return stands

    async def leave_hold_end(self, row: HoldEndRow, state: HoldEndState, *, by: Mover) -> HoldEndRow:
        """The order to end a hold did not end it, or nobody knows yet; the hold itself stands as it is."""
        starts_of("hold_ends", state, by)
        async with self._store.transaction(row.tenant_id) as tx:
            await tx.run(_LEAVE_HOLD_END, {"end_id": row.end_id, "state": state.value, "now": self._clock.now()})
            stands = await hold_end(tx, row.end_id)
        if stands is None:
            raise RowMissing("hold end")
        log.info("hold_end", end_id=row.end_id, state=stands.state)
        return stands

    async def close_refund(
        self,
        row: RefundRow,
        state: RefundState,
        processor_ref: str | None,
        *,
        by: Mover,
        asked_at: datetime | None = None,
    ) -> RefundRow:
        """The refund as it now stands; an outcome written earlier wins. `asked_at` as in `Tx.close_refund`."""
        now = self._clock.now()
        starts_of("refunds", state, by)
        async with self._store.transaction(row.tenant_id) as tx:
            written = await tx.close_refund(row.refund_id, state, processor_ref, now, asked_at)
            reach("refund_written")
            if written and state is not RefundState.UNKNOWN:
                await self._post_refund(tx, row, state)
            reach("refund_posted")
            stands = await tx.refund(row.refund_id)
        if stands is None:
            raise RowMissing("refund")
        if written:
            self._counters.refunds.labels(state.value).inc()
            log.info("refund", refund_id=row.refund_id, state=state.value)
        return stands

    async def _post_refund(self, tx: Tx, row: RefundRow, state: RefundState) -> None:
        now = self._clock.now()
        refunded = state is RefundState.REFUNDED
        if refunded:
            await tx.add_refunded(row.charge_id, row.amount_minor, now)
        happened = Happened(
            event=Event.REFUNDED if refunded else Event.REFUND_FAILED,
            source_id=row.refund_id,
            charge_id=row.charge_id,
            currency=row.currency,
            amount_minor=row.amount_minor,
            at=now,
        )
        await write_down(tx, happened)
        await tell_refund(tx, row, state, now)


def _of_charge(row: ChargeRow, event: Event) -> Happened:
    return Happened(
        event=event,
        source_id=row.charge_id,
        charge_id=row.charge_id,
        currency=row.currency,
        amount_minor=row.taken_minor if event is Event.SETTLED else row.amount_minor,
        held_minor=row.amount_minor if row.held_first else 0,
        at=row.updated_at,
    )


_LEAVE_HOLD_END: Final = """UPDATE hold_ends SET state = :state, updated_at = :now, worked_until = NULL
    WHERE tenant_id = :tenant_id AND end_id = :end_id AND state IN ('intended', 'unknown')"""
