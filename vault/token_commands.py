"""`python -m vault tokens …`: canaries, fingerprint keys, cards by the file (vault/batch), and the card updater.

Beside a running vault, as its own role.

Exit codes: 0 done; 1 not done, the sentence says why; 2 the settings are incomplete.
"""

import argparse
import asyncio
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from infra.chassis import logs
from infra.chassis.clock import Clock, SystemClock
from infra.chassis.engine import DatabaseUnreachable, create_engine
from infra.chassis.keys import KeyServiceUnreachable
from infra.chassis.keys.ringfile import Ring, RingFile, RingUnusable
from infra.chassis.keys.settings import KeySettings, open_key_service
from infra.chassis.secret import Secret
from infra.chassis.settings import load
from vault.batch.commands import VERBS, add_batch, batch
from vault.canaries import canary_uses
from vault.canary_marks import CanaryMarks
from vault.canary_planting import Planting
from vault.fingerprint import FingerprintKeyUnusable, Fingerprints
from vault.keys.commands import actor
from vault.keys.keeping import build_keeping
from vault.keys.ring import KeyUnavailable
from vault.keys.settings import LifecycleSettings
from vault.keys.states import KeyRetired
from vault.settings import PREFIX, StoreSettings
from vault.store import Store, Tx
from vault.updating.commands import add_updater, updater

LINE: Final = "{:31} {:>7}  {:>9}"
PLANTED_MAX: Final = 1_000


@dataclass(frozen=True, slots=True)
class FingerprintSettings:
    """Of the vault's settings, what its fingerprints need."""

    database_url: Secret[str]
    fingerprint_key_file: Path


@dataclass(frozen=True, slots=True)
class PlantingSettings:
    """Of the vault's settings, what sealing a card needs."""

    database_url: Secret[str]
    fingerprint_key: Secret[bytes]
    keys: KeySettings
    lifecycle: LifecycleSettings = field(default_factory=LifecycleSettings)


class NotDone(Exception):
    """The sentence says why."""


def add_tokens(parser: argparse.ArgumentParser) -> None:
    verbs = parser.add_subparsers(dest="verb", required=True, metavar="COMMAND")
    planting = verbs.add_parser("canary", help="plant tokens nobody is ever to use; they are shown this once")
    planting.add_argument("tenant", metavar="TENANT")
    planting.add_argument("brand", metavar="BRAND", help="under which brand of the tenant they seem to be")
    planting.add_argument("--count", type=int, default=1, help=f"how many (1, at most {PLANTED_MAX})")
    used = verbs.add_parser("canary-uses", help="who tried to use one, when, and for what")
    used.add_argument("tenant", metavar="TENANT")
    verbs.add_parser("fingerprints", help="how many cards of each tenant have which version of the fingerprint")
    add_updater(verbs.add_parser("updater", help="whether the tenant's cards are asked about at the card updater"))
    verbs.add_parser("fingerprint-key", help="a new version of the fingerprint's key, for vaults started from now on")
    add_batch(verbs)


def tokens(chosen: argparse.Namespace, environ: Mapping[str, str]) -> int:
    """Raises SettingsIncomplete."""
    if chosen.verb in VERBS:
        return batch(chosen, environ)
    logs.configure("vault-tokens", "ERROR")  # what is asked for is what is printed
    try:
        _obey(chosen, environ, SystemClock())
    except (NotDone, KeyUnavailable) as reason:
        sys.stderr.write(f"tokens: {reason}\n")
        return 1
    except (DatabaseUnreachable, KeyServiceUnreachable, KeyRetired, OSError) as away:
        sys.stderr.write(f"tokens: {type(away).__name__}; what was printed is done, the rest is not\n")
        return 1
    except (RingUnusable, FingerprintKeyUnusable):
        sys.stderr.write("tokens: the fingerprint's key file is damaged, or others may read it; nothing was changed\n")
        return 1
    return 0


def _obey(chosen: argparse.Namespace, environ: Mapping[str, str], clock: Clock) -> None:
    if chosen.verb == "canary":
        if not 1 <= chosen.count <= PLANTED_MAX:
            raise NotDone(f"from 1 to {PLANTED_MAX} at once")
        asyncio.run(_plant(load(PlantingSettings, PREFIX, environ), chosen, clock))
    elif chosen.verb == "canary-uses":
        asyncio.run(_show_uses(load(StoreSettings, PREFIX, environ), chosen.tenant))
    elif chosen.verb == "updater":
        asyncio.run(_update(load(StoreSettings, PREFIX, environ), chosen, clock))
    elif chosen.verb == "fingerprints":
        settings = load(FingerprintSettings, PREFIX, environ)
        asyncio.run(_list(settings, RingFile(settings.fingerprint_key_file).read()))
    else:
        file = RingFile(load(FingerprintSettings, PREFIX, environ).fingerprint_key_file)
        made = file.change(lambda ring: ring.rotated(clock.now())).newest.version
        _say(f"version {made}: restart the vault; cards get the new fingerprint when they are charged next")


async def _plant(settings: PlantingSettings, chosen: argparse.Namespace, clock: Clock) -> None:
    engine, keys = create_engine(settings.database_url, pool_size=1), open_key_service(settings.keys, clock)
    fingerprints = Fingerprints(settings.fingerprint_key)
    try:
        store = Store(engine)
        await _require_tenant(store, chosen.tenant)
        planting = Planting(
            store=store,
            ring=build_keeping(store, keys, clock, settings.lifecycle).ring,
            marks=CanaryMarks(fingerprints.keys()),
            fingerprints=fingerprints,
            clock=clock,
        )
        for _ in range(chosen.count):
            _say(await planting.plant(chosen.tenant, chosen.brand, actor()))
    finally:
        await keys.close()
        await engine.dispose()


async def _show_uses(settings: StoreSettings, tenant_id: str) -> None:
    engine = create_engine(settings.database_url, pool_size=1)
    try:
        store = Store(engine)
        await _require_tenant(store, tenant_id)
        async with store.transaction(tenant_id) as tx:
            uses = await canary_uses(tx)
    finally:
        await engine.dispose()
    for use in uses:
        _say("  ".join(str(value) for value in use.values()))


async def _update(settings: StoreSettings, chosen: argparse.Namespace, clock: Clock) -> None:
    engine = create_engine(settings.database_url, pool_size=1)
    try:
        store = Store(engine)
        await _require_tenant(store, chosen.tenant)
        for line in await updater(store, chosen, actor(), clock.now()):
            _say(line)
    finally:
        await engine.dispose()


async def _require_tenant(store: Store, tenant_id: str) -> None:
    if tenant_id not in await store.tenants():
        raise NotDone("there is no such tenant")


async def _list(settings: FingerprintSettings, ring: Ring) -> None:
    """A line for each tenant and version; versions in no file any more are named."""
    engine = create_engine(settings.database_url, pool_size=1)
    kept = {one.version for one in ring.kept}
    try:
        store = Store(engine)
        _say(LINE.format("tenant", "version", "cards"))
        for tenant_id in await store.tenants():
            async with store.transaction(tenant_id) as tx:
                counted = await cards_by_fingerprint_version(tx)
            for version, cards in counted.items():
                _say(LINE.format(tenant_id, version, cards) + ("" if version in kept else "  key not in the file"))
    finally:
        await engine.dispose()


async def cards_by_fingerprint_version(tx: Tx) -> dict[int, int]:
    """Live cards."""
    sql = """SELECT fingerprint_version, count(*) AS cards FROM cards
        WHERE tenant_id = :tenant_id AND shredded_at IS NULL GROUP BY fingerprint_version ORDER BY 1"""
    return {row["fingerprint_version"]: row["cards"] for row in (await tx.run(sql, {})).mappings()}


def _say(line: str) -> None:
    sys.stdout.write(f"{line}\n")
