"""A visit: one browser on its way through login to a consent or to a capture's door. Short, bound to that browser."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any

from sqlalchemy import bindparam, text
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.ext.asyncio import AsyncConnection

from gateway.browser.cookies import LOGIN_SECONDS, digest

VISIT_TTL = timedelta(minutes=20)
"""A code lasts ten minutes and may need asking for twice."""
OPEN_PER_CLIENT_MAX = 200
"""Asking to authorize is open to the world; each registration may keep this many people waiting in a tenant."""


class Purpose(StrEnum):
    CONSENT = "consent"
    DOOR = "door"
    PASSKEYS = "passkeys"
    APPROVAL = "approval"
    AUTHENTICATION = "authentication"


class TooManyVisits(Exception):
    """This client has too many people logging in at once."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Visit:
    tenant_id: str
    visit_id: str
    purpose: Purpose
    brand_name: str
    brand_id: str | None = None
    capture_id: str | None = None
    approval_id: str | None = None
    charge_id: str | None = None
    client_id: str | None = None
    request: Mapping[str, str] | None = None
    challenge_id: str | None = None
    sent_to: str | None = None
    subject_id: str | None = None
    proven_at: datetime | None = None
    conversation_id: str | None = None
    """On the way to a consent that asks for more than a login: what the further proof is evidence of."""


async def begin(tx: AsyncConnection, visit: Visit, *, browser: str, now: datetime) -> None:
    """Raises TooManyVisits."""
    await tx.execute(_FORGET_PAST, {"tenant_id": visit.tenant_id, "now": now})
    if visit.client_id is not None:
        row = {"tenant_id": visit.tenant_id, "client_id": visit.client_id}
        if (await tx.execute(_COUNT, row)).scalar_one() >= OPEN_PER_CLIENT_MAX:
            raise TooManyVisits
    await tx.execute(
        _BEGIN,
        {
            "tenant_id": visit.tenant_id,
            "visit_id": visit.visit_id,
            "purpose": visit.purpose.value,
            "browser": digest(browser),
            "brand_name": visit.brand_name,
            "brand_id": visit.brand_id,
            "capture_id": visit.capture_id,
            "approval_id": visit.approval_id,
            "charge_id": visit.charge_id,
            "client_id": visit.client_id,
            "request": dict(visit.request) if visit.request is not None else None,
            "expires_at": now + VISIT_TTL,
        },
    )


async def find(tx: AsyncConnection, tenant_id: str, visit_id: str, *, browser: str, now: datetime) -> Visit | None:
    """None for unknown, over, and another browser's. Locks the visit for the transaction."""
    row = {"tenant_id": tenant_id, "visit_id": visit_id, "browser": digest(browser), "now": now}
    found = (await tx.execute(_FIND, row)).mappings().one_or_none()
    return None if found is None else _visit_of(dict(found))


async def code_sent(tx: AsyncConnection, visit: Visit, challenge_id: str, sent_to: str) -> None:
    row = {"tenant_id": visit.tenant_id, "visit_id": visit.visit_id, "challenge_id": challenge_id, "sent_to": sent_to}
    await tx.execute(_CODE_SENT, row)


async def proven(tx: AsyncConnection, visit: Visit, *, subject_id: str, browser: str, now: datetime) -> None:
    """The person is known now; the visit moves to a fresh browser value, so that a planted one is worth nothing."""
    row = {
        "tenant_id": visit.tenant_id,
        "visit_id": visit.visit_id,
        "subject_id": subject_id,
        "browser": digest(browser),
        "now": now,
    }
    await tx.execute(_PROVEN, row)


async def opened(tx: AsyncConnection, visit: Visit, conversation_id: str) -> None:
    row = {"tenant_id": visit.tenant_id, "visit_id": visit.visit_id, "conversation_id": conversation_id}
    await tx.execute(_OPENED, row)


async def subject_expected(tx: AsyncConnection, visit: Visit) -> str | None:
    """Whose card the door of this visit waits for, or whose answer, to us or to their bank."""
    row = {
        "tenant_id": visit.tenant_id,
        "capture_id": visit.capture_id,
        "approval_id": visit.approval_id,
        "charge_id": visit.charge_id,
    }
    subject: str | None = (await tx.execute(_SUBJECT_EXPECTED, row)).scalar_one_or_none()
    return subject


async def end(tx: AsyncConnection, visit: Visit) -> None:
    await tx.execute(_END, {"tenant_id": visit.tenant_id, "visit_id": visit.visit_id})


async def log_in(tx: AsyncConnection, tenant_id: str, login: str, *, subject_id: str, now: datetime) -> None:
    """Remember that this cookie value is this subject, for LOGIN_SECONDS."""
    await tx.execute(_FORGET_LOGINS, {"tenant_id": tenant_id, "now": now})
    row = {
        "tenant_id": tenant_id,
        "login": digest(login),
        "subject_id": subject_id,
        "now": now,
        "expires_at": now + timedelta(seconds=LOGIN_SECONDS),
    }
    await tx.execute(_LOG_IN, row)


async def subject_of_login(tx: AsyncConnection, tenant_id: str, login: str, *, now: datetime) -> str | None:
    row = {"tenant_id": tenant_id, "login": digest(login), "now": now}
    subject: str | None = (await tx.execute(_SUBJECT_OF_LOGIN, row)).scalar_one_or_none()
    return subject


async def log_out(tx: AsyncConnection, tenant_id: str, login: str) -> None:
    await tx.execute(_LOG_OUT, {"tenant_id": tenant_id, "login": digest(login)})


def _visit_of(row: Mapping[str, Any]) -> Visit:
    names = (
        "tenant_id", "visit_id", "brand_name", "brand_id", "capture_id", "approval_id", "charge_id", "client_id",
        "request",
        "challenge_id", "sent_to", "subject_id", "proven_at", "conversation_id",
    )  # fmt: skip
    return Visit(purpose=Purpose(row["purpose"]), **{name: row[name] for name in names})


_FORGET_PAST = text("DELETE FROM visits WHERE tenant_id = :tenant_id AND expires_at < :now")
_COUNT = text("SELECT count(*) FROM visits WHERE tenant_id = :tenant_id AND client_id = :client_id")
_BEGIN = text(
    "INSERT INTO visits (tenant_id, visit_id, purpose, browser_sha256, brand_name, brand_id, capture_id,"
    " approval_id, charge_id, client_id, request, expires_at) VALUES (:tenant_id, :visit_id, :purpose, :browser,"
    " :brand_name, :brand_id, :capture_id, :approval_id, :charge_id, :client_id, :request, :expires_at)"
).bindparams(bindparam("request", type_=JSONB(none_as_null=True)))
_FIND = text(
    "SELECT * FROM visits WHERE tenant_id = :tenant_id AND visit_id = :visit_id AND browser_sha256 = :browser"
    " AND expires_at > :now FOR UPDATE"
)
_CODE_SENT = text(
    "UPDATE visits SET challenge_id = :challenge_id, sent_to = :sent_to"
    " WHERE tenant_id = :tenant_id AND visit_id = :visit_id"
)
_PROVEN = text(
    "UPDATE visits SET subject_id = :subject_id, proven_at = :now, browser_sha256 = :browser, challenge_id = NULL"
    " WHERE tenant_id = :tenant_id AND visit_id = :visit_id"
)
_OPENED = text(
    "UPDATE visits SET conversation_id = :conversation_id WHERE tenant_id = :tenant_id AND visit_id = :visit_id"
)
_SUBJECT_EXPECTED = text(
    "SELECT subject_id FROM captures WHERE tenant_id = :tenant_id AND capture_id = :capture_id UNION ALL"
    " SELECT subject_id FROM approvals WHERE tenant_id = :tenant_id AND approval_id = :approval_id UNION ALL"
    " SELECT subject_id FROM purchases WHERE tenant_id = :tenant_id AND charge_id = :charge_id"
)
_END = text("DELETE FROM visits WHERE tenant_id = :tenant_id AND visit_id = :visit_id")
_FORGET_LOGINS = text("DELETE FROM browser_logins WHERE tenant_id = :tenant_id AND expires_at < :now")
_LOG_IN = text(
    "INSERT INTO browser_logins (tenant_id, login_sha256, subject_id, proven_at, expires_at)"
    " VALUES (:tenant_id, :login, :subject_id, :now, :expires_at)"
)
_SUBJECT_OF_LOGIN = text(
    "SELECT subject_id FROM browser_logins WHERE tenant_id = :tenant_id AND login_sha256 = :login AND expires_at > :now"
)
_LOG_OUT = text("DELETE FROM browser_logins WHERE tenant_id = :tenant_id AND login_sha256 = :login")
