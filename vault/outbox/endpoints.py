"""Where a tenant wants to be told: endpoints registered, their keys rotated, switched off and on."""

import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Final

from infra.chassis import logs
from infra.chassis.clock import Clock
from infra.chassis.ids import new_id
from vault.outbox import rows
from vault.outbox.addresses import require_url
from vault.outbox.events import Kind
from vault.outbox.rows import EndpointRow
from vault.outbox.signing import EndpointKeys, KeyRow
from vault.store import Store, Tx

ENDPOINTS_MAX: Final = 10
"""Enabled ones of one tenant: each event is owed to each, in the transaction of the outcome."""
SALT_BYTES: Final = 32
OVERLAP_MAX: Final = timedelta(days=7)

log = logs.get_logger()


class EndpointRefused(Exception):
    """The sentence says why."""


@dataclass(frozen=True, slots=True)
class Shown:
    """An endpoint's new keys. The shared secret is not shown again."""

    endpoint_id: str
    shared_secret: str
    public_key: str

    def __repr__(self) -> str:
        return f"Shown({self.endpoint_id}, …)"


class Endpoints:
    def __init__(self, *, store: Store, keys: EndpointKeys, clock: Clock, sandbox: bool) -> None:
        self._store = store
        self._keys = keys
        self._clock = clock
        self._sandbox = sandbox

    async def add(self, tenant_id: str, url: str, kinds: Sequence[Kind]) -> Shown:
        """No kinds: all, also those there will be. Raises UrlRefused and EndpointRefused."""
        require_url(url, sandbox=self._sandbox)
        now, endpoint_id = self._clock.now(), new_id("ept")
        async with self._store.transaction(tenant_id) as tx:
            await _require_room(tx)
            if not await rows.insert_endpoint(tx, endpoint_id, url, sorted(kinds), now):
                raise EndpointRefused("an endpoint with this URL is enabled")
            key = _new_key(tenant_id, endpoint_id, 1, self._clock)
            await rows.insert_key(tx, key)
        log.info("endpoint_added", tenant_id=tenant_id, endpoint_id=endpoint_id)
        return self._shown(key)

    async def rotate(self, tenant_id: str, endpoint_id: str, overlap: timedelta) -> Shown:
        """New keys at once; the old ones sign besides for so long. Raises EndpointRefused."""
        if not timedelta() <= overlap <= OVERLAP_MAX:
            raise EndpointRefused(f"keys overlap for {OVERLAP_MAX.days} days at most")
        async with self._store.transaction(tenant_id) as tx:
            await _require(tx, endpoint_id)
            newest = await rows.end_keys(tx, endpoint_id, self._clock.now() + overlap)
            key = _new_key(tenant_id, endpoint_id, newest + 1, self._clock)
            await rows.insert_key(tx, key)
        log.info("endpoint_key_rotated", tenant_id=tenant_id, endpoint_id=endpoint_id, version=key.version)
        return self._shown(key)

    async def disable(self, tenant_id: str, endpoint_id: str) -> None:
        """What it was owed becomes dead letters. Raises EndpointRefused."""
        async with self._store.transaction(tenant_id) as tx:
            await _require(tx, endpoint_id)
            await rows.disable(tx, endpoint_id, "ordered", self._clock.now())

    async def enable(self, tenant_id: str, endpoint_id: str) -> None:
        """It is told what happens from now on; what it missed is sent by hand. Raises EndpointRefused."""
        async with self._store.transaction(tenant_id) as tx:
            found = await _require(tx, endpoint_id)
            others = [one for one in await rows.endpoints(tx) if one.state == "enabled"]
            if found.state == "disabled":
                if any(one.url == found.url for one in others):
                    raise EndpointRefused("an endpoint with this URL is enabled")
                await _require_room(tx)
                await rows.enable(tx, endpoint_id)

    async def listed(self, tenant_id: str) -> list[tuple[EndpointRow, list[str]]]:
        """Each endpoint with the public keys that sign now, newest first."""
        async with self._store.transaction(tenant_id) as tx:
            found = await rows.endpoints(tx)
            keys = {one.endpoint_id: await rows.keys_of(tx, one.endpoint_id, self._clock.now()) for one in found}
        return [(one, [self._keys.public_key(key) for key in keys[one.endpoint_id]]) for one in found]

    def _shown(self, key: KeyRow) -> Shown:
        return Shown(key.endpoint_id, self._keys.shared_secret(key), self._keys.public_key(key))


def _new_key(tenant_id: str, endpoint_id: str, version: int, clock: Clock) -> KeyRow:
    return KeyRow(tenant_id, endpoint_id, version, secrets.token_bytes(SALT_BYTES), clock.now(), None)


async def _require(tx: Tx, endpoint_id: str) -> EndpointRow:
    found = await rows.endpoint_for_update(tx, endpoint_id)
    if found is None:
        raise EndpointRefused("there is no such endpoint")
    return found


async def _require_room(tx: Tx) -> None:
    if len([one for one in await rows.endpoints(tx) if one.state == "enabled"]) >= ENDPOINTS_MAX:
        raise EndpointRefused(f"a tenant has {ENDPOINTS_MAX} enabled endpoints at most")
