"""What is left: the pack's count, less what was sold and what is held for payments under way."""

from collections.abc import Collection
from datetime import timedelta

from infra.chassis.clock import Clock
from mcp_server.brands.pack import BrandPack
from mcp_server.checkout.cart import Cart
from mcp_server.errors import NotEnoughStock
from mcp_server.store import Store, Transaction

HOLD = timedelta(minutes=20)
"""A little longer than the gateway reserves the money (15 minutes), and than a bank may ask its customer (the vault's
AUTHENTICATION_SECONDS, 15 minutes at most): so that what can be paid can be sent."""


class Stock:
    def __init__(self, store: Store, clock: Clock) -> None:
        self._store = store
        self._clock = clock

    async def available(self, pack: BrandPack, tenant_id: str, skus: Collection[str]) -> dict[str, int]:
        """For showing; nothing is held."""
        async with self._store.transaction(tenant_id) as tx:
            return await self._left(tx, pack, skus, except_checkout_id="")

    async def require(self, tx: Transaction, pack: BrandPack, checkout_id: str, cart: Cart) -> None:
        """Raises NotEnoughStock when others hold or bought what this cart wants."""
        left = await self._left(tx, pack, [line.sku for line in cart.lines], except_checkout_id=checkout_id)
        short = [line for line in cart.lines if line.quantity > left[line.sku]]
        if short:
            facts = "; ".join(f"{line.title}: {left[line.sku]} available" for line in short)
            raise NotEnoughStock(f"There is not enough in stock. {facts}.")

    async def hold(self, tx: Transaction, pack: BrandPack, checkout_id: str, cart: Cart) -> None:
        """For a payment that is about to be tried; two at once cannot both take the last piece."""
        await tx.serialise_stock(cart.brand_id)
        await self.require(tx, pack, checkout_id, cart)
        await tx.hold_stock(checkout_id, cart, held_until=self._clock.now() + HOLD)

    async def _left(
        self, tx: Transaction, pack: BrandPack, skus: Collection[str], *, except_checkout_id: str
    ) -> dict[str, int]:
        held = await tx.held_by_sku(
            pack.brand.brand_id, skus, except_checkout_id=except_checkout_id, now=self._clock.now()
        )
        return {sku: max(0, pack.offers[sku].stock - held.get(sku, 0)) for sku in skus}
