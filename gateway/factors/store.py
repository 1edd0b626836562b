"""Rows of challenges by link and by phone, of browsers on their way through them, and of links to providers' people."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any, Final

from sqlalchemy import bindparam, text
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.ext.asyncio import AsyncConnection

from gateway.browser.cookies import digest
from gateway.contract import ChallengeMethod, ChallengeState
from gateway.errors import TooManyChallenges

VISITS_PER_CHALLENGE_MAX: Final = 20
"""Each look at a passkey's page is one; a person looks once or twice, previewers and bots more often."""
ASKED_WINDOW: Final = timedelta(hours=1)
PER_CONVERSATION_MAX: Final = 20
LOOK_SECONDS: Final = 2
"""How often an agent need ask how a link's challenge stands."""
PHONE_PER_SUBJECT_MAX: Final = 5
"""In one ASKED_WINDOW. Whoever is asked again and again ends up pressing Approve (CISA on number matching, 2022)."""


class VisitPurpose(StrEnum):
    OPENID = "openid"
    PASSKEY = "passkey"
    PROVE = "prove"
    REGISTER = "register"


@dataclass(frozen=True, slots=True, kw_only=True)
class Challenge:
    """`subject_id`: of the conversation when it was asked; None while nobody is known. `link` is not stored."""

    tenant_id: str
    challenge_id: str
    method: ChallengeMethod
    conversation_id: str
    client_id: str
    brand_id: str
    brand_name: str
    subject_id: str | None
    state: ChallengeState
    match_code: str
    asked_at: datetime
    expires_at: datetime
    confirms: Mapping[str, Any] | None = None
    request_sha256: str | None = None
    issuer: str | None = None
    sub: str | None = None
    auth_req_id: str | None = None
    interval_seconds: int | None = None
    next_poll_at: datetime | None = None

    def open_at(self, now: datetime) -> bool:
        return self.state is ChallengeState.PENDING and now < self.expires_at

    def state_at(self, now: datetime) -> ChallengeState:
        """A challenge whose time is over has expired, whether or not anybody wrote that down."""
        over = self.state is ChallengeState.PENDING and now >= self.expires_at
        return ChallengeState.EXPIRED if over else self.state


@dataclass(frozen=True, slots=True, kw_only=True)
class FactorVisit:
    """One browser's try. Taking it uses it up."""

    tenant_id: str
    purpose: VisitPurpose
    begun_at: datetime
    challenge_id: str | None = None
    subject_id: str | None = None
    nonce: str | None = None
    verifier: str | None = None
    webauthn_challenge: bytes | None = None


async def add(tx: AsyncConnection, challenge: Challenge, link_sha256: bytes | None) -> None:
    """Raises TooManyChallenges. Parallel requests of one conversation queue for its row."""
    row = {
        "tenant_id": challenge.tenant_id,
        "challenge_id": challenge.challenge_id,
        "method": challenge.method.value,
        "conversation_id": challenge.conversation_id,
        "client_id": challenge.client_id,
        "brand_id": challenge.brand_id,
        "subject_id": challenge.subject_id,
        "state": challenge.state.value,
        "match_code": challenge.match_code,
        "link": link_sha256,
        "confirms": None if challenge.confirms is None else dict(challenge.confirms),
        "request_sha256": challenge.request_sha256,
        "issuer": challenge.issuer,
        "sub": challenge.sub,
        "asked_at": challenge.asked_at,
        "expires_at": challenge.expires_at,
        "since": challenge.asked_at - ASKED_WINDOW,
    }
    await tx.execute(_QUEUE, {"key": f"{challenge.tenant_id} {challenge.subject_id or challenge.conversation_id}"})
    counts = (await tx.execute(_ASKED, row)).mappings().one()
    if counts["in_conversation"] >= PER_CONVERSATION_MAX or counts["on_phone"] >= PHONE_PER_SUBJECT_MAX:
        raise TooManyChallenges(headers={"Retry-After": str(int(ASKED_WINDOW.total_seconds()))})
    await tx.execute(_ADD, row)


async def by_id(tx: AsyncConnection, tenant_id: str, challenge_id: str) -> Challenge | None:
    return _one((await tx.execute(_BY_ID, {"tenant_id": tenant_id, "challenge_id": challenge_id})).mappings().first())


async def newest(
    tx: AsyncConnection, tenant_id: str, conversation_id: str, method: ChallengeMethod
) -> Challenge | None:
    """Of a conversation's challenges by this method, however it stands."""
    row = {"tenant_id": tenant_id, "conversation_id": conversation_id, "method": method.value}
    return _one((await tx.execute(_NEWEST, row)).mappings().first())


async def for_update(tx: AsyncConnection, tenant_id: str, challenge_id: str) -> Challenge | None:
    """Locked until the transaction ends: two answers at once are one after the other."""
    row = {"tenant_id": tenant_id, "challenge_id": challenge_id}
    return _one((await tx.execute(_FOR_UPDATE, row)).mappings().first())


async def by_link(tx: AsyncConnection, tenant_id: str, link: str) -> Challenge | None:
    return _one((await tx.execute(_BY_LINK, {"tenant_id": tenant_id, "link": digest(link)})).mappings().first())


async def finish(tx: AsyncConnection, challenge: Challenge, state: ChallengeState, now: datetime) -> bool:
    """Ends what is still pending; False when it was not."""
    row = {
        "tenant_id": challenge.tenant_id,
        "challenge_id": challenge.challenge_id,
        "state": state.value,
        "subject_id": challenge.subject_id,
        "now": now,
    }
    return (await tx.execute(_FINISH, row)).rowcount == 1


async def phone_asked(
    tx: AsyncConnection, challenge: Challenge, auth_req_id: str, interval_seconds: int, now: datetime, ends: datetime
) -> bool:
    """Keep what to poll with. False for an `auth_req_id` that this provider has given before."""
    row = {
        "tenant_id": challenge.tenant_id,
        "challenge_id": challenge.challenge_id,
        "issuer": challenge.issuer,
        "auth_req_id": auth_req_id,
        "interval": interval_seconds,
        "next_poll_at": now + timedelta(seconds=interval_seconds),
        "expires_at": ends,
    }
    return (await tx.execute(_PHONE_ASKED, row)).rowcount == 1


async def claim_poll(tx: AsyncConnection, challenge: Challenge, now: datetime) -> bool:
    """True for the one caller of any process that may poll now; the next one waits a whole interval."""
    row = {
        "tenant_id": challenge.tenant_id,
        "challenge_id": challenge.challenge_id,
        "now": now,
        "next": now + timedelta(seconds=challenge.interval_seconds or 0),
    }
    return (await tx.execute(_CLAIM_POLL, row)).rowcount == 1


async def slow_down(tx: AsyncConnection, challenge: Challenge, seconds: int, now: datetime) -> None:
    interval = (challenge.interval_seconds or 0) + seconds
    row = {
        "tenant_id": challenge.tenant_id,
        "challenge_id": challenge.challenge_id,
        "interval": interval,
        "next": now + timedelta(seconds=interval),
    }
    await tx.execute(_SLOW_DOWN, row)


async def begin_visit(
    tx: AsyncConnection, visit: FactorVisit, *, handle: str, browser: str, expires_at: datetime
) -> None:
    """Raises TooManyChallenges."""
    row = {
        "tenant_id": visit.tenant_id,
        "visit": digest(handle),
        "browser": digest(browser),
        "purpose": visit.purpose.value,
        "challenge_id": visit.challenge_id,
        "subject_id": visit.subject_id,
        "nonce": visit.nonce,
        "verifier": visit.verifier,
        "webauthn_challenge": visit.webauthn_challenge,
        "now": visit.begun_at,
        "expires_at": expires_at,
    }
    await tx.execute(_FORGET_VISITS, row)
    if visit.challenge_id is not None and (await tx.execute(_VISITS, row)).scalar_one() >= VISITS_PER_CHALLENGE_MAX:
        raise TooManyChallenges(headers={"Retry-After": str(int(ASKED_WINDOW.total_seconds()))})
    await tx.execute(_BEGIN_VISIT, row)


async def take_visit(
    tx: AsyncConnection, tenant_id: str, *, handle: str, browser: str, purpose: VisitPurpose, now: datetime
) -> FactorVisit | None:
    """Used up by this. None for unknown, over, used, another purpose's and another browser's."""
    row = {
        "tenant_id": tenant_id,
        "visit": digest(handle),
        "browser": digest(browser),
        "purpose": purpose.value,
        "now": now,
    }
    found = (await tx.execute(_TAKE_VISIT, row)).mappings().one_or_none()
    return None if found is None else FactorVisit(**{**found, "purpose": VisitPurpose(found["purpose"])})


async def linked_subject(tx: AsyncConnection, tenant_id: str, issuer: str, sub: str) -> str | None:
    row = {"tenant_id": tenant_id, "issuer": issuer, "sub": sub}
    found: str | None = (await tx.execute(_LINKED_SUBJECT, row)).scalar_one_or_none()
    return found


async def linked_sub(tx: AsyncConnection, tenant_id: str, issuer: str, subject_id: str) -> str | None:
    """Who this subject is at the provider."""
    row = {"tenant_id": tenant_id, "issuer": issuer, "subject_id": subject_id}
    found: str | None = (await tx.execute(_LINKED_SUB, row)).scalar_one_or_none()
    return found


async def link(tx: AsyncConnection, *, tenant_id: str, issuer: str, sub: str, subject_id: str, now: datetime) -> bool:
    """False when either of them is somebody else's already."""
    row = {"tenant_id": tenant_id, "issuer": issuer, "sub": sub, "subject_id": subject_id, "now": now}
    return (await tx.execute(_LINK, row)).rowcount == 1


async def name_subject(tx: AsyncConnection, challenge: Challenge, subject_id: str) -> bool:
    """Name the conversation's subject once. False when it is somebody else's or closed."""
    row = {
        "tenant_id": challenge.tenant_id,
        "conversation_id": challenge.conversation_id,
        "subject_id": subject_id,
    }
    return (await tx.execute(_NAME_SUBJECT, row)).rowcount == 1


def _one(row: Mapping[Any, Any] | None) -> Challenge | None:
    if row is None:
        return None
    return Challenge(**{**row, "method": ChallengeMethod(row["method"]), "state": ChallengeState(row["state"])})


_COLUMNS: Final = (
    "c.tenant_id, c.challenge_id, c.method, c.conversation_id, c.client_id, c.brand_id, b.name AS brand_name,"
    " c.subject_id, c.state, c.match_code, c.asked_at, c.expires_at, c.confirms, c.request_sha256, c.issuer, c.sub,"
    " c.auth_req_id, c.interval_seconds, c.next_poll_at FROM factor_challenges c"
    " JOIN brands b USING (tenant_id, brand_id)"
)
_QUEUE = text("SELECT pg_advisory_xact_lock(hashtextextended(:key, 3))")
_ASKED = text(
    "SELECT (SELECT count(*) FROM factor_challenges WHERE tenant_id = :tenant_id AND conversation_id = :conversation_id"
    " AND asked_at > :since) AS in_conversation, (SELECT count(*) FROM factor_challenges WHERE tenant_id = :tenant_id"
    " AND subject_id = :subject_id AND method = 'phone_approval' AND :method = 'phone_approval'"
    " AND (state = 'pending' OR auth_req_id IS NOT NULL) AND asked_at > :since) AS on_phone"
)
_ADD = text(
    "INSERT INTO factor_challenges (tenant_id, challenge_id, method, conversation_id, client_id, brand_id, subject_id,"
    " state, match_code, link_sha256, confirms, request_sha256, issuer, sub, asked_at, expires_at) VALUES (:tenant_id,"
    " :challenge_id, :method, :conversation_id, :client_id, :brand_id, :subject_id, :state, :match_code, :link,"
    " :confirms, :request_sha256, :issuer, :sub, :asked_at, :expires_at)"
).bindparams(bindparam("confirms", type_=JSONB(none_as_null=True)))
_BY_ID = text(f"SELECT {_COLUMNS} WHERE c.tenant_id = :tenant_id AND c.challenge_id = :challenge_id")
_NEWEST = text(
    f"SELECT {_COLUMNS} WHERE c.tenant_id = :tenant_id AND c.conversation_id = :conversation_id"
    " AND c.method = :method ORDER BY c.asked_at DESC, c.challenge_id DESC LIMIT 1"
)
_FOR_UPDATE = text(f"{_BY_ID.text} FOR UPDATE OF c")
_BY_LINK = text(f"SELECT {_COLUMNS} WHERE c.tenant_id = :tenant_id AND c.link_sha256 = :link")
_FINISH = text(
    "UPDATE factor_challenges SET state = :state, finished_at = :now, subject_id = :subject_id"
    " WHERE tenant_id = :tenant_id AND challenge_id = :challenge_id AND state = 'pending'"
)
_PHONE_ASKED = text(
    "UPDATE factor_challenges SET auth_req_id = :auth_req_id, interval_seconds = :interval,"
    " next_poll_at = :next_poll_at, expires_at = :expires_at WHERE tenant_id = :tenant_id"
    " AND challenge_id = :challenge_id AND state = 'pending' AND auth_req_id IS NULL AND NOT EXISTS (SELECT FROM"
    " factor_challenges known WHERE known.tenant_id = :tenant_id AND known.issuer = :issuer"
    " AND known.auth_req_id = :auth_req_id)"
)
_CLAIM_POLL = text(
    "UPDATE factor_challenges SET next_poll_at = :next WHERE tenant_id = :tenant_id AND challenge_id = :challenge_id"
    " AND state = 'pending' AND next_poll_at <= :now"
)
_SLOW_DOWN = text(
    "UPDATE factor_challenges SET interval_seconds = :interval, next_poll_at = :next WHERE tenant_id = :tenant_id"
    " AND challenge_id = :challenge_id AND state = 'pending'"
)
_FORGET_VISITS = text("DELETE FROM factor_visits WHERE tenant_id = :tenant_id AND expires_at < :now")
_VISITS = text("SELECT count(*) FROM factor_visits WHERE tenant_id = :tenant_id AND challenge_id = :challenge_id")
_BEGIN_VISIT = text(
    "INSERT INTO factor_visits (tenant_id, visit_sha256, browser_sha256, purpose, challenge_id, subject_id, nonce,"
    " verifier, webauthn_challenge, begun_at, expires_at) VALUES (:tenant_id, :visit, :browser, :purpose,"
    " :challenge_id, :subject_id, :nonce, :verifier, :webauthn_challenge, :now, :expires_at)"
)
_TAKE_VISIT = text(
    "DELETE FROM factor_visits WHERE tenant_id = :tenant_id AND visit_sha256 = :visit AND browser_sha256 = :browser"
    " AND purpose = :purpose AND expires_at > :now RETURNING tenant_id, purpose, begun_at, challenge_id, subject_id,"
    " nonce, verifier, webauthn_challenge"
)
_LINKED_SUBJECT = text(
    "SELECT subject_id FROM identity_links WHERE tenant_id = :tenant_id AND issuer = :issuer AND sub = :sub"
)
_LINKED_SUB = text(
    "SELECT sub FROM identity_links WHERE tenant_id = :tenant_id AND issuer = :issuer AND subject_id = :subject_id"
)
_LINK = text(
    "INSERT INTO identity_links (tenant_id, issuer, sub, subject_id, linked_at) VALUES (:tenant_id, :issuer, :sub,"
    " :subject_id, :now) ON CONFLICT DO NOTHING"
)
_NAME_SUBJECT = text(
    "UPDATE conversations SET subject_id = :subject_id WHERE tenant_id = :tenant_id"
    " AND conversation_id = :conversation_id AND closed_at IS NULL"
    " AND (subject_id IS NULL OR subject_id = :subject_id)"
)
