"""Sealing: nothing is left out, nothing gets two places, no second history is signed."""

import asyncio
from collections.abc import AsyncIterator

import pytest
from sqlalchemy import text

from gateway.record import store
from gateway.record.entries import Record, receipt_holds
from gateway.record.sealer import BATCH_ENTRIES_MAX, RecordDamaged, Sealer
from infra.chassis.engine import create_engine, tenant_transaction
from infra.chassis.ids import new_id
from infra.chassis.secret import Secret
from infra.dev.postgres import Cluster, ServiceDatabase
from tests.support.database import DatabaseMaker
from tests.support.record import RecordHouse, record_house
from tests.support.waiting import BUSY_SECONDS_MAX, wait_until


class KilledHere(Exception):
    """In place of a process's end."""


@pytest.fixture(scope="module")
def shared(database: DatabaseMaker) -> ServiceDatabase:
    return database("gateway")


@pytest.fixture
async def house(shared: ServiceDatabase, clusters: dict[str, Cluster]) -> AsyncIterator[RecordHouse]:
    async with record_house(shared, clusters["house"]) as made:
        yield made


@pytest.fixture
async def lone_house(database: DatabaseMaker, clusters: dict[str, Cluster]) -> AsyncIterator[RecordHouse]:
    """With a database of its own."""
    async with record_house(database("gateway"), clusters["house"]) as made:
        yield made


async def test_an_open_transaction_does_not_hold_up_another_append_nor_the_sealer(house: RecordHouse):
    async with tenant_transaction(house.engine, house.north) as slow:
        await house.record.append(slow, tenant_id=house.north, decision_id="dec_slow", body={"v": 1})
        await asyncio.wait_for(house.append(decision_id="dec_quick"), timeout=BUSY_SECONDS_MAX)
        await asyncio.wait_for(house.sealer.seal(house.north), timeout=BUSY_SECONDS_MAX)
        before = await house.places()

    assert before == ["dec_quick"]


async def test_an_entry_committed_after_later_ones_were_sealed_is_sealed_too(house: RecordHouse):
    async with tenant_transaction(house.engine, house.north) as slow:
        await house.record.append(slow, tenant_id=house.north, decision_id="dec_slow", body={"v": 1})
        for _ in range(3):
            await house.sealed(2)
    await house.sealer.seal(house.north)

    places = await house.places()
    assert (places[-1], len(places)) == ("dec_slow", 7)
    assert await house.verify() == type(await house.verify())(intact=True, tree_size=7, unsealed=0, findings=[])


async def test_the_sealer_looks_only_at_entries_that_could_be_new(house: RecordHouse):
    await house.sealed(40)
    await house.append()

    async with tenant_transaction(house.engine, house.north) as tx:
        newest = await store.newest_checkpoint(tx, house.north)
        assert newest is not None
        statement = "SELECT count(*) FROM record_entries WHERE transaction_id >= :since"
        looked_at = (await tx.execute(text(statement), {"since": newest.settled_below})).scalar_one()

    assert looked_at <= 2


async def test_a_record_restored_from_a_dump_is_sealed_on(house: RecordHouse):
    """The restored rows carry transaction ids of the old cluster, far above the new one's."""
    await house.sealed(2)
    await house.tamper(
        "UPDATE record_entries SET transaction_id = transaction_id + 1000000000;"
        "UPDATE record_checkpoints SET settled_below = settled_below + 1000000000;"
    )

    await house.sealed(2)

    assert len(await house.places()) == 4
    assert (await house.verify()).intact


async def test_more_than_a_batch_is_sealed_in_several(house: RecordHouse):
    count = BATCH_ENTRIES_MAX + 30
    async with tenant_transaction(house.engine, house.north) as tx:
        for number in range(count):
            await house.record.append(tx, tenant_id=house.north, decision_id=new_id("dec"), body={"n": number})

    await house.sealer.seal(house.north)

    async with tenant_transaction(house.engine, house.north) as tx:
        sizes = [row.size async for row in store.checkpoints(tx, house.north)]
        nodes = await store.all_nodes(tx, house.north)
    assert sizes == [BATCH_ENTRIES_MAX, count]
    assert sorted((node.level, node.position) for node in nodes) == [(8, 0), (8, 1), (8, 2), (8, 3)]
    assert (await house.verify()).intact


@pytest.mark.control("UC-10.3")
async def test_200_parallel_appends_while_two_sealers_run_each_get_one_place(house: RecordHouse):
    engines = [create_engine(Secret(house.database.app_dsn), pool_size=8) for _ in range(2)]
    stop = asyncio.Event()
    sealing = [asyncio.create_task(Sealer(engine, house.record).run(stop)) for engine in engines]

    receipts = await asyncio.gather(*(house.append(number=number) for number in range(200)))

    async def all_sealed() -> bool:
        return len(await house.places()) == 200

    await wait_until(all_sealed)
    stop.set()
    await asyncio.gather(*sealing)
    assert sorted(await house.places()) == sorted(house.appended)
    assert all(receipt_holds(receipt, house.north, house.record.public_key) for receipt in receipts)
    found = await house.verify()
    assert (found.intact, found.tree_size, found.unsealed) == (True, 200, 0)
    for engine in engines:
        await engine.dispose()


async def test_two_sealers_at_once_seal_everything_once(house: RecordHouse):
    other = Sealer(house.engine, house.record)
    for _ in range(10):
        for _ in range(5):
            await house.append()
        await asyncio.gather(house.sealer.seal(house.north), other.seal(house.north), house.sealer.seal(house.north))
    await house.sealer.seal(house.north)

    assert sorted(await house.places()) == sorted(house.appended)
    assert (await house.verify()).intact


async def test_a_sealer_waits_for_no_other(house: RecordHouse):
    await house.append()
    async with tenant_transaction(house.engine, house.north) as tx:
        assert await store.take_sealing(tx, house.north)
        await asyncio.wait_for(house.sealer.seal(house.north), timeout=BUSY_SECONDS_MAX)
        assert await house.places() == []

    await house.sealer.seal(house.north)
    assert len(await house.places()) == 1


@pytest.mark.parametrize("step", ["add_leaves", "add_nodes", "add_checkpoint"])
async def test_a_sealer_killed_in_the_middle_leaves_nothing_half_done(
    house: RecordHouse, monkeypatch: pytest.MonkeyPatch, step: str
):
    await house.sealed(3)
    for _ in range(4):
        await house.append()
    finished = getattr(store, step)

    async def killed(*arguments: object) -> None:
        await finished(*arguments)
        raise KilledHere

    with monkeypatch.context() as patched:
        patched.setattr(store, step, killed)
        with pytest.raises(KilledHere):
            await house.sealer.seal(house.north)
    between = await house.verify()
    await house.sealer.seal(house.north)

    assert (between.intact, between.tree_size, between.unsealed) == (True, 3, 4)
    assert sorted(await house.places()) == sorted(house.appended)
    assert (await house.verify()).intact


async def test_a_sealer_finds_what_another_process_appended(lone_house: RecordHouse):
    house = lone_house
    await house.append(house.south)
    quiet = Sealer(house.engine, Record(house.key, house.clock))
    stop = asyncio.Event()
    sealing = asyncio.create_task(quiet.run(stop))

    async def all_sealed() -> bool:
        return len(await house.places(house.south)) == 1

    await wait_until(all_sealed)
    stop.set()
    await asyncio.wait_for(sealing, timeout=BUSY_SECONDS_MAX)


async def test_a_sealer_does_not_sign_on_after_a_damaged_checkpoint(house: RecordHouse):
    await house.sealed(4)
    note = await house.note()
    await house.append()
    await house.tamper("UPDATE record_checkpoints SET right_edge = ARRAY[sha256('forged')];")

    with pytest.raises(RecordDamaged):
        await Sealer(house.engine, house.record).seal(house.north)

    assert await house.note() == note


async def test_a_running_sealer_does_not_sign_a_second_history(house: RecordHouse):
    """Everything after the first batch is removed, tree and checkpoints: each row left is in order by itself."""
    await house.sealed(4, 4)
    await house.tamper(
        "DELETE FROM record_checkpoints WHERE tree_size > 4; DELETE FROM record_leaves WHERE tree_index >= 4;"
        "DELETE FROM record_entries e WHERE NOT EXISTS (SELECT FROM record_leaves l WHERE l.entry_id = e.entry_id);"
    )
    await house.append()

    with pytest.raises(RecordDamaged):
        await house.sealer.seal(house.north)


async def test_a_sealer_does_not_fill_places_that_are_taken(house: RecordHouse):
    await house.sealed(4, 4)
    await house.tamper("DELETE FROM record_checkpoints WHERE tree_size > 4;")
    await house.append()

    with pytest.raises(RecordDamaged):
        await Sealer(house.engine, house.record).seal(house.north)


async def test_a_damaged_record_does_not_hold_up_other_tenants(house: RecordHouse):
    await house.sealed(4)
    await house.tamper("UPDATE record_checkpoints SET note = 'nothing';")
    await house.append()
    await house.append(house.south)
    stop = asyncio.Event()
    sealing = asyncio.create_task(Sealer(house.engine, house.record).run(stop))

    async def the_other_is_sealed() -> bool:
        return len(await house.places(house.south)) == 1

    await wait_until(the_other_is_sealed)
    stop.set()
    await asyncio.wait_for(sealing, timeout=BUSY_SECONDS_MAX)
    assert len(await house.places()) == 4
