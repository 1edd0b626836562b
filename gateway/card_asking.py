"""Asking the vault for a person's card, and how far that has come."""

from typing import Final

from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from gateway import card_rows, ledger
from gateway.cards import Wanted, again
from gateway.charging import note
from gateway.contract import PurchaseState
from gateway.errors import PurchaseUnderWay
from gateway.peers import Behalf, Vault
from gateway.record.entries import Record
from gateway.store import Purchase, purchase_for_update
from infra.chassis import logs
from infra.chassis.client import PeerRefused
from infra.chassis.clock import Clock
from infra.chassis.engine import tenant_transaction
from infra.chassis.problems import PeerUnreachable
from vault.contract import CaptureChannel, CaptureOrder, CaptureState, CaptureView

NOT_FOUND: Final = 404
log = logs.get_logger()


class CardAsking:
    def __init__(self, *, engine: AsyncEngine, vault: Vault, record: Record, clock: Clock) -> None:
        self._engine = engine
        self._vault = vault
        self._record = record
        self._clock = clock

    async def take(self, purchase: Purchase) -> tuple[Purchase, bool]:
        """Ask the vault about the card page. A typed card begins the charge (then True); a page that ended is replaced.

        Whoever asked at the same moment may have taken the purchase further; then theirs is the answer. Raises
        PurchaseUnderWay and the vault's PeerUnreachable, after which the money is free.
        """
        found = await self._ordered(purchase)
        if found is None:
            return await self._without_replacing(purchase)
        if found.state is CaptureState.EXPIRED:
            return await self._once_more(purchase)
        if found.token_id is None:
            return purchase, False
        async with tenant_transaction(self._engine, purchase.tenant_id) as tx:
            present, now = await self._present(tx, purchase), self._clock.now()
            if present.state is not PurchaseState.NEEDS_CARD:
                return present, False
            card = await card_rows.take(tx, present, found, now)
            if card is None:
                return present, False
            return await ledger.begin_charge(tx, present, card, now), True

    async def _once_more(self, purchase: Purchase) -> tuple[Purchase, bool]:
        """Nobody filled it in in time; another one for the same."""
        async with tenant_transaction(self._engine, purchase.tenant_id) as tx:
            present = await self._present(tx, purchase)
            if present.state is not PurchaseState.NEEDS_CARD or present.capture is None:
                return present, False
            await card_rows.end_capture(tx, present)
            renewed = await card_rows.new_capture(tx, present, again(present.capture), self._clock.now())
        return await self._shown(renewed)

    async def _without_replacing(self, purchase: Purchase) -> tuple[Purchase, bool]:
        """The card to be replaced is not there, or not this person's: off file with it, and another is asked for.

        Not to replace it is no loss: what is not there cannot be charged either.
        """
        async with tenant_transaction(self._engine, purchase.tenant_id) as tx:
            present = await self._present(tx, purchase)
            if present.state is not PurchaseState.NEEDS_CARD or present.capture is None:
                return present, False
            log.warning("card_to_replace_missing", purchase_id=present.purchase_id, capture_id=present.capture_id)
            await card_rows.drop(tx, present, present.capture.replaces_card_of)
            wanted = Wanted(
                channel=CaptureChannel.PAGE,
                terms=present.capture.terms,
                replaces_card_of=None,
                language=present.capture.language,
            )
            fresh = await card_rows.new_capture(tx, present, wanted, self._clock.now())
        return await self._shown(fresh)

    async def _shown(self, purchase: Purchase) -> tuple[Purchase, bool]:
        """The vault has to know a capture before its link is given to anybody."""
        if await self._ordered(purchase) is None:
            await self._release(purchase)
            raise PeerUnreachable(code="vault_unreachable")
        return purchase, False

    async def _present(self, tx: AsyncConnection, purchase: Purchase) -> Purchase:
        """The purchase as it is now, locked. Raises PurchaseUnderWay when it waits, but not for this card page."""
        present = await purchase_for_update(tx, purchase.tenant_id, purchase.purchase_id)
        changed = present.capture_id != purchase.capture_id or not present.reservation_held
        if present.state is PurchaseState.NEEDS_CARD and changed:
            raise PurchaseUnderWay
        return present

    async def _ordered(self, purchase: Purchase) -> CaptureView | None:
        """None when there is no such card to replace. Raises PeerUnreachable, and the money is free then."""
        order = _order_of(purchase)
        try:
            return await self._vault.capture(order, Behalf(purchase.client_id, purchase.decision_id))
        except (PeerUnreachable, PeerRefused) as error:
            if isinstance(error, PeerRefused) and error.status == NOT_FOUND and order.replaces_card_of is not None:
                return None
            await self._release(purchase)
            if isinstance(error, PeerUnreachable):
                raise
            raise PeerUnreachable(code="vault_unreachable") from error

    async def _release(self, purchase: Purchase) -> None:
        async with tenant_transaction(self._engine, purchase.tenant_id) as tx:
            present = await purchase_for_update(tx, purchase.tenant_id, purchase.purchase_id)
            if present.state is PurchaseState.NEEDS_CARD and present.reservation_id == purchase.reservation_id:
                now = self._clock.now()
                await ledger.release(tx, present, now)
                await note(self._record, tx, present, "voided", now, reason="vault_unreachable")


def _order_of(purchase: Purchase) -> CaptureOrder:
    """The same bytes each time, so that the vault knows the capture again."""
    capture = purchase.capture
    if capture is None:
        msg = "a capture is ordered only after it was written down"
        raise RuntimeError(msg)
    return CaptureOrder(
        tenant_id=purchase.tenant_id,
        brand_id=purchase.brand_id,
        subject_id=purchase.subject_id,
        capture_id=capture.capture_id,
        purchase_id=purchase.purchase_id,
        brand_name=purchase.brand_name,
        amount_minor=capture.amount_minor,
        currency=capture.currency,
        channel=capture.channel,
        language=capture.language,
        terms=capture.terms if capture.replaces_card_of is None else None,
        replaces_card_of=capture.replaces_card_of,
    )
