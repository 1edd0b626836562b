"""What the database itself refuses, whatever the code does."""

from typing import Any

import asyncpg
import pytest
import sqlalchemy

from infra.dev.postgres import Cluster
from tests.vault.bench import Bench, Person, connected, rows

APP_RIGHTS = {
    "tenants": {"SELECT", "INSERT"},
    "redeemed_grants": {"INSERT", "DELETE"},
    "tenant_keys": {"SELECT", "INSERT"},
    "cards": {"SELECT", "INSERT"},
    "captures": {"SELECT", "INSERT", "DELETE"},
    "charges": {"SELECT", "INSERT"},
    "charge_attempts": {"SELECT", "INSERT"},
    "leftovers": {"SELECT", "INSERT", "DELETE"},
    "payment_routes": {"SELECT", "INSERT", "DELETE"},
    "refunds": {"SELECT", "INSERT"},
    "inbox_events": {"SELECT", "INSERT", "DELETE"},
    "payment_directory": {"SELECT", "INSERT"},
    "hold_ends": {"SELECT", "INSERT"},
    "disputes": {"SELECT", "INSERT"},
    "postings": {"SELECT"},
    "entries": {"SELECT", "INSERT"},
    "key_moves": {"SELECT", "INSERT"},
    "shreddings": {"SELECT", "INSERT"},
    "key_acts": {"SELECT", "INSERT"},
    "canary_uses": {"SELECT", "INSERT"},
    "destinations": {"SELECT"},
    "forwards": {"SELECT", "INSERT"},
    "root_floor": {"SELECT"},
    "root_rounds": {"SELECT", "INSERT"},
    "webhook_endpoints": {"SELECT", "INSERT"},
    "endpoint_keys": {"SELECT", "INSERT"},
    "outbox_events": {"SELECT", "INSERT", "DELETE"},
    "import_keys": {"SELECT", "INSERT", "DELETE"},
    "card_imports": {"SELECT", "INSERT"},
    "card_import_lines": {"SELECT", "INSERT"},
    "card_updating": {"SELECT", "INSERT", "DELETE"},
    "card_inquiries": {"SELECT", "INSERT", "DELETE"},
    "dispatches": {"SELECT", "INSERT"},
    "deliveries": {"SELECT", "INSERT"},
    "alembic_version": set(),
}
APP_COLUMNS = {
    ("redeemed_grants", "SELECT"): {"tenant_id", "expires_at"},
    ("cards", "UPDATE"): {
        "on_file_since",
        "wrapped_key",
        "sealed_number",
        "sealed_details",
        "sealed_fingerprint",
        "fingerprint",
        "fingerprint_version",
        "good_through",
        "generation",
        "card_brand",
        "last4",
        "earlier_token_id",
        "earlier_generation",
        "shredded_at",
        "closed_at",
    },
    ("import_keys", "UPDATE"): {"sealed_seed"},
    ("card_imports", "UPDATE"): {"finished_at"},
    ("card_inquiries", "UPDATE"): {"tries", "asked_at", "again_at", "outcome", "answered_at"},
    ("tenant_keys", "UPDATE"): {"state", "wrapped_key", "root_version", "seals", "retired_at", "destroyed_at"},
    ("key_moves", "UPDATE"): {"after_token_id", "moved", "stuck", "updated_at", "finished_at"},
    ("shreddings", "UPDATE"): {"round_id", "final_at"},
    ("root_floor", "UPDATE"): {"version"},
    ("root_rounds", "UPDATE"): {"step", "root_version", "updated_at", "finished_at", "outcome"},
    ("captures", "UPDATE"): {"attempts", "browser_hash", "token_id"},
    ("forwards", "UPDATE"): {
        "state",
        "reason",
        "http_status",
        "withheld",
        "redactions",
        "updated_at",
        "worked_until",
    },
    ("charges", "UPDATE"): {
        "action_until",
        "browser_hash",
        "state",
        "reason",
        "processor",
        "processor_ref",
        "taken_minor",
        "refunded_minor",
        "hold_until",
        "updated_at",
        "worked_until",
    },
    ("leftovers", "UPDATE"): {"looks", "look_at", "astray_ref"},
    ("charge_attempts", "UPDATE"): {"processor_ref", "state", "reason", "ended_at"},
    ("refunds", "UPDATE"): {"state", "processor_ref", "updated_at", "worked_until", "key_since", "asked_at"},
    ("hold_ends", "UPDATE"): {"state", "updated_at", "worked_until"},
    ("disputes", "UPDATE"): {"state", "updated_at"},
    ("postings", "INSERT"): {"tenant_id", "source_id", "event", "charge_id", "currency", "posted_at"},
    ("inbox_events", "UPDATE"): {"handled_at"},
    ("webhook_endpoints", "UPDATE"): {
        "state",
        "disabled_why",
        "disabled_at",
        "failing_since",
        "failures",
        "resting_until",
    },
    ("endpoint_keys", "UPDATE"): {"ends_at"},
    ("dispatches", "UPDATE"): {
        "state",
        "attempts",
        "owed_since",
        "next_at",
        "delivery_id",
        "last_status",
        "last_failure",
        "ended_at",
    },
    ("deliveries", "UPDATE"): {"ended_at", "status", "failure"},
}


NOT_WALLED = {"tenants", "alembic_version", "redeemed_grants", "payment_directory", "root_floor", "root_rounds"}


@pytest.mark.control("UC-7.2")
async def test_the_app_role_may_do_exactly_what_is_listed_here(bench: Bench):
    tables = await rows(
        bench.databases.owner_dsn,
        """SELECT c.relname AS name, p.right FROM pg_class c
            CROSS JOIN unnest(ARRAY['SELECT','INSERT','UPDATE','DELETE','TRUNCATE','REFERENCES','TRIGGER']) p("right")
            WHERE c.relnamespace = 'public'::regnamespace AND c.relkind IN ('r', 'v', 'S')
                AND has_table_privilege('vault_app', c.oid, p.right)""",
    )
    columns = await rows(
        bench.databases.owner_dsn,
        """SELECT table_name, privilege_type, column_name FROM information_schema.column_privileges
            WHERE grantee = 'vault_app' AND privilege_type IN ('SELECT', 'UPDATE', 'INSERT')""",
    )

    found: dict[str, set[str]] = {name: set() for name in APP_RIGHTS}
    for row in tables:
        found.setdefault(row["name"], set()).add(row["right"])
    single: dict[tuple[str, str], set[str]] = {}
    for row in columns:
        if row["privilege_type"] not in found[row["table_name"]]:
            single.setdefault((row["table_name"], row["privilege_type"]), set()).add(row["column_name"])
    assert found == APP_RIGHTS
    assert single == APP_COLUMNS


@pytest.mark.control("UC-7.3")
async def test_every_table_with_a_tenant_shows_one_tenant_only(bench: Bench):
    tables = await rows(
        bench.databases.owner_dsn,
        """SELECT c.relname AS name, c.relrowsecurity AND c.relforcerowsecurity AS guarded,
                (SELECT a.attname FROM pg_attribute a JOIN pg_index i ON i.indrelid = c.oid AND i.indisprimary
                    WHERE a.attrelid = c.oid AND a.attnum = i.indkey[0]) AS leads
            FROM pg_class c WHERE c.relnamespace = 'public'::regnamespace AND c.relkind = 'r'
                AND c.relname NOT IN ('alembic_version', 'tenants', 'root_floor', 'root_rounds',
                    'payment_directory')""",
    )

    assert len(tables) == 30
    assert all(table["guarded"] and table["leads"] == "tenant_id" for table in tables), tables


@pytest.mark.parametrize(
    "statement",
    [
        "ALTER TABLE cards DISABLE ROW LEVEL SECURITY",
        "DROP TABLE inbox_events",
        "CREATE TABLE loot (x text)",
        "TRUNCATE inbox_events",
        "DELETE FROM charges",
        "DELETE FROM cards",
        "DELETE FROM tenant_keys",
        "UPDATE tenant_keys SET state = 'retired', retired_at = now(); UPDATE tenant_keys SET state = 'active'",
        "UPDATE tenant_keys SET seals = 0",
        "UPDATE tenant_keys SET version = 9",
        "UPDATE root_floor SET version = 0",
        "UPDATE key_acts SET actor = 'nobody'",
        "DELETE FROM key_acts",
        "DELETE FROM canary_uses",
        "UPDATE canary_uses SET agent_id = 'nobody'",
        "UPDATE cards SET sealed_number = ''",
        "UPDATE charges SET amount_minor = 1",
        "UPDATE inbox_events SET kind = ''",
        "UPDATE entries SET amount_minor = 1",
        "DELETE FROM entries",
        "UPDATE postings SET currency = 'EUR'",
        "DELETE FROM postings",
        "INSERT INTO postings SELECT tenant_id, charge_id, 'held', charge_id, currency, now(), '1' FROM charges",
        "UPDATE disputes SET amount_minor = 1",
        "UPDATE payment_directory SET tenant_id = tenant_id",
        "UPDATE redeemed_grants SET expires_at = now()",
        "SELECT jti FROM redeemed_grants",
        "SET ROLE vault_owner",
        "SET row_security = off; SELECT * FROM cards",
    ],
)
@pytest.mark.control("UC-7.2")
async def test_the_app_role_is_refused(bench: Bench, ada: Person, statement: str):
    await bench.paid_charge(ada)

    with pytest.raises((sqlalchemy.exc.DBAPIError, asyncpg.PostgresError)):
        await hostile(bench, ada.tenant_id, statement)


async def hostile(bench: Bench, tenant_id: str, script: str) -> list[Any]:
    """A script run by whoever holds the app role's password."""
    dsn = bench.databases.app_dsn.replace("+asyncpg", "")
    connection = await asyncpg.connect(dsn)
    try:
        await connection.execute("SELECT set_config('undercroft.tenant', $1, false)", tenant_id)
        answer: list[Any] = []
        for statement in script.split(";"):
            answer = await connection.fetch(statement)
        return answer
    finally:
        await connection.close()


@pytest.mark.control("UC-7.3")
async def test_a_hostile_query_sees_and_touches_one_tenant_only(bench: Bench, ada: Person):
    bob = Person()
    await bench.paid_charge(ada)
    theirs = await bench.paid_charge(bob)
    tables = [name for name in APP_RIGHTS if name not in NOT_WALLED]

    seen = {name: await hostile(bench, ada.tenant_id, f"TABLE {name} LIMIT 100") for name in tables}
    nothing = [await hostile(bench, "", f"TABLE {name}") for name in tables]
    await hostile(bench, ada.tenant_id, "UPDATE charges SET refunded_minor = amount_minor WHERE true")
    await hostile(bench, ada.tenant_id, "DELETE FROM redeemed_grants WHERE true")
    untouched = (await bench.charge(theirs)).json()

    assert all({row["tenant_id"] for row in found} == {ada.tenant_id} for found in seen.values() if found), seen
    assert all(seen[name] for name in ("tenant_keys", "cards", "captures", "charges"))
    assert nothing == [[]] * len(tables)
    assert untouched["refunded_minor"] == 0
    with pytest.raises(asyncpg.InsufficientPrivilegeError):
        await hostile(
            bench,
            ada.tenant_id,
            "INSERT INTO inbox_events VALUES ('tnt_other', 'evt_planted', 'x', now())",
        )


@pytest.mark.control("UC-G.1")
async def test_a_redeemed_grant_cannot_be_deleted_while_it_could_be_replayed(bench: Bench, ada: Person):
    order = ada.capture()
    grant = bench.mint.grant("capture_card", order)
    await bench.order_capture(order, grant)

    await hostile(bench, ada.tenant_id, "DELETE FROM redeemed_grants")

    assert (await bench.order_capture(order, grant)).status_code == 409


@pytest.mark.control("UC-7.1")
async def test_no_other_service_has_a_role_or_a_way_in(bench: Bench, clusters: dict[str, Cluster]):
    vault, house = clusters["vault"], clusters["house"]

    roles = set(vault.sql("SELECT rolname FROM pg_roles WHERE rolname !~ '^pg_'").split())
    everybodys = vault.sql("SELECT datname FROM pg_database d, aclexplode(d.datacl) a WHERE a.grantee = 0").split()

    assert roles == {"postgres", "vault_owner", "vault_app"}
    assert bench.databases.name not in everybodys
    assert vault.socket_folder != house.socket_folder


@pytest.mark.control("UC-3.5")
async def test_a_swapped_card_does_not_open_and_nothing_is_charged(bench: Bench, ada: Person):
    mine, theirs = await bench.new_token(ada), await bench.new_token(ada, "5555555555554444")
    swap = """UPDATE cards c SET sealed_number = o.sealed_number, sealed_details = o.sealed_details,
            wrapped_key = o.wrapped_key FROM cards o WHERE c.token_id = :mine AND o.token_id = :theirs"""
    async with connected(bench.databases.owner_dsn) as engine, engine.begin() as connection:
        await connection.execute(
            sqlalchemy.text("SELECT set_config('undercroft.tenant', :t, true)"), {"t": ada.tenant_id}
        )
        await connection.execute(sqlalchemy.text(swap), {"mine": mine, "theirs": theirs})
    order = ada.charge(mine)

    answer = (await bench.charge(order)).json()

    assert (answer["state"], answer["reason"]) == ("failed", "card_unreadable")
    assert bench.processor_charges(order.charge_id) == []


@pytest.mark.control("UC-3.5.1.1")
async def test_one_card_of_one_tenant_has_one_fingerprint_and_another_elsewhere(bench: Bench, ada: Person):
    bob = Person()
    for person in (ada, ada, bob):
        await bench.new_token(person)

    found = {
        person.tenant_id: await rows(
            bench.databases.owner_dsn, "SELECT fingerprint, sealed_number FROM cards", person.tenant_id
        )
        for person in (ada, bob)
    }

    mine, theirs = found[ada.tenant_id], found[bob.tenant_id]
    assert mine[0]["fingerprint"] == mine[1]["fingerprint"] != theirs[0]["fingerprint"]
    assert mine[0]["sealed_number"] != mine[1]["sealed_number"]
