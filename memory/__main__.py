"""`python -m memory` serves; `python -m memory migrate` brings the database to the newest version."""

import asyncio
import os
import sys
from pathlib import Path

from infra.chassis import logs, migrate
from infra.chassis.clock import SystemClock
from infra.chassis.engine import create_engine
from infra.chassis.grants import GrantVerifier
from infra.chassis.http import Listener, serve
from infra.chassis.jwk import JwksFile
from infra.chassis.keys.settings import open_key_service
from infra.chassis.settings import SettingsIncomplete, load
from memory.app import build
from memory.forget import purge_redeemed_grants
from memory.prepared import Preparations
from memory.seal import SubjectKeys
from memory.settings import MigrationSettings, Settings

MIGRATIONS = Path(__file__).parent / "migrations"


async def run(settings: Settings) -> None:
    clock = SystemClock()
    engine = create_engine(settings.database_url)
    verifier = GrantVerifier(
        audience="memory",
        issuer=settings.grant_issuer,
        keys=JwksFile(settings.grant_jwks_file, clock),
        clock=clock,
    )
    keys = SubjectKeys(open_key_service(settings.keys, clock))
    prepared = Preparations(clock)
    app = build(engine=engine, verifier=verifier, keys=keys, clock=clock, prepared=prepared)
    background = [lambda stop: purge_redeemed_grants(engine, clock, stop), prepared.sweep]
    try:
        await serve([Listener(app, settings.bind)], background)
    finally:
        await engine.dispose()


def main(arguments: list[str]) -> int:
    try:
        if arguments == ["migrate"]:
            asyncio.run(migrate.upgrade(MIGRATIONS, load(MigrationSettings, "MEMORY", os.environ).owner_database_url))
            return 0
        settings = load(Settings, "MEMORY", os.environ)
    except SettingsIncomplete as error:
        sys.stderr.write(f"memory cannot start: {error}\n")
        return 2
    logs.configure("memory", settings.log_level)
    asyncio.run(run(settings))
    return 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
