"""Whether a decision costs more in a large house: the same decision in a small one and in a grown one, in turn."""

from typing import Final

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from gateway.record import store
from gateway.record.entries import Record
from gateway.record.merkle import TILE_LEVELS, RightEdge
from gateway.record.store import CheckpointRow
from gateway.settings import load_keys
from infra.bench.measuring import Comparison, Figure
from infra.bench.stage import client, fresh_house, measured
from infra.bench.talk import Conversation, conversation
from infra.chassis.clock import SystemClock
from infra.chassis.engine import create_engine, tenant_transaction
from infra.chassis.secret import Secret
from infra.cli.console import Progress
from infra.dev.house import House

FLAT_BAR: Final = 1.2
"""Issue 3: flat within 20 %."""
TENANTS: Final = (10, 10_000)
RECORDS: Final = (100, 1_000_000)
BATCH: Final = 50_000
"""Entries of one transaction while filling: within the engine's time limit also on a busy machine."""


async def measure() -> list[Figure]:
    with fresh_house("sandbox", "gateway") as small, fresh_house("sandbox", "gateway") as large:
        async with client() as http:
            _add_tenants(small, TENANTS[0])
            with Progress(f"gateway: {TENANTS[1]:,} tenants made"):
                _add_tenants(large, TENANTS[1])
            here, there = await conversation(small, http), await conversation(large, http)
            for at in (here, there):
                await at.grant()
            await _add_records(here, RECORDS[0])
            tenants = await measured(_beside(here, there, f"{TENANTS[1]:,} tenants", f"{TENANTS[0]} tenants"))
            await _add_records(there, RECORDS[1])
            records = await measured(_beside(here, there, f"{RECORDS[1]:,} records", f"{RECORDS[0]} records"))
            return [tenants, records]


def _beside(here: Conversation, there: Conversation, many: str, few: str) -> Comparison:
    return Comparison(
        figure=f"gateway: POST /v1/decisions in a house of {many}",
        floor_is=f"the same in a house of {few}",
        ours=there.enquiry,
        floor=here.enquiry,
        bar=FLAT_BAR,
    )


def _add_tenants(house: House, count: int) -> None:
    """Each with a brand, an agent, a verified person in conversation, a mandate and a quote, and planned for."""
    house.clusters["house"].sql(_TENANTS.format(count=count), database=house.databases["gateway"].name)


async def _add_records(at: Conversation, count: int) -> None:
    """Entries of the tenant that is measured, sealed into its tree as the sealer does, in larger batches."""
    keys = load_keys(at.house.keyring.path("gateway/keys"))
    record = Record(keys.record, SystemClock())
    engine = create_engine(Secret(at.house.databases["gateway"].app_dsn))
    with Progress(f"gateway: {count:,} records made and sealed") as progress:
        for done in range(0, count, BATCH):
            await _add_batch(engine, record, at.tenant_id, done, min(BATCH, count - done))
            progress.show(f"{done:,}")
    await engine.dispose()


async def _add_batch(engine: AsyncEngine, record: Record, tenant_id: str, first: int, count: int) -> None:
    async with tenant_transaction(engine, tenant_id) as tx:
        await tx.execute(_LOCK_SEALING, {"tenant_id": tenant_id})
        await tx.execute(_ENTRIES, {"tenant_id": tenant_id, "first": first, "last": first + count - 1})
        newest = await store.newest_checkpoint(tx, tenant_id)
        edge = RightEdge(newest.size, newest.right_edge) if newest else RightEdge()
        size, since = edge.size, newest.settled_below if newest else 0
        unsealed = await store.unsealed_entries(tx, tenant_id, since=since, limit=2 * BATCH)
        grown = [item for entry in unsealed.entries for item in edge.add(entry.leaf)]
        row = CheckpointRow(
            size=edge.size,
            root=edge.root(),
            right_edge=edge.hashes,
            settled_below=unsealed.settled_below,
            note=record.sign_checkpoint(tenant_id, size=edge.size, root=edge.root()),
            signed_at=record.now(),
        )
        await store.add_leaves(tx, tenant_id, size, [entry.entry_id for entry in unsealed.entries])
        await store.add_nodes(tx, tenant_id, [item for item in grown if item[0].level % TILE_LEVELS == 0])
        await store.add_checkpoint(tx, tenant_id, row)


_LOCK_SEALING = text("SELECT pg_advisory_xact_lock(hashtextextended('record sealing ' || :tenant_id, 0))")
_ENTRIES = text(
    "INSERT INTO record_entries (tenant_id, decision_id, canonical, leaf_sha256, recorded_at)"
    " SELECT :tenant_id, 'dec_bench_' || n, c, sha256('\\x00'::bytea || c), now()"
    " FROM generate_series(CAST(:first AS bigint), CAST(:last AS bigint)) n,"
    " LATERAL (SELECT convert_to('{\"body\":{\"n\":' || n || '},\"tenant_id\":\"' || :tenant_id || '\"}', 'UTF8') AS c)"
    " AS made"
)
_TENANTS = """
BEGIN;
CREATE TEMPORARY TABLE made ON COMMIT DROP AS SELECT n, 'tnt_bench_' || n AS tenant, 'brd_bench_' || n AS brand,
    'sub_bench_' || n AS subject, 'cnv_bench_' || n AS talk FROM generate_series(1, {count}) n;
INSERT INTO tenants (tenant_id, name) SELECT tenant, tenant FROM made;
INSERT INTO brands (tenant_id, brand_id, name, slug, resource_url, currency)
    SELECT tenant, brand, brand, brand, 'https://bench.test/' || n, 'USD' FROM made;
INSERT INTO brand_directory (tenant_id, brand_id, name, slug, resource_url)
    SELECT tenant, brand, brand, brand, 'https://bench.test/' || n FROM made;
INSERT INTO client_directory (client_id, kind, tenant_id, name, scopes, public_jwk)
    SELECT 'agt_bench_' || n, 'agent', tenant, 'agent', '{{memory}}', '{{}}' FROM made;
INSERT INTO client_brands (client_id, brand_id) SELECT 'agt_bench_' || n, brand FROM made;
INSERT INTO subjects (tenant_id, subject_id, created_at) SELECT tenant, subject, now() FROM made;
INSERT INTO conversations (tenant_id, conversation_id, brand_id, channel, client_id, subject_id, opened_at)
    SELECT tenant, talk, brand, 'chat', 'agt_bench_' || n, subject, now() FROM made;
INSERT INTO evidence (tenant_id, evidence_id, conversation_id, subject_id, kind, obtained_at, expires_at)
    SELECT tenant, 'evi_bench_' || n, talk, subject, 'email_code', now(), now() + interval '12 hours' FROM made;
INSERT INTO mandates (tenant_id, mandate_id, subject_id, brand_id, payees, purposes, currency, payment_cap_minor,
    day_cap_minor, window_seconds, window_cap_minor, window_count_max, approval_above_minor, delegates, granted_in,
    granted_at, expires_at) SELECT tenant, 'mnd_bench_' || n, subject, brand, ARRAY[brand], '{{goods}}', 'USD', 1, 1,
    86400, 1, 10, 1, ARRAY['agents:' || brand], talk, now(), now() + interval '1 day' FROM made;
INSERT INTO quotes (tenant_id, checkout_id, brand_id, subject_id, client_id, cart_sha256, amount_minor, currency,
    description, quoted_at, expires_at) SELECT tenant, 'cko_bench_' || n, brand, subject, 'mcp_bench', repeat('0', 64),
    1, 'USD', 'a lamp', now(), now() + interval '1 day' FROM made;
COMMIT;
ANALYZE;
"""
