"""Orders to end a hold: settle it, wholly or partly, or void it. Once per hold, intention first.

tx1  intention, under the charge's row lock       one live order a hold, the database says so too
→    capture or cancel, under our durable key     killed or silent: unknown, the keeper looks the hold up
tx2  the hold's end, its posting, the order's end
"""

import asyncio
from datetime import timedelta
from typing import Final

from infra.chassis.clock import Clock
from infra.chassis.crashpoints import reach
from infra.chassis.problems import NotFound
from vault.charges import shown
from vault.contract import ChargeState, HoldEndState, HoldEndView, SettleOrder, VoidOrder
from vault.errors import CurrencyDiffers, HoldEndIdReused, HoldEnding, NotHeld, SettlementExceedsHold
from vault.holds.keeping import HOLD_END_ENDS, MARGIN_SECONDS, HoldKeeper
from vault.holds.rows import HoldEndRow, hold_end, insert_hold_end
from vault.reconcile import Reconciler
from vault.states import Mover
from vault.store import RowMissing, Store
from vault.tables import ChargeRow
from vault.workers import Workers

POLL_SECONDS: Final = 0.05
CALLS_MAX: Final = 2
"""Asking, and looking up when that was refused."""


class HoldEnds:
    def __init__(
        self,
        *,
        store: Store,
        keeper: HoldKeeper,
        reconciler: Reconciler,
        clock: Clock,
        workers: Workers,
        processor_timeout_seconds: float,
    ) -> None:
        self._store = store
        self._keeper = keeper
        self._reconciler = reconciler
        self._clock = clock
        self._workers = workers
        self._lease = timedelta(seconds=CALLS_MAX * processor_timeout_seconds + MARGIN_SECONDS)

    async def settle(self, order: SettleOrder) -> HoldEndView:
        """Take held money once. Raises NotFound, NotHeld, HoldEnding, HoldEndIdReused, SettlementExceedsHold."""
        return await self._end(order, order.settlement_id)

    async def void(self, order: VoidOrder) -> HoldEndView:
        """Let go of held money. Raises NotFound, NotHeld, HoldEnding, HoldEndIdReused."""
        return await self._end(order, order.void_id)

    async def _end(self, order: SettleOrder | VoidOrder, end_id: str) -> HoldEndView:
        row, charge, ours = await self._intend(order, end_id)
        if ours:
            row = await self._workers.finish(self._carry_out(row, charge))
        else:
            row = await self._of_others(row)
        return await self._view_of(row)

    async def _intend(self, order: SettleOrder | VoidOrder, end_id: str) -> tuple[HoldEndRow, ChargeRow, bool]:
        now = self._clock.now()
        async with self._store.transaction(order.tenant_id) as tx:
            charge = await tx.charge_for_update(order.charge_id)
            if charge is None or (charge.brand_id, charge.subject_id) != (order.brand_id, order.subject_id):
                raise NotFound
            wanted = HoldEndRow(
                tenant_id=order.tenant_id,
                end_id=end_id,
                charge_id=order.charge_id,
                kind="settle" if isinstance(order, SettleOrder) else "void",
                amount_minor=order.amount_minor if isinstance(order, SettleOrder) else charge.amount_minor,
                currency=order.currency if isinstance(order, SettleOrder) else charge.currency,
                state="intended",
                created_at=now,
                updated_at=now,
                worked_until=now + self._lease,
            )
            known = await hold_end(tx, end_id)
            if known is None:
                _check(charge, wanted)
                if not await insert_hold_end(tx, wanted):
                    raise HoldEnding
                return wanted, charge, True
        if not _same(known, wanted):
            raise HoldEndIdReused
        return known, charge, False

    async def _carry_out(self, row: HoldEndRow, charge: ChargeRow) -> HoldEndRow:
        reach("hold_end_intended")
        stands = await self._keeper.ask(row, charge, by=Mover.CARRIER)
        reach("hold_end_closed")
        if stands.state not in HOLD_END_ENDS:
            self._reconciler.nudge()
        return stands

    async def _of_others(self, row: HoldEndRow) -> HoldEndRow:
        """The outcome somebody else is working on; after their time is up, found out here."""
        while row.state not in HOLD_END_ENDS and row.worked_until is not None and self._clock.now() < row.worked_until:
            await asyncio.sleep(POLL_SECONDS)
            async with self._store.transaction(row.tenant_id) as tx:
                row = await hold_end(tx, row.end_id) or row
        if row.state in HOLD_END_ENDS:
            return row
        return await self._keeper.end(row.tenant_id, row.end_id)

    async def _view_of(self, row: HoldEndRow) -> HoldEndView:
        async with self._store.transaction(row.tenant_id) as tx:
            charge = await tx.charge(row.charge_id)
        if charge is None:
            raise RowMissing("charge")
        return HoldEndView(
            end_id=row.end_id,
            state=HoldEndState.UNKNOWN if row.state == "intended" else HoldEndState(row.state),
            charge=await shown(self._store, charge),
        )


def _check(charge: ChargeRow, wanted: HoldEndRow) -> None:
    """Needs the charge's row lock, or a settlement and a void at once would both pass."""
    if charge.state != ChargeState.HELD:
        raise NotHeld(state="unknown" if charge.state == "intended" else charge.state)
    if charge.currency != wanted.currency:
        raise CurrencyDiffers
    if wanted.amount_minor > charge.amount_minor:
        raise SettlementExceedsHold(held_minor=charge.amount_minor)


def _same(row: HoldEndRow, wanted: HoldEndRow) -> bool:
    names = ("end_id", "charge_id", "kind", "amount_minor", "currency")
    return all(getattr(row, name) == getattr(wanted, name) for name in names)
