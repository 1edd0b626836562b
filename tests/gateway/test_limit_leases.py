"""The arithmetic of shared limits: never more than burst + rate * t, over any number of processes."""

import asyncio
import random
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import text

from gateway.errors import LimitReached
from gateway.limits.limiter import Limits
from gateway.limits.rules import Limit, Scope
from infra.chassis.clock import FixedClock
from infra.chassis.engine import DatabaseUnreachable, answers, create_engine, tenant_transaction
from infra.chassis.ids import new_id
from infra.chassis.secret import Secret
from infra.dev.postgres import ServiceDatabase
from tests.support.database import DatabaseMaker

PROCESSES = 8
WIDE = Limit(1_000_000, 1_000_000)


@pytest.fixture(scope="module")
def shared(database: DatabaseMaker) -> ServiceDatabase:
    return database("gateway")


@pytest.fixture
def clock() -> FixedClock:
    return FixedClock(datetime(2026, 11, 20, 12, 0, tzinfo=UTC))


class Processes:
    """Eight, each with its own engine and its own leases."""

    def __init__(self, databases: ServiceDatabase, clock: FixedClock, limit: Limit, tenant_id: str) -> None:
        self._engines = [create_engine(Secret(databases.app_dsn), pool_size=2) for _ in range(PROCESSES)]
        self._limits = [
            Limits(engine, clock, {**dict.fromkeys(Scope, WIDE), Scope.AGENT: limit}) for engine in self._engines
        ]
        self.tenant_id = tenant_id

    async def ask(self, process: int) -> bool:
        try:
            await self._limits[process].admit(
                tenant_id=self.tenant_id, client_id="agt_x", subject_id=None, tool="GET /v1/quotes"
            )
        except LimitReached:
            return False
        return True

    async def all_ask(self, times: int) -> int:
        """Everyone `times` times, all at once; how many were let in. Whatever one raises, all have ended."""
        async with asyncio.TaskGroup() as tasks:
            asked = [tasks.create_task(self.ask(at % PROCESSES)) for at in range(times * PROCESSES)]
        return sum(task.result() for task in asked)

    async def connect(self) -> None:
        """One after the other, beforehand: what is tested is not how many connections a busy machine makes at once."""
        for engine in self._engines:
            assert await answers(engine)

    async def forget_full(self) -> None:
        await self._limits[0].forget_full()

    async def rows(self) -> int:
        async with tenant_transaction(self._engines[0], self.tenant_id) as tx:
            return int((await tx.execute(text("SELECT count(*) FROM rate_buckets"))).scalar_one())

    async def close(self) -> None:
        for engine in self._engines:
            await engine.dispose()


@pytest.fixture
async def processes(
    request: pytest.FixtureRequest, shared: ServiceDatabase, clock: FixedClock
) -> AsyncIterator[Processes]:
    made = Processes(shared, clock, request.param, new_id("tnt"))
    try:
        await made.connect()
        yield made
    finally:
        await made.close()


@pytest.mark.parametrize("processes", [Limit(2_400, 160), Limit(60, 10), Limit(1, 1)], indirect=True)
@pytest.mark.control("UC-R.1")
async def test_eight_processes_at_once_never_let_more_through_than_burst_and_what_flowed_in(
    processes: Processes, clock: FixedClock, request: pytest.FixtureRequest
):
    limit: Limit = request.node.callspec.params["processes"]
    start, let_in = clock.now(), 0
    for step in (0, 0, 250, 500, 1_000, 3_000, 60_000):
        clock.advance(timedelta(milliseconds=step))
        let_in += await processes.all_ask(60)
        flowed = (clock.now() - start) / timedelta(minutes=1) * limit.per_minute
        assert let_in <= limit.burst + flowed
        if step == 0:
            assert let_in >= limit.burst - PROCESSES * (limit.lease - 1), "what idle leases may keep from others"


@pytest.mark.parametrize("processes", [Limit(2_400, 64)], indirect=True)
@pytest.mark.control("UC-R.1")
async def test_in_any_window_no_more_passes_than_burst_rate_and_one_lease_a_process(
    processes: Processes, clock: FixedClock, request: pytest.FixtureRequest
):
    limit: Limit = request.node.callspec.params["processes"]
    chance = random.Random(7)  # noqa: S311 - the same schedule every time
    passed: list[datetime] = []
    for _ in range(150):
        clock.advance(timedelta(milliseconds=chance.choice([0, 0, 5, 30, 400])))
        together = [chance.randrange(PROCESSES) for _ in range(chance.randrange(1, 12))]
        passed += [clock.now() for let_in in await asyncio.gather(*map(processes.ask, together)) if let_in]

    assert len(passed) > 200
    most, lowest = 0.0, float("inf")
    for count, at in enumerate(passed):
        flowed = (at - passed[0]) / timedelta(minutes=1) * limit.per_minute
        lowest = min(lowest, count - flowed)
        most = max(most, count + 1 - flowed - lowest)
    assert limit.burst <= most <= limit.burst + PROCESSES * limit.lease, "more in a window than flowed in within it"


@pytest.mark.parametrize("processes", [Limit(2_400, 160)], indirect=True)
async def test_what_was_leased_and_not_used_is_not_there_twice(processes: Processes, clock: FixedClock):
    assert [await processes.ask(at) for at in range(PROCESSES)] == [True] * PROCESSES
    clock.advance(timedelta(seconds=10))

    alone = [await processes.ask(0) for _ in range(200)]

    assert sum(alone) == 160


@pytest.mark.parametrize("processes", [Limit(60, 2)], indirect=True)
async def test_a_clock_that_goes_back_lets_nothing_more_through(processes: Processes, clock: FixedClock):
    assert await processes.all_ask(3) == 2
    clock.advance(timedelta(seconds=-30))
    assert await processes.all_ask(3) == 0
    clock.advance(timedelta(seconds=31))
    assert await processes.all_ask(3) == 1


@pytest.mark.parametrize("processes", [Limit(60, 2)], indirect=True)
async def test_full_buckets_are_forgotten_and_empty_ones_are_not(
    processes: Processes, clock: FixedClock, shared: ServiceDatabase
):
    await _known_tenant(shared, processes.tenant_id)
    assert await processes.all_ask(1) == 2
    clock.advance(timedelta(seconds=1))
    await processes.forget_full()
    kept = await processes.rows()
    clock.advance(timedelta(seconds=1))
    await processes.forget_full()

    assert (kept, await processes.rows()) == (3, 0)
    assert await processes.all_ask(1) == 2


async def _known_tenant(shared: ServiceDatabase, tenant_id: str) -> None:
    engine = create_engine(Secret(shared.owner_dsn), pool_size=1)
    async with engine.begin() as tx:
        await tx.execute(
            text("INSERT INTO tenants (tenant_id, name) VALUES (:t, 'Limits') ON CONFLICT DO NOTHING"), {"t": tenant_id}
        )
    await engine.dispose()


@pytest.mark.control("UC-R.1")
async def test_without_its_database_nobody_is_let_in(clock: FixedClock):
    engine = create_engine(Secret("postgresql+asyncpg://nobody@127.0.0.1:1/nothing"))
    limits = Limits(engine, clock, dict.fromkeys(Scope, WIDE))

    for _ in range(2):
        with pytest.raises(DatabaseUnreachable):
            await limits.admit(tenant_id="tnt_x", client_id="agt_x", subject_id=None, tool="GET /v1/quotes")
    await engine.dispose()
