"""Migrations: Alembic, one folder a service, explicit SQL inside.

Each service's `__main__` imports this and serves without it: a seventh of what a service's start costs is loading
Alembic, so it is loaded when something is migrated.
"""

from pathlib import Path
from typing import Any

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
    from alembic.config import Config  # noqa: PLC0415 - see above
    from alembic.runtime.environment import EnvironmentContext  # noqa: PLC0415 - see above
    from alembic.script import ScriptDirectory  # noqa: PLC0415 - see above

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
            _execute(statement)


def wall_by_tenant(table: str) -> None:
    """For migrations: row-level security by tenant, for the table's owner too."""
    here = "tenant_id = current_setting('undercroft.tenant', true)"
    _execute(f"ALTER TABLE {table} ENABLE ROW LEVEL SECURITY")
    _execute(f"ALTER TABLE {table} FORCE ROW LEVEL SECURITY")
    _execute(f"CREATE POLICY own_tenant ON {table} USING ({here}) WITH CHECK ({here})")


def _execute(statement: str) -> None:
    from alembic import op  # noqa: PLC0415 - see above

    op.execute(statement)
