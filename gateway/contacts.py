"""Contact points: phone numbers and e-mail addresses, findable by keyed blind index, readable only when opened."""

import hashlib
import hmac
import re
import secrets
from typing import Final

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from gateway.contract import ContactKind
from gateway.errors import ContactPointInvalid, ContactPointShared
from infra.chassis.clock import Clock
from infra.chassis.ids import new_id
from infra.chassis.problems import CardNumberRefused
from infra.chassis.screen import find_card_number
from infra.chassis.secret import Secret

EMAIL: Final = re.compile(r"[a-z0-9.!#$%&'*+/=?^_`{|}~-]{1,64}@(?:[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?\.)+[a-z]{2,63}")
"""The HTML standard's pattern, in lower case, with a dotted domain: what can be typed is what can be sent to."""
PHONE: Final = re.compile(r"\+[1-9][0-9]{7,14}")
"""E.164."""
PHONE_PUNCTUATION: Final = re.compile(r"[ ().\-]")
NONCE_BYTES: Final = 12


class Contacts:
    """`key` holds 32 bytes; one key to seal with and one to index with are derived from it for each tenant."""

    def __init__(self, key: Secret[bytes], clock: Clock) -> None:
        self._key = key
        self._clock = clock

    def normalise(self, kind: str, value: str) -> str:
        """One spelling for one contact point. Raises ContactPointInvalid, CardNumberRefused."""
        if kind == ContactKind.PHONE:
            plain = PHONE_PUNCTUATION.sub("", value.strip())
            if PHONE.fullmatch(plain) is None:
                raise _refusal_of(value)
            return plain
        plain = value.strip().lower()
        if find_card_number(plain) is not None:
            raise CardNumberRefused
        if kind != ContactKind.EMAIL or EMAIL.fullmatch(plain) is None:
            raise ContactPointInvalid
        return plain

    def blind_index(self, tenant_id: str, kind: str, value: str) -> bytes:
        """HMAC-SHA-256 of the normalised value: finds it without holding it; of no use in another tenant."""
        message = f"{kind}\x00{self.normalise(kind, value)}".encode()
        return hmac.digest(self._derived(tenant_id, "blind-index"), message, hashlib.sha256)

    def seal(self, tenant_id: str, kind: str, value: str) -> bytes:
        """AES-256-GCM, bound to tenant and kind: nonce (12) || ciphertext and tag."""
        nonce = secrets.token_bytes(NONCE_BYTES)
        sealed = AESGCM(self._derived(tenant_id, "seal")).encrypt(nonce, value.encode(), _context(tenant_id, kind))
        return nonce + sealed

    def open(self, tenant_id: str, kind: str, sealed: bytes) -> str:
        """Raises InvalidTag for another tenant's, another kind's or a damaged value."""
        aead = AESGCM(self._derived(tenant_id, "seal"))
        return aead.decrypt(sealed[:NONCE_BYTES], sealed[NONCE_BYTES:], _context(tenant_id, kind)).decode()

    async def subject_of(self, tx: AsyncConnection, tenant_id: str, kind: str, value: str) -> str | None:
        """The one subject of this contact point; None when there is none and also when there are several."""
        found = await _subjects_of(tx, tenant_id, kind, self.blind_index(tenant_id, kind, value))
        return found[0] if len(found) == 1 else None

    async def verified_subject(self, tx: AsyncConnection, tenant_id: str, kind: str, value: str) -> str:
        """The one subject of a contact point that was just verified; made if there is none.

        Raises ContactPointShared when several subjects have it. Two verifications at once make one subject: they
        queue for the contact point.
        """
        plain = self.normalise(kind, value)
        blind = self.blind_index(tenant_id, kind, plain)
        await tx.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": int.from_bytes(blind[:8], signed=True)})
        found = await _subjects_of(tx, tenant_id, kind, blind)
        if len(found) > 1:
            raise ContactPointShared
        now = self._clock.now()
        row = {"tenant_id": tenant_id, "kind": kind, "blind": blind, "now": now}
        if found:
            await tx.execute(_VERIFIED_AGAIN, row)
            return found[0]
        row |= {"subject_id": new_id("sub"), "contact_id": new_id("cpt"), "sealed": self.seal(tenant_id, kind, plain)}
        await tx.execute(_NEW_SUBJECT, row)
        await tx.execute(_NEW_CONTACT, row)
        return str(row["subject_id"])

    async def value_of(self, tx: AsyncConnection, tenant_id: str, subject_id: str, kind: str) -> str | None:
        """The subject's verified contact point of this kind, opened; the one verified last."""
        row = {"tenant_id": tenant_id, "subject_id": subject_id, "kind": kind}
        sealed = (await tx.execute(_VALUE_OF_SUBJECT, row)).scalar_one_or_none()
        return None if sealed is None else self.open(tenant_id, kind, sealed)

    def _derived(self, tenant_id: str, purpose: str) -> bytes:
        info = f"undercroft contact {purpose} {tenant_id}".encode()
        return HKDF(algorithm=hashes.SHA256(), length=32, salt=None, info=info).derive(self._key.reveal())


def masked(kind: str, value: str) -> str:
    """As it may be shown to somebody who named it: `a•••@example.com`, `+1•••34`."""
    if kind == ContactKind.EMAIL:
        local, _, domain = value.partition("@")
        return f"{local[:1]}•••@{domain}"
    return f"{value[:2]}•••{value[-2:]}"


def _refusal_of(value: str) -> Exception:
    return ContactPointInvalid() if find_card_number(value) is None else CardNumberRefused()


def _context(tenant_id: str, kind: str) -> bytes:
    return f"contact\x00{tenant_id}\x00{kind}".encode()


async def _subjects_of(tx: AsyncConnection, tenant_id: str, kind: str, blind: bytes) -> list[str]:
    rows = await tx.execute(_SUBJECTS_OF_CONTACT, {"tenant_id": tenant_id, "kind": kind, "blind": blind})
    return [str(subject) for subject in rows.scalars()]


_SUBJECTS_OF_CONTACT = text(
    "SELECT subject_id FROM contact_points WHERE tenant_id = :tenant_id AND kind = :kind AND blind_index = :blind"
)
_VERIFIED_AGAIN = text(
    "UPDATE contact_points SET verified_at = :now"
    " WHERE tenant_id = :tenant_id AND kind = :kind AND blind_index = :blind"
)
_NEW_SUBJECT = text("INSERT INTO subjects (tenant_id, subject_id, created_at) VALUES (:tenant_id, :subject_id, :now)")
_NEW_CONTACT = text(
    "INSERT INTO contact_points (tenant_id, contact_id, subject_id, kind, blind_index, sealed_value, verified_at)"
    " VALUES (:tenant_id, :contact_id, :subject_id, :kind, :blind, :sealed, :now)"
)
_VALUE_OF_SUBJECT = text(
    "SELECT sealed_value FROM contact_points WHERE tenant_id = :tenant_id AND subject_id = :subject_id"
    " AND kind = :kind ORDER BY verified_at DESC LIMIT 1"
)
