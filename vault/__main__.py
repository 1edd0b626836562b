"""`python -m vault` serves; `python -m vault migrate` brings the database to the newest version, as its owner.

`python -m vault page` checks the card page against its inventory, from anywhere.
`python -m vault root` shows the versions of the root key, `python -m vault root rotate` makes a new one.
"""

import asyncio
import os
import sys
from collections.abc import Sequence
from pathlib import Path

from infra.chassis import crashpoints, logs
from infra.chassis.clock import SystemClock
from infra.chassis.http import Listener, serve
from infra.chassis.keys import starting
from infra.chassis.migrate import upgrade
from infra.chassis.settings import SettingsIncomplete, load
from vault import page_command
from vault.app import build_vault
from vault.settings import PREFIX, OwnerSettings, Settings

MIGRATIONS = Path(__file__).parent / "migrations"
SETTINGS_EXIT = 2
KEY_SERVICE_EXIT = 3


async def _serve(settings: Settings) -> None:
    vault = build_vault(settings, SystemClock())
    listeners = (
        Listener(vault.api, settings.bind),
        Listener(vault.page, settings.page_bind),
        Listener(vault.webhook, settings.webhook_bind),
    )
    try:
        await starting.begin(vault.keys)
        await serve(listeners, background=[vault.reconciler.run, vault.keeping.lifecycle.run])
    finally:
        await vault.close()


def main(arguments: Sequence[str]) -> int:
    """What begins with `page` needs no settings of a vault."""
    return page_command.main(arguments[1:]) if list(arguments[:1]) == ["page"] else _operate(arguments)


def _operate(arguments: Sequence[str]) -> int:
    try:
        if list(arguments) == ["migrate"]:
            asyncio.run(upgrade(MIGRATIONS, load(OwnerSettings, PREFIX, os.environ).owner_database_url))
            return 0
        if list(arguments) in starting.ROOT_COMMANDS:
            sys.stdout.write(asyncio.run(starting.administer(PREFIX, os.environ, arguments)) + "\n")
            return 0
        settings = load(Settings, PREFIX, os.environ)
        settings.refuse_plain_http()
        crashpoints.arm(settings.crash_points, sandbox=settings.sandbox)
    except SettingsIncomplete as incomplete:
        sys.stderr.write(f"vault: {incomplete}\n")
        return SETTINGS_EXIT
    except starting.NotStarted as reason:
        return _not_started(reason)
    logs.configure("vault", settings.log_level)
    try:
        asyncio.run(_serve(settings))
    except starting.NotStarted as reason:
        return _not_started(reason)
    return 0


def _not_started(reason: starting.NotStarted) -> int:
    sys.stderr.write(f"vault: {reason}\n")
    return KEY_SERVICE_EXIT


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
