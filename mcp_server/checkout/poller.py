"""Heals what a crash left between payment and order: reads the gateway's paid purchases from a durable cursor."""

import asyncio
from collections.abc import Sequence
from datetime import timedelta

from infra.chassis import logs
from infra.chassis.clock import Clock
from mcp_server.brands.pack import BrandPack
from mcp_server.checkout.orders import place_order
from mcp_server.errors import ToolRefused
from mcp_server.gateway_calls import GatewayCalls
from mcp_server.store import Store

EVERY_SECONDS = 2.0
CALLS_KEPT_FOR = timedelta(hours=1)
log = logs.get_logger()


class Poller:
    """Any number of processes may poll: an order is unique for its checkout, and re-reading changes nothing."""

    def __init__(
        self,
        *,
        packs: Sequence[BrandPack],
        gateway: GatewayCalls,
        store: Store,
        clock: Clock,
        every_seconds: float = EVERY_SECONDS,
    ) -> None:
        self._packs = packs
        self._gateway = gateway
        self._store = store
        self._clock = clock
        self._every_seconds = every_seconds

    async def run(self, stop: asyncio.Event) -> None:
        """Until told to stop. A gateway that does not answer is tried again."""
        while not stop.is_set():
            for pack in self._packs:
                await self._try(pack)
            try:
                await asyncio.wait_for(stop.wait(), self._every_seconds)
            except TimeoutError:
                continue

    async def heal(self, pack: BrandPack) -> None:
        """Make orders of all that was paid since the cursor; the cursor moves in the transaction that made them."""
        tenant_id, brand_id = pack.brand.tenant_id, pack.brand.brand_id
        while True:
            async with self._store.transaction(tenant_id) as tx:
                after = await tx.cursor(brand_id)
                await tx.forget_expired_calls(before=self._clock.now() - CALLS_KEPT_FOR)
            page = await self._gateway.paid_purchases(brand_id, after)
            if not page.purchases or page.next_after == after:
                return
            async with self._store.transaction(tenant_id) as tx:
                for purchase in page.purchases:
                    await place_order(tx, purchase, self._clock)
                await tx.move_cursor(brand_id, page.next_after)

    async def _try(self, pack: BrandPack) -> None:
        try:
            await self.heal(pack)
        except ToolRefused as error:
            log.warning("paid_purchases_not_read", code=error.code, brand_id=pack.brand.brand_id)
        except Exception as error:  # noqa: BLE001 - whatever happens, the next round must come: this is what heals
            log.error(  # noqa: TRY400 - our log keeps no tracebacks: they carry values
                "healing_failed", error=type(error).__name__, brand_id=pack.brand.brand_id
            )
