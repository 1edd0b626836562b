"""`python -m vault` serves; `python -m vault migrate` brings the database to the newest version, as its owner.

`python -m vault page` checks the card page against its inventory, from anywhere.
`python -m vault root` shows the versions of the root key, `python -m vault root rotate` makes a new one.

Besides: `keys` is the life of keys and cards, `tokens` canaries, fingerprints and the card updater, `custody` the
ceremonies of those who hold shares of the root, `ledger` compares and shows the ledger, `inbox` shows the processor's
events and has them looked at again, `routes` is which processor a tenant's charges are given to, `destinations` where
cards may be sent, `webhooks` is what tenants are told, `astray` the payments that took money for nothing.
`courier` delivers that elsewhere than where the vault serves.
"""

import argparse
import asyncio
import os
import sys
from collections.abc import Sequence
from pathlib import Path

from infra.chassis import crashpoints, logs
from infra.chassis.clock import Clock, SystemClock
from infra.chassis.http import Listener, serve
from infra.chassis.keys import starting
from infra.chassis.migrate import upgrade
from infra.chassis.settings import SettingsIncomplete, load
from infra.chassis.walls import WallsMissing
from vault import page_command, scrubbing
from vault.app import build_vault
from vault.astray_commands import add_astray, astray
from vault.custodians import opening
from vault.custodians.commands import add_custody, custody
from vault.forwarding.commands import add_destinations, destinations
from vault.inbox_commands import add_inbox, inbox
from vault.keys.commands import add_keys, keys
from vault.ledger.commands import add_ledger, ledger
from vault.outbox.commands import add_webhooks, webhooks
from vault.outbox.process import courier
from vault.routing.commands import add_routes, routes
from vault.settings import PREFIX, OwnerSettings, Settings
from vault.token_commands import add_tokens, tokens
from vault.walls import build_walls

MIGRATIONS = Path(__file__).parent / "migrations"
SETTINGS_EXIT = 2
KEY_SERVICE_EXIT = 3
WALLS_EXIT = 4


async def _serve(settings: Settings, clock: Clock) -> None:
    vault = build_vault(settings, clock)
    listeners = (
        Listener(vault.api, settings.bind),
        Listener(vault.page, settings.page_bind, http1_only=True),
        Listener(vault.webhook, settings.webhook_bind),
    )
    try:
        build_walls(settings, vault.engine.url)  # before there is a second thread
        if not vault.codes.pages.locked:
            logs.get_logger().warning("codes_memory_not_locked")  # RLIMIT_MEMLOCK is too small: they may be swapped out
        needs_the_root = [vault.reconciler.run, vault.keeping.lifecycle.run, vault.updating.run]
        background = await opening.begin(
            settings.keys,
            settings.custody_folder,
            vault.custody,
            vault.keys,
            clock,
            needs_the_root,
            may_lie_open=settings.sandbox or settings.open_root,
        )
        background += [vault.codes.run, vault.held.run, vault.outbox.caretaker.run, scrubbing.collect]
        if settings.outbox.outbox_courier:
            background.append(vault.outbox.courier.run)
        scrubbing.spare_what_stays()
        await serve(listeners, background=background)
    finally:
        await vault.close()


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m vault", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    commands.add_parser("migrate", help="bring the database to the newest version, as its owner")
    add_keys(commands.add_parser("keys", help="the life of tenant keys, of the root and of cards"))
    add_custody(commands.add_parser("custody", help="the custodians of the root, and their shares"))
    add_ledger(commands.add_parser("ledger", help="compare the ledger with the money it is about, or show it"))
    add_tokens(commands.add_parser("tokens", help="canaries; fingerprint keys; cards by the file; the card updater"))
    add_inbox(commands.add_parser("inbox", help="show the processor's events, or have them looked at again"))
    add_webhooks(commands.add_parser("webhooks", help="where tenants are told, what they are owed, sending it again"))
    commands.add_parser("courier", help="deliver webhooks, in a process of its own")
    add_routes(commands.add_parser("routes", help="which processor a tenant's charges are given to"))
    add_astray(commands.add_parser("astray", help="payments that took money for a charge that had failed"))
    add_destinations(commands.add_parser("destinations", help="where stored cards may be sent, as the owner"))
    return parser


def _command(chosen: argparse.Namespace, clock: Clock) -> int:
    """Raises SettingsIncomplete."""
    if chosen.command == "migrate":
        asyncio.run(upgrade(MIGRATIONS, load(OwnerSettings, PREFIX, os.environ).owner_database_url))
        return 0
    if chosen.command == "courier":
        return courier(os.environ, clock)
    commands = {"keys": keys, "custody": custody, "ledger": ledger, "inbox": inbox, "webhooks": webhooks}
    commands |= {"routes": routes, "destinations": destinations, "tokens": tokens, "astray": astray}
    return commands[chosen.command](chosen, os.environ)


def main(arguments: Sequence[str], clock: Clock | None = None) -> int:
    """What begins with `page` needs no settings of a vault."""
    if list(arguments[:1]) == ["page"]:
        return page_command.main(arguments[1:])
    return _operate(arguments, clock or SystemClock())


def _operate(arguments: Sequence[str], clock: Clock) -> int:
    try:
        if list(arguments) in starting.ROOT_COMMANDS:
            sys.stdout.write(asyncio.run(starting.administer(PREFIX, os.environ, arguments)) + "\n")
            return 0
        if arguments:
            return _command(_parser().parse_args(arguments), clock)
        settings = load(Settings, PREFIX, os.environ)
        settings.refuse_plain_http()
        crashpoints.arm(settings.crash_points, sandbox=settings.sandbox)
    except SettingsIncomplete as incomplete:
        sys.stderr.write(f"vault: {incomplete}\n")
        return SETTINGS_EXIT
    except starting.NotStarted as reason:
        return _not_started(reason)
    logs.configure("vault", settings.log_level)
    if not scrubbing.is_overwritten():
        logs.get_logger().warning("freed_memory_is_kept")
    scrubbing.receive_in_small_pieces()
    try:
        asyncio.run(_serve(settings, clock))
    except (starting.NotStarted, WallsMissing) as reason:
        return _not_started(reason)
    return 0


def _not_started(reason: starting.NotStarted | WallsMissing) -> int:
    sys.stderr.write(f"vault: {reason}\n")
    return WALLS_EXIT if isinstance(reason, WallsMissing) else KEY_SERVICE_EXIT


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
