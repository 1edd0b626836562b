"""When a tenant's key is rotated, and rotating it: a new version becomes active, and the cards are moved to it."""

from datetime import timedelta
from typing import Final

from infra.chassis import logs
from infra.chassis.clock import Clock
from vault.keys import rows
from vault.keys.acts import VAULT
from vault.keys.resealing import Moved, Resealing
from vault.keys.ring import KeyRing
from vault.keys.rows import TenantKeyRow
from vault.keys.settings import LifecycleSettings
from vault.keys.states import KeyState
from vault.store import Store

EARLY: Final = 0.9
"""The job rotates at this part of the period or of the ceiling, so that at the end of either nobody has to wait for
it."""

log = logs.get_logger()


class Rotation:
    def __init__(
        self, *, store: Store, ring: KeyRing, resealing: Resealing, clock: Clock, settings: LifecycleSettings
    ) -> None:
        self._store = store
        self._ring = ring
        self._resealing = resealing
        self._clock = clock
        self._settings = settings

    async def rotate(self, tenant_id: str, actor: str) -> Moved:
        """A new version now, whatever the old one's age, and every card under it.

        Done when it returns, unless `busy`.
        """
        async with self._store.transaction(tenant_id) as tx:
            newest = await rows.newest_version(tx)
        await self._ring.make_next(tenant_id, newest, actor)
        return await self._resealing.move_all(tenant_id)

    async def keep_up(self, tenant_id: str) -> Moved:
        """Rotate what is due, and go on with a move that was begun."""
        async with self._store.transaction(tenant_id) as tx:
            keys = await rows.tenant_keys(tx)
        for key in keys:
            if key.state is KeyState.ACTIVE and self.is_due(key):
                log.info("tenant_key_due", tenant_id=tenant_id, version=key.version)
                return await self.rotate(tenant_id, VAULT)
        if any(key.state is KeyState.RETIRED for key in keys):
            return await self._resealing.move_all(tenant_id)
        return Moved()

    def is_due(self, key: TenantKeyRow) -> bool:
        age: timedelta = self._clock.now() - key.created_at
        return (
            age >= EARLY * self._settings.tenant_key_period or key.seals >= EARLY * self._settings.tenant_key_seals_max
        )
