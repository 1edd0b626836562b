"""Tenant keys: made once, wrapped by the key service, unwrapped into memory when a card of the tenant is needed."""

from datetime import datetime
from typing import Final

from infra.chassis import crashpoints
from infra.chassis.clock import Clock
from infra.chassis.keys import KeyService, new_key
from infra.chassis.secret import Secret
from vault.store import Store

FIRST_VERSION: Final = 1


class KeyRing:
    """The tenant keys this process has unwrapped, by tenant and version. A key is at most 32 bytes of memory."""

    def __init__(self, store: Store, keys: KeyService, clock: Clock) -> None:
        self._store = store
        self._keys = keys
        self._clock = clock
        self._unwrapped: dict[tuple[str, int], Secret[bytes]] = {}

    async def sealing_key(self, tenant_id: str) -> tuple[int, Secret[bytes]]:
        """The version to seal under and its key; the tenant's first card makes its first key."""
        known = self._unwrapped.get((tenant_id, FIRST_VERSION))
        if known is not None:
            return FIRST_VERSION, known
        await self._make_first(tenant_id, self._clock.now())
        return FIRST_VERSION, await self.opening_key(tenant_id, FIRST_VERSION)

    async def opening_key(self, tenant_id: str, version: int) -> Secret[bytes]:
        """The key a card was sealed under. Raises KeyUnusable when the key service does not open its wrap."""
        known = self._unwrapped.get((tenant_id, version))
        if known is not None:
            return known
        async with self._store.transaction(tenant_id) as tx:
            wrapped = await tx.wrapped_tenant_key(version)
        key = await self._keys.unwrap(wrapped, _context(tenant_id, version))
        self._unwrapped[tenant_id, version] = key
        return key

    async def _make_first(self, tenant_id: str, now: datetime) -> None:
        """Two processes may both make one; the database keeps the first, and both then read that."""
        async with self._store.transaction(tenant_id) as tx:
            exists = await tx.has_tenant_key(FIRST_VERSION)
        if exists:
            return
        wrapped = await self._keys.wrap(new_key(), _context(tenant_id, FIRST_VERSION))
        crashpoints.reach("tenant_key_wrapped")
        async with self._store.transaction(tenant_id) as tx:
            await tx.insert_tenant_key(FIRST_VERSION, wrapped, now)


def _context(tenant_id: str, version: int) -> bytes:
    return f"undercroft vault tenant key\n{tenant_id}\n{version}".encode()
