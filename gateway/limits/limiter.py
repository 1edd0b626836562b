"""Admitting a request: one token from each bucket it falls under, or none from any.

Tokens are counted in the process and leased from the shared row (see drawing.py). They are taken from the row before
they are used, so N processes never let through more than burst + rate * t from a full bucket. In a window that begins
later, what processes had leased before it comes on top: at most N * lease, each lease good for LEASE_US. A process that
learnt that a bucket is empty refuses by itself until the next token can be there: a flood costs no query.
"""

import asyncio
from collections import OrderedDict
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Final

from sqlalchemy.ext.asyncio import AsyncEngine

from gateway.errors import LimitReached
from gateway.limits.drawing import Draw, draw, forget_full, known_tenants
from gateway.limits.rules import Bucket, Limit, Rules, Scope
from gateway.limits.subjects import Subjects
from infra.chassis import logs
from infra.chassis.clock import Clock
from infra.chassis.engine import directory_transaction, tenant_transaction

LEASE_US: Final = 1_000_000
LEASES_MAX: Final = 50_000
"""Of one process; the one used longest ago is dropped, and its tokens with it."""
NO_TENANT: Final = "-"
"""Whose rows the buckets of an mcp_server's own requests are: it belongs to no tenant, and no tenant's id is a dash."""
FORGET_EVERY_SECONDS: Final = 60
EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
log = logs.get_logger()


@dataclass(slots=True)
class Lease:
    """What this process holds of one bucket."""

    bucket: Bucket
    limit: Limit | None = None
    """By which it was drawn."""
    left: int = 0
    ends_us: int = 0
    empty_until_us: int = 0
    waiting: int = 0
    """Requests that wait for the next draw; it brings a token for each."""

    def usable(self, now_us: int) -> bool:
        return self.left > 0 and now_us < self.ends_us


class Limits:
    def __init__(self, engine: AsyncEngine, clock: Clock, defaults: dict[Scope, Limit]) -> None:
        self._engine = engine
        self._clock = clock
        self._rules = Rules(engine, clock, defaults)
        self._subjects = Subjects(engine, clock)
        self._leases: OrderedDict[tuple[str, str], Lease] = OrderedDict()
        self._drawing: dict[str, asyncio.Lock] = {}

    async def admit(self, *, tenant_id: str, client_id: str, subject_id: str | None, tool: str) -> None:
        """One request of an authenticated caller. Raises LimitReached (429) and DatabaseUnreachable (503)."""
        buckets = [Bucket(Scope.AGENT, client_id, f"agent {client_id}")]
        if tenant_id:
            buckets += [Bucket(Scope.TENANT, "", "tenant"), Bucket(Scope.TOOL, tool, f"tool {tool}")]
        else:
            buckets.append(Bucket(Scope.TOOL, tool, f"tool {client_id} {tool}"))
        if subject_id is not None:
            buckets.append(_of_subject(subject_id))
        await self._take(tenant_id or NO_TENANT, buckets)

    async def admit_conversation(self, *, tenant_id: str, client_id: str, conversation_id: str) -> None:
        """The subject's part of an agent's request, which names a conversation. Raises as `admit`.

        A conversation that is not this client's own, or whose subject is not known, is nobody's: no bucket is touched.
        """
        subject_id = await self._subjects.of_conversation(tenant_id, client_id, conversation_id)
        if subject_id is not None:
            await self._take(tenant_id, [_of_subject(subject_id)])

    async def run(self, stop: asyncio.Event) -> None:
        """Forget buckets that are full again, every minute until `stop`; any number of processes may."""
        while not stop.is_set():
            try:
                await self.forget_full()
            except Exception as error:  # noqa: BLE001 - a background task must outlive what it depends on
                log.warning("buckets_kept", error=type(error).__name__)
            with suppress(TimeoutError):
                await asyncio.wait_for(stop.wait(), FORGET_EVERY_SECONDS)

    async def forget_full(self) -> None:
        now_us = self._now_us()
        async with directory_transaction(self._engine) as tx:
            tenants = await known_tenants(tx)
        for tenant_id in (NO_TENANT, *tenants):
            async with tenant_transaction(self._engine, tenant_id) as tx:
                await forget_full(tx, tenant_id, now_us)

    async def _take(self, tenant_id: str, buckets: Sequence[Bucket]) -> None:
        leases = [self._lease(tenant_id, bucket) for bucket in buckets]
        if self._taken(tenant_id, leases):
            return
        for lease in leases:
            lease.waiting += 1
        try:
            async with self._drawing.setdefault(tenant_id, asyncio.Lock()):
                while not self._taken(tenant_id, leases):
                    await self._draw(tenant_id, leases)
        finally:
            for lease in leases:
                lease.waiting -= 1

    def _taken(self, tenant_id: str, leases: Sequence[Lease]) -> bool:
        """Whether a token of each was there and is taken now; nothing is awaited in between. Raises LimitReached."""
        now_us = self._now_us()
        empty = [lease for lease in leases if not lease.usable(now_us) and now_us < lease.empty_until_us]
        if empty:
            raise self._reached(tenant_id, empty, now_us)
        if not all(lease.usable(now_us) for lease in leases):
            return False
        for lease in leases:
            lease.left -= 1
        return True

    async def _draw(self, tenant_id: str, leases: Sequence[Lease]) -> None:
        await self._rules.refresh(tenant_id)
        now_us = self._now_us()
        draws = {lease.bucket.key: lease for lease in leases if not lease.usable(now_us)}
        wishes = []
        for key, lease in draws.items():
            limit = self._rules.of(tenant_id, lease.bucket)
            returned = lease.left if lease.limit == limit else 0
            wishes.append(Draw(key, limit, max(limit.lease, lease.waiting), returned))
            lease.left, lease.limit = 0, limit
        drawn = await draw(self._engine, tenant_id, wishes, now_us)
        for wish in wishes:
            lease, got = draws[wish.key], drawn.get(wish.key)
            if got is None:  # forgotten this very moment, as full: the caller draws again
                continue
            lease.left, lease.ends_us = got.granted, self._now_us() + LEASE_US
            lease.empty_until_us = _next_token_us(got.full_at_us, wish.limit) if got.granted == 0 else 0

    def _reached(self, tenant_id: str, empty: Sequence[Lease], now_us: int) -> LimitReached:
        seconds = max(-(-(lease.empty_until_us - now_us) // 1_000_000) for lease in empty)
        limits = {lease.bucket.scope.value: self._rules.of(tenant_id, lease.bucket).per_minute for lease in empty}
        return LimitReached(seconds=seconds, per_minute=limits)

    def _lease(self, tenant_id: str, bucket: Bucket) -> Lease:
        place = (tenant_id, bucket.key)
        lease = self._leases.get(place)
        if lease is None:
            lease = self._leases[place] = Lease(bucket)
            while len(self._leases) > LEASES_MAX:
                self._leases.popitem(last=False)
        self._leases.move_to_end(place)
        return lease

    def _now_us(self) -> int:
        return (self._clock.now() - EPOCH) // timedelta(microseconds=1)


def _of_subject(subject_id: str) -> Bucket:
    return Bucket(Scope.SUBJECT, "", f"subject {subject_id}")


def _next_token_us(full_at_us: int, limit: Limit) -> int:
    """When the bucket holds a whole token again: all but one of its burst have still to flow in then."""
    return full_at_us - (limit.burst - 1) * limit.cost_us
