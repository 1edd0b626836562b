"""Refunds: never more than the charge took, never twice, intention first.

The ceiling is checked and the intention written under the charge's row lock; the processor is called afterwards with no
transaction open. What failed gives its amount free again, what is unknown does not.
"""

import asyncio
from datetime import timedelta
from typing import Final

from infra.chassis.clock import Clock
from infra.chassis.crashpoints import reach
from infra.chassis.problems import NotFound
from vault.contract import ChargeState, RefundOrder, RefundState, RefundView
from vault.disputes import disputed_minor
from vault.errors import ChargeDisputed, ChargeNotRefundable, CurrencyDiffers, RefundExceedsCharge, RefundIdReused
from vault.outcomes import REFUND_ENDS
from vault.reconcile import MARGIN_SECONDS, Reconciler
from vault.states import Mover
from vault.store import RowMissing, Store, Tx
from vault.tables import ChargeRow, RefundRow
from vault.workers import Workers

POLL_SECONDS: Final = 0.05


class Refunds:
    def __init__(
        self,
        *,
        store: Store,
        reconciler: Reconciler,
        clock: Clock,
        workers: Workers,
        processor_timeout_seconds: float,
    ) -> None:
        self._store = store
        self._reconciler = reconciler
        self._clock = clock
        self._workers = workers
        self._lease = timedelta(seconds=processor_timeout_seconds + MARGIN_SECONDS)

    async def refund(self, order: RefundOrder) -> RefundView:
        """Carry out an order once. Raises NotFound and the refusals of `_check_ceiling`, RefundIdReused."""
        row, ours = await self._intend(order)
        if ours:
            return _view_of(await self._workers.finish(self._carry_out(row)))
        return _view_of(await self._of_others(row))

    async def _intend(self, order: RefundOrder) -> tuple[RefundRow, bool]:
        now = self._clock.now()
        async with self._store.transaction(order.tenant_id) as tx:
            charge = await tx.charge_for_update(order.charge_id)
            if charge is None or (charge.brand_id, charge.subject_id) != (order.brand_id, order.subject_id):
                raise NotFound
            known = await tx.refund(order.refund_id)
            if known is None:
                await _check_ceiling(tx, charge, order)
                if not await tx.insert_refund(order, now, now + self._lease):
                    raise RefundIdReused
                made = await tx.refund(order.refund_id)
                if made is None:
                    raise RowMissing("refund")
                return made, True
        if not _same(known, order):
            raise RefundIdReused
        return known, False

    async def _carry_out(self, row: RefundRow) -> RefundRow:
        reach("refund_intended")
        stands = await self._reconciler.ask_for_refund(row, by=Mover.CARRIER)
        reach("refund_closed")
        if stands.state not in REFUND_ENDS:
            self._reconciler.nudge()
        return stands

    async def _of_others(self, row: RefundRow) -> RefundRow:
        """The outcome somebody else is working on; after their time is up, found out here."""
        while row.state not in REFUND_ENDS and row.worked_until is not None and self._clock.now() < row.worked_until:
            await asyncio.sleep(POLL_SECONDS)
            async with self._store.transaction(row.tenant_id) as tx:
                row = await tx.refund(row.refund_id) or row
        if row.state in REFUND_ENDS:
            return row
        return await self._reconciler.end_refund(row.tenant_id, row.refund_id)


async def _check_ceiling(tx: Tx, charge: ChargeRow, order: RefundOrder) -> None:
    """Needs the charge's row lock, or two refunds at once would both fit."""
    if charge.state not in {ChargeState.APPROVED, ChargeState.SETTLED}:
        raise ChargeNotRefundable
    if await disputed_minor(tx, charge.charge_id):
        raise ChargeDisputed
    if charge.currency != order.currency:
        raise CurrencyDiffers
    left = charge.taken_minor - await tx.promised_minor(charge.charge_id)
    if order.amount_minor > left:
        raise RefundExceedsCharge(refundable_minor=left)


def _same(row: RefundRow, order: RefundOrder) -> bool:
    names = ("refund_id", "charge_id", "amount_minor", "currency")
    return all(getattr(row, name) == getattr(order, name) for name in names)


def _view_of(row: RefundRow) -> RefundView:
    """An intention not yet ended is unknown to whoever asks."""
    return RefundView(
        refund_id=row.refund_id,
        charge_id=row.charge_id,
        state=RefundState.UNKNOWN if row.state == "intended" else RefundState(row.state),
        amount_minor=row.amount_minor,
        currency=row.currency,
        refunded_minor=row.refunded_minor,
    )
