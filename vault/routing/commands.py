"""`python -m vault routes list|add|remove|tried`: which processor a tenant's charges are given to, and were.

With the vault's own database role, beside a running vault or without one; the next charge already goes by it.
"""

import argparse
import asyncio
import sys
from collections.abc import Callable, Mapping
from typing import Final

from infra.chassis.engine import create_engine
from infra.chassis.ids import new_id
from infra.chassis.settings import load
from vault.cleartext.issuers import CardBrand
from vault.processors import NAMES
from vault.routing.rows import add_route, attempts_of, remove_route, routes_of
from vault.routing.rules import POSITION_MAX, WEIGHT_MAX, Route
from vault.settings import PREFIX, StoreSettings
from vault.store import Store

DONE, UNKNOWN, UNUSABLE = 0, 1, 2
CURRENCY_LETTERS: Final = 3


def add_routes(parser: argparse.ArgumentParser) -> None:
    commands = parser.add_subparsers(dest="routes", required=True, metavar="COMMAND")
    listed = commands.add_parser("list", help="the tenant's routes, in the order in which they are tried")
    added = commands.add_parser("add", help="give what fits to a processor; what is not said fits everything")
    removed = commands.add_parser("remove", help="take a route away")
    tried = commands.add_parser("tried", help="to whom a charge was given, one after another, and why not longer")
    tried.add_argument("charge", help="its id, as chg_…")
    removed.add_argument("route", help="its id, as `list` shows it")
    added.add_argument("--processor", required=True, choices=NAMES)
    added.add_argument("--position", type=_from_to(1, POSITION_MAX), default=1, help="lower ones are tried first (1)")
    added.add_argument("--weight", type=_from_to(1, WEIGHT_MAX), default=1, help="share among those of a position (1)")
    added.add_argument("--brand", help="only charges of this brand, as brd_…")
    added.add_argument("--currency", type=_currency, help="only charges in this currency, as EUR")
    added.add_argument("--card-brand", choices=[brand.value for brand in CardBrand], help="only cards of this network")
    added.add_argument("--from-minor", type=_from_to(1, 99_999_999), help="only amounts from this on, in minor units")
    added.add_argument("--to-minor", type=_from_to(1, 99_999_999), help="only amounts up to this")
    for command in (listed, added, removed, tried):
        command.add_argument("--tenant", required=True)


def routes(chosen: argparse.Namespace, environ: Mapping[str, str]) -> int:
    """Raises SettingsIncomplete."""
    return asyncio.run(_run(load(StoreSettings, PREFIX, environ), chosen))


async def _run(settings: StoreSettings, chosen: argparse.Namespace) -> int:
    engine = create_engine(settings.database_url, pool_size=1)
    try:
        store = Store(engine)
        if chosen.tenant not in await store.tenants():
            sys.stderr.write(f"vault: no tenant {chosen.tenant}\n")
            return UNUSABLE
        return await {"list": _list, "add": _add, "remove": _remove, "tried": _tried}[chosen.routes](store, chosen)
    finally:
        await engine.dispose()


async def _list(store: Store, chosen: argparse.Namespace) -> int:
    async with store.transaction(chosen.tenant) as tx:
        found = await routes_of(tx)
    if not found:
        sys.stdout.write(f"{chosen.tenant}: no routes; the vault's default processor charges\n")
    sys.stdout.writelines(f"{_told(route)}\n" for route in found)
    return DONE


async def _add(store: Store, chosen: argparse.Namespace) -> int:
    route = Route(
        route_id=new_id("rte"),
        position=chosen.position,
        processor=chosen.processor,
        weight=chosen.weight,
        brand_id=chosen.brand,
        currency=chosen.currency,
        card_brand=chosen.card_brand,
        amount_from_minor=chosen.from_minor,
        amount_to_minor=chosen.to_minor,
    )
    async with store.transaction(chosen.tenant) as tx:
        await add_route(tx, route)
    sys.stdout.write(f"{_told(route)}\n")
    return DONE


async def _remove(store: Store, chosen: argparse.Namespace) -> int:
    async with store.transaction(chosen.tenant) as tx:
        known = await remove_route(tx, chosen.route)
    if not known:
        sys.stderr.write(f"vault: no route {chosen.route} of {chosen.tenant}\n")
        return UNKNOWN
    return DONE


async def _tried(store: Store, chosen: argparse.Namespace) -> int:
    async with store.transaction(chosen.tenant) as tx:
        found = await attempts_of(tx, chosen.charge)
    if not found:
        sys.stderr.write(f"vault: no charge {chosen.charge} of {chosen.tenant}\n")
        return UNKNOWN
    for one in found:
        how = one.state if one.reason is None else f"{one.state}: {one.reason}"
        ref = one.processor_ref or "-"
        sys.stdout.write(f"{one.attempt} {one.started_at:%Y-%m-%d %H:%M:%S} {one.processor} {ref} {how}\n")
    return DONE


def _told(route: Route) -> str:
    said = {
        "brand": route.brand_id,
        "currency": route.currency,
        "card": route.card_brand,
        "from": route.amount_from_minor,
        "to": route.amount_to_minor,
    }
    fits = " ".join(f"{name} {value}" for name, value in said.items() if value is not None) or "everything"
    return f"{route.route_id} position {route.position}: {route.processor} weight {route.weight}, {fits}"


def _from_to(least: int, most: int) -> Callable[[str], int]:
    def whole(text: str) -> int:
        number = int(text)
        if not least <= number <= most:
            raise argparse.ArgumentTypeError(f"must be from {least} to {most}")
        return number

    return whole


def _currency(text: str) -> str:
    if len(text) != CURRENCY_LETTERS or not (text.isascii() and text.isalpha() and text.isupper()):
        raise argparse.ArgumentTypeError("three capital letters")
    return text
