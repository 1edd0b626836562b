"""`python -m gateway` serves, by UNDERCROFT_GATEWAY_WORKERS processes; with a command it does that one thing.

migrate                  bring the database to the newest version, as its owner
provision MANIFEST       make tenants, brands and callers known, as the owner
keys status              the bearer, grant and sender keys: which signs, which is next, which retire and until when
keys rotate [PURPOSE …]  make the next key the current one; running processes follow without a restart
policy test [PATH] [--rules FOLDER]   ask the policies the cases beside them, or those of a file or folder
policy diff A B [--last N] [--tenant TENANT]   decide the last decisions again under A and B; exits 1 on differences
record replay [--tenant TENANT]   decide every recorded decision again; exits 1 when one falls otherwise
record verify [--tenant TENANT [--checkpoint FILE]]   recompute the record from what is stored; exits 1 on findings
record verify EXPORT [--key KEY] [--checkpoint FILE] [--witness KEY] [--receipt FILE]   the same offline, from a file
"""

import argparse
import asyncio
import os
import sys
from collections.abc import Sequence
from pathlib import Path

from gateway import rotation
from gateway.app import build_gateway
from gateway.overlays import commands as policy_commands
from gateway.provision import ManifestRefused, provision
from gateway.record import commands as record_commands
from gateway.settings import (
    PREFIX,
    Keys,
    KeySettings,
    OwnerSettings,
    ReplaySettings,
    Settings,
    load_keys,
)
from infra.chassis import logs
from infra.chassis.clock import SystemClock
from infra.chassis.http import Listener, require_free, serve
from infra.chassis.migrate import upgrade
from infra.chassis.settings import SettingsIncomplete, load
from infra.chassis.workers import Supervisor, end_when_orphaned

MIGRATIONS = Path(__file__).parent / "migrations"
SETTINGS_EXIT = 2
Commands = argparse._SubParsersAction  # noqa: SLF001 - argparse gives the type no public name


async def _serve(settings: Settings, keys: Keys, *, as_worker: bool) -> None:
    gateway = build_gateway(settings, keys, SystemClock())
    background = [gateway.sweeper.run, gateway.sealer.run, gateway.published.run, gateway.limits.run]
    background += [end_when_orphaned] if as_worker else []
    try:
        listeners = [Listener(gateway.api, settings.bind)]
        if settings.authzen_bind is not None:
            listeners.append(Listener(gateway.authzen, settings.authzen_bind))
        await serve(listeners, background, shared=as_worker)
    finally:
        await gateway.close()


def _start(*, as_worker: bool) -> int:
    settings = load(Settings, PREFIX, os.environ)
    settings.refuse_plain_http()
    settings.refuse_odd_workers()
    settings.refuse_senseless_limits()
    keys = load_keys(settings.keys_folder)
    logs.configure("gateway", settings.log_level)
    if settings.workers == 1 or as_worker:
        asyncio.run(_serve(settings, keys, as_worker=as_worker))
        return 0
    require_free(settings.bind)
    return asyncio.run(_supervise(settings.workers))


async def _supervise(workers: int) -> int:
    return await Supervisor([sys.executable, "-m", "gateway", "worker"], workers, os.environ).run()


def _migrate() -> int:
    asyncio.run(upgrade(MIGRATIONS, load(OwnerSettings, PREFIX, os.environ).owner_database_url))
    return 0


def _provision(manifest: Path) -> int:
    owner = load(OwnerSettings, PREFIX, os.environ).owner_database_url
    try:
        done = asyncio.run(provision(owner, manifest.read_bytes(), SystemClock()))
    except (ManifestRefused, OSError) as error:
        sys.stderr.write(f"gateway: {manifest}: {error}\n")
        return 1
    sys.stdout.write(f"{done.tenants} tenants, {done.brands} brands, {done.clients} clients\n")
    return 0


def _arguments(arguments: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m gateway", description="Decides, reserves, verifies, records.")
    commands = parser.add_subparsers(dest="command")
    commands.add_parser("migrate", help="bring the database to the newest version")
    commands.add_parser("worker", help="serve as one of several; the process that watches them starts it")
    provisioning = commands.add_parser("provision", help="make tenants, brands and callers known")
    provisioning.add_argument("manifest", type=Path)
    rotation.add_arguments(commands.add_parser("keys", help="the keys that rotate"))
    record = commands.add_parser("record", help="the append-only record").add_subparsers(dest="verb", required=True)
    _add_policy_commands(commands)
    replay = record.add_parser("replay", help="decide every recorded decision again under its own policies")
    replay.add_argument("--tenant", help="only this tenant")
    record_commands.add_verify(record.add_parser("verify", help="recompute the record from what is stored"))
    return parser.parse_args(arguments)


def _add_policy_commands(commands: "Commands[argparse.ArgumentParser]") -> None:
    policy = commands.add_parser("policy", help="rules: cases and comparisons").add_subparsers(
        dest="verb", required=True
    )
    testing = policy.add_parser("test", help="ask the policies the cases beside them")
    testing.add_argument("path", type=Path, nargs="?", help="a file of cases, or a folder of them (those beside ours)")
    testing.add_argument("--rules", type=Path, help="a folder of policies, or of texts to lay over ours (ours)")
    diff = policy.add_parser("diff", help="what the last decisions would have been under two sets of rules")
    diff.add_argument("before", help="`base`, the sha256 of a tenant's version, or a folder")
    diff.add_argument("after", help="likewise")
    diff.add_argument("--last", type=int, default=1_000, metavar="N", help="how many of each tenant's (1000)")
    diff.add_argument("--tenant", help="only this tenant")


def _policy(chosen: argparse.Namespace) -> int:
    if chosen.verb == "test":
        return policy_commands.test(chosen.path, chosen.rules)
    settings = load(ReplaySettings, PREFIX, os.environ)
    return policy_commands.diff(settings, (chosen.before, chosen.after), last=chosen.last, tenant_id=chosen.tenant)


def _record(chosen: argparse.Namespace) -> int:
    if chosen.verb == "replay":
        return policy_commands.replay(load(ReplaySettings, PREFIX, os.environ), chosen.tenant)
    return record_commands.verify(chosen, os.environ)


def main(arguments: Sequence[str]) -> int:
    chosen = _arguments(arguments)
    try:
        match chosen.command:
            case "migrate":
                return _migrate()
            case "provision":
                return _provision(chosen.manifest)
            case "keys":
                return rotation.run(load(KeySettings, PREFIX, os.environ), chosen, SystemClock())
            case "record" | "policy":
                return _record(chosen) if chosen.command == "record" else _policy(chosen)
            case _:
                return _start(as_worker=chosen.command == "worker")
    except SettingsIncomplete as incomplete:
        sys.stderr.write(f"gateway: {incomplete}\n")
        return SETTINGS_EXIT


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
