"""Ending what was left open about held money: asks the processor how a hold stands and writes down what it says.

An order to end a hold whose answer was lost is asked for again only when the processor says that the money is still
held. A hold past its time is looked at every hour until the processor has let go of it; it is not voided by us.
"""

from datetime import timedelta
from typing import Final

from infra.chassis import logs
from infra.chassis.clock import Clock
from infra.chassis.crashpoints import reach
from vault.cleartext.processors import Payment, PaymentState, ProcessorRefused, ProcessorSilent
from vault.contract import ChargeState, HoldEndState
from vault.holds.rows import (
    HoldEndRow,
    claim_hold_end,
    hold_end,
    holds_to_look_at,
    look_again,
    unattended_hold_ends,
)
from vault.outcomes import HoldOutcome, Outcomes
from vault.processors import Processors
from vault.states import Mover
from vault.store import RowMissing, Store
from vault.tables import ChargeRow

ROWS_AT_ONCE: Final = 50
SILENCES_MAX: Final = 3
CALLS_MAX: Final = 3
"""Looking up, asking again and looking up once more is the longest way to an end."""
MARGIN_SECONDS: Final = 2
LOOK_EVERY: Final = timedelta(hours=1)
SILENT_FOR: Final = timedelta(minutes=5)
"""A hold whose processor does not say is not looked at for so long, or three such would keep all others waiting."""
HOLD_END_ENDS: Final = frozenset({HoldEndState.DONE, HoldEndState.FAILED})

log = logs.get_logger()


class HoldKeeper:
    def __init__(
        self,
        *,
        store: Store,
        processors: Processors,
        outcomes: Outcomes,
        clock: Clock,
        processor_timeout_seconds: float,
    ) -> None:
        self._store = store
        self._processors = processors
        self._outcomes = outcomes
        self._clock = clock
        self._lease = timedelta(seconds=CALLS_MAX * processor_timeout_seconds + MARGIN_SECONDS)

    async def run_tenant(self, tenant_id: str) -> int:
        """One round; how many orders and holds came to an end. Gives up after some silences, until the next round."""
        now = self._clock.now()
        async with self._store.transaction(tenant_id) as tx:
            orders = await unattended_hold_ends(tx, now, ROWS_AT_ONCE)
            charges = await holds_to_look_at(tx, now, ROWS_AT_ONCE)
        ends = silences = 0
        for end_id in orders:
            if silences < SILENCES_MAX:
                left_open = (await self.end(tenant_id, end_id)).state not in HOLD_END_ENDS
                silences, ends = silences + left_open, ends + (not left_open)
        for charge_id in charges:
            if silences < SILENCES_MAX:
                silent, ended = await self._look_at_overdue(tenant_id, charge_id)
                silences, ends = silences + silent, ends + ended
        return ends

    async def end(self, tenant_id: str, end_id: str) -> HoldEndRow:
        """The order, ended if the processor says how; as it stands if somebody is at work on it."""
        now = self._clock.now()
        async with self._store.transaction(tenant_id) as tx:
            claimed = await claim_hold_end(tx, end_id, now, now + self._lease)
            stands = claimed or await hold_end(tx, end_id)
            charge = None if stands is None else await tx.charge(stands.charge_id)
        if stands is None or charge is None:
            raise RowMissing("hold end")
        if claimed is None:
            return stands
        reach("hold_end_claimed")
        try:
            payment = await self._processors.of(charge.processor).look_up_payment(_ref(charge))
            reach("hold_end_looked_up")
            if payment.state is PaymentState.HELD:
                minutes = int((now - claimed.created_at) / timedelta(minutes=1))
                return await self.ask(claimed, charge, by=Mover.RECONCILER, minutes=minutes)
        except (ProcessorRefused, ProcessorSilent) as error:
            log.warning("hold_end_still_unknown", end_id=end_id, error=type(error).__name__)
            return await self._outcomes.leave_hold_end(claimed, HoldEndState.UNKNOWN, by=Mover.RECONCILER)
        return await self._write(claimed, charge, payment, by=Mover.RECONCILER)

    async def ask(self, row: HoldEndRow, charge: ChargeRow, *, by: Mover, minutes: int = 0) -> HoldEndRow:
        """Have the processor settle or cancel, and write down what came of it.

        A key replays its first answer for a day, a 500 too, so a minute later it is another key. Held money can be
        taken once only, whatever the key, and the processor was asked first whether it still is held.
        """
        ref, key = _ref(charge), f"{row.tenant_id}:{row.end_id}:{row.kind}:{minutes}"
        try:
            processor = self._processors.of(charge.processor)
            if row.kind == "settle":
                payment = await processor.settle_payment(key, ref, row.amount_minor, row.currency)
            else:
                await processor.cancel_payment(ref, key)
                payment = Payment(ref, PaymentState.CANCELLED)
            reach("hold_end_asked")
        except ProcessorRefused:
            return await self._after_refusal(row, charge, by=by)
        except ProcessorSilent:
            return await self._outcomes.leave_hold_end(row, HoldEndState.UNKNOWN, by=by)
        return await self._write(row, charge, payment, by=by)

    async def _after_refusal(self, row: HoldEndRow, charge: ChargeRow, *, by: Mover) -> HoldEndRow:
        """Refused because the hold has ended already, or for another reason, which leaves the hold as it is."""
        try:
            payment = await self._processors.of(charge.processor).look_up_payment(_ref(charge))
        except (ProcessorRefused, ProcessorSilent):
            return await self._outcomes.leave_hold_end(row, HoldEndState.UNKNOWN, by=by)
        if payment.state is PaymentState.HELD:
            return await self._outcomes.leave_hold_end(row, HoldEndState.FAILED, by=by)
        return await self._write(row, charge, payment, by=by)

    async def _write(self, row: HoldEndRow, charge: ChargeRow, payment: Payment, *, by: Mover) -> HoldEndRow:
        outcome = _outcome_of(payment)
        if outcome is None:
            return await self._outcomes.leave_hold_end(row, HoldEndState.UNKNOWN, by=by)
        await self._outcomes.close_hold(charge, outcome, by=by)
        async with self._store.transaction(row.tenant_id) as tx:
            stands = await hold_end(tx, row.end_id)
        if stands is None:
            raise RowMissing("hold end")
        return stands

    async def look(self, charge: ChargeRow) -> bool:
        """Ask how a hold stands and write it down if it has ended; whether it has. Raises what the processor raises."""
        payment = await self._processors.of(charge.processor).look_up_payment(_ref(charge))
        outcome = _outcome_of(payment)
        if outcome is None:
            return False
        reach("hold_looked_up")
        await self._outcomes.close_hold(charge, outcome, by=Mover.RECONCILER)
        return True

    async def _look_at_overdue(self, tenant_id: str, charge_id: str) -> tuple[bool, bool]:
        """Whether the processor was silent, and whether the hold has ended."""
        async with self._store.transaction(tenant_id) as tx:
            charge = await tx.charge(charge_id)
        if charge is None:
            raise RowMissing("charge")
        try:
            ended = await self.look(charge)
        except (ProcessorRefused, ProcessorSilent) as error:
            log.warning("hold_not_looked_up", charge_id=charge_id, error=type(error).__name__)
            await self._look_again(tenant_id, charge_id, SILENT_FOR)
            return True, False
        if not ended:
            await self._look_again(tenant_id, charge_id, LOOK_EVERY)
        return False, ended

    async def _look_again(self, tenant_id: str, charge_id: str, after: timedelta) -> None:
        async with self._store.transaction(tenant_id) as tx:
            await look_again(tx, charge_id, self._clock.now() + after)


def _ref(charge: ChargeRow) -> str:
    if charge.processor_ref is None:
        raise RowMissing("processor reference")
    return charge.processor_ref


def _outcome_of(payment: Payment) -> HoldOutcome | None:
    """How a hold ended; None while it has not, or while the processor is not done."""
    if payment.state is PaymentState.SUCCEEDED and payment.taken_minor > 0:
        return HoldOutcome(ChargeState.SETTLED, payment.taken_minor)
    if payment.state is PaymentState.CANCELLED:
        return HoldOutcome(ChargeState.EXPIRED if payment.lapsed else ChargeState.VOIDED)
    return None
