"""The job that keeps keys and cards within their time: runs beside the vault's listeners, in every process of it.

What it does can be done by hand at any time (`undercroft keys`), and by several processes at once: each piece of work
is somebody's alone while it lasts, and is gone on with by the next one when he is killed.
"""

import asyncio
import contextlib
from datetime import datetime, timedelta
from typing import Final

from infra.chassis import logs
from infra.chassis.clock import Clock
from infra.chassis.keys import KeyService, VersionState
from infra.chassis.problems import where
from vault.cleartext.months import Months
from vault.keys import rows
from vault.keys.acts import VAULT
from vault.keys.purging import Purging
from vault.keys.ring import KeyRing
from vault.keys.rotation import EARLY, Rotation
from vault.keys.rounds import Rounds, oldest_not_final
from vault.keys.settings import LifecycleSettings
from vault.keys.shredding import Shredding
from vault.store import Store

INTERVAL_SECONDS: Final = 60
"""Periods are days; a minute is how long something killed waits for somebody to go on with it."""
PURGE_EVERY: Final = timedelta(hours=24)

log = logs.get_logger()


class Lifecycle:
    def __init__(
        self,
        *,
        store: Store,
        keys: KeyService,
        ring: KeyRing,
        rotation: Rotation,
        shredding: Shredding,
        rounds: Rounds,
        purging: Purging,
        clock: Clock,
        settings: LifecycleSettings,
    ) -> None:
        self._store = store
        self._keys = keys
        self._ring = ring
        self._rotation = rotation
        self._shredding = shredding
        self._rounds = rounds
        self._purging = purging
        self._months = Months(store, ring)
        self._clock = clock
        self._settings = settings
        self._purge_at = clock.now()

    async def run(self, stop: asyncio.Event) -> None:
        while not stop.is_set():
            try:
                await self.run_once()
            except Exception as error:  # noqa: BLE001 - what fails, for want of a database say, is tried again
                log.warning("lifecycle_round_failed", error=type(error).__name__, where=where(error))
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(stop.wait(), INTERVAL_SECONDS)

    async def run_once(self) -> None:
        """One round over all tenants. What fails for one of them is logged, and keeps no other waiting."""
        self._ring.drop_stale()
        purging = self._clock.now() >= self._purge_at
        for tenant_id in await self._store.tenants():
            try:
                await self._keep(tenant_id, purging=purging)
            except Exception as error:  # noqa: BLE001 - see above
                log.warning("lifecycle_of_tenant_failed", tenant_id=tenant_id, error=type(error).__name__)
        if purging:
            self._purge_at = self._clock.now() + PURGE_EVERY
        cause = await self._round_due()
        if cause is not None:
            await self._rounds.run(cause, VAULT)

    async def _keep(self, tenant_id: str, *, purging: bool) -> None:
        await self._shredding.finish(tenant_id)
        await self._rotation.keep_up(tenant_id)
        if purging:
            await self.fill_in_months(tenant_id)
            await self._purging.purge(tenant_id, VAULT)

    async def fill_in_months(self, tenant_id: str) -> int:
        """Before a purge: cards from before months stood beside them."""
        return await self._months.fill_in(tenant_id)

    async def _round_due(self) -> str | None:
        """Why a round of the root is to be gone through now, if one is."""
        begun = await self._rounds.open_round()
        if begun is not None:
            return begun.cause
        waiting, first_key = await self._oldest()
        now = self._clock.now()
        if waiting is not None and now - waiting >= timedelta(hours=self._settings.shred_round_hours):
            return "shredding"
        born = await self._root_made_at() or first_key
        if born is not None and now - born >= EARLY * timedelta(days=self._settings.root_key_days):
            return "period"
        return None

    async def _oldest(self) -> tuple[datetime | None, datetime | None]:
        """The shredding that waits longest, and the oldest tenant key there is."""
        waiting: list[datetime] = []
        born: list[datetime] = []
        for tenant_id in await self._store.tenants():
            async with self._store.transaction(tenant_id) as tx:
                waits = await oldest_not_final(tx)
                keys = await rows.tenant_keys(tx)
            waiting += [waits] if waits is not None else []
            born += [key.created_at for key in keys]
        return min(waiting, default=None), min(born, default=None)

    async def _root_made_at(self) -> datetime | None:
        """None when the key service does not say: a root from before there were versions."""
        versions = (await self._keys.describe()).versions
        return next((one.created_at for one in versions if one.state is VersionState.ACTIVE), None)
