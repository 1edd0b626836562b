"""Approvals: a person is asked about exactly one payment, answers once, and the answer pays for it once.

The question is kept with everything that the person is shown; `parameters_sha256` says what it is about, and a decision
looks for an answer to precisely that. In the words of AuthZEN's Access Request and Approval draft: a deny that can be
asked for, an access request, and its approval.
"""

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from gateway.facts import ApprovalState, PurchaseFacts
from gateway.record.entries import Record
from infra.chassis.clock import Clock
from infra.chassis.engine import directory_transaction, tenant_transaction
from infra.chassis.ids import new_id

ANSWER_TTL: Final = timedelta(minutes=15)
"""To answer in, and, once answered, to pay in: as long as a card is waited for."""
ASKED_PER_HOUR_MAX: Final = 20
"""Of one person. Who is asked more often than that stops reading."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ApprovalView:
    """What the person is asked. Not `answerable`: it was answered, or its time or its mandate has ended."""

    tenant_id: str
    approval_id: str
    subject_id: str
    brand_id: str
    brand_name: str
    asked_by: str | None
    """The name an assistant gave itself; None for the brand's own agent."""
    description: str
    amount_minor: int
    currency: str
    state: ApprovalState
    expires_at: datetime
    answerable: bool


class Approvals:
    def __init__(self, *, engine: AsyncEngine, record: Record, clock: Clock, public_url: str) -> None:
        self._engine = engine
        self._record = record
        self._clock = clock
        self._public_url = public_url.rstrip("/")

    def url_of(self, approval_id: str) -> str:
        return f"{self._public_url}/approvals/{approval_id}"

    async def ask(self, tx: AsyncConnection, facts: PurchaseFacts, decision_id: str, now: datetime) -> str | None:
        """The open question about exactly this payment, the earlier one or a new one; None for who was asked too often.

        Called in the transaction of the decision that needs it, under `store.lock_money`: two requests at once ask
        once.
        """
        mandate, quote, earlier = facts.mandate, facts.quote, facts.approval
        if earlier is not None and earlier.state is ApprovalState.OPEN and now < earlier.expires_at:
            return earlier.approval_id
        row = {
            "tenant_id": facts.conversation.tenant_id,
            "approval_id": new_id("apr"),
            "subject_id": facts.conversation.subject_id,
            "brand_id": quote.brand_id,
            "client_id": facts.caller.client_id,
            "conversation_id": facts.conversation.conversation_id,
            "checkout_id": quote.checkout_id,
            "mandate_id": mandate.mandate_id if mandate else None,
            "decision_id": decision_id,
            "parameters_sha256": facts.parameters_sha256,
            "cart_sha256": quote.cart_sha256,
            "amount_minor": quote.amount_minor,
            "currency": quote.currency,
            "now": now,
            "expires_at": now + ANSWER_TTL,
            "since": now - timedelta(hours=1),
            "asked_max": ASKED_PER_HOUR_MAX,
        }
        if (await tx.execute(_ASK, row)).scalar_one_or_none() is None:
            return None
        await tx.execute(_LIST, row)
        return str(row["approval_id"])

    async def find(self, approval_id: str) -> ApprovalView | None:
        """None for an unknown one. The id is unguessable and names no tenant, so the tenant is looked up first."""
        async with directory_transaction(self._engine) as tx:
            tenant_id = (await tx.execute(_TENANT, {"approval_id": approval_id})).scalar_one_or_none()
        if tenant_id is None:
            return None
        key = {"tenant_id": tenant_id, "approval_id": approval_id, "now": self._clock.now()}
        async with tenant_transaction(self._engine, tenant_id) as tx:
            row = (await tx.execute(_VIEW, key)).mappings().one()
        return ApprovalView(**{**row, "state": ApprovalState(row["state"])})

    async def answer(self, asked: ApprovalView, *, approve: bool) -> ApprovalView:
        """The first answer holds, whatever comes after it; the view as it is then.

        An approval of what ended meanwhile (the time, the mandate) is not written; the view says which.
        """
        now, state = self._clock.now(), ApprovalState.APPROVED if approve else ApprovalState.REFUSED
        row = {
            "tenant_id": asked.tenant_id,
            "approval_id": asked.approval_id,
            "subject_id": asked.subject_id,
            "state": state.value,
            "now": now,
            "expires_at": now + ANSWER_TTL,
        }
        async with tenant_transaction(self._engine, asked.tenant_id) as tx:
            answered = (await tx.execute(_ANSWER, row)).mappings().one_or_none()
            if answered is not None:
                body = {
                    "v": 1,
                    "event": "approval_answered",
                    "at": now.isoformat(),
                    "approval_id": asked.approval_id,
                    "answer": state.value,
                    "decision_id": answered["decision_id"],
                    "parameters_sha256": answered["parameters_sha256"],
                }
                await self._record.append(tx, tenant_id=asked.tenant_id, decision_id=new_id("evt"), body=body)
            found = (await tx.execute(_VIEW, row)).mappings().one()
        return ApprovalView(**{**found, "state": ApprovalState(found["state"])})


async def use(tx: AsyncConnection, *, tenant_id: str, approval_id: str, purchase_id: str, now: datetime) -> bool:
    """Spend the approval on this purchase, in its own transaction. False when another purchase was quicker.

    The purchase it was spent on may go on with it: until its card is typed it is decided again each time.
    """
    row = {"tenant_id": tenant_id, "approval_id": approval_id, "purchase_id": purchase_id, "now": now}
    used = await tx.execute(_USE, {**row, "expires_at": now + ANSWER_TTL})
    return used.scalar_one_or_none() is not None


_ASK = text(
    "INSERT INTO approvals (tenant_id, approval_id, subject_id, brand_id, client_id, conversation_id, checkout_id,"
    " mandate_id, decision_id, parameters_sha256, cart_sha256, amount_minor, currency, description, state, asked_at,"
    " expires_at) SELECT :tenant_id, :approval_id, :subject_id, :brand_id, :client_id, :conversation_id, :checkout_id,"
    " :mandate_id, :decision_id, :parameters_sha256, :cart_sha256, :amount_minor, :currency, q.description, 'open',"
    " :now, :expires_at FROM quotes q WHERE q.tenant_id = :tenant_id AND q.checkout_id = :checkout_id"
    " AND (SELECT count(*) FROM approvals a WHERE a.tenant_id = :tenant_id AND a.subject_id = :subject_id"
    " AND a.asked_at > :since) < :asked_max RETURNING approval_id"
)
_LIST = text("INSERT INTO approval_directory (approval_id, tenant_id) VALUES (:approval_id, :tenant_id)")
_TENANT = text("SELECT tenant_id FROM approval_directory WHERE approval_id = :approval_id")
_VIEW = text(
    "SELECT a.tenant_id, a.approval_id, a.subject_id, a.brand_id, b.name AS brand_name, c.client_name AS asked_by,"
    " a.description, a.amount_minor, a.currency, a.state, a.expires_at,"
    " a.state = 'open' AND a.expires_at > :now AND m.revoked_at IS NULL AND m.expires_at > :now AS answerable"
    " FROM approvals a"
    " JOIN brands b USING (tenant_id, brand_id) JOIN mandates m USING (tenant_id, mandate_id)"
    " LEFT JOIN assistant_clients c ON c.client_id = a.client_id"
    " WHERE a.tenant_id = :tenant_id AND a.approval_id = :approval_id"
)
_ANSWER = text(
    "UPDATE approvals a SET state = :state, answered_at = :now, expires_at = :expires_at"
    " WHERE a.tenant_id = :tenant_id AND a.approval_id = :approval_id AND a.subject_id = :subject_id"
    " AND a.state = 'open' AND a.expires_at > :now AND (:state = 'refused' OR EXISTS (SELECT FROM mandates m"
    " WHERE m.tenant_id = a.tenant_id AND m.mandate_id = a.mandate_id AND m.revoked_at IS NULL"
    " AND m.expires_at > :now)) RETURNING a.decision_id, a.parameters_sha256"
)
_USE = text(
    "UPDATE approvals SET state = 'used', purchase_id = :purchase_id,"
    " expires_at = CASE WHEN state = 'approved' THEN :expires_at ELSE expires_at END"
    " WHERE tenant_id = :tenant_id AND approval_id = :approval_id"
    " AND (state = 'approved' OR (state = 'used' AND purchase_id = :purchase_id)) RETURNING approval_id"
)
