"""get_order: what came of a checkout."""

import msgspec

from gateway.contract import PurchaseState
from mcp_server.contract import GetOrder, OrderAnswer
from mcp_server.errors import ArgumentsInvalid, CheckoutNotFound
from mcp_server.store import Store
from mcp_server.tools.tool import Call, Tool
from mcp_server.tools.views import AT_THE_BANK, UNDER_WAY, order_view


class Orders:
    def __init__(self, store: Store) -> None:
        self._store = store

    def tools(self) -> list[Tool[GetOrder]]:
        return [
            Tool(
                name="get_order",
                title="Look at an order",
                description=(
                    "The order of a checkout, an order by its id, or with no arguments the person's newest order at "
                    "this brand. Says so when a checkout has no order."
                ),
                scopes=("purchase",),
                arguments=GetOrder,
                view=OrderAnswer,
                run=self.look,
                reads_only=True,
                destroys=False,
                repeatable=True,
            )
        ]

    async def look(self, call: Call, wanted: GetOrder) -> OrderAnswer:
        checkout_id = None if isinstance(wanted.checkout_id, msgspec.UnsetType) else wanted.checkout_id
        order_id = None if isinstance(wanted.order_id, msgspec.UnsetType) else wanted.order_id
        if checkout_id is not None and order_id is not None:
            raise ArgumentsInvalid("Give checkout_id or order_id, not both.")
        async with self._store.transaction(call.owner.tenant_id) as tx:
            order = await tx.newest_order(call.owner, checkout_id=checkout_id, order_id=order_id)
            checkout = await tx.checkout(call.owner, checkout_id) if checkout_id is not None else None
        if order is not None:
            return OrderAnswer(message="The order is placed and paid.", order=order_view(order))
        if order_id is not None or (checkout_id is not None and checkout is None):
            raise CheckoutNotFound
        if checkout is None:
            return OrderAnswer(message="The person has no order at this brand yet.")
        return OrderAnswer(message=_without_order(checkout.purchase_state))


def _without_order(purchase_state: str | None) -> str:
    if purchase_state == PurchaseState.NEEDS_AUTHENTICATION:
        return AT_THE_BANK
    if purchase_state in UNDER_WAY:
        return "The payment is still being made; ask again in a few seconds, or call pay again to learn its outcome."
    if purchase_state == PurchaseState.NEEDS_CARD:
        return "Nothing was charged yet: the person has to enter card details on the card page; then call pay again."
    return "This checkout has no order; nothing was charged for it."
