"""In front of a key service that is somewhere else: asks it less, and never faster than agreed.

Kept: keys that were unwrapped, by the digest of wrap and context, for `seconds` after they came, at most `entries_max`,
the longest unused going first; with 0 seconds none. Nothing else is kept: no failure, no wrap. They are dropped with
the first question after their time, when this process destroys a version, and at `close`. So a version that another
process destroys may open here for `seconds` more.

Several who want the same key at once ask once. After a burst of `per_second` requests the next ones wait their turn, so
that as many are sent in a second; who would wait longer than `waits_seconds` is refused at once, as unreachable.
A fault of ours does not become an outage of everybody's key service.
"""

import asyncio
import hashlib
from collections import OrderedDict
from dataclasses import dataclass
from datetime import datetime, timedelta

from infra.chassis.clock import Clock
from infra.chassis.keys.protocol import Description, KeyService, KeyServiceUnreachable
from infra.chassis.sealing import joined
from infra.chassis.secret import Secret


@dataclass(frozen=True, slots=True)
class Sparing:
    seconds: int = 60
    entries_max: int = 10_000
    per_second: int = 200
    waits_seconds: float = 2.0


@dataclass(frozen=True, slots=True)
class _Kept:
    key: Secret[bytes]
    until: datetime


class SparingKeyService:
    def __init__(self, behind: KeyService, clock: Clock, limits: Sparing) -> None:
        self._behind = behind
        self._clock = clock
        self._limits = limits
        self._kept: OrderedDict[bytes, _Kept] = OrderedDict()
        self._asked: dict[bytes, asyncio.Task[Secret[bytes]]] = {}
        self._allowance = float(limits.per_second)
        self._counted_at = clock.now()

    async def wrap(self, key: Secret[bytes], context: bytes) -> bytes:
        await self._wait_turn()
        return await self._behind.wrap(key, context)

    async def unwrap(self, wrapped: bytes, context: bytes) -> Secret[bytes]:
        self.version_of(wrapped)
        name = hashlib.sha256(joined(wrapped, context)).digest()
        kept = self._kept.get(name)
        if kept is not None and self._clock.now() < kept.until:
            self._kept.move_to_end(name)
            return kept.key
        self._drop_overdue()
        asked = self._asked.get(name)
        if asked is None:
            asked = self._asked[name] = asyncio.ensure_future(self._ask(wrapped, context))
            asked.add_done_callback(lambda task: self._answered(name, task))
        return await asyncio.shield(asked)  # whoever gives up waiting takes the answer from nobody else

    def version_of(self, wrapped: bytes) -> int:
        return self._behind.version_of(wrapped)

    async def rotate(self) -> int:
        return await self._behind.rotate()

    async def destroy_before(self, version: int) -> None:
        """What is on its way when this is asked is not kept when it comes."""
        self._forget()
        await self._behind.destroy_before(version)
        self._forget()

    async def describe(self) -> Description:
        return await self._behind.describe()

    async def prove(self) -> None:
        await self._behind.prove()

    async def close(self) -> None:
        self._forget()
        await self._behind.close()

    async def _ask(self, wrapped: bytes, context: bytes) -> Secret[bytes]:
        await self._wait_turn()
        return await self._behind.unwrap(wrapped, context)

    def _answered(self, name: bytes, task: asyncio.Task[Secret[bytes]]) -> None:
        wanted = self._asked.get(name) is task
        if wanted:
            del self._asked[name]
        if task.cancelled() or task.exception() is not None or not wanted or self._limits.seconds == 0:
            return
        self._kept[name] = _Kept(task.result(), self._clock.now() + timedelta(seconds=self._limits.seconds))
        self._kept.move_to_end(name)
        if len(self._kept) > self._limits.entries_max:
            self._kept.popitem(last=False)

    def _drop_overdue(self) -> None:
        now = self._clock.now()
        for name in [name for name, kept in self._kept.items() if kept.until <= now]:
            del self._kept[name]

    def _forget(self) -> None:
        self._kept.clear()
        self._asked.clear()

    async def _wait_turn(self) -> None:
        """Raises KeyServiceUnreachable."""
        now = self._clock.now()
        gained = max(0.0, (now - self._counted_at).total_seconds()) * self._limits.per_second
        self._allowance = min(float(self._limits.per_second), self._allowance + gained)
        self._counted_at = now
        seconds = max(0.0, 1 - self._allowance) / self._limits.per_second
        if seconds > self._limits.waits_seconds:
            raise KeyServiceUnreachable("more was asked of the key service than is agreed with it")
        self._allowance -= 1
        if seconds > 0:
            await asyncio.sleep(seconds)
