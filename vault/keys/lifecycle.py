"""The job that keeps keys and cards within their time: runs beside the vault's listeners, in every process of it."""

import asyncio
import contextlib
from typing import Final

from infra.chassis import logs
from vault.keys.ring import KeyRing
from vault.keys.rotation import Rotation
from vault.store import Store

INTERVAL_SECONDS: Final = 60
"""Periods are days; a minute is how long a killed rotation waits for somebody to go on with it."""

log = logs.get_logger()


class Lifecycle:
    def __init__(self, *, store: Store, ring: KeyRing, rotation: Rotation) -> None:
        self._store = store
        self._ring = ring
        self._rotation = rotation

    async def run(self, stop: asyncio.Event) -> None:
        while not stop.is_set():
            try:
                await self.run_once()
            except Exception as error:  # noqa: BLE001 - what fails, for want of a database say, is tried again
                log.warning("lifecycle_round_failed", error=type(error).__name__)
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(stop.wait(), INTERVAL_SECONDS)

    async def run_once(self) -> None:
        """One round over all tenants. What fails for one tenant is logged, and does not keep the others waiting."""
        self._ring.drop_stale()
        for tenant_id in await self._store.tenants():
            try:
                await self._rotation.keep_up(tenant_id)
            except Exception as error:  # noqa: BLE001 - see above
                log.warning("lifecycle_of_tenant_failed", tenant_id=tenant_id, error=type(error).__name__)
