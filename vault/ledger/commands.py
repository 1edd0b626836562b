"""`python -m vault ledger check|show`: with the vault's own database role, beside a running vault or without one."""

import argparse
import asyncio
import sys
from collections.abc import Awaitable, Callable, Mapping

from infra.chassis.engine import create_engine
from infra.chassis.settings import load
from vault.ledger.check import balances, check
from vault.settings import PREFIX, StoreSettings
from vault.store import Store

AGREES, DIFFERS, UNUSABLE = 0, 1, 2


def add_ledger(parser: argparse.ArgumentParser) -> None:
    commands = parser.add_subparsers(dest="ledger", required=True, metavar="COMMAND")
    checked = commands.add_parser("check", help="compare the ledger with charges, refunds and disputes; exit 1 names")
    shown = commands.add_parser("show", help="balances by currency and account; a debit is positive")
    shown.add_argument("--charge", help="of one charge of the tenant")
    for command in (checked, shown):
        command.add_argument("--tenant", help="only this tenant")


def ledger(chosen: argparse.Namespace, environ: Mapping[str, str]) -> int:
    """Raises SettingsIncomplete."""
    settings = load(StoreSettings, PREFIX, environ)
    if chosen.ledger == "show" and chosen.charge is not None and chosen.tenant is None:
        sys.stderr.write("vault: a charge belongs to one tenant; name it with --tenant\n")
        return UNUSABLE
    return asyncio.run(_with_store(settings, lambda store: _run(store, chosen)))


async def _with_store(settings: StoreSettings, act: Callable[[Store], Awaitable[int]]) -> int:
    engine = create_engine(settings.database_url, pool_size=1)
    try:
        return await act(Store(engine))
    finally:
        await engine.dispose()


async def _run(store: Store, chosen: argparse.Namespace) -> int:
    known = await store.tenants()
    if chosen.tenant is not None and chosen.tenant not in known:
        sys.stderr.write(f"vault: no tenant {chosen.tenant}\n")
        return UNUSABLE
    wanted = known if chosen.tenant is None else [chosen.tenant]
    if chosen.ledger == "show":
        for tenant_id in wanted:
            await _show(store, tenant_id, chosen.charge)
        return AGREES
    agrees = [await _check(store, tenant_id) for tenant_id in wanted]
    return AGREES if all(agrees) else DIFFERS


async def _check(store: Store, tenant_id: str) -> bool:
    found = await check(store, tenant_id)
    state = "DIFFERS" if found.differences else "agrees"
    sys.stdout.write(f"{tenant_id}: {state}, {found.charges} charges, {found.unfinished} orders not ended yet\n")
    sys.stdout.writelines(f"  {difference}\n" for difference in found.differences)
    return not found.differences


async def _show(store: Store, tenant_id: str, charge_id: str | None) -> None:
    async with store.transaction(tenant_id) as tx:
        found = await balances(tx, charge_id)
    sys.stdout.write(f"{tenant_id}:{'' if found else ' nothing posted'}\n")
    sys.stdout.writelines(f"  {one.currency} {one.account:22}{one.amount_minor:>16,}\n" for one in found)
