"""One-time codes: sent to a contact point, good for ten minutes, five tries and one use."""

import hashlib
import hmac
import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from sqlalchemy import RowMapping, text
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from gateway.contacts import Contacts, masked
from gateway.contract import ChallengeMethod, ChallengeView, ContactKind
from gateway.couriers import Courier
from gateway.errors import CodeRefused, TooManyCodes
from infra.chassis.clock import Clock
from infra.chassis.engine import tenant_transaction
from infra.chassis.ids import new_id
from infra.chassis.secret import Secret

DIGITS: Final = 6
TRIES: Final = 5
"""Five guesses among a million: one in 200,000 for each code (NIST SP 800-63B-4 3.2.2 allows far more)."""
TTL: Final = timedelta(minutes=10)
WINDOW: Final = timedelta(hours=1)
CODES_PER_CONTACT: Final = 6
"""In one WINDOW. A person asks for one or two; six times five guesses still are one in 33,000 an hour."""
CODES_PER_CLIENT: Final = 600
"""In one WINDOW: what one busy agent needs; a stolen agent key does not become a mail cannon."""
METHOD_OF: Final[Mapping[str, ChallengeMethod]] = {
    ContactKind.EMAIL: ChallengeMethod.EMAIL_CODE,
    ContactKind.PHONE: ChallengeMethod.SMS_CODE,
}


@dataclass(frozen=True, slots=True)
class CheckedCode:
    method: ChallengeMethod
    contact_kind: str
    contact_value: str
    conversation_id: str | None


class Codes:
    """`couriers` has one for each kind of contact point."""

    def __init__(
        self,
        engine: AsyncEngine,
        contacts: Contacts,
        couriers: Mapping[ContactKind, Courier],
        key: Secret[bytes],
        clock: Clock,
    ) -> None:
        self._engine = engine
        self._contacts = contacts
        self._couriers = dict(couriers)
        self._key = key
        self._clock = clock

    async def send(
        self,
        tenant_id: str,
        *,
        purpose: str,
        contact_kind: str,
        contact_value: str,
        conversation_id: str | None,
        brand_name: str,
        client_id: str | None = None,
    ) -> ChallengeView:
        """Send a new code. The same answer whether or not anybody known has this contact point.

        Raises ContactPointInvalid, CardNumberRefused, TooManyCodes, and the courier's ChallengeImpossible and
        PeerUnreachable; the code of a message that may be lost counts as sent.
        """
        value = self._contacts.normalise(contact_kind, contact_value)
        method = METHOD_OF[contact_kind]
        now = self._clock.now()
        code = "".join(secrets.choice("0123456789") for _ in range(DIGITS))
        challenge_id = new_id("chl")
        row = {
            "tenant_id": tenant_id,
            "challenge_id": challenge_id,
            "purpose": purpose,
            "method": method.value,
            "conversation_id": conversation_id,
            "client_id": client_id,
            "contact_kind": contact_kind,
            "sent_index": self._contacts.blind_index(tenant_id, contact_kind, value),
            "contact_sealed": self._contacts.seal(tenant_id, contact_kind, value),
            "code_hmac": self._hmac(tenant_id, challenge_id, code),
            "tries_left": TRIES,
            "sent_at": now,
            "expires_at": now + TTL,
        }
        async with tenant_transaction(self._engine, tenant_id) as tx:
            await _keep_within_limits(tx, row, now)
            await tx.execute(_NEW_CHALLENGE, row)
        await self._couriers[ContactKind(contact_kind)].send_code(to=value, brand_name=brand_name, code=code)
        return ChallengeView(
            challenge_id=challenge_id,
            method=method,
            sent_to=masked(contact_kind, value),
            expires_at=now + TTL,
            tries_left=TRIES,
        )

    async def check(self, tenant_id: str, challenge_id: str, code: str, *, purpose: str) -> CheckedCode:
        """Use a code up. Each call costs a try, which stays spent. Raises CodeRefused, always with the same words."""
        key = {"tenant_id": tenant_id, "challenge_id": challenge_id, "purpose": purpose, "now": self._clock.now()}
        given = self._hmac(tenant_id, challenge_id, code)
        async with tenant_transaction(self._engine, tenant_id) as tx:
            row = (await tx.execute(_SPEND_A_TRY, key)).mappings().one_or_none()
            stored = bytes(row["code_hmac"]) if row is not None else secrets.token_bytes(len(given))
            right = hmac.compare_digest(given, stored)
            if right:
                await tx.execute(_USE_UP, key)
        if row is None or not right:
            raise CodeRefused
        return self._checked(tenant_id, row)

    def _checked(self, tenant_id: str, row: RowMapping) -> CheckedCode:
        kind = str(row["contact_kind"])
        value = self._contacts.open(tenant_id, kind, bytes(row["contact_sealed"]))
        return CheckedCode(
            method=METHOD_OF[kind], contact_kind=kind, contact_value=value, conversation_id=row["conversation_id"]
        )

    def _hmac(self, tenant_id: str, challenge_id: str, code: str) -> bytes:
        """Keyed: six digits under a plain hash are found by trying them all."""
        message = f"undercroft code\x00{tenant_id}\x00{challenge_id}\x00{code}".encode()
        return hmac.digest(self._key.reveal(), message, hashlib.sha256)


async def _keep_within_limits(tx: AsyncConnection, row: Mapping[str, object], now: datetime) -> None:
    """Counted under a lock for the contact point, so that parallel requests cannot all be the last allowed one."""
    blind = row["sent_index"]
    lock = int.from_bytes(blind[:8], signed=True) if isinstance(blind, bytes) else 0
    await tx.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": lock})
    counts = (await tx.execute(_CODES_SENT, {**row, "since": now - WINDOW})).mappings().one()
    if counts["to_contact"] >= CODES_PER_CONTACT or counts["by_client"] >= CODES_PER_CLIENT:
        raise TooManyCodes(headers={"Retry-After": str(int(WINDOW.total_seconds()))})


_NEW_CHALLENGE = text(
    "INSERT INTO challenges (tenant_id, challenge_id, purpose, method, conversation_id, client_id, contact_kind,"
    " sent_index, contact_sealed, code_hmac, tries_left, sent_at, expires_at) VALUES (:tenant_id, :challenge_id,"
    " :purpose, :method, :conversation_id, :client_id, :contact_kind, :sent_index, :contact_sealed, :code_hmac,"
    " :tries_left, :sent_at, :expires_at)"
)
_CODES_SENT = text(
    "SELECT (SELECT count(*) FROM challenges WHERE tenant_id = :tenant_id AND sent_index = :sent_index"
    " AND sent_at > :since) AS to_contact, (SELECT count(*) FROM challenges WHERE tenant_id = :tenant_id"
    " AND client_id = :client_id AND sent_at > :since) AS by_client"
)
_SPEND_A_TRY = text(
    "UPDATE challenges SET tries_left = tries_left - 1 WHERE tenant_id = :tenant_id AND challenge_id = :challenge_id"
    " AND purpose = :purpose AND tries_left > 0 AND answered_at IS NULL AND expires_at > :now"
    " RETURNING code_hmac, contact_kind, contact_sealed, conversation_id"
)
_USE_UP = text("UPDATE challenges SET answered_at = :now WHERE tenant_id = :tenant_id AND challenge_id = :challenge_id")
