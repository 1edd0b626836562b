"""Delivers what is owed, at least once: claims, sends with no transaction open, writes down what came of it.

    tx1  claim        attempt counted, due again in half a minute       killed after it: sent again, another delivery id
     →   POST         the event's bytes, signed as of now               killed after it: the same
    tx2  the answer   delivered, due later, dead, or endpoint gone

Each endpoint has a lane of its own: a slow or dead one delays no other. Eight events of an endpoint are under way at
once, of one that failed last a single one. Of one charge or card, an endpoint gets one event at a time, in the order
they were added; across objects there is no order. Several processes may do this at once: rows are locked and skipped.
"""

import asyncio
import contextlib
from collections.abc import Coroutine, Iterable
from datetime import datetime, timedelta
from functools import partial
from typing import Final

from infra.chassis import logs
from infra.chassis.clock import Clock
from infra.chassis.crashpoints import reach
from vault.names import asked_by
from vault.outbox import rows, schedule
from vault.outbox.counters import OutboxCounters
from vault.outbox.rows import Claimed, EndpointRow
from vault.outbox.sending import DELIVERY_HEADER, RESTING, TOTAL_SECONDS_MAX, Answer, Ending, Sender
from vault.outbox.signing import EndpointKeys, KeyRow
from vault.store import Store, Tx

INTERVAL_SECONDS: Final = 2
AT_ONCE: Final = 8
CLAIMED_FOR: Final = timedelta(seconds=2 * TOTAL_SECONDS_MAX)
"""An attempt takes half of it at most; after that whoever claimed it is dead."""
STOP_SECONDS: Final = 5
"""The service waits 10 s for its background; what is cut off is sent again."""

log = logs.get_logger()
Lane = tuple[str, str]
"""Tenant and endpoint."""


class Courier:
    def __init__(
        self, *, store: Store, keys: EndpointKeys, sender: Sender, clock: Clock, counters: OutboxCounters
    ) -> None:
        self._store = store
        self._keys = keys
        self._sender = sender
        self._clock = clock
        self._counters = counters
        self._lanes: dict[Lane, asyncio.Task[int]] = {}
        self._stopped = False

    async def run(self, stop: asyncio.Event) -> None:
        while not stop.is_set():
            try:
                await self._open_lanes()
            except Exception as error:  # noqa: BLE001 - what fails, for want of a database say, is tried again
                log.warning("courier_round_failed", error=type(error).__name__)
            await _sleep(stop, INTERVAL_SECONDS)
        await self.close()

    async def run_once(self) -> int:
        """Deliver what is due now, and what becomes due by that; how many attempts were made."""
        made = 0
        while attempts := sum(await asyncio.gather(*await self._open_lanes())):
            made += attempts
        return made

    async def close(self) -> None:
        self._stopped = True
        lanes = list(self._lanes.values())
        if lanes:
            _, hanging = await asyncio.wait(lanes, timeout=STOP_SECONDS)
            for lane in hanging:
                lane.cancel()
            await asyncio.gather(*hanging, return_exceptions=True)
        await self._sender.close()

    async def _open_lanes(self) -> list[asyncio.Task[int]]:
        """A lane for each endpoint that has none and is owed something now."""
        opened = []
        for tenant_id in await self._store.tenants():
            async with self._store.transaction(tenant_id) as tx:
                due = await rows.endpoints_with_something_due(tx, self._clock.now())
            for endpoint_id in due:
                lane = (tenant_id, endpoint_id)
                if lane not in self._lanes and not self._stopped:
                    task = asyncio.ensure_future(self._go_through(tenant_id, endpoint_id))
                    task.add_done_callback(partial(self._forget, lane))
                    self._lanes[lane] = task
                    opened.append(task)
        return opened

    def _forget(self, lane: Lane, _task: asyncio.Task[int]) -> None:
        self._lanes.pop(lane, None)

    async def _go_through(self, tenant_id: str, endpoint_id: str) -> int:
        """Until nothing is due there any more; how many attempts were made."""
        made = 0
        try:
            while not self._stopped:
                endpoint, keys, claimed = await self._claim(tenant_id, endpoint_id)
                if endpoint is None:
                    break
                reach("outbox_claimed")
                made += len(claimed)
                await _all(self._deliver(endpoint, keys, one) for one in claimed)
        except Exception as error:  # noqa: BLE001 - one lane's fault is no other's; what was claimed is due again
            log.warning("courier_lane_failed", endpoint_id=endpoint_id, error=type(error).__name__)
        return made

    async def _claim(self, tenant_id: str, endpoint_id: str) -> tuple[EndpointRow | None, list[KeyRow], list[Claimed]]:
        """No endpoint when it wants nothing now."""
        now = self._clock.now()
        async with self._store.transaction(tenant_id) as tx:
            endpoint = await rows.endpoint(tx, endpoint_id)
            if endpoint is None or endpoint.state != "enabled" or _rests(endpoint, now):
                return None, [], []
            limit = 1 if endpoint.failures else AT_ONCE
            claimed = await rows.claim(tx, endpoint_id, now=now, until=now + CLAIMED_FOR, limit=limit)
            keys = await rows.keys_of(tx, endpoint_id, now)
        return endpoint if claimed else None, keys, claimed

    async def _deliver(self, endpoint: EndpointRow, keys: list[KeyRow], one: Claimed) -> None:
        body = one.payload.encode()
        headers = self._keys.headers(keys, one.event_id, self._clock.now(), body)
        with asked_by(endpoint.tenant_id):
            answer = await self._sender.post(endpoint.url, {**headers, DELIVERY_HEADER: one.delivery_id}, body)
        reach("outbox_sent")
        self._counters.attempts.labels(answer.ending.value).inc()
        async with self._store.transaction(endpoint.tenant_id) as tx:
            await self._write(tx, endpoint, one, answer)
        reach("outbox_written")
        log.info(
            "webhook",
            event_id=one.event_id,
            delivery_id=one.delivery_id,
            endpoint_id=endpoint.endpoint_id,
            attempt=one.attempt,
            ending=answer.ending.value,
            status=answer.status,
        )

    async def _write(self, tx: Tx, endpoint: EndpointRow, one: Claimed, answer: Answer) -> None:
        now, endpoint_id = self._clock.now(), endpoint.endpoint_id
        if answer.ending is Ending.DELIVERED:
            await rows.note_delivered(tx, endpoint_id, one, answer.status, now)
            return
        asked = schedule.retry_after(answer.retry_after, now)
        await rows.note_failed(
            tx,
            endpoint_id,
            one,
            status=answer.status,
            failure=answer.ending.value,
            next_at=schedule.next_attempt(
                now,
                attempt=one.attempt,
                about=f"{one.event_id} {endpoint_id}",
                owed_since=one.owed_since,
                retry_after=asked,
            ),
            rest_until=_rest_until(endpoint, answer, asked, now),
            now=now,
        )
        if answer.ending is Ending.GONE:
            await rows.disable(tx, endpoint_id, "gone", now)
        else:
            await rows.give_up_before(tx, endpoint_id, now - schedule.GIVE_UP_AFTER, now)


def _rests(endpoint: EndpointRow, now: datetime) -> bool:
    return endpoint.resting_until is not None and now < endpoint.resting_until


def _rest_until(endpoint: EndpointRow, answer: Answer, asked: timedelta | None, now: datetime) -> datetime | None:
    """None when the answer says something about this event only."""
    if answer.ending not in RESTING:
        return None
    return now + max(schedule.rest(endpoint.failures + 1, endpoint.endpoint_id), asked or timedelta())


async def _all(work: Iterable[Coroutine[None, None, None]]) -> None:
    """Every one to its end, whatever becomes of the others; then raises what the first that failed raised."""
    for ended in await asyncio.gather(*work, return_exceptions=True):
        if ended is not None:
            raise ended


async def _sleep(stop: asyncio.Event, seconds: float) -> None:
    with contextlib.suppress(TimeoutError):
        await asyncio.wait_for(stop.wait(), seconds)
