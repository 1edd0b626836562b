"""`python -m gateway policy …` and `record replay`: rules asked, compared and decided by again, outside the service."""

import asyncio
import sys
from collections.abc import Awaitable, Callable, Iterable, Mapping
from pathlib import Path
from typing import Final

from sqlalchemy.ext.asyncio import AsyncEngine

from gateway.cedar import GROUP_OF, GROUPS, Cedar, PoliciesUnusable, syntax_of
from gateway.contract import PolicyReplay
from gateway.overlays import store
from gateway.overlays.active import version_sha256
from gateway.overlays.cases import CASES, Case, CasesRefused, cases_in, run
from gateway.overlays.known import KnownRules
from gateway.overlays.limits import require_limits
from gateway.replay import Comparison, Replay
from gateway.settings import ReplaySettings
from gateway.store import all_tenants
from infra.chassis.engine import create_engine, directory_transaction, tenant_transaction

SAME, OTHERWISE, UNUSABLE = 0, 1, 2
"""Exit codes."""
BASE: Final = "base"
ENTRIES_AT_ONCE: Final = 1_000
Work = Callable[[AsyncEngine, str], Awaitable[int]]


class RulesRefused(Exception):
    """What was named as rules is none."""


def test(path: Path | None, folder: Path | None) -> int:
    """Without `path`, the cases beside our policies: then every policy must be the reason in one of them, too."""
    try:
        cedar = Cedar.load() if folder is None else _of_folder(folder)
        cases = cases_in(path or CASES)
    except (CasesRefused, RulesRefused, PoliciesUnusable) as error:
        return _complain(str(error))
    failures = [str(failure) for failure in run(cedar, cases)]
    if path is None:
        failures += [f"no case has {name} as its reason" for name in without_case(cedar, cases)]
    sys.stdout.write("".join(f"{failure}\n" for failure in failures))
    sys.stdout.write(f"{len(cases)} cases, {len(failures)} failures\n")
    return OTHERWISE if failures else SAME


def without_case(cedar: Cedar, cases: Iterable[Case]) -> list[str]:
    """Policies that no case is decided by, as `group, policy place`."""
    seen: set[tuple[str, str]] = set()
    for case in cases:
        group = GROUP_OF[case.question.action]
        seen |= {(group, policy) for policy in cedar.deciding_policies(case.question)}
    return [
        f"{group}.cedar, policy {place + 1}"
        for group, texts in sorted(cedar.texts.items())
        for place in range(len(syntax_of(group, texts.policies)) + len(syntax_of(group, texts.overlay or "")))
        if (group, f"policy{place}") not in seen
    ]


def diff(settings: ReplaySettings, named: tuple[str, str], *, last: int, tenant_id: str | None) -> int:
    """Each of `named` is `base`, a version's hash or a folder. Writes what changes from the first to the second."""
    if last < 1:
        return _complain("--last is at least 1")

    async def one(engine: AsyncEngine, tenant: str) -> int:
        async with tenant_transaction(engine, tenant) as tx:
            overlays = await store.overlays(tx, tenant)
            entries = await store.last_bodies(tx, tenant, last)
        versions = {version_sha256(overlay): overlay for overlay in overlays}
        before, after = (_named(name, versions) for name in named)
        comparison = Comparison(before=lambda _entry: before, after=lambda _entry: after)
        comparison.compare(entries)
        result = comparison.result()
        sys.stdout.write(_compared(tenant, result))
        return OTHERWISE if result.changed or result.unusable else SAME

    return asyncio.run(_for_tenants(settings, tenant_id, one))


def replay(settings: ReplaySettings, tenant_id: str | None) -> int:
    """Every decision of the record, or of one tenant's, under the policies it names: the same bytes are wanted."""
    return asyncio.run(_for_tenants(settings, tenant_id, _replay_one))


async def _replay_one(engine: AsyncEngine, tenant: str) -> int:
    async with tenant_transaction(engine, tenant) as tx:
        known = KnownRules(await store.bases(tx), await store.overlays(tx, tenant))
    replayed, after = Replay(known.of), 0
    while True:
        async with tenant_transaction(engine, tenant) as tx:
            entries = await store.entries_after(tx, tenant, after=after, limit=ENTRIES_AT_ONCE)
        for entry_id, decision_id, canonical in entries:
            replayed.consider(decision_id, canonical)
            after = entry_id
        if not entries:
            break
    state = "DIFFERS" if replayed.found else "the same again"
    sys.stdout.write(f"{tenant}: {state}, {replayed.same} decided again, {replayed.others} other entries\n")
    for kind, count in replayed.found.items():
        sys.stdout.write(f"  {count} {kind}, the first: {replayed.first[kind]}\n")
    return OTHERWISE if replayed.found else SAME


async def _for_tenants(settings: ReplaySettings, tenant_id: str | None, work: Work) -> int:
    """The worst exit code of all."""
    engine = create_engine(settings.database_url, pool_size=1)
    try:
        async with directory_transaction(engine) as tx:
            known = await all_tenants(tx)
        if tenant_id is not None and tenant_id not in known:
            return _complain(f"no tenant {tenant_id}")
        codes = [await work(engine, tenant) for tenant in ([tenant_id] if tenant_id else known)]
    except (RulesRefused, PoliciesUnusable) as error:
        return _complain(str(error))
    finally:
        await engine.dispose()
    return max(codes, default=SAME)


def _named(name: str, versions: Mapping[str, Mapping[str, str]]) -> Cedar:
    """Raises RulesRefused, PoliciesUnusable."""
    if name == BASE:
        return Cedar.load()
    if name in versions:
        return Cedar.load().with_overlay(versions[name])
    if Path(name).is_dir():
        return _of_folder(Path(name))
    raise RulesRefused(f"{name} is neither `base`, nor a folder, nor a version that this tenant has")


def _of_folder(folder: Path) -> Cedar:
    """With a schema: policies of their own. Without: texts to lay over ours. Raises RulesRefused, PoliciesUnusable."""
    if (folder / "schema.cedarschema").exists():
        return Cedar.load(folder)
    files = sorted(folder.glob("*.cedar"))
    if not files:
        raise RulesRefused(f"{folder}: there is no *.cedar here")
    overlay = {}
    for file in files:
        if file.stem not in GROUPS.values():
            raise RulesRefused(f"{file}: the groups are {', '.join(sorted(set(GROUPS.values())))}")
        overlay[file.stem] = file.read_text(encoding="utf-8")
        require_limits(file.stem, overlay[file.stem])
    return Cedar.load().with_overlay(overlay)


def _compared(tenant: str, result: PolicyReplay) -> str:
    head = f"{tenant}: {result.replayed} decided again, {result.changed} otherwise, {result.unusable} not readable\n"
    return head + "".join(
        f"  {change.count} times {change.action}: {change.outcome_before} [{', '.join(change.before)}]"
        f" → {change.outcome_after} [{', '.join(change.after)}], such as {' '.join(change.decision_ids)}\n"
        for change in result.changes
    )


def _complain(sentence: str) -> int:
    sys.stderr.write(f"gateway: {sentence}\n")
    return UNUSABLE
