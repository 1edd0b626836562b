"""From an intended charge to its end, exactly once, whatever breaks in between.

The intention (charge id, card token) is committed before the vault is called; the vault knows the charge by that id, so
calling it again is safe. Nothing is locked and no transaction is open while it is called.
"""

from datetime import datetime

from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from gateway import card_rows, ledger
from gateway.contract import PurchaseState
from gateway.peers import Behalf, Vault, did_nothing
from gateway.record.entries import Record
from gateway.store import Purchase, purchase_for_update
from infra.chassis import logs
from infra.chassis.client import AnswerLost, NotConnected, PeerRefused
from infra.chassis.clock import Clock
from infra.chassis.engine import tenant_transaction
from infra.chassis.ids import new_id
from vault.contract import ChargeOrder, ChargeReason, ChargeState, ChargeView

log = logs.get_logger()


class Charging:
    def __init__(self, engine: AsyncEngine, vault: Vault, record: Record, clock: Clock) -> None:
        self._engine = engine
        self._vault = vault
        self._record = record
        self._clock = clock

    async def resume(
        self,
        tenant_id: str,
        purchase_id: str,
        *,
        called_before: datetime | None = None,
        at: datetime | None = None,
    ) -> Purchase:
        """Ask the vault again about a charge that was begun. Does nothing to a purchase that is not under way.

        With `called_before`, nothing either when somebody else has called since. `at` is now, unless said.
        """
        now = at or self._clock.now()
        async with tenant_transaction(self._engine, tenant_id) as tx:
            purchase = await purchase_for_update(tx, tenant_id, purchase_id)
            if purchase.state not in ledger.UNDER_WAY:
                return purchase
            if called_before is not None and purchase.called_at is not None and purchase.called_at >= called_before:
                return purchase
            purchase = await ledger.call_again(tx, purchase, self._clock.now())
            begin = await ledger.may_begin(tx, purchase, now)
        return await self.finish(purchase, begin=begin)

    async def finish(self, purchase: Purchase, *, begin: bool = True) -> Purchase:
        """Call the vault for an intended charge and write down how it ended.

        Without `begin` the vault ends a charge that it never heard of, and nobody is charged by surprise, hours later.

        Raises NotConnected when the vault is down and this was the only call ever made: then nothing was charged and
        the money is free again. When an answer is lost the purchase stays UNKNOWN and the sweeper asks again.
        """
        try:
            order, behalf = _order_of(purchase, begin=begin), Behalf(purchase.client_id, purchase.decision_id)
            charge = await self._vault.charge(order, behalf)
        except NotConnected:
            if await self._never_sent(purchase):
                raise
            return await self._settle(purchase, None)
        except AnswerLost:
            return await self._settle(purchase, None)
        except PeerRefused as refused:
            return await self._refused(purchase, refused)
        return await self._settle(purchase, charge)

    async def _refused(self, purchase: Purchase, refused: PeerRefused) -> Purchase:
        log.error("charge_refused", status=refused.status, code=refused.code, charge_id=purchase.charge_id)
        if did_nothing(refused) and await self._never_sent(purchase):
            async with tenant_transaction(self._engine, purchase.tenant_id) as tx:
                return await purchase_for_update(tx, purchase.tenant_id, purchase.purchase_id)
        return await self._settle(purchase, None)

    async def _never_sent(self, purchase: Purchase) -> bool:
        """Void the attempt if its charge cannot have reached the vault: this call failed and there was no other."""
        async with tenant_transaction(self._engine, purchase.tenant_id) as tx:
            present = await purchase_for_update(tx, purchase.tenant_id, purchase.purchase_id)
            if not _same_charge(present, purchase) or present.charge_calls > 1:
                return False
            await self._void(tx, present, PurchaseState.FAILED, ChargeReason.NEVER_SENT)
        return True

    async def _settle(self, purchase: Purchase, charge: ChargeView | None) -> Purchase:
        """Write the outcome down, unless somebody has done so already. `charge` is None when it is not known."""
        async with tenant_transaction(self._engine, purchase.tenant_id) as tx:
            present = await purchase_for_update(tx, purchase.tenant_id, purchase.purchase_id)
            if not _same_charge(present, purchase):
                return present
            if charge is not None:
                present = await card_rows.charged(tx, present, charge.card_brand, charge.last4)
            if charge is None or charge.state is ChargeState.UNKNOWN:
                await ledger.leave_unknown(tx, present)
            elif charge.state is ChargeState.APPROVED:
                await self._post(tx, present)
            elif charge.state is ChargeState.NEEDS_ACTION:
                await ledger.ask_person(tx, present)
            else:
                await self._void(
                    tx, present, PurchaseState(charge.state.value), charge.reason or ChargeReason.PROCESSOR_ERROR
                )
            return await purchase_for_update(tx, purchase.tenant_id, purchase.purchase_id)

    async def _post(self, tx: AsyncConnection, purchase: Purchase) -> None:
        now = self._clock.now()
        await ledger.post(tx, purchase, now)
        await note(self._record, tx, purchase, "posted", now)

    async def _void(self, tx: AsyncConnection, purchase: Purchase, state: PurchaseState, reason: ChargeReason) -> None:
        now = self._clock.now()
        await ledger.void(tx, purchase, now, state=state, reason=reason)
        await note(self._record, tx, purchase, "voided", now, reason=reason.value)


async def note(
    record: Record, tx: AsyncConnection, purchase: Purchase, event: str, now: datetime, reason: str | None = None
) -> None:
    """What became of a reservation, into the record."""
    body = {
        "v": 1,
        "event": event,
        "at": now.isoformat(),
        "decision_id": purchase.decision_id,
        "purchase_id": purchase.purchase_id,
        "reservation_id": purchase.reservation_id,
        "charge_id": purchase.charge_id,
        "amount_minor": purchase.amount_minor,
        "currency": purchase.currency,
        "reason": reason,
    }
    await record.append(tx, tenant_id=purchase.tenant_id, decision_id=new_id("evt"), body=body)


def _same_charge(present: Purchase, purchase: Purchase) -> bool:
    return present.charge_id == purchase.charge_id and present.state in ledger.UNDER_WAY


def _order_of(purchase: Purchase, *, begin: bool) -> ChargeOrder:
    """Whoever asked for it speaks with the person, and can give them the link should their bank want to ask."""
    if purchase.charge_id is None or purchase.token_id is None:
        msg = "a charge is called only after its intention was written"
        raise RuntimeError(msg)
    return ChargeOrder(
        tenant_id=purchase.tenant_id,
        brand_id=purchase.brand_id,
        subject_id=purchase.subject_id,
        charge_id=purchase.charge_id,
        purchase_id=purchase.purchase_id,
        token_id=purchase.token_id,
        amount_minor=purchase.amount_minor,
        currency=purchase.currency,
        person_present=True,
        begin=begin,
    )
