"""What the tenant's own rules read and write, each statement named for what it returns; all inside its transaction."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import msgspec
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from gateway.cedar import Texts
from gateway.contract import Outcome, PolicyAnalysis, PolicyDifference, PolicyState, PolicyVersionSummary, Reason


@dataclass(frozen=True, slots=True)
class Standing:
    """Which versions stand. `position` counts the changes; none yet is 0."""

    active_sha256: str | None
    shadow_sha256: str | None
    position: int

    def state(self, version_sha256: str, *, was_active: bool) -> PolicyState:
        if version_sha256 == self.active_sha256:
            return PolicyState.ACTIVE
        if version_sha256 == self.shadow_sha256:
            return PolicyState.SHADOW
        return PolicyState.RETIRED if was_active else PolicyState.ANALYSED


@dataclass(frozen=True, slots=True, kw_only=True)
class Version:
    version_sha256: str
    overlay: Mapping[str, str]
    analysis: PolicyAnalysis
    uploaded_by: str
    uploaded_at: datetime
    was_active: bool

    def state(self, standing: Standing) -> PolicyState:
        return standing.state(self.version_sha256, was_active=self.was_active)


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """One step in a tenant's history of rules; `replaced_sha256` is what was active before an activation."""

    change: str
    position: int
    active_sha256: str | None
    shadow_sha256: str | None
    replaced_sha256: str | None
    client_id: str
    event_id: str
    changed_at: datetime


NOTHING = Standing(None, None, 0)


async def standing(tx: AsyncConnection, tenant_id: str) -> Standing:
    row = (await tx.execute(_STANDING, {"tenant_id": tenant_id})).one_or_none()
    return NOTHING if row is None else Standing(*row)


async def standing_for_update(tx: AsyncConnection, tenant_id: str) -> Standing:
    """Others who change it wait until this transaction ends; those who decide do not."""
    await tx.execute(_FIRST_STANDING, {"tenant_id": tenant_id})
    row = (await tx.execute(_LOCK_STANDING, {"tenant_id": tenant_id})).one()
    return Standing(*row)


async def change_standing(tx: AsyncConnection, tenant_id: str, change: Change) -> None:
    """Under `standing_for_update`."""
    row = {
        "tenant_id": tenant_id,
        "position": change.position,
        "change": change.change,
        "active": change.active_sha256,
        "shadow": change.shadow_sha256,
        "replaced": change.replaced_sha256,
        "client_id": change.client_id,
        "event_id": change.event_id,
        "changed_at": change.changed_at,
    }
    await tx.execute(_CHANGE_STANDING, row)
    await tx.execute(_NEW_CHANGE, row)


async def replaced_by(tx: AsyncConnection, tenant_id: str, version_sha256: str) -> str | None:
    """What was active when this version was last activated; None for our own policies alone."""
    key = {"tenant_id": tenant_id, "version": version_sha256}
    replaced: str | None = (await tx.execute(_REPLACED_BY, key)).scalar_one()
    return replaced


async def overlay_of(tx: AsyncConnection, tenant_id: str, version_sha256: str) -> Mapping[str, str] | None:
    key = {"tenant_id": tenant_id, "version": version_sha256}
    overlay = (await tx.execute(_OVERLAY, key)).scalar_one_or_none()
    return None if overlay is None else dict(overlay)


async def overlays(tx: AsyncConnection, tenant_id: str) -> list[Mapping[str, str]]:
    """Of all versions: a tenant has few."""
    return [dict(overlay) for overlay in (await tx.execute(_OVERLAYS, {"tenant_id": tenant_id})).scalars()]


async def count_versions(tx: AsyncConnection, tenant_id: str) -> int:
    return int((await tx.execute(_COUNT_VERSIONS, {"tenant_id": tenant_id})).scalar_one())


async def version(tx: AsyncConnection, tenant_id: str, version_sha256: str) -> Version | None:
    key = {"tenant_id": tenant_id, "version": version_sha256}
    row = (await tx.execute(_VERSION, key)).mappings().one_or_none()
    return None if row is None else _version(row)


async def summaries(tx: AsyncConnection, tenant_id: str, standing: Standing) -> list[PolicyVersionSummary]:
    """Of all versions, without their texts; newest first."""
    return [
        PolicyVersionSummary(
            version_sha256=row.version_sha256,
            state=standing.state(row.version_sha256, was_active=row.was_active),
            uploaded_by=row.uploaded_by,
            uploaded_at=row.uploaded_at,
            warnings=row.warnings,
        )
        for row in await tx.execute(_SUMMARIES, {"tenant_id": tenant_id})
    ]


async def add_version(tx: AsyncConnection, tenant_id: str, added: Version) -> None:
    """Nothing happens for one that is there already: the same texts are the same version."""
    row = {
        "tenant_id": tenant_id,
        "version": added.version_sha256,
        "overlay": json.dumps(dict(added.overlay)),
        "analysis": msgspec.json.encode(added.analysis).decode(),
        "uploaded_by": added.uploaded_by,
        "uploaded_at": added.uploaded_at,
    }
    await tx.execute(_ADD_VERSION, row)


async def add_difference(
    tx: AsyncConnection, tenant_id: str, version_sha256: str, difference: PolicyDifference
) -> None:
    row = {
        "tenant_id": tenant_id,
        "version": version_sha256,
        **msgspec.to_builtins(difference, builtin_types=(datetime,)),
    }
    await tx.execute(_ADD_DIFFERENCE, row)


async def differences(
    tx: AsyncConnection, tenant_id: str, version_sha256: str, *, after: int, limit: int
) -> tuple[int, list[tuple[int, PolicyDifference]]]:
    """How many there are, and those after number `after` with their numbers."""
    key = {"tenant_id": tenant_id, "version": version_sha256, "after": after, "limit": limit}
    total = int((await tx.execute(_COUNT_DIFFERENCES, key)).scalar_one())
    rows = (await tx.execute(_DIFFERENCES, key)).mappings()
    return total, [(int(row["difference_id"]), _difference(row)) for row in rows]


async def keep_bases(tx: AsyncConnection, ours: Mapping[str, Texts]) -> bool:
    """Write down which policies this release has. True once an earlier transaction did so and is committed."""
    names = {texts.sha256: group for group, texts in ours.items()}
    kept = {str(name) for name in (await tx.execute(_KEPT_BASES, {"names": list(names)})).scalars()}
    for name, group in names.items():
        if name not in kept:
            texts = ours[group]
            row = {"name": name, "group": group, "schema": texts.schema, "policies": texts.policies}
            await tx.execute(_KEEP_BASE, row)
    return kept == names.keys()


async def bases(tx: AsyncConnection) -> list[tuple[str, Texts]]:
    """Our own policies of every release that decided here, each with its group."""
    return [(group, Texts(schema, policies)) for group, schema, policies in await tx.execute(_BASES)]


async def last_bodies(tx: AsyncConnection, tenant_id: str, limit: int) -> list[bytes]:
    """The newest entries of the record as they were hashed, newest first."""
    return list((await tx.execute(_LAST_ENTRIES, {"tenant_id": tenant_id, "limit": limit})).scalars())


async def entries_after(tx: AsyncConnection, tenant_id: str, *, after: int, limit: int) -> list[tuple[int, str, bytes]]:
    """Of the record, in the order they were written: number, the decision's id, the bytes that were hashed."""
    rows = await tx.execute(_ENTRIES_AFTER, {"tenant_id": tenant_id, "after": after, "limit": limit})
    return [(int(entry_id), str(decision_id), bytes(canonical)) for entry_id, decision_id, canonical in rows]


def _version(row: Mapping[Any, Any]) -> Version:
    return Version(
        version_sha256=row["version_sha256"],
        overlay=dict(row["overlay"]),
        analysis=msgspec.convert(row["analysis"], PolicyAnalysis),
        uploaded_by=row["uploaded_by"],
        uploaded_at=row["uploaded_at"],
        was_active=row["was_active"],
    )


def _difference(row: Mapping[Any, Any]) -> PolicyDifference:
    shadow = row["shadow_outcome"]
    return PolicyDifference(
        decision_id=row["decision_id"],
        action=row["action"],
        outcome=Outcome(row["outcome"]),
        reasons=[Reason(reason) for reason in row["reasons"]],
        shadow_outcome=None if shadow is None else Outcome(shadow),
        shadow_reasons=[Reason(reason) for reason in row["shadow_reasons"]],
        decided_at=row["decided_at"],
    )


_STANDING_COLUMNS = "active_sha256, shadow_sha256, position"
_STANDING = text(f"SELECT {_STANDING_COLUMNS} FROM policy_standings WHERE tenant_id = :tenant_id")  # noqa: S608 - constants only
_FIRST_STANDING = text(
    "INSERT INTO policy_standings (tenant_id, position) VALUES (:tenant_id, 0) ON CONFLICT (tenant_id) DO NOTHING"
)
_LOCK_STANDING = text(
    f"SELECT {_STANDING_COLUMNS} FROM policy_standings WHERE tenant_id = :tenant_id FOR UPDATE"  # noqa: S608 - constants only
)
_CHANGE_STANDING = text(
    "UPDATE policy_standings SET active_sha256 = :active, shadow_sha256 = :shadow, position = :position"
    " WHERE tenant_id = :tenant_id"
)
_NEW_CHANGE = text(
    "INSERT INTO policy_changes (tenant_id, position, change, active_sha256, shadow_sha256, replaced_sha256, client_id,"
    " event_id, changed_at) VALUES (:tenant_id, :position, :change, :active, :shadow, :replaced, :client_id, :event_id,"
    " :changed_at)"
)
_REPLACED_BY = text(
    "SELECT replaced_sha256 FROM policy_changes WHERE tenant_id = :tenant_id AND change = 'activated'"
    " AND active_sha256 = :version ORDER BY position DESC LIMIT 1"
)
_OVERLAY = text("SELECT overlay FROM policy_versions WHERE tenant_id = :tenant_id AND version_sha256 = :version")
_OVERLAYS = text("SELECT overlay FROM policy_versions WHERE tenant_id = :tenant_id")
_COUNT_VERSIONS = text("SELECT count(*) FROM policy_versions WHERE tenant_id = :tenant_id")
_WAS_ACTIVE = (
    "EXISTS (SELECT FROM policy_changes c WHERE c.tenant_id = v.tenant_id AND c.change = 'activated'"
    " AND c.active_sha256 = v.version_sha256) AS was_active"
)
_VERSION = text(
    f"SELECT v.version_sha256, v.overlay, v.analysis, v.uploaded_by, v.uploaded_at, {_WAS_ACTIVE}"  # noqa: S608 - constants only
    " FROM policy_versions v WHERE v.tenant_id = :tenant_id AND v.version_sha256 = :version"
)
_SUMMARIES = text(
    "SELECT v.version_sha256, v.uploaded_by, v.uploaded_at, jsonb_array_length(v.analysis -> 'findings') AS warnings,"  # noqa: S608 - constants only
    f" {_WAS_ACTIVE} FROM policy_versions v WHERE v.tenant_id = :tenant_id"
    " ORDER BY v.uploaded_at DESC, v.version_sha256"
)
_ADD_VERSION = text(
    "INSERT INTO policy_versions (tenant_id, version_sha256, overlay, analysis, uploaded_by, uploaded_at) VALUES"
    " (:tenant_id, :version, CAST(:overlay AS jsonb), CAST(:analysis AS jsonb), :uploaded_by, :uploaded_at)"
    " ON CONFLICT (tenant_id, version_sha256) DO NOTHING"
)
_ADD_DIFFERENCE = text(
    "INSERT INTO policy_differences (tenant_id, version_sha256, decision_id, action, outcome, reasons, shadow_outcome,"
    " shadow_reasons, decided_at) VALUES (:tenant_id, :version, :decision_id, :action, :outcome, :reasons,"
    " :shadow_outcome, :shadow_reasons, :decided_at)"
)
_COUNT_DIFFERENCES = text(
    "SELECT count(*) FROM policy_differences WHERE tenant_id = :tenant_id AND version_sha256 = :version"
)
_DIFFERENCES = text(
    "SELECT difference_id, decision_id, action, outcome, reasons, shadow_outcome, shadow_reasons, decided_at"
    " FROM policy_differences WHERE tenant_id = :tenant_id AND version_sha256 = :version AND difference_id > :after"
    " ORDER BY difference_id LIMIT :limit"
)
_KEPT_BASES = text("SELECT policy_sha256 FROM policy_bases WHERE policy_sha256 = ANY(CAST(:names AS text[]))")
_KEEP_BASE = text(
    "INSERT INTO policy_bases (policy_sha256, policy_group, schema_text, policy_text, known_since)"
    " VALUES (:name, :group, :schema, :policies, now()) ON CONFLICT (policy_sha256) DO NOTHING"
)
_BASES = text("SELECT policy_group, schema_text, policy_text FROM policy_bases ORDER BY known_since")
_ENTRIES_AFTER = text(
    "SELECT entry_id, decision_id, canonical FROM record_entries WHERE tenant_id = :tenant_id AND entry_id > :after"
    " ORDER BY entry_id LIMIT :limit"
)
_LAST_ENTRIES = text(
    "SELECT canonical FROM record_entries WHERE tenant_id = :tenant_id ORDER BY entry_id DESC LIMIT :limit"
)
