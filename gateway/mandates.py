"""Mandates: a subject's standing consent to spend, and the money held under it."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from gateway import owners
from gateway.callers import Caller
from gateway.contract import (
    MandateList,
    MandateView,
    RevocationRequest,
    RevocationView,
    SpendingPurpose,
)
from gateway.decide import decide_about_person
from gateway.deciding import Decided, Deciding
from gateway.disclosures import person_facts
from gateway.facts import PersonFacts
from gateway.listing import MANDATE_TABLE, Page, plain, question_in, seen
from gateway.record.entries import Record
from gateway.store import note_use
from gateway.undecided import asked
from gateway.windows import CAP_MINOR_MAX, Window
from infra.chassis.clock import Clock
from infra.chassis.ids import new_id


class Mandates:
    """What a person consented to, as callers of the brand may see and end it."""

    def __init__(self, deciding: Deciding, record: Record, clock: Clock) -> None:
        self._deciding = deciding
        self._record = record
        self._clock = clock

    async def read(self, conversation_id: str | None, page: Page, caller: Caller) -> MandateList:
        about = asked("read_mandates", caller, conversation_id=conversation_id)
        async with self._deciding.transaction(about) as tx:
            facts, decided = await self._decide(tx, "read_mandates", conversation_id, caller)
            if not decided.decision.allowed:
                return MandateList(decision=decided.view, mandates=[])
            now = self._clock.now()
            question = question_in("see_mandate", facts, now)
            found = await seen(tx, decided.cedar, MANDATE_TABLE, question, page, tenant_id=caller.tenant_id, now=now)
        shown = [MandateView(**plain(row)) for row in found.rows]
        return MandateList(decision=decided.view, mandates=shown, next_after=found.next_after)

    async def revoke(self, mandate_id: str, request: RevocationRequest, caller: Caller) -> RevocationView:
        """Raises NotFound for a mandate that is not this person's with this brand."""
        about = asked("revoke_mandate", caller, request, mandate_id=mandate_id)
        async with self._deciding.transaction(about) as tx:
            facts, decided = await self._decide(tx, "revoke_mandate", request.conversation_id, caller)
            if decided.decision.allowed:
                await self._revoke(tx, facts, mandate_id)
        return RevocationView(decision=decided.view, revoked=decided.decision.allowed)

    async def _revoke(self, tx: AsyncConnection, facts: PersonFacts, mandate_id: str) -> None:
        conversation, now = facts.conversation, self._clock.now()
        owner = await owners.of_mandate(tx, conversation.tenant_id, mandate_id)
        owners.require_within(owners.of_facts(conversation), owner)
        await revoke(
            tx,
            tenant_id=conversation.tenant_id,
            subject_id=conversation.subject_id or "",
            mandate_id=mandate_id,
            revoked_at=now,
        )
        body = {"v": 1, "event": "mandate_revoked", "at": now.isoformat(), "mandate_id": mandate_id}
        await self._record.append(tx, tenant_id=conversation.tenant_id, decision_id=new_id("evt"), body=body)

    async def _decide(
        self, tx: AsyncConnection, action: str, conversation_id: str | None, caller: Caller
    ) -> tuple[PersonFacts, Decided]:
        facts = await person_facts(tx, caller, conversation_id, self._clock)
        now = self._clock.now()
        decided = await self._deciding.decide(
            tx,
            caller.tenant_id,
            lambda cedar: decide_about_person(cedar, action, facts, now),
            told_in=facts.conversation,
        )
        if decided.decision.allowed:
            await note_use(tx, facts.conversation, now)
        return facts, decided


NO_WINDOW: Final = Window()


@dataclass(frozen=True, slots=True, kw_only=True)
class MoreLimits:
    """What a mandate may hold beyond its two caps; as it stands here it limits nothing more.

    `payees` are further brands of the tenant beside the one it is granted at. Above `approval_above_minor` the person
    is asked each time. Where no card is remembered, every payment asks for one.
    """

    payees: frozenset[str] = frozenset()
    purposes: frozenset[SpendingPurpose] = frozenset(SpendingPurpose)
    window: Window = NO_WINDOW
    approval_above_minor: int = CAP_MINOR_MAX
    remembers_card: bool = True


NO_MORE_LIMITS: Final = MoreLimits()


async def grant(
    tx: AsyncConnection,
    *,
    tenant_id: str,
    subject_id: str,
    brand_id: str,
    currency: str,
    payment_cap_minor: int,
    day_cap_minor: int,
    delegates: Sequence[str],
    granted_at: datetime,
    expires_at: datetime,
    granted_in: str,
    more: MoreLimits = NO_MORE_LIMITS,
) -> str:
    """The new mandate's id. An earlier one for the same subject, brand and delegates is revoked with it.

    `delegates` are client ids of assistants and `agents:<brand_id>` for the brand's own agents; `granted_in` is the
    conversation in which the subject consented. What was spent before counts (`spending.py`).
    """
    row = {
        "tenant_id": tenant_id,
        "mandate_id": new_id("mnd"),
        "subject_id": subject_id,
        "brand_id": brand_id,
        "currency": currency,
        "payment_cap_minor": payment_cap_minor,
        "day_cap_minor": day_cap_minor,
        "delegates": list(delegates),
        "granted_at": granted_at,
        "expires_at": expires_at,
        "granted_in": granted_in,
        "payees": sorted({brand_id} | more.payees),
        "purposes": sorted(more.purposes),
        "window_seconds": more.window.seconds,
        "window_cap_minor": more.window.cap_minor,
        "window_count_max": more.window.count_max,
        "approval_above_minor": more.approval_above_minor,
        "remembers_card": more.remembers_card,
    }
    await tx.execute(_REVOKE_SAME, row)
    await tx.execute(_NEW_MANDATE, row)
    return str(row["mandate_id"])


async def revoke_same(
    tx: AsyncConnection, *, tenant_id: str, subject_id: str, brand_id: str, delegates: Sequence[str], at: datetime
) -> None:
    """End what the subject granted these delegates at this brand before, and grant nothing."""
    row = {"tenant_id": tenant_id, "subject_id": subject_id, "brand_id": brand_id}
    await tx.execute(_REVOKE_SAME, {**row, "delegates": list(delegates), "granted_at": at})


async def revoke(
    tx: AsyncConnection, *, tenant_id: str, subject_id: str, mandate_id: str, revoked_at: datetime
) -> bool:
    """Whether there was such a mandate of this subject; revoking twice keeps the first time."""
    row = {"tenant_id": tenant_id, "subject_id": subject_id, "mandate_id": mandate_id, "revoked_at": revoked_at}
    return (await tx.execute(_REVOKE, row)).scalar_one_or_none() is not None


_REVOKE_SAME = text(
    "UPDATE mandates SET revoked_at = :granted_at WHERE tenant_id = :tenant_id AND subject_id = :subject_id"
    " AND brand_id = :brand_id AND delegates @> CAST(:delegates AS text[]) AND delegates <@ CAST(:delegates AS text[])"
    " AND revoked_at IS NULL"
)
_NEW_MANDATE = text(
    "INSERT INTO mandates (tenant_id, mandate_id, subject_id, brand_id, payees, purposes, currency, payment_cap_minor,"
    " day_cap_minor, window_seconds, window_cap_minor, window_count_max, approval_above_minor, remembers_card,"
    " delegates, granted_in, granted_at, expires_at) VALUES (:tenant_id, :mandate_id, :subject_id, :brand_id, :payees,"
    " :purposes, :currency, :payment_cap_minor, :day_cap_minor, :window_seconds, :window_cap_minor, :window_count_max,"
    " :approval_above_minor, :remembers_card, :delegates, :granted_in, :granted_at, :expires_at)"
)
_REVOKE = text(
    "UPDATE mandates SET revoked_at = coalesce(revoked_at, :revoked_at) WHERE tenant_id = :tenant_id"
    " AND subject_id = :subject_id AND mandate_id = :mandate_id RETURNING mandate_id"
)
