"""What tests of the life of keys ask the database, past the vault."""

from typing import Any

from infra.chassis.clock import FixedClock
from infra.chassis.keys import SoftwareKeyService
from infra.chassis.keys.ringfile import RingFile
from infra.chassis.keys.settings import KeySettings
from infra.dev.postgres import ServiceDatabase
from tests.vault.bench import rows


async def versions(databases: ServiceDatabase, tenant_id: str) -> list[dict[str, Any]]:
    """The tenant's keys, oldest first, each with its live cards."""
    return await rows(
        databases.app_dsn,
        """SELECT version, state, seals, wrapped_key, created_at, retired_at, destroyed_at, root_version,
            (SELECT count(*) FROM cards c WHERE c.tenant_id = k.tenant_id AND key_version = k.version) AS cards
            FROM tenant_keys k ORDER BY version""",
        tenant_id,
    )


async def states(databases: ServiceDatabase, tenant_id: str) -> list[tuple[int, str, int]]:
    return [(row["version"], row["state"], row["cards"]) for row in await versions(databases, tenant_id)]


async def acts(databases: ServiceDatabase, tenant_id: str) -> list[tuple[str, str, str, str]]:
    found = await rows(databases.app_dsn, "SELECT * FROM key_acts ORDER BY at, act_id", tenant_id)
    return [(row["actor"], row["act"], row["what"], row["outcome"]) for row in found]


async def cards(databases: ServiceDatabase, tenant_id: str) -> list[dict[str, Any]]:
    return await rows(databases.app_dsn, "SELECT * FROM cards ORDER BY token_id", tenant_id)


def key_service(settings: KeySettings, clock: FixedClock) -> SoftwareKeyService:
    """The vault's own, opened once more."""
    assert settings.root_key_file is not None
    return SoftwareKeyService(RingFile(settings.root_key_file), clock)


async def change(databases: ServiceDatabase, tenant_id: str, sql: str, **values: Any) -> None:
    """As somebody else with the vault's own role would."""
    assert await rows(databases.app_dsn, f"{sql} RETURNING 1", tenant_id, **values)
