"""Consenting: what the page shows, and what Agree and Refuse do.

Agreeing is one transaction: conversation, evidence, mandate, consent and code stand together or not at all.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from gateway import mandates
from gateway.browser import reaching, visits
from gateway.browser.login import VisitOver
from gateway.browser.spending_limits import Limits, Typed, limits_of, suggested
from gateway.browser.visits import Visit
from gateway.conversations import Conversations
from gateway.oauth.authorize import Asked, answered, checked, unmet
from gateway.oauth.consents import CONSENT_TTL, Consent
from gateway.oauth.server import Answer, Parts
from gateway.record.entries import Record
from infra.chassis.engine import tenant_transaction
from infra.chassis.ids import new_id


@dataclass(frozen=True, slots=True, kw_only=True)
class ConsentView:
    asked: Asked
    sent_to: str
    currency: str
    typed: Typed
    expires_at: datetime
    flaws: Mapping[str, str]
    """Field name → sentence."""


class Consenting:
    def __init__(self, *, engine: AsyncEngine, parts: Parts, conversations: Conversations, record: Record) -> None:
        self._engine = engine
        self._parts = parts
        self._conversations = conversations
        self._record = record

    async def view(
        self, visit: Visit, typed: Typed | None = None, flaws: Mapping[str, str] | None = None
    ) -> ConsentView:
        """Raises VisitOver when the request is no longer sound (its client was forgotten, its brand is gone).

        And StepUpNeeded while the person has proven less than it asks for.
        """
        async with tenant_transaction(self._engine, visit.tenant_id) as tx:
            asked = await tx.run_sync(checked, self._parts, visit.request or {})
            if isinstance(asked, Answer):
                raise VisitOver
            await reaching.require_level(tx, visit, asked.level, self._parts.clock.now())
            currency = await _currency(tx, asked)
        return ConsentView(
            asked=asked,
            sent_to=visit.sent_to or "",
            currency=currency,
            typed=typed or suggested(currency),
            expires_at=self._parts.clock.now() + CONSENT_TTL,
            flaws=flaws or {},
        )

    async def refuse(self, visit: Visit) -> Answer:
        async with tenant_transaction(self._engine, visit.tenant_id) as tx:
            answer = await tx.run_sync(answered, self._parts, visit.request or {}, None)
            await reaching.end(tx, visit, self._parts.clock.now())
        return answer

    async def give_up(self, visit: Visit) -> Answer:
        """The person cannot prove, or does not want to prove, as much as was asked for."""
        async with tenant_transaction(self._engine, visit.tenant_id) as tx:
            answer = await tx.run_sync(unmet, self._parts, visit.request or {})
            await reaching.end(tx, visit, self._parts.clock.now())
        return answer

    async def agree(self, visit: Visit, browser: str, typed: Typed) -> Answer:
        """Raises LimitsRefused and StepUpNeeded (nothing happened), VisitOver (also for the second of two clicks)."""
        async with tenant_transaction(self._engine, visit.tenant_id) as tx:
            now = self._parts.clock.now()
            held = await reaching.held(tx, visit, browser, now)
            asked = await tx.run_sync(checked, self._parts, visit.request or {})
            if isinstance(asked, Answer):
                raise VisitOver
            await reaching.require_level(tx, held, asked.level, now)
            limits = limits_of(typed, await _currency(tx, asked)) if "purchase" in asked.scopes else None
            consent = await self._consented(tx, asked, held)
            mandate_id = await self._mandate(tx, consent, limits)
            await _save(tx, consent, mandate_id, now)
            await self._keep_on_record(tx, consent, mandate_id, limits)
            answer = await tx.run_sync(answered, self._parts, asked.parameters, consent)
            await visits.end(tx, held)
        return answer

    async def _consented(self, tx: AsyncConnection, asked: Asked, visit: Visit) -> Consent:
        """The consent, with the conversation that carries it; the evidence is as old as the login."""
        conversation_id = await reaching.conversation_of(tx, self._conversations, visit)
        return Consent(
            tenant_id=asked.tenant_id,
            consent_id=new_id("con"),
            client_id=asked.client_id,
            subject_id=visit.subject_id or "",
            brand_id=asked.brand_id,
            conversation_id=conversation_id,
            resource_url=asked.resource_url,
            scopes=asked.scopes,
            expires_at=self._parts.clock.now() + CONSENT_TTL,
        )

    async def _mandate(self, tx: AsyncConnection, consent: Consent, limits: Limits | None) -> str | None:
        """Spending switched off also ends what an earlier consent to the same assistant allowed."""
        if limits is None:
            if "purchase" in consent.scopes:
                await self._no_mandate(tx, consent)
            return None
        return await mandates.grant(
            tx,
            tenant_id=consent.tenant_id,
            subject_id=consent.subject_id,
            brand_id=consent.brand_id,
            currency=await _currency(tx, consent),
            payment_cap_minor=limits.payment_cap_minor,
            day_cap_minor=limits.day_cap_minor,
            delegates=_delegates(consent),
            granted_at=self._parts.clock.now(),
            expires_at=consent.expires_at,
            granted_in=consent.conversation_id,
            more=limits.more,
        )

    async def _no_mandate(self, tx: AsyncConnection, consent: Consent) -> None:
        await mandates.revoke_same(
            tx,
            tenant_id=consent.tenant_id,
            subject_id=consent.subject_id,
            brand_id=consent.brand_id,
            delegates=_delegates(consent),
            at=self._parts.clock.now(),
        )

    async def _keep_on_record(
        self, tx: AsyncConnection, consent: Consent, mandate_id: str | None, limits: Limits | None
    ) -> None:
        """What was consented to, by whom and for whom; no record, no consent."""
        body = {
            "v": 1,
            "event": "consent_given",
            "at": self._parts.clock.now().isoformat(),
            "consent_id": consent.consent_id,
            "client_id": consent.client_id,
            "subject_id": consent.subject_id,
            "brand_id": consent.brand_id,
            "conversation_id": consent.conversation_id,
            "scopes": sorted(consent.scopes),
            "expires_at": consent.expires_at.isoformat(),
            "mandate_id": mandate_id,
            "payment_cap_minor": None,
            "day_cap_minor": None,
            **(limits.on_record() if limits else {}),
        }
        await self._record.append(tx, tenant_id=consent.tenant_id, decision_id=new_id("evt"), body=body)


def _delegates(consent: Consent) -> list[str]:
    return [consent.client_id, f"agents:{consent.brand_id}"]


async def _currency(tx: AsyncConnection, of: Asked | Consent) -> str:
    row = {"tenant_id": of.tenant_id, "brand_id": of.brand_id}
    return str((await tx.execute(_CURRENCY, row)).scalar_one())


async def _save(tx: AsyncConnection, consent: Consent, mandate_id: str | None, now: datetime) -> None:
    row = {
        "tenant_id": consent.tenant_id,
        "consent_id": consent.consent_id,
        "client_id": consent.client_id,
        "subject_id": consent.subject_id,
        "brand_id": consent.brand_id,
        "conversation_id": consent.conversation_id,
        "resource_url": consent.resource_url,
        "scopes": sorted(consent.scopes),
        "mandate_id": mandate_id,
        "now": now,
        "expires_at": consent.expires_at,
    }
    await tx.execute(_SAVE, row)
    await tx.execute(_CLIENT_USED, row)


_CURRENCY = text("SELECT currency FROM brands WHERE tenant_id = :tenant_id AND brand_id = :brand_id")
_SAVE = text(
    "INSERT INTO consents (tenant_id, consent_id, client_id, subject_id, brand_id, conversation_id, resource_url,"
    " scopes, mandate_id, granted_at, expires_at) VALUES (:tenant_id, :consent_id, :client_id, :subject_id, :brand_id,"
    " :conversation_id, :resource_url, :scopes, :mandate_id, :now, :expires_at)"
)
_CLIENT_USED = text("UPDATE assistant_clients SET used_at = :now WHERE client_id = :client_id")
