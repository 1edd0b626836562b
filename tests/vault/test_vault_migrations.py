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

MIGRATIONS, LEDGER = ROOT / "vault" / "migrations", "0004"
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


async def test_what_was_charged_before_the_ledger_is_posted_by_the_migration(
    old: ServiceDatabase, clusters: dict[str, Cluster], tmp_path: Path
):
    versions = tmp_path / "versions"
    versions.mkdir()
    for file in (MIGRATIONS / "versions").glob("*.py"):
        if file.name < LEDGER:
            shutil.copy(file, versions)
    await upgrade(tmp_path, Secret(old.owner_dsn))
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
