"""Statements on the driver itself: whose connections those are, who waits, and what becomes of one that died."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import asyncpg
import pytest

from infra.chassis import at_once
from infra.chassis.at_once import AtOnce
from infra.chassis.engine import DatabaseUnreachable, create_engine
from infra.chassis.secret import Secret
from infra.dev.postgres import ServiceDatabase
from tests.support.database import DatabaseMaker
from tests.support.waiting import wait_until

PID = "SELECT pg_backend_pid()"
HELD = 4_711
BEHIND_IT = f"SELECT pg_backend_pid(), pg_advisory_xact_lock({HELD})"
WAITING = """
SELECT count(*) FROM pg_locks l JOIN pg_database d ON d.oid = l.database AND d.datname = current_database()
WHERE l.locktype = 'advisory' AND l.objid = $1 AND NOT l.granted
"""


@pytest.fixture(scope="module")
def database_of_gateway(database: DatabaseMaker) -> ServiceDatabase:
    return database("gateway")


@asynccontextmanager
async def admin(database: ServiceDatabase) -> AsyncIterator[asyncpg.Connection]:
    connection = await asyncpg.connect(database.app_dsn.replace("+asyncpg", ""))
    try:
        yield connection
    finally:
        await connection.close()


async def end(database: ServiceDatabase, *pids: int) -> None:
    async with admin(database) as other:
        for pid in pids:
            assert await other.fetchval("SELECT pg_terminate_backend($1, 5000)", pid)


async def until_waiting(other: asyncpg.Connection, count: int) -> None:
    async def waiting() -> bool:
        return bool(await other.fetchval(WAITING, HELD) == count)

    await wait_until(waiting)


async def until_gone(database: ServiceDatabase, *pids: int) -> None:
    async with admin(database) as other:

        async def gone() -> bool:
            return not await other.fetchval("SELECT count(*) FROM pg_stat_activity WHERE pid = ANY($1)", list(pids))

        await wait_until(gone)


async def test_a_connection_that_died_while_it_lay_idle_fails_nobody(
    database_of_gateway: ServiceDatabase, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(at_once, "IDLE_SECONDS_MAX", -1.0)
    engine = create_engine(Secret(database_of_gateway.app_dsn))
    calls = AtOnce(engine)
    kept = [(await calls.fetch(PID))[0][0] for _ in range(2)]

    await end(database_of_gateway, kept[0])
    after = (await calls.fetch(PID))[0][0]

    assert kept[0] == kept[1] != after
    await engine.dispose()


async def test_one_that_died_in_use_is_one_clear_error_and_takes_the_others_with_it(
    database_of_gateway: ServiceDatabase, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(at_once, "IDLE_SECONDS_MAX", 3600.0)
    engine = create_engine(Secret(database_of_gateway.app_dsn))
    calls = AtOnce(engine)
    async with admin(database_of_gateway) as other:
        await other.execute("SELECT pg_advisory_lock($1)", HELD)
        both = [asyncio.ensure_future(calls.fetch(BEHIND_IT)) for _ in range(2)]
        await until_waiting(other, 2)
        await other.execute("SELECT pg_advisory_unlock($1)", HELD)
        before = {(await call)[0][0] for call in both}

    await end(database_of_gateway, *before)
    with pytest.raises(DatabaseUnreachable):
        await calls.fetch(PID)
    after = {row[0] for rows in await asyncio.gather(*[calls.fetch(PID) for _ in range(4)]) for row in rows}

    assert len(before) == 2
    assert not before & after
    await engine.dispose()


async def test_who_finds_none_free_waits_and_not_for_ever(
    database_of_gateway: ServiceDatabase, monkeypatch: pytest.MonkeyPatch
):
    engine = create_engine(Secret(database_of_gateway.app_dsn))
    calls = AtOnce(engine, connections_max=1)
    in_turn = {rows[0][0] for rows in await asyncio.gather(*[calls.fetch(PID) for _ in range(5)])}

    async with admin(database_of_gateway) as other:
        await other.execute("SELECT pg_advisory_lock($1)", HELD)
        first = asyncio.ensure_future(calls.fetch(BEHIND_IT))
        await until_waiting(other, 1)
        monkeypatch.setattr(at_once, "WAIT_SECONDS_MAX", 0.01)
        with pytest.raises(DatabaseUnreachable):
            await calls.fetch(PID)
        await other.execute("SELECT pg_advisory_unlock($1)", HELD)
        assert {(await first)[0][0]} == in_turn

    assert {(await calls.fetch(PID))[0][0]} == in_turn
    assert len(in_turn) == 1
    await engine.dispose()


async def test_all_of_them_end_with_the_engine_also_one_that_was_at_work(database_of_gateway: ServiceDatabase):
    engine = create_engine(Secret(database_of_gateway.app_dsn))
    calls = AtOnce(engine)

    async with admin(database_of_gateway) as other:
        await other.execute("SELECT pg_advisory_lock($1)", HELD)
        at_work = asyncio.ensure_future(calls.fetch(BEHIND_IT))
        await until_waiting(other, 1)
        idle = (await calls.fetch(PID))[0][0]
        await engine.dispose()
        await until_gone(database_of_gateway, idle)
        await other.execute("SELECT pg_advisory_unlock($1)", HELD)
        worked = (await at_work)[0][0]

    assert worked != idle
    await until_gone(database_of_gateway, worked)


async def test_connections_made_here_are_none_of_the_pools_and_set_as_they_are(database_of_gateway: ServiceDatabase):
    engine = create_engine(Secret(database_of_gateway.app_dsn), pool_size=1)
    calls = AtOnce(engine)

    row = (await calls.fetch("SELECT current_setting('application_name') AS name, '{\"a\": 1}'::json AS plain"))[0]

    assert row["name"] == "undercroft"
    assert engine.sync_engine.pool.status().endswith("Current Checked out connections: 0")
    await engine.dispose()
