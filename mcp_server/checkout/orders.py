"""A paid purchase becomes an order, exactly once, whoever notices it first: the call that paid or the poller."""

from gateway.contract import PurchaseState, PurchaseView
from infra.chassis import logs
from infra.chassis.clock import Clock
from infra.chassis.ids import new_id
from mcp_server.store import NewOrder, Transaction

log = logs.get_logger()


async def place_order(tx: Transaction, purchase: PurchaseView, clock: Clock) -> None:
    """From the very cart that was paid for, found by its hash, even if the checkout has moved on since.

    A paid purchase whose cart is not here is money without goods: it is logged as an error for a person to refund.
    """
    found = await tx.paid_cart(purchase.checkout_id, purchase.cart_sha256)
    if found is None or purchase.purchase_id is None:
        log.error("paid_without_cart", checkout_id=purchase.checkout_id, purchase_id=purchase.purchase_id)
        return
    owner, cart = found
    if (purchase.amount_minor, purchase.currency) != (cart.total_minor, cart.currency):
        log.error("paid_another_amount", checkout_id=purchase.checkout_id, purchase_id=purchase.purchase_id)
        return
    order = NewOrder(
        order_id=new_id("ord"),
        checkout_id=purchase.checkout_id,
        purchase_id=purchase.purchase_id,
        cart_sha256=purchase.cart_sha256,
        amount_minor=purchase.amount_minor,
        currency=purchase.currency,
    )
    now = clock.now()
    if await tx.add_order(owner, order, now=now):
        await tx.hold_stock(purchase.checkout_id, cart, held_until=None)
        await tx.note_purchase_state(purchase.checkout_id, PurchaseState.PAID, now=now)
        log.info("order_placed", order_id=order.order_id, checkout_id=order.checkout_id, brand_id=owner.brand_id)
