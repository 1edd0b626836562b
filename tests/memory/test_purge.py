"""Used-up grants are dropped in the background, whatever becomes of the database meanwhile."""

import asyncio

from infra.chassis.engine import create_engine
from infra.chassis.secret import Secret
from memory.forget import purge_redeemed_grants
from tests.memory.conftest import Bench
from tests.support.waiting import BUSY_SECONDS_MAX


async def test_the_purge_outlives_a_database_that_refuses_it(bench: Bench):
    address, _, _ = bench.app_dsn.rpartition("/")
    engine, stop = create_engine(Secret(f"{address}/gone"), pool_size=1), asyncio.Event()

    purging = asyncio.create_task(purge_redeemed_grants(engine, bench.clock, stop))
    done, _ = await asyncio.wait([purging], timeout=2)
    stop.set()
    await asyncio.wait_for(purging, BUSY_SECONDS_MAX)
    await engine.dispose()

    assert not done
