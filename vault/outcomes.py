"""Writing how a charge or a refund ended. One way for the one who carried it out and for the reconciler."""

from typing import Final

from infra.chassis import logs
from infra.chassis.clock import Clock
from vault.codes import Codes
from vault.contract import ChargeReason, ChargeState, RefundState
from vault.counters import Counters
from vault.store import RowMissing, Store
from vault.tables import ChargeRow, RefundRow

CHARGE_ENDS: Final = frozenset({ChargeState.APPROVED, ChargeState.DECLINED, ChargeState.FAILED})
REFUND_ENDS: Final = frozenset({RefundState.REFUNDED, RefundState.FAILED})

log = logs.get_logger()


class Outcomes:
    def __init__(self, *, store: Store, codes: Codes, clock: Clock, counters: Counters) -> None:
        self._store = store
        self._codes = codes
        self._clock = clock
        self._counters = counters

    async def close_charge(self, row: ChargeRow, state: ChargeState, reason: ChargeReason | None) -> ChargeRow:
        """The charge as it now stands; an outcome written earlier wins. An approved charge puts its card on file."""
        now = self._clock.now()
        async with self._store.transaction(row.tenant_id) as tx:
            written = await tx.close_charge(row.charge_id, state, reason, now)
            if written is not None and state is ChargeState.APPROVED:
                await tx.put_on_file(row.token_id, now)
            stands = written or await tx.charge(row.charge_id)
        if stands is None:
            raise RowMissing("charge")
        if written is not None:
            self._counters.charges.labels(state.value).inc()
            log.info("charge", charge_id=row.charge_id, state=state.value, reason=reason)
        if stands.state in {ChargeState.APPROVED, ChargeState.DECLINED}:
            self._codes.forget(row.tenant_id, row.token_id)
        return stands

    async def close_refund(self, row: RefundRow, state: RefundState, processor_ref: str | None) -> RefundRow:
        """The refund as it now stands; an outcome written earlier wins."""
        now = self._clock.now()
        async with self._store.transaction(row.tenant_id) as tx:
            written = await tx.close_refund(row.refund_id, state, processor_ref, now)
            if written and state is RefundState.REFUNDED:
                await tx.add_refunded(row.charge_id, row.amount_minor, now)
            stands = await tx.refund(row.refund_id)
        if stands is None:
            raise RowMissing("refund")
        if written:
            self._counters.refunds.labels(state.value).inc()
            log.info("refund", refund_id=row.refund_id, state=state.value)
        return stands
