"""Appending: one insert in the deciding transaction, a signed receipt, walls around it, proofs."""

import hashlib
import json
from collections.abc import AsyncIterator

import pytest
import rfc8785
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from sqlalchemy import text
from sqlalchemy.exc import IntegrityError, ProgrammingError

from gateway.record import store
from gateway.record.entries import Record, receipt_holds
from gateway.record.merkle import root_by_path
from gateway.record.proofs import inclusion_proof
from infra.chassis.engine import tenant_transaction
from infra.chassis.problems import NotFound
from infra.dev.postgres import Cluster, ServiceDatabase
from tests.support.database import DatabaseMaker
from tests.support.record import RecordHouse, record_house

INSERT_ENTRY = "INSERT INTO record_entries (tenant_id, decision_id, canonical, leaf_sha256, recorded_at)"


@pytest.fixture(scope="module")
def shared(database: DatabaseMaker) -> ServiceDatabase:
    return database("gateway")


@pytest.fixture
async def house(shared: ServiceDatabase, clusters: dict[str, Cluster]) -> AsyncIterator[RecordHouse]:
    async with record_house(shared, clusters["house"]) as made:
        yield made


async def test_an_entry_is_its_canonical_bytes_with_tenant_id_and_time_inside(house: RecordHouse):
    receipt = await house.append(decision_id="dec_first", outcome="deny", reasons=["no_mandate"])

    async with tenant_transaction(house.engine, house.north) as tx:
        entry = await store.entry_of_decision(tx, house.north, "dec_first")
    assert entry is not None
    assert entry.canonical is not None
    content = json.loads(entry.canonical)
    assert rfc8785.dumps(content) == entry.canonical
    assert content == {
        "v": 1,
        "tenant_id": house.north,
        "decision_id": "dec_first",
        "recorded_at": "2026-11-20T12:00:00Z",
        "body": {"v": 1, "outcome": "deny", "reasons": ["no_mandate"]},
    }
    assert receipt.leaf_sha256 == hashlib.sha256(b"\x00" + entry.canonical).hexdigest()


async def test_a_receipt_holds_for_its_tenant_and_key_and_nothing_else(house: RecordHouse):
    receipt = await house.append(decision_id="dec_first")
    stranger = Record(Ed25519PrivateKey.generate(), house.clock)

    assert receipt_holds(receipt, house.north, house.record.public_key)
    assert not receipt_holds(receipt, house.south, house.record.public_key)
    assert not receipt_holds(receipt, house.north, stranger.public_key)


@pytest.mark.parametrize(
    "change",
    [
        {"decision_id": "dec_other"},
        {"leaf_sha256": "0" * 64},
        {"key_id": "other"},
        {"signature": ""},
        {"signature": "!!"},
        {"signature": "A" * 86},
    ],
)
async def test_a_changed_receipt_does_not_hold(house: RecordHouse, change: dict[str, str]):
    receipt = await house.append()

    changed = type(receipt)(**{name: getattr(receipt, name) for name in receipt.__struct_fields__} | change)

    assert not receipt_holds(changed, house.north, house.record.public_key)


@pytest.mark.control("UC-10.3")
async def test_what_is_rolled_back_was_never_recorded(house: RecordHouse):
    async with house.engine.connect() as connection:
        await connection.execute(text("SELECT set_config('undercroft.tenant', :t, true)"), {"t": house.north})
        await house.record.append(connection, tenant_id=house.north, decision_id="dec_lost", body={"v": 1})
        await connection.rollback()
    await house.append(decision_id="dec_kept")
    await house.sealer.seal(house.north)

    assert await house.places() == ["dec_kept"]
    assert (await house.verify()).intact


async def test_a_decision_is_recorded_once(house: RecordHouse):
    await house.append(decision_id="dec_once")

    with pytest.raises(IntegrityError):
        await house.append(decision_id="dec_once")


@pytest.mark.parametrize("value", [float("nan"), 2**53, float("inf")])
async def test_a_body_that_json_cannot_say_exactly_is_not_recorded(house: RecordHouse, value: float):
    with pytest.raises(rfc8785.CanonicalizationError):
        await house.append(amount=value)


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE record_entries SET decision_id = 'dec_other'",
        "DELETE FROM record_entries",
        "TRUNCATE record_entries",
        "UPDATE record_leaves SET tree_index = 7",
        "DELETE FROM record_leaves",
        "UPDATE record_nodes SET level = 8",
        "DELETE FROM record_nodes",
        "UPDATE record_checkpoints SET note = ''",
        "DELETE FROM record_checkpoints",
        "INSERT INTO record_entries (tenant_id, transaction_id) VALUES ('tnt_other', 1)",
        f"{INSERT_ENTRY} VALUES ('tnt_other', 'dec_x', '', sha256(''), now())",
        "INSERT INTO record_leaves VALUES ('tnt_other', 0, 1)",
        "INSERT INTO record_nodes VALUES ('tnt_other', 8, 0, sha256(''))",
        "INSERT INTO record_checkpoints VALUES ('tnt_other', 1, sha256(''), '{}', 1, '', now())",
    ],
)
@pytest.mark.control("UC-10.3")
async def test_the_application_can_only_add_to_its_own_tenants_record(house: RecordHouse, statement: str):
    await house.sealed(2)

    with pytest.raises(ProgrammingError, match=r"permission denied|row-level security"):
        async with tenant_transaction(house.engine, house.north) as tx:
            await tx.execute(text(statement))

    assert (await house.verify()).intact


async def test_one_tenant_sees_nothing_of_anothers_record(house: RecordHouse):
    await house.sealed(3, tenant_id=house.south)

    async with tenant_transaction(house.engine, house.north) as tx:
        tables = ("record_entries", "record_leaves", "record_nodes", "record_checkpoints")
        counts = [
            (await tx.execute(text(f"SELECT count(*) FROM {table}"))).scalar_one()  # noqa: S608 - names above
            for table in tables
        ]

    assert counts == [0, 0, 0, 0]


async def test_the_proof_of_an_entry_leads_to_the_signed_root(house: RecordHouse):
    await house.sealed(300, 1, 17)

    async with tenant_transaction(house.engine, house.north) as tx:
        for decision_id in house.appended[::23]:
            entry = await store.entry_of_decision(tx, house.north, decision_id)
            assert entry is not None
            assert entry.tree_index is not None
            assert entry.leaf is not None
            proof = await inclusion_proof(tx, house.north, entry.tree_index)
            signed = house.record.open_checkpoint(house.north, proof.checkpoint.note)
            assert signed.size == 318
            assert root_by_path(entry.tree_index, signed.size, entry.leaf, proof.path) == signed.root
        with pytest.raises(NotFound):
            await inclusion_proof(tx, house.north, 318)
