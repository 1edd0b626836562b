"""`python -m vault tokens updater TENANT [--on | --off]`: whether its cards are asked about, and what came of it."""

import argparse
from datetime import datetime

from vault.keys.acts import note
from vault.store import Store
from vault.updating import rows


def add_updater(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("tenant", metavar="TENANT")
    which = parser.add_mutually_exclusive_group()
    which.add_argument("--on", action="store_true", help="ask about this tenant's cards from now on")
    which.add_argument("--off", action="store_true", help="ask no more; what was updated stays")


async def updater(store: Store, chosen: argparse.Namespace, actor: str, now: datetime) -> list[str]:
    """What to print: a line about the tenant, and one for each way in which inquiries of this month ended."""
    async with store.transaction(chosen.tenant) as tx:
        changed = (chosen.on and await rows.turn_on(tx, actor, now)) or (chosen.off and await rows.turn_off(tx))
        if changed:
            act = "card updater turned on" if chosen.on else "card updater turned off"
            await note(tx, now, actor=actor, act=act, what="the tenant's cards", outcome="done")
        on = await rows.is_on(tx)
        waiting = await rows.due_count(tx, now)
        found = await rows.counts(tx, rows.month_of(now))
    state = "on" if on else "off"
    return [
        f"{chosen.tenant}: {state}, {waiting} cards to be asked about",
        *(f"{now:%Y-%m}  {outcome:18} {cards:>9}" for outcome, cards in found.items()),
    ]
