"""`python -m vault` serves; `python -m vault migrate` brings the database to the newest version, as its owner."""

import asyncio
import os
import sys
from collections.abc import Sequence
from pathlib import Path

from infra.chassis import crashpoints, logs
from infra.chassis.clock import SystemClock
from infra.chassis.http import Listener, serve
from infra.chassis.migrate import upgrade
from infra.chassis.settings import SettingsIncomplete, load
from vault.app import build_vault
from vault.settings import PREFIX, OwnerSettings, Settings

MIGRATIONS = Path(__file__).parent / "migrations"
SETTINGS_EXIT = 2


async def _serve(settings: Settings) -> None:
    vault = build_vault(settings, SystemClock())
    listeners = (
        Listener(vault.api, settings.bind),
        Listener(vault.page, settings.page_bind),
        Listener(vault.webhook, settings.webhook_bind),
    )
    try:
        await serve(listeners, background=[vault.reconciler.run])
    finally:
        await vault.close()


def main(arguments: Sequence[str]) -> int:
    try:
        if list(arguments) == ["migrate"]:
            asyncio.run(upgrade(MIGRATIONS, load(OwnerSettings, PREFIX, os.environ).owner_database_url))
            return 0
        settings = load(Settings, PREFIX, os.environ)
        settings.refuse_plain_http()
        crashpoints.arm(settings.crash_points, sandbox=settings.sandbox)
        crashpoints.arm(settings.crash_at, sandbox=settings.sandbox)
    except SettingsIncomplete as incomplete:
        sys.stderr.write(f"vault: {incomplete}\n")
        return SETTINGS_EXIT
    logs.configure("vault", settings.log_level)
    asyncio.run(_serve(settings))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
