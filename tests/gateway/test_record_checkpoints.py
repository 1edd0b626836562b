"""What checkpoints prove: those in the database, and one kept elsewhere. Places count from 0."""

from collections.abc import AsyncIterator

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from gateway.record.entries import Record
from gateway.record.sealer import Sealer
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


async def test_a_record_cut_off_with_its_checkpoints_needs_a_checkpoint_kept_elsewhere(house: RecordHouse):
    await house.sealed(4, 3, 5)
    kept = await house.note()

    await house.tamper(
        f"DELETE FROM record_checkpoints WHERE tree_size > 4; DELETE FROM record_leaves WHERE tree_index >= 4; {GONE}"
    )

    assert await house.findings() == []
    assert await house.findings(kept_elsewhere=kept) == [
        "Places 4 to 11 are missing, says the checkpoint kept elsewhere: cut off."
    ]


async def test_a_whole_record_removed_needs_a_checkpoint_kept_elsewhere(house: RecordHouse):
    await house.sealed(4)
    kept = await house.note()

    await house.tamper("DELETE FROM record_checkpoints; DELETE FROM record_leaves; DELETE FROM record_entries;")

    assert await house.findings() == []
    assert await house.findings(kept_elsewhere=kept) == [
        "Places 0 to 3 are missing, says the checkpoint kept elsewhere: cut off."
    ]


async def test_a_history_rewritten_with_the_key_in_hand_needs_a_checkpoint_kept_elsewhere(house: RecordHouse):
    await house.sealed(4, 3)
    kept = await house.note()
    await house.sealed(2)

    await house.forge(1, outcome="deny")
    await house.tamper("DELETE FROM record_checkpoints; DELETE FROM record_leaves;")
    await Sealer(house.engine, house.record).seal(house.north)

    assert await house.findings() == []
    assert await house.findings(kept_elsewhere=kept) == [
        "The record up to size 7 is not the one that the checkpoint kept elsewhere signs."
    ]


async def test_a_checkpoint_kept_elsewhere_holds_while_the_record_grows(house: RecordHouse):
    await house.sealed(4, 3)
    kept = await house.note()
    await house.sealed(5, 300)

    assert await house.findings(kept_elsewhere=kept) == []


async def test_a_checkpoint_of_another_tenant_or_key_proves_nothing(house: RecordHouse):
    await house.sealed(4)
    await house.sealed(4, tenant_id=house.south)
    stranger = Record(Ed25519PrivateKey.generate(), house.clock)
    notes = [
        await house.note(house.south),
        stranger.sign_checkpoint(house.north, size=4, root=bytes(32)),
        "not a note",
        house.record.sign_checkpoint(house.north, size=0, root=bytes(32)),
    ]

    findings = [await house.findings(kept_elsewhere=note) for note in notes]

    refused = ["The checkpoint kept elsewhere was not signed by this record's key for this tenant."]
    assert findings[:3] == [refused] * 3
    assert findings[3] == ["The record up to size 0 is not the one that the checkpoint kept elsewhere signs."]


async def test_a_checkpoint_signed_by_another_key_is_forged_and_believed_by_nobody(house: RecordHouse):
    await house.sealed(4, 3)
    await house.forge(5, outcome="allow")
    note = Record(Ed25519PrivateKey.generate(), house.clock).sign_checkpoint(house.north, size=7, root=bytes(32))

    await house.tamper(f"UPDATE record_checkpoints SET note = '{note}' WHERE tree_size = 7;")

    assert await house.findings() == [
        "The checkpoint of size 7 is forged or damaged.",
        "Places 4 to 6 are under no signed checkpoint: it was removed, or they are forged.",
    ]


@pytest.mark.parametrize(
    ("change", "finding"),
    [
        ("root_sha256 = sha256('')", "damaged: its row does not say what its note says."),
        ("right_edge = ARRAY[sha256('')]", "damaged: its row does not say what its note says."),
        ("right_edge = '{}'", "forged or damaged."),
        ("note = 'nothing'", "forged or damaged."),
        ("tree_size = 5", "forged or damaged."),
    ],
)
async def test_a_changed_checkpoint_is_found(house: RecordHouse, change: str, finding: str):
    await house.sealed(4, 4)

    await house.tamper(f"UPDATE record_checkpoints SET {change} WHERE tree_size = 4;")

    (found,) = await house.findings()
    assert found.startswith("The checkpoint of size ")
    assert found.endswith(finding)


async def test_an_older_note_under_a_newer_size_is_found(house: RecordHouse):
    await house.sealed(4, 4)

    await house.tamper(
        "UPDATE record_checkpoints SET note = (SELECT note FROM record_checkpoints WHERE tree_size = 4) "
        "WHERE tree_size = 8;"
    )

    assert await house.findings() == [
        "The checkpoint of size 8 is damaged: its row does not say what its note says.",
        "Places 4 to 7 are under no signed checkpoint: it was removed, or they are forged.",
    ]
