"""`python -m mcp_server` serves; `python -m mcp_server migrate` brings the database to the newest version."""

import asyncio
import os
import sys
from pathlib import Path

from infra.chassis import logs, migrate
from infra.chassis.clock import SystemClock
from infra.chassis.http import Listener, serve
from infra.chassis.settings import SettingsIncomplete, load
from mcp_server.app import open_mcp_server
from mcp_server.brands.invalid import BrandPackInvalid
from mcp_server.settings import PREFIX, MigrateSettings, Settings, check

USAGE = "usage: python -m mcp_server [migrate]\n"
EXIT_USAGE = 2


async def _serve(settings: Settings) -> None:
    async with open_mcp_server(settings, SystemClock()) as mcp_server:
        await serve([Listener(mcp_server.app, settings.bind)], [mcp_server.poller.run])


def main(arguments: list[str]) -> int:
    """The exit code: 2 when the settings or the brand packs cannot be used."""
    if arguments not in ([], ["migrate"]):
        sys.stderr.write(USAGE)
        return EXIT_USAGE
    try:
        if arguments:
            owner = load(MigrateSettings, PREFIX, os.environ)
            asyncio.run(migrate.upgrade(Path(__file__).parent / "migrations", owner.owner_database_url))
            return 0
        settings = check(load(Settings, PREFIX, os.environ))
        logs.configure("mcp_server", settings.log_level)
        asyncio.run(_serve(settings))
    except (SettingsIncomplete, BrandPackInvalid) as error:
        sys.stderr.write(f"mcp_server cannot start: {error}\n")
        return EXIT_USAGE
    return 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
