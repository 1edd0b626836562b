"""What is measured as the record's being behind."""

from collections.abc import AsyncIterator

import pytest

from infra.bench.lag import lag_figure, oldest_unsealed_ms
from infra.bench.measuring import BenchFailed
from infra.chassis.clock import SystemClock
from infra.dev.postgres import Cluster
from tests.support.database import DatabaseMaker
from tests.support.record import START, RecordHouse, record_house


@pytest.fixture
async def house(database: DatabaseMaker, clusters: dict[str, Cluster]) -> AsyncIterator[RecordHouse]:
    async with record_house(database("gateway"), clusters["house"]) as made:
        yield made


async def test_the_oldest_entry_without_a_place_says_how_far_behind_the_record_is(house: RecordHouse):
    nothing = await oldest_unsealed_ms(house.engine, house.north)
    await house.append()
    begun = SystemClock().now()
    house.clock.advance(begun - START)
    await house.append()
    behind = await oldest_unsealed_ms(house.engine, house.north)
    await house.sealer.seal(house.north)
    await house.append()
    after = await oldest_unsealed_ms(house.engine, house.north)
    ended = SystemClock().now()

    assert nothing == 0
    assert behind >= (begun - START).total_seconds() * 1_000
    assert 0 < after <= (ended - begun).total_seconds() * 1_000


def test_the_bar_is_the_promised_second():
    assert lag_figure("x", [300.0, 990.0, 2_000.0]).held
    assert not lag_figure("x", [300.0, 1_010.0, 2_000.0]).held


def test_a_record_that_was_never_behind_was_not_looked_at():
    with pytest.raises(BenchFailed):
        lag_figure("x", [300.0, 0.0, 2_000.0])
