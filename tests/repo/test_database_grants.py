# ruff: noqa: S608 - statements are made of the names of tables, which the database itself gave
"""What the databases let a stolen password do, asked of real PostgreSQL with the roles the services use.

Every table of every service is tried, also the ones that are added later: nothing here lists them.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from urllib.parse import quote

import asyncpg
import pytest

from compliance.checks.tree import SERVICES
from infra.dev.postgres import Cluster, ServiceDatabase
from tests.support.database import DatabaseMaker
from tests.support.waiting import BUSY_SECONDS_MAX

OWN, OTHER = "tnt_own", "tnt_other"
WITHOUT_WALL = {
    ("gateway", "tenants"): "which tenants there are, for background work that goes through them one by one",
    ("vault", "tenants"): "as above",
    ("vault", "payment_directory"): "whose payment an event of the processor is about, before any tenant is known",
    ("memory", "tenants"): "as above, each with its wrapped key, which opens nothing without the root",
    ("gateway", "brand_directory"): "which tenant a public brand id belongs to, before any tenant is known",
    ("gateway", "capture_directory"): "which tenant an unguessable capture id belongs to",
    ("gateway", "charge_directory"): "which tenant an unguessable charge id belongs to, of which a person was asked",
    ("gateway", "approval_directory"): "which tenant an unguessable approval id belongs to",
    ("gateway", "client_directory"): "callers authenticate before a tenant is known; read only for the app role",
}
"""Tables with a tenant_id that show all rows. Every other one has row-level security."""
WITHOUT_TENANT = {
    ("gateway", "assistant_clients"): "an assistant registers before it is anybody's",
    ("gateway", "client_brands"): "which brands a caller may speak for; read only for the app role",
    ("gateway", "policy_bases"): "our own policies, the same for every tenant, named by what is in them; only added to",
    ("gateway", "spent_assertions"): "a client's assertion is single-use in the whole house",
    ("vault", "root_floor"): "one number: no tenant key may be wrapped under an older root than this",
    ("vault", "root_rounds"): "the root is all tenants'; how far its rotation is, and no tenant's id",
}
ALEMBIC = "alembic_version"
WALL = "(tenant_id = current_setting('undercroft.tenant'::text, true))"
DDL = (
    "ALTER TABLE {table} DISABLE ROW LEVEL SECURITY",
    "ALTER TABLE {table} NO FORCE ROW LEVEL SECURITY",
    "ALTER TABLE {table} ADD COLUMN extra text",
    "ALTER TABLE {table} OWNER TO {role}",
    "CREATE POLICY open_wide ON {table} USING (true)",
    "CREATE TRIGGER peek BEFORE INSERT ON {table} FOR EACH ROW EXECUTE FUNCTION suppress_redundant_updates_trigger()",
    "CREATE INDEX peek ON {table} ((true))",
    "TRUNCATE {table} CASCADE",
    "DROP TABLE {table} CASCADE",
)


@dataclass(frozen=True, slots=True)
class Filled:
    """A service's database with one row of OWN and one of OTHER in every table that has a tenant."""

    service: str
    database: ServiceDatabase
    cluster: Cluster
    tables: frozenset[str]
    tenant_tables: frozenset[str]

    @property
    def walled(self) -> list[str]:
        return sorted(table for table in self.tenant_tables if (self.service, table) not in WITHOUT_WALL)

    def sql(self, statements: str) -> list[str]:
        return self.cluster.sql(statements, database=self.database.name).splitlines()

    @asynccontextmanager
    async def as_app(self, tenant: str | None = None) -> AsyncIterator[asyncpg.Connection]:
        """The service's own role, in a transaction of `tenant` that is rolled back."""
        connection = await _connect(self.database.app_dsn)
        try:
            transaction = connection.transaction()
            await transaction.start()
            if tenant is not None:
                await connection.execute("SELECT set_config('undercroft.tenant', $1, true)", tenant)
            yield connection
            await transaction.rollback()
        finally:
            await connection.close()


@pytest.fixture(scope="module", params=SERVICES)
def filled(request: pytest.FixtureRequest, database: DatabaseMaker, clusters: dict[str, Cluster]) -> Filled:
    service: str = request.param
    made, cluster = database(service), clusters["vault" if service == "vault" else "house"]
    tables = frozenset(cluster.sql(_TABLES, database=made.name).split()) - {ALEMBIC}
    with_tenant = frozenset(cluster.sql(_TENANT_TABLES, database=made.name).split())
    cluster.sql(_FILL, database=made.name)
    return Filled(service, made, cluster, tables, with_tenant)


@pytest.mark.control("UC-7.3")
def test_every_table_with_a_tenant_is_walled_and_the_exceptions_are_listed(filled: Filled):
    forced = set(filled.sql("SELECT relname FROM pg_class WHERE relrowsecurity AND relforcerowsecurity"))

    assert forced == set(filled.walled)
    assert {(filled.service, table) for table in filled.tables - forced} == {
        key for key in (*WITHOUT_WALL, *WITHOUT_TENANT) if key[0] == filled.service
    }


@pytest.mark.control("UC-7.3")
def test_every_policy_shows_a_transaction_its_own_tenant_and_nothing_else(filled: Filled):
    policies = filled.sql("SELECT polrelid::regclass, polpermissive, pg_get_expr(polqual, polrelid), "
                          "pg_get_expr(polwithcheck, polrelid) FROM pg_policy")  # fmt: skip

    assert policies
    for policy in policies:
        _, permissive, using, check = policy.split("|")
        assert permissive == "t"
        for expression in filter(None, (using, check)):
            assert expression == WALL or expression.startswith(f"({WALL} AND "), policy


@pytest.mark.control("UC-7.3")
async def test_a_hostile_query_sees_its_own_tenant_and_nothing_without_one(filled: Filled):
    for tenant, seen in ((None, 0), ("", 0), ("tnt_nobody", 0), (OWN, 1)):
        async with filled.as_app(tenant) as connection:
            for table in filled.walled:
                if not await _readable(connection, table):
                    continue
                rows = await connection.fetchval(
                    f"SELECT count(tenant_id) FROM {table} WHERE true OR tenant_id = '{OTHER}'"
                )
                assert rows == seen, f"{table} as {tenant}"


@pytest.mark.control("UC-7.3")
async def test_no_row_can_be_written_into_another_tenant(filled: Filled):
    tried = 0
    async with filled.as_app(OWN) as connection:
        for table in filled.walled:
            if not await _may(connection, table, "INSERT"):
                continue
            with pytest.raises(asyncpg.InsufficientPrivilegeError, match="row-level security"):
                async with connection.transaction():
                    await connection.execute(f"INSERT INTO {table} (tenant_id) VALUES ($1)", OTHER)
            tried += 1
    assert tried >= len(filled.walled) // 2


@pytest.mark.control("UC-7.3")
async def test_no_row_of_another_tenant_can_be_changed_or_removed(filled: Filled):
    async with filled.as_app(OWN) as connection:
        for table in filled.walled:
            where = f"WHERE tenant_id = '{OTHER}'"
            for column in await connection.fetch(_UPDATABLE, table):
                name = column["attname"]
                assert await connection.execute(f'UPDATE {table} SET "{name}" = "{name}" {where}') == "UPDATE 0"
            if await _may(connection, table, "DELETE"):
                assert await connection.execute(f"DELETE FROM {table} {where}") == "DELETE 0"


@pytest.mark.control("UC-7.2")
async def test_the_app_role_changes_no_table(filled: Filled):
    role = f"{filled.service}_app"
    async with filled.as_app(OWN) as connection:
        for table in sorted(filled.tables | {ALEMBIC}):
            for statement in DDL:
                with pytest.raises(asyncpg.InsufficientPrivilegeError):
                    async with connection.transaction():
                        await connection.execute(statement.format(table=table, role=role))


@pytest.mark.control("UC-7.2")
@pytest.mark.parametrize(
    "statement",
    [
        "CREATE TABLE mine (x int)",
        "CREATE TEMPORARY TABLE mine (x int)",
        "CREATE SCHEMA mine",
        "CREATE FUNCTION mine() RETURNS int LANGUAGE sql AS 'SELECT 1'",
        "CREATE EXTENSION vector",
        "CREATE DATABASE mine",
        "CREATE ROLE mine SUPERUSER",
        "ALTER ROLE CURRENT_USER BYPASSRLS",
        "SET ROLE {owner}",
        "SET SESSION AUTHORIZATION postgres",
        "SET session_replication_role = replica",
        "COPY (SELECT 1) TO PROGRAM 'true'",
        "SELECT pg_read_file('PG_VERSION')",
        "SELECT * FROM pg_authid",
        "DELETE FROM alembic_version",
    ],
)
async def test_the_app_role_makes_nothing_and_becomes_nobody_else(filled: Filled, statement: str):
    connection = await _connect(filled.database.app_dsn)
    try:
        with pytest.raises(asyncpg.InsufficientPrivilegeError):
            await connection.execute(statement.format(owner=f"{filled.service}_owner"))
    finally:
        await connection.close()


@pytest.mark.control("UC-7.2")
def test_the_roles_are_plain_and_the_app_role_owns_nothing(filled: Filled):
    app = f"{filled.service}_app"

    powers = filled.sql(
        "SELECT rolname FROM pg_roles WHERE rolname <> 'postgres' AND rolname !~ '^pg_' AND "
        "(rolsuper OR rolbypassrls OR rolcreaterole OR rolcreatedb OR rolreplication)"
    )
    memberships = filled.sql(f"SELECT 1 FROM pg_auth_members WHERE member = '{app}'::regrole")
    owned = filled.sql(f"SELECT relname FROM pg_class WHERE relowner = '{app}'::regrole")

    shared = filled.sql(
        "SELECT table_name, privilege_type FROM information_schema.role_table_grants WHERE table_schema = 'public' "
        f"AND (grantee = 'PUBLIC' OR (grantee = '{app}' AND is_grantable = 'YES'))"
    )

    assert (powers, memberships, owned, shared) == ([], [], [], [])


@pytest.mark.control("UC-7.1")
async def test_a_role_enters_no_database_but_its_own(database: DatabaseMaker, clusters: dict[str, Cluster]):
    made = {service: database(service) for service in SERVICES}

    for service, own in made.items():
        for other, target in made.items():
            for dsn in (own.app_dsn, own.owner_dsn):
                await _enters(_aimed_at(dsn, target), allowed=service == other)


@pytest.mark.control("UC-7.1")
def test_the_vaults_cluster_knows_the_vaults_roles_only(database: DatabaseMaker, clusters: dict[str, Cluster]):
    for service in SERVICES:
        database(service)
    roles = "SELECT rolname FROM pg_roles WHERE rolcanlogin AND rolname <> 'postgres' ORDER BY 1"

    assert clusters["vault"].sql(roles).split() == ["vault_app", "vault_owner"]
    assert not [role for role in clusters["house"].sql(roles).split() if role.startswith("vault")]


@pytest.mark.control("UC-7.1")
async def test_a_stolen_gateway_password_does_not_open_the_vaults_cluster(database: DatabaseMaker):
    gateway, vault = database("gateway"), database("vault")
    socket = vault.app_dsn.partition("?")[2]

    with pytest.raises(asyncpg.InvalidPasswordError):
        await _connect(f"{gateway.app_dsn.partition('@')[0]}@/{vault.name}?{socket}")


_TABLES = "SELECT relname FROM pg_class WHERE relkind IN ('r', 'p') AND relnamespace = 'public'::regnamespace"
_TENANT_TABLES = """
SELECT relname FROM pg_class JOIN pg_attribute ON attrelid = pg_class.oid
WHERE relkind IN ('r', 'p') AND relnamespace = 'public'::regnamespace AND attname = 'tenant_id'
"""
_UPDATABLE = """
SELECT attname FROM pg_attribute WHERE attrelid = $1::regclass AND attnum > 0 AND NOT attisdropped
AND has_column_privilege(attrelid, attnum, 'UPDATE') AND has_column_privilege(attrelid, attnum, 'SELECT')
"""
# One row a tenant in every table with a tenant, whatever its columns are: in this throwaway copy constraints that a
# made-up row cannot keep are dropped first, and triggers are off. Done by the superuser, whom no policy binds.
_FILL = f"""
DO $$
DECLARE wanted record; tenant text; columns text; given text;
BEGIN
    PERFORM set_config('session_replication_role', 'replica', true);
    FOR wanted IN SELECT conrelid::regclass AS held_by, conname FROM pg_constraint
        WHERE contype IN ('c', 'f') AND connamespace = 'public'::regnamespace LOOP
        EXECUTE format('ALTER TABLE %s DROP CONSTRAINT %I', wanted.held_by, wanted.conname);
    END LOOP;
    FOR wanted IN SELECT attrelid FROM pg_attribute JOIN pg_class ON pg_class.oid = attrelid
        WHERE attname = 'tenant_id' AND relkind = 'r' AND relnamespace = 'public'::regnamespace LOOP
        FOREACH tenant IN ARRAY ARRAY['{OWN}', '{OTHER}'] LOOP
            SELECT string_agg(quote_ident(attname), ', '),
                string_agg(CASE
                    WHEN attname = 'tenant_id' THEN quote_literal(tenant)
                    WHEN atttypid = 'bytea'::regtype THEN 'convert_to(' || quote_literal(tenant) || ', ''UTF8'')'
                    WHEN atttypid = 'text'::regtype THEN quote_literal(tenant)
                    WHEN atttypid = 'xid8'::regtype THEN quote_literal(1)
                    WHEN atttypid IN ('timestamptz'::regtype, 'date'::regtype) THEN 'now()'
                    WHEN atttypid IN ('json'::regtype, 'jsonb'::regtype) THEN quote_literal('{{}}')
                    WHEN atttypid = 'boolean'::regtype THEN 'true'
                    WHEN typcategory = 'A' THEN quote_literal('{{}}')
                    ELSE '1' END || '::' || format_type(atttypid, atttypmod), ', ')
            INTO columns, given
            FROM pg_attribute JOIN pg_type ON pg_type.oid = atttypid
            WHERE attrelid = wanted.attrelid AND attnum > 0 AND NOT attisdropped AND attidentity = ''
                AND attgenerated = '';
            EXECUTE format('INSERT INTO %s (%s) VALUES (%s)', wanted.attrelid::regclass, columns, given);
        END LOOP;
    END LOOP;
END $$;
"""


async def _connect(dsn: str) -> asyncpg.Connection:
    return await asyncpg.connect(dsn.replace("postgresql+asyncpg", "postgresql"), timeout=BUSY_SECONDS_MAX)


async def _may(connection: asyncpg.Connection, table: str, what: str) -> bool:
    if what == "DELETE":
        return bool(await connection.fetchval("SELECT has_table_privilege($1, 'DELETE')", table))
    return bool(await connection.fetchval("SELECT has_column_privilege($1, 'tenant_id', $2)", table, what))


async def _readable(connection: asyncpg.Connection, table: str) -> bool:
    return await _may(connection, table, "SELECT")


def _aimed_at(dsn: str, target: ServiceDatabase) -> str:
    """One role's credentials on another database, in that database's own cluster."""
    return f"{dsn.partition('@')[0]}@/{quote(target.name)}?{target.app_dsn.partition('?')[2]}"


async def _enters(dsn: str, *, allowed: bool) -> None:
    if allowed:
        await (await _connect(dsn)).close()
        return
    with pytest.raises((asyncpg.InsufficientPrivilegeError, asyncpg.InvalidPasswordError)):
        await asyncio.wait_for(_connect(dsn), timeout=BUSY_SECONDS_MAX)
