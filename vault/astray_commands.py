"""`python -m vault astray list|seen-to`: payments that took money for a charge that had failed.

What to do about one: look the payment up at the processor, by its name as `list` shows it. Somebody else confirmed it,
or the processor did, as nothing here does. Its purchase has failed and its person was told so: give the money back
there, find out who confirmed it (an unknown caller has the processor's key: change it), and then say `seen-to`. Until
then the alarm comes each hour. Nothing of this is in the ledger, which holds what charges took: the payment and its
refund are in the processor's own report only.
"""

import argparse
import asyncio
import sys
from collections.abc import Mapping

from infra.chassis.engine import create_engine
from infra.chassis.settings import load
from vault.leftovers import payments_astray, seen_to
from vault.settings import PREFIX, StoreSettings
from vault.store import Store

DONE, UNKNOWN_PAYMENT, UNUSABLE = 0, 1, 2


def add_astray(parser: argparse.ArgumentParser) -> None:
    commands = parser.add_subparsers(dest="astray", required=True, metavar="COMMAND")
    listed = commands.add_parser("list", help="payments of which the alarm is on")
    ended = commands.add_parser("seen-to", help="the money went back, or stays for a reason: end the alarm")
    ended.add_argument("payment", help="its name at the processor, as `list` shows it")
    for command in (listed, ended):
        command.add_argument("--tenant", required=True)


def astray(chosen: argparse.Namespace, environ: Mapping[str, str]) -> int:
    """Raises SettingsIncomplete."""
    return asyncio.run(_run(load(StoreSettings, PREFIX, environ), chosen))


async def _run(settings: StoreSettings, chosen: argparse.Namespace) -> int:
    engine = create_engine(settings.database_url, pool_size=1)
    try:
        store = Store(engine)
        if chosen.tenant not in await store.tenants():
            sys.stderr.write(f"vault: no tenant {chosen.tenant}\n")
            return UNUSABLE
        return await (_list(store, chosen.tenant) if chosen.astray == "list" else _seen_to(store, chosen))
    finally:
        await engine.dispose()


async def _list(store: Store, tenant_id: str) -> int:
    async with store.transaction(tenant_id) as tx:
        found = await payments_astray(tx)
    sys.stdout.writelines(f"{left.astray_ref} {left.processor} took money for {left.charge_id}\n" for left in found)
    return DONE


async def _seen_to(store: Store, chosen: argparse.Namespace) -> int:
    async with store.transaction(chosen.tenant) as tx:
        known = await seen_to(tx, chosen.payment)
    if not known:
        sys.stderr.write(f"vault: no alarm about {chosen.payment} of {chosen.tenant}\n")
        return UNKNOWN_PAYMENT
    sys.stdout.write(f"{chosen.payment}: the alarm has ended\n")
    return DONE
