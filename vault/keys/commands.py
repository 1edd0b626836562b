"""`python -m vault keys …`: see the keys, rotate, shred, purge, export; beside a running vault, as its own role.

Whoever may run it is whoever may read the vault's secrets on this machine; the name written down is the one the machine
knows him by. Exit codes: 0 done; 1 not done, the sentence says why; 2 the settings are incomplete.
"""

import argparse
import asyncio
import os
import pwd
import sys
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from functools import cache

from infra.chassis import crashpoints, logs
from infra.chassis.clock import Clock, SystemClock
from infra.chassis.engine import DatabaseUnreachable, create_engine
from infra.chassis.keys import KeyServiceUnreachable, RootSealed
from infra.chassis.keys.settings import KeySettings, open_key_service
from infra.chassis.secret import Secret
from infra.chassis.settings import load
from vault.keys.keeping import Keeping, build_keeping
from vault.keys.reports import exported, listed
from vault.keys.resealing import Moved
from vault.keys.ring import KeyUnavailable
from vault.keys.rounds import FINAL, RoundBlocked
from vault.keys.settings import LifecycleSettings
from vault.keys.shredding import NothingToShred
from vault.store import Store

PREFIX = "vault"
BUSY = "another process is at it just now"


@dataclass(frozen=True, slots=True)
class CommandSettings:
    """Of the vault's settings, what its keys need."""

    database_url: Secret[str]
    keys: KeySettings
    lifecycle: LifecycleSettings = field(default_factory=LifecycleSettings)
    sandbox: bool = False
    crash_points: str = ""


class NotDone(Exception):
    """The sentence says why."""


def add_keys(parser: argparse.ArgumentParser) -> None:
    verbs = parser.add_subparsers(dest="verb", required=True)
    listing = verbs.add_parser("list", help="each version: state, times, seals, cards; shreddings not final")
    listing.add_argument("tenant", nargs="?", metavar="TENANT")
    rotating = verbs.add_parser("rotate", help="a new key for one tenant or for all, and every card moved to it")
    rotating.add_argument("tenant", nargs="?", metavar="TENANT")
    shredding = verbs.add_parser("shred", help="destroy the keys of a card, or of all a tenant has stored")
    what = shredding.add_mutually_exclusive_group(required=True)
    what.add_argument("--card", nargs=2, metavar=("TENANT", "TOKEN"))
    what.add_argument("--tenant", metavar="TENANT")
    shredding.add_argument("--final", action="store_true", help="and go through a round at once")
    purging = verbs.add_parser("purge", help="shred what expired long ago, delete spent rows, report")
    purging.add_argument("--dry-run", action="store_true", help="only count what would go")
    verbs.add_parser("round", help="a new root, and the old one destroyed: what was shredded is then final")
    verbs.add_parser("export", help="everything but secrets, as JSON")


def keys(chosen: argparse.Namespace, environ: Mapping[str, str]) -> int:
    """Raises SettingsIncomplete."""
    settings = load(CommandSettings, PREFIX, environ)
    crashpoints.arm(settings.crash_points, sandbox=settings.sandbox)
    logs.configure("vault-keys", "ERROR")  # what is asked for is what is printed; what was done stands in the acts
    try:
        asyncio.run(_obey(settings, chosen))
    except (NotDone, RoundBlocked, KeyUnavailable) as reason:
        sys.stderr.write(f"keys: {reason}\n")
        return 1
    except RootSealed:
        sys.stderr.write("keys: the root is under custody, and only the opened vault has its key: its job does this\n")
        return 1
    except (DatabaseUnreachable, KeyServiceUnreachable, OSError) as away:
        sys.stderr.write(f"keys: {type(away).__name__}; what was begun is gone on with the next time\n")
        return 1
    return 0


async def _obey(settings: CommandSettings, chosen: argparse.Namespace) -> None:
    async with _kept(settings, SystemClock()) as keeping:
        if chosen.verb == "list":
            _say(*await listed(keeping, await _tenants(keeping, chosen.tenant)))
        elif chosen.verb == "rotate":
            await _rotate(keeping, await _tenants(keeping, chosen.tenant))
        elif chosen.verb == "shred":
            await _shred(keeping, chosen)
        elif chosen.verb == "purge":
            await _purge(keeping, dry_run=chosen.dry_run)
        elif chosen.verb == "round":
            await _round(keeping, "ordered")
        else:
            _say(await exported(keeping, await _tenants(keeping, None)))


async def _rotate(keeping: Keeping, tenants: list[str]) -> None:
    for tenant_id in tenants:
        moved = await keeping.rotation.rotate(tenant_id, actor())
        _say(f"{tenant_id}: {_moved(moved)}")


async def _shred(keeping: Keeping, chosen: argparse.Namespace) -> None:
    try:
        if chosen.card:
            tenant_id, token_id = chosen.card
            shredding_id = await keeping.shredding.shred_card(tenant_id, token_id, actor())
        else:
            shredding_id = await keeping.shredding.shred_tenant(chosen.tenant, actor())
    except NothingToShred:
        raise NotDone("nothing to shred: there is no such card or key, or it was shredded before") from None
    _say(f"{shredding_id}: nothing of it opens any more in this database")
    if chosen.final:
        await _round(keeping, "shredding")
    else:
        _say("an older dump still holds it, under the root of now, until a round: `keys round`, or the job's next one")


async def _purge(keeping: Keeping, *, dry_run: bool) -> None:
    for tenant_id in await keeping.store.tenants():
        if dry_run:
            purged = await keeping.purging.due(tenant_id)
        else:
            await keeping.lifecycle.fill_in_months(tenant_id)
            done = await keeping.purging.purge(tenant_id, actor())
            if done is None:
                raise NotDone(BUSY)
            purged = done
        _say(f"{tenant_id}: {purged}{' would go' if dry_run else ' gone'}")


async def _round(keeping: Keeping, cause: str) -> None:
    done = await keeping.rounds.run(cause, actor())
    if done is None:
        raise NotDone(BUSY)
    _say(f"{done.round_id}: root {done.root_version}; {done.outcome}")
    if done.outcome != FINAL:
        raise NotDone("what was shredded is not final")


async def _tenants(keeping: Keeping, named: str | None) -> list[str]:
    known = await keeping.store.tenants()
    if named is None:
        return known
    if named not in known:
        raise NotDone("there is no such tenant")
    return [named]


def _moved(moved: Moved) -> str:
    if moved.busy:
        return f"a new key; the cards are being moved: {BUSY}"
    destroyed = ", ".join(map(str, moved.destroyed)) or "none"
    return f"a new key; cards moved {moved.cards}, not opening {moved.stuck}, versions destroyed {destroyed}"


@cache
def actor() -> str:
    """Who the machine says is asking; whoever may become another person here may also act in his name.

    Remembered, for a process may become somebody else. A user of a house has no account, and so only a number.
    """
    try:
        return f"operator {pwd.getpwuid(os.getuid()).pw_name}"
    except KeyError:
        return f"operator {os.getuid()}"


@asynccontextmanager
async def _kept(settings: CommandSettings, clock: Clock) -> AsyncIterator[Keeping]:
    engine = create_engine(settings.database_url, pool_size=3)
    key_service = open_key_service(settings.keys, clock)
    try:
        yield build_keeping(Store(engine), key_service, clock, settings.lifecycle)
    finally:
        await key_service.close()
        await engine.dispose()


def _say(*lines: str) -> None:
    sys.stdout.write("".join(f"{line}\n" for line in lines))
    sys.stdout.flush()
