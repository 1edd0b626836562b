"""Rows of passkeys, and of logins that are fresh enough to manage them."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from gateway.browser.cookies import digest
from gateway.factors.ceremonies import Registered, Used

PASSKEYS_MAX: Final = 10
"""Of one subject. A person has a phone, a computer, a key in the drawer."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Passkey:
    """`suspended`: its counter ran backwards, so there may be a copy of it; it proves nothing any more."""

    tenant_id: str
    passkey_id: str
    credential_id: bytes
    subject_id: str
    name: str
    public_key: bytes
    sign_count: int
    multi_device: bool
    added_at: datetime
    used_at: datetime | None
    suspended_at: datetime | None

    @property
    def suspended(self) -> bool:
        return self.suspended_at is not None


async def of_subject(tx: AsyncConnection, tenant_id: str, subject_id: str) -> list[Passkey]:
    """Not the removed ones; oldest first."""
    rows = await tx.execute(_OF_SUBJECT, {"tenant_id": tenant_id, "subject_id": subject_id})
    return [_passkey(row) for row in rows.mappings()]


async def for_update(tx: AsyncConnection, tenant_id: str, credential_id: bytes) -> Passkey | None:
    """Locked: of two answers with one counter the second one is behind."""
    row = {"tenant_id": tenant_id, "credential_id": credential_id}
    found = (await tx.execute(_FOR_UPDATE, row)).mappings().one_or_none()
    return None if found is None else _passkey(found)


async def add(
    tx: AsyncConnection,
    registered: Registered,
    *,
    tenant_id: str,
    passkey_id: str,
    subject_id: str,
    name: str,
    now: datetime,
) -> bool:
    """False when this credential is known, or when the subject has PASSKEYS_MAX. Queues for the subject."""
    row = {
        "tenant_id": tenant_id,
        "credential_id": registered.credential_id,
        "passkey_id": passkey_id,
        "subject_id": subject_id,
        "name": name,
        "public_key": registered.public_key,
        "sign_count": registered.sign_count,
        "multi_device": registered.multi_device,
        "backed_up": registered.backed_up,
        "aaguid": registered.aaguid,
        "now": now,
    }
    await tx.execute(_QUEUE, {"key": f"{tenant_id} {subject_id}"})
    return (await tx.execute(_ADD, {**row, "most": PASSKEYS_MAX})).rowcount == 1


async def note_use(tx: AsyncConnection, passkey: Passkey, use: Used, now: datetime) -> None:
    row = {"sign_count": use.sign_count, "backed_up": use.backed_up, "now": now}
    await tx.execute(_NOTE_USE, {**_key(passkey), **row})


async def suspend(tx: AsyncConnection, passkey: Passkey, now: datetime) -> None:
    await tx.execute(_SUSPEND, {**_key(passkey), "now": now})


async def remove(tx: AsyncConnection, tenant_id: str, subject_id: str, passkey_id: str, now: datetime) -> bool:
    row = {"tenant_id": tenant_id, "subject_id": subject_id, "passkey_id": passkey_id, "now": now}
    return (await tx.execute(_REMOVE, row)).rowcount == 1


async def last_removed(tx: AsyncConnection, tenant_id: str, subject_id: str) -> datetime | None:
    found: datetime | None = (
        await tx.execute(_LAST_REMOVED, {"tenant_id": tenant_id, "subject_id": subject_id})
    ).scalar_one_or_none()
    return found


async def subject_fresh(tx: AsyncConnection, tenant_id: str, login: str, since: datetime, now: datetime) -> str | None:
    """Who logged in with this cookie, no longer ago than `since`."""
    row = {"tenant_id": tenant_id, "login": digest(login), "since": since, "now": now}
    found: str | None = (await tx.execute(_SUBJECT_FRESH, row)).scalar_one_or_none()
    return found


def _key(passkey: Passkey) -> dict[str, object]:
    return {"tenant_id": passkey.tenant_id, "credential_id": passkey.credential_id}


def _passkey(row: Mapping[Any, Any]) -> Passkey:
    return Passkey(**{**row, "credential_id": bytes(row["credential_id"]), "public_key": bytes(row["public_key"])})


_COLUMNS: Final = (
    "SELECT tenant_id, passkey_id, credential_id, subject_id, name, public_key, sign_count, multi_device, added_at,"
    " used_at, suspended_at FROM passkeys WHERE tenant_id = :tenant_id AND removed_at IS NULL"
)
_OF_SUBJECT = text(f"{_COLUMNS} AND subject_id = :subject_id ORDER BY added_at, passkey_id")
_FOR_UPDATE = text(f"{_COLUMNS} AND credential_id = :credential_id FOR UPDATE")
_QUEUE = text("SELECT pg_advisory_xact_lock(hashtextextended(:key, 4))")
_ADD = text(
    "INSERT INTO passkeys (tenant_id, credential_id, passkey_id, subject_id, name, public_key, sign_count,"
    " multi_device, backed_up, aaguid, added_at) SELECT :tenant_id, :credential_id, :passkey_id, :subject_id, :name,"
    " :public_key, :sign_count, :multi_device, :backed_up, :aaguid, :now WHERE (SELECT count(*) FROM passkeys WHERE"
    " tenant_id = :tenant_id AND subject_id = :subject_id AND removed_at IS NULL) < :most ON CONFLICT DO NOTHING"
)
_NOTE_USE = text(
    "UPDATE passkeys SET sign_count = :sign_count, backed_up = :backed_up, used_at = :now"
    " WHERE tenant_id = :tenant_id AND credential_id = :credential_id"
)
_SUSPEND = text(
    "UPDATE passkeys SET suspended_at = :now WHERE tenant_id = :tenant_id AND credential_id = :credential_id"
)
_REMOVE = text(
    "UPDATE passkeys SET removed_at = :now WHERE tenant_id = :tenant_id AND subject_id = :subject_id"
    " AND passkey_id = :passkey_id AND removed_at IS NULL"
)
_LAST_REMOVED = text("SELECT max(removed_at) FROM passkeys WHERE tenant_id = :tenant_id AND subject_id = :subject_id")
_SUBJECT_FRESH = text(
    "SELECT subject_id FROM browser_logins WHERE tenant_id = :tenant_id AND login_sha256 = :login"
    " AND proven_at > :since AND expires_at > :now"
)
