"""`python -m vault webhooks …`: where tenants are told, what they are owed, and sending it again by hand.

With the vault's own database role, beside a running vault. A shared secret is printed once, when it is made. Exit
codes: 0 done; 1 not done, the sentence says why; 2 the settings are incomplete or there is no such tenant.
"""

import argparse
import asyncio
import sys
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Final

from prometheus_client import CollectorRegistry

from infra.chassis import crashpoints, logs
from infra.chassis.clock import SystemClock
from infra.chassis.engine import DatabaseUnreachable, create_engine
from infra.chassis.secret import Secret
from infra.chassis.settings import load
from vault.names import Names
from vault.outbox import rows
from vault.outbox.addresses import UrlRefused
from vault.outbox.building import Outbox, build_outbox
from vault.outbox.endpoints import EndpointRefused, Shown
from vault.outbox.events import Kind
from vault.outbox.settings import OutboxSettings
from vault.settings import PREFIX
from vault.store import Store

SHOWN_MAX: Final = 1_000
OVERLAP_HOURS: Final = 24
DONE, NOT_DONE, UNUSABLE = 0, 1, 2


@dataclass(frozen=True, slots=True)
class WebhookSettings:
    """Of the vault's settings, what its outbox needs."""

    database_url: Secret[str]
    outbox: OutboxSettings
    sandbox: bool = False
    crash_points: str = ""
    log_level: str = "INFO"


class _NoTenant(Exception):
    """The tenant that was named is not known here."""


def add_webhooks(parser: argparse.ArgumentParser) -> None:
    commands = parser.add_subparsers(dest="webhooks", required=True, metavar="COMMAND")
    _add_endpoints(commands.add_parser("endpoints", help="where a tenant is told: list, add, rotate, disable, enable"))
    listed = commands.add_parser("list", help="what is owed, was delivered or was given up, newest first")
    listed.add_argument("--tenant", required=True)
    listed.add_argument("--state", choices=["waiting", "delivered", "dead"])
    listed.add_argument("--event", help="one event, with every attempt")
    listed.add_argument("--limit", type=int, default=50, help=f"how many (50, at most {SHOWN_MAX})")
    replayed = commands.add_parser("replay", help="send events again, or to an endpoint that was not owed them")
    replayed.add_argument("--tenant", required=True)
    replayed.add_argument("--endpoint", help="one endpoint; without it, every enabled one")
    which = replayed.add_mutually_exclusive_group(required=True)
    which.add_argument("--event", help="one event")
    which.add_argument("--dead", action="store_true", help="all that were given up")
    which.add_argument("--since", type=_moment, metavar="TIME", help="all since then, e.g. 2026-11-21T10:00:00+00:00")
    purged = commands.add_parser("purge", help="delete old events that are owed to nobody; the vault does so daily")
    purged.add_argument("--dry-run", action="store_true", help="only count them")


def _add_endpoints(parser: argparse.ArgumentParser) -> None:
    verbs = parser.add_subparsers(dest="verb", required=True, metavar="VERB")
    listed = verbs.add_parser("list", help="each endpoint, its state, its public keys")
    added = verbs.add_parser("add", help="register one; prints its keys")
    added.add_argument("url", metavar="URL")
    added.add_argument("--kind", action="append", default=[], choices=[kind.value for kind in Kind], metavar="KIND")
    rotated = verbs.add_parser("rotate", help="new keys; prints them")
    rotated.add_argument("--overlap-hours", type=int, default=OVERLAP_HOURS, help="how long the old ones sign besides")
    disabled = verbs.add_parser("disable", help="tell it nothing more; what it was owed becomes dead letters")
    enabled = verbs.add_parser("enable", help="tell it what happens from now on")
    for verb in (listed, added, rotated, disabled, enabled):
        verb.add_argument("--tenant", required=True)
    for verb in (rotated, disabled, enabled):
        verb.add_argument("endpoint", metavar="ENDPOINT")


def webhooks(chosen: argparse.Namespace, environ: Mapping[str, str]) -> int:
    """Raises SettingsIncomplete."""
    settings = load(WebhookSettings, PREFIX, environ)
    crashpoints.arm(settings.crash_points, sandbox=settings.sandbox)
    logs.configure("vault-webhooks", "ERROR")  # what is asked for is what is printed
    try:
        asyncio.run(_obey(settings, chosen))
    except _NoTenant:
        sys.stderr.write(f"webhooks: no tenant {chosen.tenant}\n")
        return UNUSABLE
    except (EndpointRefused, UrlRefused) as reason:
        sys.stderr.write(f"webhooks: {reason}\n")
        return NOT_DONE
    except DatabaseUnreachable:
        sys.stderr.write("webhooks: the database does not answer\n")
        return NOT_DONE
    return DONE


async def _obey(settings: WebhookSettings, chosen: argparse.Namespace) -> None:
    async with _opened(settings) as (store, outbox):
        known = await store.tenants()
        if chosen.webhooks == "purge":
            for tenant_id in known:
                await _purge(outbox, tenant_id, dry_run=chosen.dry_run)
            return
        if chosen.tenant not in known:
            raise _NoTenant
        if chosen.webhooks == "endpoints":
            await _endpoints(outbox, chosen)
        elif chosen.webhooks == "list":
            await _list(store, chosen)
        else:
            await _replay(store, chosen)


async def _endpoints(outbox: Outbox, chosen: argparse.Namespace) -> None:
    if chosen.verb == "list":
        await _list_endpoints(outbox, chosen.tenant)
    elif chosen.verb == "add":
        _say_keys(await outbox.endpoints.add(chosen.tenant, chosen.url, [Kind(kind) for kind in chosen.kind]))
    elif chosen.verb == "rotate":
        overlap = timedelta(hours=chosen.overlap_hours)
        _say_keys(await outbox.endpoints.rotate(chosen.tenant, chosen.endpoint, overlap))
    elif chosen.verb == "disable":
        await outbox.endpoints.disable(chosen.tenant, chosen.endpoint)
        _say(f"{chosen.endpoint} is told nothing more")
    else:
        await outbox.endpoints.enable(chosen.tenant, chosen.endpoint)
        _say(f"{chosen.endpoint} is told what happens from now on")


async def _list_endpoints(outbox: Outbox, tenant_id: str) -> None:
    for one, keys in await outbox.endpoints.listed(tenant_id):
        state = (
            f"disabled ({one.disabled_why}) since {one.disabled_at:%Y-%m-%d %H:%M}" if one.disabled_at else "enabled"
        )
        failing = f", failing since {one.failing_since:%Y-%m-%d %H:%M} ({one.failures})" if one.failing_since else ""
        _say(f"{one.endpoint_id} {one.url}", f"  {state}{failing}", f"  kinds: {', '.join(one.kinds) or 'all'}")
        _say(*(f"  {key}" for key in keys))


async def _list(store: Store, chosen: argparse.Namespace) -> None:
    async with store.transaction(chosen.tenant) as tx:
        limit = max(1, min(chosen.limit, SHOWN_MAX))
        found = await rows.dispatches(tx, state=chosen.state, event_id=chosen.event, limit=limit)
        attempts = await rows.attempts(tx, chosen.event) if chosen.event else []
    for one in found:
        said = " ".join(str(part) for part in (one.last_failure, one.last_status) if part is not None)
        when = f"next {one.next_at:%H:%M:%S}" if one.state == "waiting" else f"{one.ended_at:%H:%M:%S}"
        _say(f"{one.happened_at:%Y-%m-%d %H:%M:%S} {one.state:9} {one.event_id} {one.kind} {one.about} "
             f"→ {one.endpoint_id} attempts {one.attempts}, {when} {said}".rstrip())  # fmt: skip
    for attempt in attempts:
        said = "no answer" if attempt.ended_at is None else f"{attempt.failure or 'delivered'} {attempt.status or ''}"
        _say(f"  {attempt.started_at:%Y-%m-%d %H:%M:%S} {attempt.delivery_id} {attempt.endpoint_id} {said}".rstrip())


async def _replay(store: Store, chosen: argparse.Namespace) -> None:
    owed = 0
    async with store.transaction(chosen.tenant) as tx:
        enabled = {one.endpoint_id for one in await rows.endpoints(tx) if one.state == "enabled"}
        if chosen.endpoint is not None and chosen.endpoint not in enabled:
            raise EndpointRefused("there is no such endpoint, or it is disabled")
        for endpoint_id in sorted(enabled if chosen.endpoint is None else {chosen.endpoint}):
            owed += await rows.owe_again(
                tx,
                endpoint_id,
                event_id=chosen.event,
                dead_only=chosen.dead,
                since=chosen.since,
                now=SystemClock().now(),
            )
    if not owed:
        raise EndpointRefused("nothing to send again: no such event, or it waits to be sent already")
    _say(f"{owed} to be sent; the courier's next round begins with them")


async def _purge(outbox: Outbox, tenant_id: str, *, dry_run: bool) -> None:
    count = await (outbox.caretaker.due(tenant_id) if dry_run else outbox.caretaker.purge(tenant_id))
    _say(f"{tenant_id}: {count} events {'would go' if dry_run else 'gone'}")


@asynccontextmanager
async def _opened(settings: WebhookSettings) -> AsyncIterator[tuple[Store, Outbox]]:
    engine = create_engine(settings.database_url, pool_size=2)
    store = Store(engine)
    outbox = build_outbox(
        store=store,
        settings=settings.outbox,
        clock=SystemClock(),
        registry=CollectorRegistry(),
        sandbox=settings.sandbox,
        names=Names(),
    )
    try:
        yield store, outbox
    finally:
        await engine.dispose()


def _moment(text: str) -> datetime:
    """Raises ValueError, which argparse words."""
    given = datetime.fromisoformat(text)
    return given if given.tzinfo else given.replace(tzinfo=UTC)


def _say_keys(shown: Shown) -> None:
    _say(
        shown.endpoint_id,
        f"  v1   {shown.shared_secret}   keep it secret; it is not shown again",
        f"  v1a  {shown.public_key}   public",
    )


def _say(*lines: str) -> None:
    sys.stdout.write("".join(f"{line}\n" for line in lines))
    sys.stdout.flush()
