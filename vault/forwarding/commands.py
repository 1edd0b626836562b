"""`python -m vault destinations …`: register and withdraw where cards may be sent, as the owner of the database.

The serving process may read destinations and not write them: who takes it over gains no new place to send cards to.
Exit codes: 0 done; 1 not done, the sentence says why; 2 the settings are incomplete.
"""

import argparse
import asyncio
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from infra.chassis import logs
from infra.chassis.clock import Clock, SystemClock
from infra.chassis.engine import DatabaseUnreachable, create_engine
from infra.chassis.secret import Secret
from infra.chassis.settings import load
from vault.forwarding import rows
from vault.forwarding.destinations import DestinationInvalid, Registration, read_registration
from vault.forwarding.rows import Destination
from vault.keys.commands import actor
from vault.store import Store

PREFIX: Final = "vault"


@dataclass(frozen=True, slots=True)
class DestinationSettings:
    """Of the vault's settings, what registering needs. Only with `sandbox` may a destination be on this machine."""

    owner_database_url: Secret[str]
    sandbox: bool = False


class NotDone(Exception):
    """The sentence says why."""


def add_destinations(parser: argparse.ArgumentParser) -> None:
    verbs = parser.add_subparsers(dest="verb", required=True)
    adding = verbs.add_parser("add", help="register a destination; its id is never used for another")
    adding.add_argument("file", type=Path, metavar="FILE", help="JSON: vault/forwarding/destinations.py")
    listing = verbs.add_parser("list", help="a tenant's destinations, those withdrawn included")
    listing.add_argument("tenant", metavar="TENANT")
    withdrawing = verbs.add_parser("withdraw", help="nothing is sent there from now on")
    withdrawing.add_argument("tenant", metavar="TENANT")
    withdrawing.add_argument("destination", metavar="DESTINATION")


def destinations(chosen: argparse.Namespace, environ: Mapping[str, str]) -> int:
    """Raises SettingsIncomplete."""
    settings = load(DestinationSettings, PREFIX, environ)
    logs.configure("vault-destinations", "ERROR")
    try:
        new = _read(chosen.file, sandbox=settings.sandbox) if chosen.verb == "add" else None
        said = asyncio.run(_obey(settings, chosen, new, SystemClock()))
    except (NotDone, DestinationInvalid) as reason:
        sys.stderr.write(f"destinations: {reason}\n")
        return 1
    except (DatabaseUnreachable, OSError) as away:
        sys.stderr.write(f"destinations: {type(away).__name__}\n")
        return 1
    sys.stdout.write("".join(f"{line}\n" for line in said))
    return 0


def _read(file: Path, *, sandbox: bool) -> Registration:
    """Raises DestinationInvalid and OSError."""
    return read_registration(file.read_bytes(), sandbox=sandbox)


async def _obey(
    settings: DestinationSettings, chosen: argparse.Namespace, new: Registration | None, clock: Clock
) -> list[str]:
    engine = create_engine(settings.owner_database_url, pool_size=1)
    try:
        store = Store(engine)
        if new is not None:
            return await add(store, new, clock)
        if chosen.verb == "withdraw":
            return await withdraw(store, chosen.tenant, chosen.destination, clock)
        async with store.transaction(chosen.tenant) as tx:
            return [_line(one) for one in await rows.destinations(tx)]
    finally:
        await engine.dispose()


async def add(store: Store, new: Registration, clock: Clock) -> list[str]:
    """Raises NotDone."""
    async with store.transaction(new.tenant_id) as tx:
        await tx.ensure_tenant()
        added = await rows.insert_destination(tx, new, actor(), clock.now())
    if not added:
        raise NotDone("this id is taken, perhaps by one that was withdrawn; destinations do not change")
    return [f"{new.destination_id}: {new.method} {new.url}, for {', '.join(new.agents)}"]


async def withdraw(store: Store, tenant_id: str, destination_id: str, clock: Clock) -> list[str]:
    """Raises NotDone."""
    async with store.transaction(tenant_id) as tx:
        withdrawn = await rows.withdraw_destination(tx, destination_id, actor(), clock.now())
    if not withdrawn:
        raise NotDone("there is no such destination, or it was withdrawn before")
    return [f"{destination_id}: withdrawn"]


def _line(one: Destination) -> str:
    fields = ", ".join(f"{pointer} {part}" for pointer, part in sorted(one.fields.items()))
    state = f"withdrawn {one.withdrawn_at:%Y-%m-%d %H:%M}Z" if one.withdrawn_at else "open"
    return (
        f"{one.destination_id}  {state}  {one.brand_id}  {one.method} {one.url}  {one.body}: {fields}"
        f"  for {', '.join(one.agents)}  by {one.registered_by} {one.registered_at:%Y-%m-%d %H:%M}Z"
    )
