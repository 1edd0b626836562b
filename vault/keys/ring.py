"""Tenant keys: made by the ring, wrapped by the key service, unwrapped into memory when a card of the tenant is needed.

A seal is counted before it is made: the ring reserves some at a time in the database and spends them in memory, so what
is counted is never less than was sealed; a crash loses what was reserved, and the count is then too high by that.
"""

import asyncio
import contextlib
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from infra.chassis import crashpoints, logs
from infra.chassis.clock import Clock
from infra.chassis.keys import KeyService, new_key
from infra.chassis.secret import Secret
from vault.keys import rows
from vault.keys.acts import VAULT, note
from vault.keys.settings import LifecycleSettings
from vault.keys.states import KeyDestroyed, RootChanged
from vault.store import Store

RESERVED_AT_ONCE: Final = 256
"""One more transaction for so many cards, so that it is in no 99th percentile; at most so many counted and not made,
for each process that died."""
HELD_FOR: Final = timedelta(seconds=60)
"""How long a key stays unwrapped in memory: a destroyed one is gone from every process a minute later."""
TRIES_MAX: Final = 3
"""Each further try means that somebody rotated the tenant's key, or the root, in between."""

log = logs.get_logger()


class KeyUnavailable(RuntimeError):
    """No key could be made or reserved though it was tried again; nothing was sealed."""


@dataclass(slots=True)
class _Reserved:
    version: int
    left: int
    until: datetime
    retired: tuple[int, ...]

    def spent(self, now: datetime) -> bool:
        return self.left < 1 or now >= self.until


class KeyRing:
    """The keys this process has unwrapped, by tenant and version, and the seals it may still make."""

    def __init__(self, store: Store, keys: KeyService, clock: Clock, settings: LifecycleSettings) -> None:
        self._store = store
        self._keys = keys
        self._clock = clock
        self._period = settings.tenant_key_period
        self._seals_max = settings.tenant_key_seals_max
        self._unwrapped: dict[tuple[str, int], tuple[Secret[bytes], datetime]] = {}
        self._reserved: dict[str, _Reserved] = {}
        self._reserving: dict[str, asyncio.Lock] = {}

    async def sealing_key(self, tenant_id: str) -> tuple[int, Secret[bytes]]:
        """The version to seal one thing under, and its key. The tenant's first card makes its first key.

        A version past its period or its ceiling is never given: it is rotated first. Raises KeyUnavailable.
        """
        for _ in range(TRIES_MAX):
            held = await self._take_reserved(tenant_id)
            try:
                return held.version, await self.opening_key(tenant_id, held.version)
            except KeyDestroyed:
                self.give_up_reserved(tenant_id)
        raise KeyUnavailable("the tenant's key went away each time it was reserved")

    async def sealing_keys(self, tenant_id: str, count: int) -> tuple[int, Secret[bytes]]:
        """As `sealing_key`, for `count` seals at once of what is sealed already under an older version.

        These are counted but not refused for the ceiling: there is no other version they could go to.
        """
        for _ in range(TRIES_MAX):
            reserved = await self._reserve_once(tenant_id, count, seals_max=None)
            if reserved is not None:
                return reserved.version, await self.opening_key(tenant_id, reserved.version)
        raise KeyUnavailable("no version to seal under")

    async def retired_keys(self, tenant_id: str) -> list[Secret[bytes]]:
        """Of the versions that had cards left when seals were last reserved: none retires later without our noticing.

        What is sealed under the reserved version is refused by the database from the moment that one is retired.
        """
        held, found = self._reserved.get(tenant_id), []
        for version in held.retired if held is not None else ():
            with contextlib.suppress(KeyDestroyed):  # emptied meanwhile
                found.append(await self.opening_key(tenant_id, version))
        return found

    def give_up_reserved(self, tenant_id: str) -> None:
        """The version was retired by somebody else: what was reserved of it stays counted and is not used."""
        self._reserved.pop(tenant_id, None)

    def holds(self, tenant_id: str, version: int) -> bool:
        """Whether this version can be used now without the key service."""
        known = self._unwrapped.get((tenant_id, version))
        return known is not None and self._clock.now() < known[1]

    async def opening_key(self, tenant_id: str, version: int) -> Secret[bytes]:
        """The key something was sealed under. Raises KeyDestroyed, and what the key service raises."""
        now = self._clock.now()
        known = self._unwrapped.get((tenant_id, version))
        if known is not None and now < known[1]:
            return known[0]
        self.drop_stale()
        async with self._store.transaction(tenant_id) as tx:
            wrapped = await rows.wrapped_key(tx, version)
        if wrapped is None:
            raise KeyDestroyed
        key = await self._keys.unwrap(wrapped, context(tenant_id, version))
        self._unwrapped[tenant_id, version] = (key, now + HELD_FOR)
        return key

    def drop_stale(self) -> None:
        """Let go of keys held for their time; called whenever one is fetched, and by the job when none is."""
        now = self._clock.now()
        for place in [place for place, (_, until) in self._unwrapped.items() if now >= until]:
            del self._unwrapped[place]

    async def make_next(self, tenant_id: str, beyond: int, actor: str = VAULT) -> int:
        """Retire the version `beyond` (0: there is none) and make the next one active; the newest version then.

        Somebody else may have been quicker: it is then theirs. Raises KeyUnavailable, and what the key service raises.
        """
        for _ in range(TRIES_MAX):
            wrapped = await self._keys.wrap(new_key(), context(tenant_id, beyond + 1))
            crashpoints.reach("rotation_wrapped")
            try:
                newest = await self._store_next(tenant_id, beyond, wrapped, actor)
            except RootChanged:
                continue
            crashpoints.reach("rotation_advanced")
            return newest
        raise KeyUnavailable("the root was rotated each time a key was wrapped")

    async def _store_next(self, tenant_id: str, beyond: int, wrapped: bytes, actor: str) -> int:
        now, version = self._clock.now(), beyond + 1
        with rows.telling_refusals():
            async with self._store.transaction(tenant_id) as tx:
                newest = await rows.newest_for_change(tx)
                if newest != beyond:
                    return newest
                await rows.retire(tx, beyond, now)
                made = await rows.insert_active(tx, version, wrapped, self._keys.version_of(wrapped), now)
                if made:
                    await note(tx, now, actor=actor, act="rotated", what=f"key {version}", outcome=f"retired {beyond}")
        if made:
            self.give_up_reserved(tenant_id)
            log.info("tenant_key_made", tenant_id=tenant_id, version=version)
        return version

    async def _take_reserved(self, tenant_id: str) -> _Reserved:
        """One seal of what is reserved. Whoever comes while more is being reserved waits, and asks for none."""
        held = self._reserved.get(tenant_id)
        if held is None or held.spent(self._clock.now()):
            async with self._reserving.setdefault(tenant_id, asyncio.Lock()):
                held = self._reserved.get(tenant_id)
                if held is None or held.spent(self._clock.now()):
                    held = self._reserved[tenant_id] = await self._reserve(tenant_id)
                held.left -= 1
                return held
        held.left -= 1
        return held

    async def _reserve(self, tenant_id: str) -> _Reserved:
        for _ in range(TRIES_MAX):
            reserved = await self._reserve_once(tenant_id, RESERVED_AT_ONCE, seals_max=self._seals_max)
            if reserved is not None:
                return reserved
        raise KeyUnavailable("no version to seal under")

    async def _reserve_once(self, tenant_id: str, count: int, *, seals_max: int | None) -> _Reserved | None:
        """None after the version that could not be used has been replaced."""
        born_after = self._clock.now() - self._period
        async with self._store.transaction(tenant_id) as tx:
            found = await rows.reserve_seals(tx, count, seals_max=seals_max, born_after=born_after)
            newest = await rows.newest_version(tx)
            retired = await rows.retired_versions(tx)
        if found is not None:
            version, created_at = found
            return _Reserved(version, count, created_at + self._period, retired)
        await self.make_next(tenant_id, newest)
        return None


def context(tenant_id: str, version: int) -> bytes:
    """What the wrap of a tenant key is bound to."""
    return f"undercroft vault tenant key\n{tenant_id}\n{version}".encode()
