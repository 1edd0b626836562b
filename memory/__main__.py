"""`python -m memory` serves; `python -m memory migrate` brings the database to the newest version.

`python -m memory root` shows the versions of the root key, `python -m memory root rotate` makes a new one.
"""

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
from infra.chassis.keys import starting
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
    service = open_key_service(settings.keys, clock)
    keys = SubjectKeys(service)
    prepared = Preparations(clock)
    app = build(engine=engine, verifier=verifier, keys=keys, clock=clock, prepared=prepared)
    background = [lambda stop: purge_redeemed_grants(engine, clock, stop), prepared.sweep]
    try:
        await starting.begin(service)
        await serve([Listener(app, settings.bind)], background)
    finally:
        await engine.dispose()
        await service.close()


def main(arguments: list[str]) -> int:
    try:
        if arguments == ["migrate"]:
            asyncio.run(migrate.upgrade(MIGRATIONS, load(MigrationSettings, "MEMORY", os.environ).owner_database_url))
            return 0
        if arguments in starting.ROOT_COMMANDS:
            sys.stdout.write(asyncio.run(starting.administer("MEMORY", os.environ, arguments)) + "\n")
            return 0
        settings = load(Settings, "MEMORY", os.environ)
    except SettingsIncomplete as error:
        sys.stderr.write(f"memory cannot start: {error}\n")
        return 2
    except starting.NotStarted as reason:
        return _not_started(reason)
    logs.configure("memory", settings.log_level)
    try:
        asyncio.run(run(settings))
    except starting.NotStarted as reason:
        return _not_started(reason)
    return 0


def _not_started(reason: starting.NotStarted) -> int:
    sys.stderr.write(f"memory cannot start: {reason}\n")
    return 3


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
