"""Migrations: Alembic, one folder a service, explicit SQL inside."""

from pathlib import Path
from typing import Any

from alembic import op
from alembic.config import Config
from alembic.runtime.environment import EnvironmentContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection

from infra.chassis.engine import create_engine
from infra.chassis.secret import Secret


async def upgrade(folder: Path, owner_url: Secret[str]) -> None:
    """Bring the database to the newest version in `folder` (the service's `migrations`), in one transaction.

    Runs as the owner role; the app role has no right to do so. Repeating it changes nothing.
    """
    engine = create_engine(owner_url, pool_size=1)
    try:
        async with engine.begin() as connection:
            await connection.run_sync(_upgrade, folder)
    finally:
        await engine.dispose()


def _upgrade(connection: Connection, folder: Path) -> None:
    config = Config()
    config.set_main_option("script_location", str(folder))
    script = ScriptDirectory.from_config(config)

    def to_head(revision: Any, _context: Any) -> Any:
        return script._upgrade_revs("head", revision)  # noqa: SLF001 - what alembic's own command does

    with EnvironmentContext(config, script, fn=to_head) as environment:
        environment.configure(connection=connection)
        with environment.begin_transaction():
            environment.run_migrations()


def run_script(script: str) -> None:
    """For migrations: several statements, one by one, because the driver prepares them and prepares one at a time.

    A statement ends with a semicolon at the end of a line; none may hold one elsewhere at a line's end.
    """
    for statement in script.split(";\n"):
        if statement.strip():
            op.execute(statement)


def wall_by_tenant(table: str) -> None:
    """For migrations: row-level security by tenant, for the table's owner too."""
    here = "tenant_id = current_setting('undercroft.tenant', true)"
    op.execute(f"ALTER TABLE {table} ENABLE ROW LEVEL SECURITY")
    op.execute(f"ALTER TABLE {table} FORCE ROW LEVEL SECURITY")
    op.execute(f"CREATE POLICY own_tenant ON {table} USING ({here}) WITH CHECK ({here})")
