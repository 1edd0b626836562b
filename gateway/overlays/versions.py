"""What a tenant's agents do with their own rules: upload, shadow, activate, roll back, and see the differences.

    upload: limits → parse → restrict → validate → analyse ──▶ analysed ──▶ shadow ──▶ active ──▶ retired
                                                                  ▲  ▲────────┘          ▲           │ │
                                                                  │                      └─rollback──┘ │
                                                                  └───────── (again as a shadow) ──────┘

Who changes what stands says what stood: of two at once, one wins and the other is told.
"""

import asyncio
import re
from collections.abc import Mapping
from typing import Final

from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from gateway.callers import Caller, CallerKind
from gateway.cedar import Cedar
from gateway.contract import (
    PolicyActivation,
    PolicyAnalysis,
    PolicyChange,
    PolicyDifferenceList,
    PolicyGroup,
    PolicyReplay,
    PolicyState,
    PolicyUpload,
    PolicyVersion,
    PolicyVersionList,
)
from gateway.errors import PolicyConflict, TooManyPolicies
from gateway.overlays import store
from gateway.overlays.active import ActiveRules, version_sha256
from gateway.overlays.analysis import findings_in, usable
from gateway.overlays.store import Change, Standing, Version
from gateway.record.entries import Record
from gateway.replay import Comparison
from infra.chassis.clock import Clock
from infra.chassis.engine import tenant_transaction
from infra.chassis.ids import new_id
from infra.chassis.problems import CardNumberRefused, FieldsInvalid, NotFound
from infra.chassis.screen import find_card_number

SCOPE: Final = "policy"
VERSIONS_MAX: Final = 1_000
"""Of a tenant; kept for good, because decisions name them: three a day for a year, and 64 MB at the very most."""
REPLAY_LAST: Final = 500
"""Decisions for an analysis: a quarter of a second. `policy diff` replays as many as it is told."""
PAGE: Final = 100
CURSOR_DIGITS_MAX: Final = 18
_SHA256: Final = re.compile(r"[0-9a-f]{64}")


class Policies:
    def __init__(self, engine: AsyncEngine, rules: ActiveRules, record: Record, clock: Clock) -> None:
        self._engine = engine
        self._rules = rules
        self._record = record
        self._clock = clock
        self._one_analysis = asyncio.Semaphore(1)

    async def upload(self, request: PolicyUpload, caller: Caller) -> PolicyVersion:
        """Keep a version with what is known about it. The same texts are the same version, however often they come.

        Raises PolicyRefused, TooManyPolicies, CardNumberRefused.
        """
        _require_editor(caller)
        if any(find_card_number(text) is not None for text in request.overlay.values()):
            raise CardNumberRefused
        laid = usable(self._rules.ours, request.overlay)
        overlay = {group.value: text for group, text in request.overlay.items()}
        name = version_sha256(overlay)
        async with tenant_transaction(self._engine, caller.tenant_id) as tx:
            known = await store.version(tx, caller.tenant_id, name)
            if known is not None:
                return self._view(known, await store.standing(tx, caller.tenant_id))
            await _require_room(tx, caller.tenant_id)
            active = (await self._rules.of_tenant(tx, caller.tenant_id)).active
            entries = await store.last_bodies(tx, caller.tenant_id, REPLAY_LAST)
        async with self._one_analysis:
            replayed = await asyncio.to_thread(_replayed, active, laid, entries)
        version = Version(
            version_sha256=name,
            overlay=overlay,
            analysis=PolicyAnalysis(findings=findings_in(request.overlay, self._rules.ours, laid), replay=replayed),
            uploaded_by=caller.client_id,
            uploaded_at=self._clock.now(),
            was_active=False,
        )
        async with tenant_transaction(self._engine, caller.tenant_id) as tx:
            await store.standing_for_update(tx, caller.tenant_id)
            await _require_room(tx, caller.tenant_id)
            await store.add_version(tx, caller.tenant_id, version)
            return self._view(await _found(tx, caller, name), await store.standing(tx, caller.tenant_id))

    async def all(self, caller: Caller) -> PolicyVersionList:
        _require_editor(caller)
        async with tenant_transaction(self._engine, caller.tenant_id) as tx:
            standing = await store.standing(tx, caller.tenant_id)
            versions = await store.summaries(tx, caller.tenant_id, standing)
        return PolicyVersionList(
            active_sha256=standing.active_sha256,
            shadow_sha256=standing.shadow_sha256,
            versions=versions,
        )

    async def one(self, name: str, caller: Caller) -> PolicyVersion:
        """Raises NotFound, also for another tenant's."""
        _require_editor(caller)
        async with tenant_transaction(self._engine, caller.tenant_id) as tx:
            return self._view(await _found(tx, caller, name), await store.standing(tx, caller.tenant_id))

    async def shadow(self, name: str, caller: Caller) -> PolicyChange:
        """Let it be asked beside the active rules, in place of another shadow. Raises NotFound, PolicyConflict."""
        _require_editor(caller)
        async with tenant_transaction(self._engine, caller.tenant_id) as tx:
            standing = await store.standing_for_update(tx, caller.tenant_id)
            version = await _found(tx, caller, name)
            if version.state(standing) in {PolicyState.ACTIVE, PolicyState.SHADOW}:
                raise _conflict(standing)
            self._require_usable(version)
            return await self._change(tx, caller, standing, "shadowed", standing.active_sha256, name)

    async def end_shadow(self, name: str, caller: Caller) -> PolicyChange:
        """Raises NotFound, PolicyConflict unless it is the shadow."""
        _require_editor(caller)
        async with tenant_transaction(self._engine, caller.tenant_id) as tx:
            standing = await store.standing_for_update(tx, caller.tenant_id)
            if (await _found(tx, caller, name)).state(standing) is not PolicyState.SHADOW:
                raise _conflict(standing)
            return await self._change(tx, caller, standing, "unshadowed", standing.active_sha256, None)

    async def activate(self, name: str, request: PolicyActivation, caller: Caller) -> PolicyChange:
        """From shadow only. Raises NotFound, PolicyRefused, PolicyConflict."""
        _require_editor(caller)
        async with tenant_transaction(self._engine, caller.tenant_id) as tx:
            standing = await store.standing_for_update(tx, caller.tenant_id)
            version = await _found(tx, caller, name)
            if request.replaces != standing.active_sha256 or version.state(standing) is not PolicyState.SHADOW:
                raise _conflict(standing)
            self._require_usable(version)
            return await self._change(tx, caller, standing, "activated", name, None)

    async def roll_back(self, request: PolicyActivation, caller: Caller) -> PolicyChange:
        """To what was active before the active version was activated, at last our own policies alone.

        Raises PolicyConflict, also when nothing is active; PolicyRefused when that version cannot be used any more.
        """
        _require_editor(caller)
        async with tenant_transaction(self._engine, caller.tenant_id) as tx:
            standing = await store.standing_for_update(tx, caller.tenant_id)
            if standing.active_sha256 is None or request.replaces != standing.active_sha256:
                raise _conflict(standing)
            earlier = await store.replaced_by(tx, caller.tenant_id, standing.active_sha256)
            if earlier is not None:
                self._require_usable(await _found(tx, caller, earlier))
            shadow = None if standing.shadow_sha256 == earlier else standing.shadow_sha256
            return await self._change(tx, caller, standing, "rolled_back", earlier, shadow)

    async def differences(self, name: str, after: str, caller: Caller) -> PolicyDifferenceList:
        """What this version, as a shadow, would have said otherwise. Raises NotFound."""
        _require_editor(caller)
        if not (after.isascii() and after.isdigit() and len(after) <= CURSOR_DIGITS_MAX):
            raise FieldsInvalid(fields=["after"])
        async with tenant_transaction(self._engine, caller.tenant_id) as tx:
            await _found(tx, caller, name)
            total, found = await store.differences(tx, caller.tenant_id, name, after=int(after), limit=PAGE)
        last = str(found[-1][0]) if found else after
        return PolicyDifferenceList(total=total, differences=[item for _, item in found], next_after=last)

    async def _change(
        self,
        tx: AsyncConnection,
        caller: Caller,
        standing: Standing,
        change: str,
        active: str | None,
        shadow: str | None,
    ) -> PolicyChange:
        """No record, no change."""
        now, event_id = self._clock.now(), new_id("evt")
        body = {
            "v": 1,
            "event": f"policies_{change}",
            "at": now.isoformat(),
            "client_id": caller.client_id,
            "active_sha256": active,
            "shadow_sha256": shadow,
            "replaced_sha256": standing.active_sha256,
        }
        made = Change(
            change=change,
            position=standing.position + 1,
            active_sha256=active,
            shadow_sha256=shadow,
            replaced_sha256=standing.active_sha256,
            client_id=caller.client_id,
            event_id=event_id,
            changed_at=now,
        )
        await store.change_standing(tx, caller.tenant_id, made)
        await self._record.append(tx, tenant_id=caller.tenant_id, decision_id=event_id, body=body)
        return PolicyChange(active_sha256=active, shadow_sha256=shadow, event_id=event_id)

    def _require_usable(self, version: Version) -> None:
        """With this release too. Raises PolicyRefused."""
        usable(self._rules.ours, _by_group(version.overlay))

    def _view(self, version: Version, standing: Standing) -> PolicyVersion:
        texts = self._rules.compiled(version.version_sha256, version.overlay).texts
        return PolicyVersion(
            version_sha256=version.version_sha256,
            state=version.state(standing),
            overlay=_by_group(version.overlay),
            policy_sha256={group: texts[group].sha256 for group in PolicyGroup},
            uploaded_by=version.uploaded_by,
            uploaded_at=version.uploaded_at,
            analysis=version.analysis,
        )


def _require_editor(caller: Caller) -> None:
    caller.require_kind(CallerKind.AGENT)
    caller.require_scope(SCOPE)


async def _found(tx: AsyncConnection, caller: Caller, name: str) -> Version:
    version = await store.version(tx, caller.tenant_id, name) if _SHA256.fullmatch(name) else None
    if version is None:
        raise NotFound
    return version


async def _require_room(tx: AsyncConnection, tenant_id: str) -> None:
    if await store.count_versions(tx, tenant_id) >= VERSIONS_MAX:
        raise TooManyPolicies


def _replayed(active: Cedar, laid: Cedar, entries: list[bytes]) -> PolicyReplay:
    comparison = Comparison(before=lambda _entry: active, after=lambda _entry: laid)
    comparison.compare(entries)
    return comparison.result()


def _by_group(overlay: Mapping[str, str]) -> dict[PolicyGroup, str]:
    return {PolicyGroup(name): text for name, text in overlay.items()}


def _conflict(standing: Standing) -> PolicyConflict:
    return PolicyConflict(active_sha256=standing.active_sha256, shadow_sha256=standing.shadow_sha256)
