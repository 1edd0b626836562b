"""`python -m vault inbox list|replay`: the processor's events, and looking again at what they are about.

Replaying repeats no event: nothing of its content is kept. It makes the reconciler ask the processor once more how the
payment stands, which is all that an event ever does here.
"""

import argparse
import asyncio
import sys
from collections.abc import Mapping
from typing import Final

from infra.chassis.engine import create_engine
from infra.chassis.settings import load
from vault.inbox import recent_events, replay_event
from vault.settings import PREFIX, StoreSettings
from vault.store import Store

SHOWN_MAX: Final = 1_000
DONE, UNKNOWN_EVENT, UNUSABLE = 0, 1, 2


def add_inbox(parser: argparse.ArgumentParser) -> None:
    commands = parser.add_subparsers(dest="inbox", required=True, metavar="COMMAND")
    listed = commands.add_parser("list", help="the newest events, and whether they were seen to")
    listed.add_argument("--limit", type=int, default=50, help=f"how many (50, at most {SHOWN_MAX})")
    replayed = commands.add_parser(
        "replay", help="look again at what an event is about, at the reconciler's next round"
    )
    replayed.add_argument("event", help="its id, as `list` shows it")
    for command in (listed, replayed):
        command.add_argument("--tenant", required=True)


def inbox(chosen: argparse.Namespace, environ: Mapping[str, str]) -> int:
    """Raises SettingsIncomplete."""
    return asyncio.run(_run(load(StoreSettings, PREFIX, environ), chosen))


async def _run(settings: StoreSettings, chosen: argparse.Namespace) -> int:
    engine = create_engine(settings.database_url, pool_size=1)
    try:
        store = Store(engine)
        if chosen.tenant not in await store.tenants():
            sys.stderr.write(f"vault: no tenant {chosen.tenant}\n")
            return UNUSABLE
        if chosen.inbox == "list":
            return await _list(store, chosen.tenant, max(1, min(chosen.limit, SHOWN_MAX)))
        return await _replay(store, chosen.tenant, chosen.event)
    finally:
        await engine.dispose()


async def _list(store: Store, tenant_id: str, limit: int) -> int:
    async with store.transaction(tenant_id) as tx:
        events = await recent_events(tx, limit)
    for event in events:
        state = "waits" if event.handled_at is None else "seen to"
        about = event.payment_ref or "-"
        sys.stdout.write(f"{event.received_at:%Y-%m-%d %H:%M:%S} {state:8}{event.event_id} {event.kind} {about}\n")
    return DONE


async def _replay(store: Store, tenant_id: str, event_id: str) -> int:
    async with store.transaction(tenant_id) as tx:
        known = await replay_event(tx, event_id)
    if not known:
        sys.stderr.write(f"vault: no event {event_id} of {tenant_id}\n")
        return UNKNOWN_EVENT
    sys.stdout.write(f"{event_id} is looked at again at the next round\n")
    return DONE
