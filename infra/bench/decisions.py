"""A whole `POST /v1/decisions`: beside one insert, under sixteen callers at once, and by one worker and by two.

And how far the record is behind meanwhile.
"""

import asyncio
from dataclasses import replace

import psutil

from infra.bench import lag
from infra.bench.capacity import CapacityNotOurs, limited
from infra.bench.load import Load, press, scaling_figure, tail_figure
from infra.bench.measuring import BenchFailed, Comparison, Figure
from infra.bench.stage import Door, client, floors_beside, fresh_house, insertion, measured
from infra.bench.talk import Conversation, conversation
from infra.cli.console import Progress
from infra.dev.house import House
from infra.dev.processes import wait_for

DECISION_BAR = 4.0
"""Issue 3: bearer check, facts from PostgreSQL, decision, record."""
TAIL_BAR = 10.0
"""Issue 3."""
SCALING_BAR = 1 / 1.7
"""Issue 3: throughput grows 1.7 times from one worker to two, so each request takes this part of the time."""
CALLERS = 16
SECONDS = 5.0
ROUNDS = 3
WORKER_PERCENT = 20
"""Of one core for each worker: two of them, the database and the load then fit on two cores with room to spare."""
LISTENING_SECONDS_MAX = 60.0


async def measure() -> list[Figure]:
    with fresh_house("sandbox", "gateway") as house:
        async with floors_beside(house, "gateway") as floors, client() as http:
            at = await conversation(house, http)
            await at.grant()
            whole = Comparison(
                figure="gateway: POST /v1/decisions, allowed",
                floor_is="a bare Litestar handler with one insert",
                ours=at.enquiry,
                floor=insertion(Door(http, floors)),
                bar=DECISION_BAR,
            )
            figures = [await measured(whole), await _tail(at)]
            figures.append(await lag.measure(at, callers=CALLERS, seconds=SECONDS, rounds=ROUNDS))
            return [*figures, await _scaling(house, at)]


async def _tail(at: Conversation) -> Figure:
    with Progress(f"gateway: {CALLERS} callers at once"):
        call = await at.enquiry()
        await press(call, callers=CALLERS, seconds=1.0)
        loads = [await press(call, callers=CALLERS, seconds=SECONDS) for _ in range(ROUNDS)]
    return tail_figure(f"gateway: 99th percentile of decisions, {CALLERS} callers", loads, TAIL_BAR)


async def _scaling(house: House, at: Conversation) -> Figure:
    """Turn by turn, so that a busy minute of the machine meets both."""
    by_workers: dict[int, list[Load]] = {1: [], 2: []}
    held = "each held to a share of a core"
    with Progress("gateway: one worker and two"):
        for workers in (1, 2) * ROUNDS:
            pids = await asyncio.to_thread(_restarted, house, workers)
            try:
                with limited(pids, percent=WORKER_PERCENT):
                    by_workers[workers].append(await _pressed(at))
            except CapacityNotOurs:
                held = "not held to any share, so with the load and the database after the same cores"
                by_workers[workers].append(await _pressed(at))
    return scaling_figure(
        "gateway: time for each decision, two workers",
        f"one worker; {held}",
        by_workers[2],
        by_workers[1],
        SCALING_BAR,
    )


async def _pressed(at: Conversation) -> Load:
    """New connections each time: the kernel has spread the old ones over workers that are gone."""
    async with client() as http:
        call = await replace(at, door=Door(http, at.door.url)).enquiry()
        await press(call, callers=2 * CALLERS, seconds=1.0)
        return await press(call, callers=2 * CALLERS, seconds=SECONDS)


def _restarted(house: House, workers: int) -> list[int]:
    """The processes that answer."""
    house.options = replace(house.options, gateway_workers=workers)
    house.restart("gateway")
    parent = psutil.Process(house.pids["gateway"])
    if workers == 1:
        return [parent.pid]
    port = house.ports.named()["gateway"]
    if not wait_for(lambda: len(_listening(parent, port)) == workers, seconds=LISTENING_SECONDS_MAX):
        raise BenchFailed(f"{workers} workers did not come up:\n{house.log_tail('gateway')}")
    return _listening(parent, port)


def _listening(parent: psutil.Process, port: int) -> list[int]:
    return [
        child.pid
        for child in parent.children()
        for connection in child.net_connections("tcp")
        if connection.laddr.port == port and connection.status == psutil.CONN_LISTEN
    ]
