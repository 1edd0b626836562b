"""A vault that has charged and refunded before there was a ledger finds all of it posted after the migration."""

import secrets
import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from infra.chassis.engine import create_engine
from infra.chassis.migrate import upgrade
from infra.chassis.secret import Secret
from infra.dev.postgres import Cluster, ServiceDatabase
from tests.sandbox.running import ROOT
from tests.support.database import DatabaseMaker
from tests.vault.bench import rows
from vault.ledger.check import balances, check
from vault.store import Store

MIGRATIONS, LEDGER, UPDATES = ROOT / "vault" / "migrations", "0004", "0014"
BEFORE = """
SET session_replication_role = replica;
INSERT INTO tenants VALUES ('tnt_a'), ('tnt_b');
INSERT INTO charges (tenant_id, charge_id, brand_id, subject_id, purchase_id, token_id, amount_minor, currency, state,
    processor_ref, refunded_minor, created_at, updated_at)
VALUES ('tnt_a', 'chg_1', 'b', 's', 'pur_1', 't', 5000, 'USD', 'approved', 'pi_1', 1500, now(), now()),
    ('tnt_a', 'chg_2', 'b', 's', 'pur_2', 't', 900, 'EUR', 'approved', 'pi_2', 0, now(), now()),
    ('tnt_a', 'chg_3', 'b', 's', 'pur_3', 't', 700, 'USD', 'declined', 'pi_3', 0, now(), now()),
    ('tnt_b', 'chg_1', 'b', 's', 'pur_1', 't', 100, 'USD', 'unknown', 'pi_4', 0, now(), now());
INSERT INTO refunds (tenant_id, refund_id, charge_id, amount_minor, currency, state, created_at, updated_at)
VALUES ('tnt_a', 'ref_1', 'chg_1', 1500, 'USD', 'refunded', now(), now()),
    ('tnt_a', 'ref_2', 'chg_1', 300, 'USD', 'failed', now(), now());
INSERT INTO inbox_events VALUES ('tnt_a', 'evt_1', 'charge.succeeded', now());
"""

CHARGED = """
SET session_replication_role = replica;
INSERT INTO tenants VALUES ('tnt_a');
INSERT INTO cards (tenant_id, token_id, brand_id, subject_id, fingerprint, fingerprint_version, wrapped_key,
    sealed_number, sealed_details, card_brand, last4, created_at, on_file_since, earlier_token_id)
SELECT 'tnt_a', token, 'b', 's', decode(repeat('00', 32), 'hex'), 1, '\\x0100000001', 'x', 'x', 'visa', last4, now(),
    now(), earlier FROM (VALUES ('tok_1', '4242', NULL), ('tok_2', '4242', 'tok_1')) given (token, last4, earlier);
INSERT INTO charges (tenant_id, charge_id, brand_id, subject_id, purchase_id, token_id, amount_minor, currency, state,
    processor_ref, created_at, updated_at)
VALUES ('tnt_a', 'chg_1', 'b', 's', 'pur_1', 'tok_1', 5000, 'USD', 'unknown', 'pi_1', now(), now());
"""


@pytest.fixture
def old(database: DatabaseMaker, clusters: dict[str, Cluster]) -> ServiceDatabase:
    """An empty database beside the others, for the same two roles."""
    other, name = database("vault"), f"vault_{secrets.token_hex(4)}"
    clusters["vault"].sql(f"CREATE DATABASE {name} TEMPLATE template0 OWNER vault_owner;")
    clusters["vault"].sql("GRANT ALL ON SCHEMA public TO vault_owner;", database=name)
    return replace(
        other,
        name=name,
        owner_dsn=other.owner_dsn.replace(f"/{other.name}?", f"/{name}?"),
        app_dsn=other.app_dsn.replace(f"/{other.name}?", f"/{name}?"),
    )


async def up_to(version: str, old: ServiceDatabase, folder: Path) -> None:
    """All migrations before that one."""
    versions = folder / "versions"
    versions.mkdir()
    for file in (MIGRATIONS / "versions").glob("*.py"):
        if file.name < version:
            shutil.copy(file, versions)
    await upgrade(folder, Secret(old.owner_dsn))


async def test_a_charge_from_before_cards_had_generations_is_of_the_first_and_says_of_which_card(
    old: ServiceDatabase, clusters: dict[str, Cluster], tmp_path: Path
):
    await up_to(UPDATES, old, tmp_path)
    clusters["vault"].sql(CHARGED, database=old.name)

    await upgrade(MIGRATIONS, Secret(old.owner_dsn))

    charges = await rows(old.app_dsn, "SELECT card_generation, card_brand, last4 FROM charges", "tnt_a")
    sql = "SELECT token_id, generation, earlier_token_id, earlier_generation FROM cards ORDER BY token_id"
    cards = [tuple(row.values()) for row in await rows(old.app_dsn, sql, "tnt_a")]
    forced = "SELECT count(*) FROM pg_class WHERE relname IN ('charges', 'cards') AND relforcerowsecurity"
    assert charges == [{"card_generation": 1, "card_brand": "visa", "last4": "4242"}]
    assert cards == [("tok_1", 1, None, None), ("tok_2", 1, "tok_1", 1)]
    assert await rows(old.owner_dsn, forced) == [{"count": 2}]


async def test_what_was_charged_before_the_ledger_is_posted_by_the_migration(
    old: ServiceDatabase, clusters: dict[str, Cluster], tmp_path: Path
):
    await up_to(LEDGER, old, tmp_path)
    clusters["vault"].sql(BEFORE, database=old.name)

    await upgrade(MIGRATIONS, Secret(old.owner_dsn))

    engine = create_engine(Secret(old.app_dsn), pool_size=1)
    try:
        store = Store(engine)
        found = [await check(store, tenant_id) for tenant_id in ("tnt_a", "tnt_b")]
        async with store.transaction("tnt_a") as tx:
            posted = {(one.currency, one.account): one.amount_minor for one in await balances(tx, None)}
        whose = await store.tenant_of_payment("pi_4")
    finally:
        await engine.dispose()
    assert [(one.charges, one.unfinished, one.differences) for one in found] == [(3, 0, ()), (1, 1, ())]
    assert posted == {
        ("EUR", "processor_receivable"): 900,
        ("EUR", "sales"): -900,
        ("USD", "processor_receivable"): 3500,
        ("USD", "refunds"): 1500,
        ("USD", "sales"): -5000,
    }
    assert whose == "tnt_b"
    forced = (
        "SELECT count(*) FROM pg_class WHERE relname IN ('charges', 'refunds', 'inbox_events') AND relforcerowsecurity"
    )
    assert await rows(old.owner_dsn, forced) == [{"count": 3}]
