"""What the owner of the database does to the record, and what `verify` says of it.

Places count from 0. `sealed(4, 3, 5)` makes three batches: places 0 to 3, 4 to 6, 7 to 11.
"""

from collections.abc import AsyncIterator
from datetime import timedelta

import pytest

from gateway.record.walk import FINDINGS_MAX
from infra.dev.postgres import Cluster, ServiceDatabase
from tests.support.database import DatabaseMaker
from tests.support.record import RecordHouse, record_house

# ruff: noqa: S608 - the tampering is written out here; nothing in it comes from outside

GONE = "DELETE FROM record_entries WHERE entry_id NOT IN (SELECT entry_id FROM record_leaves);"


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


def entry_at(place: int) -> str:
    return f"entry_id = (SELECT entry_id FROM record_leaves WHERE tree_index = {place})"


async def test_an_untouched_record_is_intact(house: RecordHouse):
    await house.sealed(4, 3, 5)
    await house.append()

    found = await house.verify()

    assert (found.intact, found.tree_size, found.unsealed, found.findings) == (True, 12, 1, [])


async def test_an_empty_record_is_intact(house: RecordHouse):
    found = await house.verify()

    assert (found.intact, found.tree_size, found.unsealed) == (True, 0, 0)


async def test_a_changed_content_is_named_by_its_place(house: RecordHouse):
    await house.sealed(4, 3, 5)

    await house.tamper(
        "UPDATE record_entries SET canonical = convert_to(replace(convert_from(canonical, 'UTF8'), '{\"v\":1}', "
        f"'{{\"v\":2}}'), 'UTF8') WHERE {entry_at(5)};"
    )

    assert await house.findings() == ["Place 5 was changed: its content does not have its hash."]


async def test_a_content_exchanged_with_its_hash_is_narrowed_to_its_batch(house: RecordHouse):
    await house.sealed(4, 3, 5)

    await house.forge(5, outcome="allow")

    assert await house.findings() == [
        "Places 4 to 6 are not what was signed: exchanged, moved, added or removed.",
    ]


async def test_damage_in_two_places_is_named_twice(house: RecordHouse):
    await house.sealed(4, 3, 5, 1)

    await house.forge(12, outcome="allow")
    await house.forge(0, outcome="allow")

    assert await house.findings() == [
        "Places 0 to 3 are not what was signed: exchanged, moved, added or removed.",
        "Place 12 is not what was signed: exchanged, moved, added or removed.",
    ]


@pytest.mark.parametrize(
    "change", ["decision_id = 'dec_other'", "recorded_at = recorded_at + interval '1 microsecond'"]
)
async def test_a_changed_column_is_named_by_its_place(house: RecordHouse, change: str):
    await house.sealed(4, 3)

    await house.tamper(f"UPDATE record_entries SET {change} WHERE {entry_at(2)};")

    assert await house.findings() == ["Place 2 was changed: its row does not say what its content says."]


async def test_a_content_that_is_no_entry_is_named(house: RecordHouse):
    await house.sealed(1, 1)

    await house.tamper(
        f"UPDATE record_entries SET canonical = 'x', leaf_sha256 = sha256('\\x0078') WHERE {entry_at(1)};"
    )

    assert await house.findings() == [
        "Place 1 was changed: its row does not say what its content says.",
        "Place 1 is not what was signed: exchanged, moved, added or removed.",
    ]


async def test_a_removed_entry_is_named_by_its_place(house: RecordHouse):
    await house.sealed(4, 3, 5)

    await house.tamper(f"DELETE FROM record_entries WHERE {entry_at(5)};")

    assert await house.findings() == ["Place 5 is missing: its entry is gone."]


async def test_a_removed_stretch_is_named_by_its_places(house: RecordHouse):
    await house.sealed(4, 3, 5)

    await house.tamper(f"DELETE FROM record_leaves WHERE tree_index BETWEEN 2 AND 7; {GONE}")

    assert await house.findings() == ["Places 2 to 7 are missing."]


async def test_removing_an_entry_and_closing_the_gap_is_found_in_every_batch_that_moved(house: RecordHouse):
    await house.sealed(4, 3, 5)

    await house.tamper(
        f"DELETE FROM record_leaves WHERE tree_index = 5; {GONE}"
        "UPDATE record_leaves SET tree_index = tree_index + 1000 WHERE tree_index > 5;"
        "UPDATE record_leaves SET tree_index = tree_index - 1001 WHERE tree_index > 1000;"
    )

    assert await house.findings() == [
        "Places 4 to 6 are not what was signed: exchanged, moved, added or removed.",
        "Place 11 is missing: signed at size 12, cut off since.",
        "Places 7 to 10 are under no signed checkpoint: it was removed, or they are forged.",
    ]


@pytest.mark.parametrize(("one", "other", "batches"), [(4, 6, ["4 to 6"]), (1, 8, ["0 to 3", "7 to 11"])])
async def test_entries_that_changed_places_are_found(house: RecordHouse, one: int, other: int, batches: list[str]):
    await house.sealed(4, 3, 5)

    await house.tamper(
        f"UPDATE record_leaves SET tree_index = 1000 WHERE tree_index = {one};"
        f"UPDATE record_leaves SET tree_index = {one} WHERE tree_index = {other};"
        f"UPDATE record_leaves SET tree_index = {other} WHERE tree_index = 1000;"
    )

    assert await house.findings() == [
        f"Places {batch} are not what was signed: exchanged, moved, added or removed." for batch in batches
    ]


async def test_an_entry_added_at_the_end_without_a_checkpoint_is_found(house: RecordHouse):
    await house.sealed(4)
    await house.append()

    await house.tamper(
        "INSERT INTO record_leaves SELECT tenant_id, 4, entry_id FROM record_entries e "
        "WHERE entry_id NOT IN (SELECT entry_id FROM record_leaves);"
    )

    assert await house.findings() == [
        "Place 4 is under no signed checkpoint: it was removed, or they are forged.",
    ]


async def test_a_place_taken_twice_is_found(lone_house: RecordHouse):
    house = lone_house
    await house.sealed(4)
    await house.append()

    await house.tamper(
        "ALTER TABLE record_leaves DROP CONSTRAINT record_leaves_pkey;"
        "INSERT INTO record_leaves SELECT tenant_id, 2, entry_id FROM record_entries e "
        "WHERE entry_id NOT IN (SELECT entry_id FROM record_leaves);"
    )

    assert "Place 2 is taken twice." in await house.findings()


async def test_a_record_cut_off_below_its_checkpoints_is_found(house: RecordHouse):
    await house.sealed(4, 3, 5)

    await house.tamper(f"DELETE FROM record_leaves WHERE tree_index >= 5; {GONE}")

    assert await house.findings() == [
        "Places 5 to 11 are missing: signed at size 12, cut off since.",
        "Place 4 is under no signed checkpoint: it was removed, or they are forged.",
    ]


async def test_entries_swapped_between_tenants_are_found_in_both(house: RecordHouse):
    await house.sealed(3)
    await house.sealed(3, tenant_id=house.south)

    await house.superuser(
        "CREATE TEMPORARY TABLE swapped AS SELECT l.tenant_id, l.entry_id, e.decision_id, e.canonical, e.leaf_sha256 "
        "FROM record_leaves l JOIN record_entries e USING (tenant_id, entry_id) "
        f"WHERE tree_index = 1 AND tenant_id IN ('{house.north}', '{house.south}');"
        "UPDATE record_entries e SET decision_id = s.decision_id, canonical = s.canonical, leaf_sha256 = s.leaf_sha256 "
        "FROM swapped m, swapped s WHERE e.entry_id = m.entry_id AND s.tenant_id <> m.tenant_id;"
    )

    for tenant_id in (house.north, house.south):
        assert await house.findings(tenant_id) == [
            "Place 1 was changed: its row does not say what its content says.",
            "Places 0 to 2 are not what was signed: exchanged, moved, added or removed.",
        ]


async def test_whole_records_swapped_between_tenants_are_found_in_both(house: RecordHouse):
    await house.sealed(3)
    await house.sealed(2, tenant_id=house.south)

    for table in ("record_entries", "record_leaves", "record_checkpoints"):
        await house.superuser(
            f"UPDATE {table} SET tenant_id = 'tnt_between' WHERE tenant_id = '{house.north}';"
            f"UPDATE {table} SET tenant_id = '{house.north}' WHERE tenant_id = '{house.south}';"
            f"UPDATE {table} SET tenant_id = '{house.south}' WHERE tenant_id = 'tnt_between';"
        )

    assert "The checkpoint of size 2 is forged or damaged." in await house.findings()
    assert "The checkpoint of size 3 is forged or damaged." in await house.findings(house.south)


@pytest.mark.parametrize(
    ("change", "finding"),
    [
        ("UPDATE record_nodes SET sha256 = sha256('')", "The stored node 0 of level 8 is not what the entries"),
        ("DELETE FROM record_nodes", "The stored node 0 of level 8 is not what the entries under it give."),
        (
            "INSERT INTO record_nodes SELECT tenant_id, 8, 7, sha256 FROM record_nodes",
            "The stored node 7 of level 8 has no sealed entries under it.",
        ),
    ],
)
async def test_a_changed_node_of_the_tree_is_found(house: RecordHouse, change: str, finding: str):
    await house.sealed(200, 100)

    await house.tamper(change)

    (found,) = await house.findings()
    assert found.startswith(finding)


async def test_an_unsealed_entry_that_was_changed_is_named(house: RecordHouse):
    await house.append()

    await house.tamper("UPDATE record_entries SET canonical = 'x';")

    (found,) = await house.findings()
    assert found.startswith("The unsealed entry ")
    assert found.endswith("was changed: its content does not have its hash.")


async def test_an_entry_hidden_from_the_sealer_is_found_after_a_minute(house: RecordHouse):
    await house.sealed(1)
    await house.append()
    await house.tamper(
        "UPDATE record_entries SET transaction_id = 1 WHERE entry_id NOT IN (SELECT entry_id FROM record_leaves);"
    )
    await house.sealer.seal(house.north)

    at_once = await house.findings()
    house.clock.advance(timedelta(seconds=61))
    later = await house.findings()

    assert at_once == []
    assert len(later) == 1
    assert later[0].endswith("recorded at 2026-11-20T12:00:00Z, has no place.")


async def test_more_findings_than_anybody_reads_are_counted(house: RecordHouse):
    await house.sealed(FINDINGS_MAX + 20)

    await house.tamper("UPDATE record_entries SET canonical = 'x';")

    findings = await house.findings()
    assert len(findings) == FINDINGS_MAX + 1
    assert findings[-1] == "20 more findings."


async def test_the_record_may_grow_while_it_is_verified(house: RecordHouse):
    await house.sealed(50)
    found = await house.verify()
    await house.sealed(50)

    assert found.intact
    assert (await house.verify()).tree_size == 100
