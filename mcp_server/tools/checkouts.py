"""create_checkout and update_checkout: a cart is computed, quoted at the gateway, then kept."""

from typing import TypeVar

import msgspec

from gateway.contract import PurchaseState
from infra.chassis.clock import Clock
from infra.chassis.ids import new_id
from mcp_server.checkout.cart import Cart, Wishes, price
from mcp_server.checkout.quotes import quote_of
from mcp_server.checkout.stock import Stock
from mcp_server.contract import CheckoutView, CreateCheckout, UpdateCheckout
from mcp_server.errors import CheckoutNotFound, CheckoutPaid, PaymentUnderWay
from mcp_server.gateway_calls import GatewayCalls
from mcp_server.store import Checkout, Store
from mcp_server.tools.tool import Call, Tool
from mcp_server.tools.views import AT_THE_BANK, UNDER_WAY, checkout_view

V = TypeVar("V")
W = TypeVar("W")


class Checkouts:
    def __init__(self, *, store: Store, stock: Stock, gateway: GatewayCalls, clock: Clock) -> None:
        self._store = store
        self._stock = stock
        self._gateway = gateway
        self._clock = clock

    def tools(self) -> list[Tool[CreateCheckout] | Tool[UpdateCheckout]]:
        return [
            Tool(
                name="create_checkout",
                title="Make a checkout",
                description=(
                    "Put offers into a new checkout and learn the total. Prices, shipping and tax are computed here "
                    "and cannot be given. With ship_to the checkout is ready to pay. Nothing is bought by this."
                ),
                scopes=("catalog",),
                arguments=CreateCheckout,
                view=CheckoutView,
                run=self.create,
                reads_only=False,
                destroys=False,
                repeatable=False,
            ),
            Tool(
                name="update_checkout",
                title="Change a checkout",
                description=(
                    "Change what is in a checkout that is not paid yet, its address or its shipping method; what is "
                    "left out stays. Prices are taken anew. Items given replace all items."
                ),
                scopes=("catalog",),
                arguments=UpdateCheckout,
                view=CheckoutView,
                run=self.update,
                reads_only=False,
                destroys=False,
                repeatable=True,
            ),
        ]

    async def create(self, call: Call, wanted: CreateCheckout) -> CheckoutView:
        wishes = Wishes(
            items=wanted.items,
            ship_to=_given(wanted.ship_to, None),
            shipping_code=_given(wanted.shipping_code, None),
        )
        cart = price(call.pack, wishes)
        checkout_id = new_id("chk")
        async with self._store.transaction(call.owner.tenant_id) as tx:
            await self._stock.require(tx, call.pack, checkout_id, cart)
        await self._quote(call, checkout_id, cart)
        async with self._store.transaction(call.owner.tenant_id) as tx:
            await tx.add_checkout(call.owner, checkout_id, cart, client_id=call.caller.client_id, now=self._clock.now())
        return checkout_view(call.pack, _unpaid(checkout_id, cart))

    async def update(self, call: Call, wanted: UpdateCheckout) -> CheckoutView:
        async with self._store.transaction(call.owner.tenant_id) as tx:
            cart = self._changed(call, wanted, _changeable(await tx.checkout(call.owner, wanted.checkout_id)))
            await self._stock.require(tx, call.pack, wanted.checkout_id, cart)
        await self._quote(call, wanted.checkout_id, cart)
        async with self._store.transaction(call.owner.tenant_id) as tx:
            _changeable(await tx.checkout(call.owner, wanted.checkout_id, locked=True))
            await tx.change_cart(wanted.checkout_id, cart, now=self._clock.now())
        return checkout_view(call.pack, _unpaid(wanted.checkout_id, cart))

    def _changed(self, call: Call, wanted: UpdateCheckout, checkout: Checkout) -> Cart:
        """A shipping method that does not go to a new address is dropped, not refused, unless it was asked for."""
        before = checkout.cart.wishes
        moved = wanted.ship_to is not msgspec.UNSET
        wishes = Wishes(
            items=_given(wanted.items, before.items),
            ship_to=_given(wanted.ship_to, before.ship_to),
            shipping_code=_given(wanted.shipping_code, None if moved else before.shipping_code),
        )
        return price(call.pack, wishes)

    async def _quote(self, call: Call, checkout_id: str, cart: Cart) -> None:
        if cart.payable:
            await self._gateway.register_quote(call.caller, checkout_id, quote_of(call.pack, cart))


def _changeable(checkout: Checkout | None) -> Checkout:
    if checkout is None:
        raise CheckoutNotFound
    if checkout.purchase_state == PurchaseState.PAID:
        raise CheckoutPaid
    if checkout.purchase_state == PurchaseState.NEEDS_AUTHENTICATION:
        raise PaymentUnderWay(AT_THE_BANK)
    if checkout.purchase_state in UNDER_WAY:
        raise PaymentUnderWay
    return checkout


def _unpaid(checkout_id: str, cart: Cart) -> Checkout:
    return Checkout(checkout_id=checkout_id, cart=cart, cart_sha256=cart.sha256, purchase_state=None)


def _given(value: V | msgspec.UnsetType, otherwise: W) -> V | W:
    return otherwise if isinstance(value, msgspec.UnsetType) else value
