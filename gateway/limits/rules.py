"""What a limit is, which ones hold without further words, and what a tenant's own rows in `rate_limits` say instead."""

from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Final

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from infra.chassis.clock import Clock
from infra.chassis.engine import tenant_transaction

MINUTE_US: Final = 60_000_000
PER_MINUTE_MAX: Final = 60_000_000
"""One a microsecond, which is how finely buckets are counted. The database holds tenants' own limits to the same."""
BURST_MAX: Final = 1_000_000
LEASE_PARTS: Final = 16
"""A process leases at most this part of a burst, so that eight together hold no more than half of it."""
LEASE_SHARE_OF_MINUTE: Final = 240
"""And at most what flows in during a quarter of a second."""
FRESH_FOR: Final = timedelta(seconds=10)
"""How long a changed row of `rate_limits` takes to hold everywhere; as for withdrawn clients (oauth.machines)."""


class Scope(StrEnum):
    TENANT = "tenant"
    AGENT = "agent"
    """A client id: an agent's, an mcp_server's or an assistant's, whatever bearer it comes with."""
    TOOL = "tool"
    """One operation of the API, for all callers of a tenant together."""
    SUBJECT = "subject"


@dataclass(frozen=True, slots=True)
class Limit:
    """A token bucket: holds `burst`, and `per_minute` flow in."""

    per_minute: int
    burst: int

    @property
    def cost_us(self) -> int:
        """Microseconds in which one token flows in; rounded up, so never more than `per_minute`."""
        return -(-MINUTE_US // self.per_minute)

    @property
    def makes_sense(self) -> bool:
        return 0 < self.per_minute <= PER_MINUTE_MAX and 0 < self.burst <= BURST_MAX

    @property
    def lease(self) -> int:
        """How many tokens a process takes at a time."""
        return max(1, min(self.burst // LEASE_PARTS, self.per_minute // LEASE_SHARE_OF_MINUTE))


@dataclass(frozen=True, slots=True)
class Bucket:
    """`name`: what a tenant's own limit can name. `key`: whose tokens these are."""

    scope: Scope
    name: str
    key: str


class Rules:
    """The limit of each bucket: a row that names it, else the tenant's row for the scope, else the default."""

    def __init__(self, engine: AsyncEngine, clock: Clock, defaults: dict[Scope, Limit]) -> None:
        self._engine = engine
        self._clock = clock
        self._defaults = defaults
        self._kept: dict[str, tuple[datetime, dict[tuple[str, str], Limit]]] = {}

    async def refresh(self, tenant_id: str) -> None:
        """Once in FRESH_FOR. Raises DatabaseUnreachable."""
        now = self._clock.now()
        kept = self._kept.get(tenant_id)
        if kept is not None and kept[0] > now:
            return
        async with tenant_transaction(self._engine, tenant_id) as tx:
            rows = (await tx.execute(_LIMITS, {"tenant_id": tenant_id})).all()
        own = {(scope, name): Limit(per_minute, burst) for scope, name, per_minute, burst in rows}
        self._kept[tenant_id] = (now + FRESH_FOR, own)

    def of(self, tenant_id: str, bucket: Bucket) -> Limit:
        """As last refreshed."""
        _, own = self._kept[tenant_id]
        named = own.get((bucket.scope.value, bucket.name)) or own.get((bucket.scope.value, ""))
        return named or self._defaults[bucket.scope]


_LIMITS = text("SELECT scope, name, per_minute, burst FROM rate_limits WHERE tenant_id = :tenant_id")
