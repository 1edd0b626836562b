"""Consents and what hangs on them: codes and refresh bearers. One consent is one family; it is revoked as a whole.

Synchronous, over SQLAlchemy's own bridge (`run_sync`), because Authlib's hooks are. Every statement runs inside the
tenant's wall: `enter` comes first.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import Connection, text

from gateway.oauth import handles

CODE_TTL = timedelta(seconds=60)
"""RFC 6749 recommends ten minutes at most; a client redeems at once."""
CONSENT_TTL = timedelta(days=90)
REFRESH_TTL = timedelta(days=30)
"""Idle: a connection not used for a month needs its person again."""
KEPT_AFTER_END = timedelta(days=1)
"""A used code is known for what it is when it comes again within a day."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Consent:
    tenant_id: str
    consent_id: str
    client_id: str
    subject_id: str
    brand_id: str
    conversation_id: str
    resource_url: str
    scopes: frozenset[str]
    expires_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Credential:
    """An unused, unexpired code or refresh bearer of a live consent, in the shape Authlib asks it."""

    consent: Consent
    sha256: bytes
    redirect_uri: str = ""
    code_challenge: str = ""
    code_challenge_method: str = "S256"

    def get_redirect_uri(self) -> str:
        return self.redirect_uri

    def get_scope(self) -> str:
        return " ".join(sorted(self.consent.scopes))

    def check_client(self, client: Any) -> bool:
        return bool(client.get_client_id() == self.consent.client_id)


def enter(connection: Connection, tenant_id: str) -> None:
    connection.execute(_ENTER, {"tenant": tenant_id})


def save_code(connection: Connection, code: str, consent: Consent, request: Mapping[str, str], now: datetime) -> None:
    row = {
        "tenant_id": consent.tenant_id,
        "sha256": handles.digest(code),
        "consent_id": consent.consent_id,
        "redirect_uri": request["redirect_uri"],
        "code_challenge": request["code_challenge"],
        "expires_at": now + CODE_TTL,
        "over": now - KEPT_AFTER_END,
    }
    connection.execute(_FORGET_CODES, row)
    connection.execute(_SAVE_CODE, row)


def save_refresh(connection: Connection, refresh: str, consent: Consent, now: datetime) -> None:
    row = {
        "tenant_id": consent.tenant_id,
        "sha256": handles.digest(refresh),
        "consent_id": consent.consent_id,
        "now": now,
        "expires_at": min(now + REFRESH_TTL, consent.expires_at),
        "over": now - KEPT_AFTER_END,
    }
    connection.execute(_FORGET_REFRESH, row)
    connection.execute(_SAVE_REFRESH, row)


def live_code(connection: Connection, code: str, client_id: str, now: datetime) -> Credential | None:
    """None for unknown, expired, somebody else's, and used: a second use revokes the family (RFC 6749 4.1.2)."""
    return _live(connection, code, client_id, now, _CODE)


def live_refresh(connection: Connection, refresh: str, client_id: str, now: datetime) -> Credential | None:
    """As `live_code`: a refresh bearer that comes twice was stolen once (RFC 9700 section 4.14.2)."""
    return _live(connection, refresh, client_id, now, _REFRESH)


def use_code(connection: Connection, credential: Credential, now: datetime) -> None:
    """Kept, marked, so that a second use is known for what it is."""
    row = {"tenant_id": credential.consent.tenant_id, "sha256": credential.sha256, "now": now}
    connection.execute(_USE_CODE, row)


def use_refresh(connection: Connection, credential: Credential, now: datetime) -> None:
    row = {"tenant_id": credential.consent.tenant_id, "sha256": credential.sha256, "now": now}
    connection.execute(_USE_REFRESH, row)


def revoke(connection: Connection, tenant_id: str, consent_id: str, *, because: str, now: datetime) -> None:
    """Ends the family: its code, its refresh bearers and the exchange of its bearers. Repeating it changes nothing.

    The conversation is over too: bearers already exchanged live for minutes, and without it they reach nobody.
    """
    row = {"tenant_id": tenant_id, "consent_id": consent_id, "because": because, "now": now}
    connection.execute(_REVOKE, row)
    connection.execute(_CLOSE_CONVERSATION, row)


def live_consent(connection: Connection, tenant_id: str, conversation_id: str, now: datetime) -> Consent | None:
    """The consent that opened this conversation, if it still stands. Enters the tenant."""
    enter(connection, tenant_id)
    row = {"tenant_id": tenant_id, "conversation_id": conversation_id}
    found = connection.execute(_CONSENT_OF_CONVERSATION, row).mappings().one_or_none()
    if found is None or found["revoked_at"] is not None or found["expires_at"] <= now:
        return None
    return _consent_of(dict(found))


def find_refresh(connection: Connection, refresh: str) -> Consent | None:
    """The consent a refresh bearer belongs to, whatever its state; for revocation."""
    tenant_id = handles.tenant_of(refresh)
    if tenant_id is None:
        return None
    enter(connection, tenant_id)
    row = {"tenant_id": tenant_id, "sha256": handles.digest(refresh)}
    found = connection.execute(_REFRESH, row).mappings().one_or_none()
    return None if found is None else _consent_of(dict(found))


def _live(connection: Connection, value: str, client_id: str, now: datetime, query: Any) -> Credential | None:
    tenant_id = handles.tenant_of(value)
    if tenant_id is None:
        return None
    enter(connection, tenant_id)
    sha256 = handles.digest(value)
    found = connection.execute(query, {"tenant_id": tenant_id, "sha256": sha256}).mappings().one_or_none()
    if found is None:
        return None
    if found["used_at"] is not None:
        revoke(connection, tenant_id, found["consent_id"], because="used_twice", now=now)
        return None
    if found["revoked_at"] is not None or min(found["expires_at"], found["value_expires_at"]) <= now:
        return None
    if found["client_id"] != client_id:
        return None
    return Credential(
        consent=_consent_of(dict(found)),
        sha256=sha256,
        redirect_uri=found.get("redirect_uri") or "",
        code_challenge=found.get("code_challenge") or "",
    )


def _consent_of(row: Mapping[str, Any]) -> Consent:
    names = ("tenant_id", "consent_id", "client_id", "subject_id", "brand_id", "conversation_id", "resource_url")
    return Consent(**{n: row[n] for n in names}, scopes=frozenset(row["scopes"]), expires_at=row["expires_at"])


_ENTER = text("SELECT set_config('undercroft.tenant', :tenant, true)")
_CONSENT_OF_CONVERSATION = text(
    "SELECT * FROM consents WHERE tenant_id = :tenant_id AND conversation_id = :conversation_id"
)
_CODE = text(
    """
    SELECT c.*, v.redirect_uri, v.code_challenge, v.used_at, v.expires_at AS value_expires_at
    FROM authorization_codes v JOIN consents c USING (tenant_id, consent_id)
    WHERE v.tenant_id = :tenant_id AND v.code_sha256 = :sha256 FOR UPDATE
    """
)
_REFRESH = text(
    """
    SELECT c.*, v.used_at, v.expires_at AS value_expires_at
    FROM refresh_bearers v JOIN consents c USING (tenant_id, consent_id)
    WHERE v.tenant_id = :tenant_id AND v.refresh_sha256 = :sha256 FOR UPDATE
    """
)
_SAVE_CODE = text(
    "INSERT INTO authorization_codes (tenant_id, code_sha256, consent_id, redirect_uri, code_challenge, expires_at)"
    " VALUES (:tenant_id, :sha256, :consent_id, :redirect_uri, :code_challenge, :expires_at)"
)
_SAVE_REFRESH = text(
    "INSERT INTO refresh_bearers (tenant_id, refresh_sha256, consent_id, issued_at, expires_at)"
    " VALUES (:tenant_id, :sha256, :consent_id, :now, :expires_at)"
)
_FORGET_CODES = text("DELETE FROM authorization_codes WHERE tenant_id = :tenant_id AND expires_at < :over")
_FORGET_REFRESH = text("DELETE FROM refresh_bearers WHERE tenant_id = :tenant_id AND expires_at < :over")
_USE_CODE = text("UPDATE authorization_codes SET used_at = :now WHERE tenant_id = :tenant_id AND code_sha256 = :sha256")
_USE_REFRESH = text(
    "UPDATE refresh_bearers SET used_at = :now WHERE tenant_id = :tenant_id AND refresh_sha256 = :sha256"
)
_CLOSE_CONVERSATION = text(
    "UPDATE conversations SET closed_at = :now FROM consents c WHERE c.tenant_id = :tenant_id"
    " AND c.consent_id = :consent_id AND conversations.tenant_id = c.tenant_id"
    " AND conversations.conversation_id = c.conversation_id AND conversations.closed_at IS NULL"
)
_REVOKE = text(
    "UPDATE consents SET revoked_at = :now, revoked_because = :because"
    " WHERE tenant_id = :tenant_id AND consent_id = :consent_id AND revoked_at IS NULL"
)
