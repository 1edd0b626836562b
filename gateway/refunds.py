"""Giving money back: decided, written down, then asked of the vault under an id of its own.

What the vault refuses ends, unless another call of it may still arrive there: what stands against a refund now, such as
a dispute, may be gone a moment later, and it would be made though we had said that it failed.
"""

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

import vault.contract
from gateway import owners
from gateway.callers import Caller, CallerKind
from gateway.contract import DecisionView, PurchaseState, RefundReason, RefundRequest, RefundState, RefundView
from gateway.conversations import own_conversation
from gateway.decide import decide_refund
from gateway.deciding import Deciding
from gateway.errors import RequestKeyReused
from gateway.facts import RefundFacts
from gateway.peers import Behalf, Vault
from gateway.record.entries import Record
from gateway.store import Purchase, purchase_for_update
from gateway.undecided import asked
from infra.chassis import logs
from infra.chassis.client import PeerRefused
from infra.chassis.clock import Clock
from infra.chassis.engine import tenant_transaction
from infra.chassis.ids import new_id
from infra.chassis.problems import CardNumberRefused, PeerUnreachable
from infra.chassis.screen import find_card_number

CALL_LASTS: Final = timedelta(minutes=2)
"""A grant is taken for 30 seconds (infra.chassis.grants) and a call ends within ten; the rest is for clocks that
differ, and for a vault that was busy between taking the grant and looking at the charge."""
UNDER_WAY: Final = frozenset({"refunding", "unknown"})
_REASONS: Final = {reason.value: reason for reason in RefundReason}
log = logs.get_logger()


@dataclass(frozen=True, slots=True, kw_only=True)
class Refund:
    tenant_id: str
    refund_id: str
    purchase_id: str
    amount_minor: int
    state: str
    """`refunding` while the vault is asked; then a member of vault.contract.RefundState."""
    decision_id: str
    client_id: str
    called_at: datetime
    calls: int = 1
    """Of the vault; which one this is."""
    open_before: datetime | None = None
    """When the last one before was begun of which nobody knows whether the vault has seen it."""
    reason: str | None = None

    @property
    def is_alone(self) -> bool:
        """Whether no call but this one can still arrive."""
        return self.open_before is None or self.called_at - self.open_before >= CALL_LASTS


class Refunds:
    def __init__(self, *, engine: AsyncEngine, deciding: Deciding, record: Record, vault: Vault, clock: Clock) -> None:
        self._engine = engine
        self._deciding = deciding
        self._record = record
        self._vault = vault
        self._clock = clock

    async def give_back(self, purchase_id: str, request: RefundRequest, caller: Caller) -> RefundView:
        """One refund for one request key. Raises NotFound, RequestKeyReused; a denial is an answer, not an error."""
        caller.require_kind(CallerKind.AGENT)
        if find_card_number(request.request_key) is not None:
            raise CardNumberRefused
        about = asked("refund", caller, purchase_id=purchase_id, conversation_id=request.conversation_id)
        async with self._deciding.transaction(about) as tx:
            await require_refundable(tx, caller, request.conversation_id, purchase_id)
            purchase = await purchase_for_update(tx, caller.tenant_id, purchase_id)
            may_know = "refund" in caller.scopes
            refund = await _refund_by_key(tx, purchase, request.request_key) if may_know else None
            if refund is not None:
                if refund.amount_minor != request.amount_minor:
                    raise RequestKeyReused
                refund, decision = await _call_again(tx, refund, self._clock.now()), None
            else:
                refund, decision = await self._decided(tx, purchase, request, caller)
        if refund is None:
            return _view(purchase, RefundState.DENIED, request.amount_minor, decision=decision)
        if refund.state in UNDER_WAY:
            return await self._ask(purchase, refund, decision)
        return _view_of(purchase, refund, decision)

    async def resume(self, tenant_id: str, refund_id: str) -> None:
        """Ask the vault again about a refund whose end is not known."""
        async with tenant_transaction(self._engine, tenant_id) as tx:
            refund = await _refund(tx, tenant_id, refund_id)
            purchase = await purchase_for_update(tx, tenant_id, refund.purchase_id)
            refund = await _call_again(tx, refund, self._clock.now())
        if refund.state in UNDER_WAY:
            await self._ask(purchase, refund, None)

    async def _decided(
        self, tx: AsyncConnection, purchase: Purchase, request: RefundRequest, caller: Caller
    ) -> tuple[Refund | None, DecisionView]:
        now = self._clock.now()
        facts = await refund_facts(tx, caller, purchase, request.amount_minor)
        decided = await self._deciding.decide(
            tx, caller.tenant_id, lambda cedar: decide_refund(cedar, facts, now), told_in=None
        )
        if not decided.decision.allowed:
            return None, decided.view
        row = {
            "tenant_id": purchase.tenant_id,
            "refund_id": new_id("ref"),
            "purchase_id": purchase.purchase_id,
            "request_key": request.request_key,
            "amount_minor": request.amount_minor,
            "decision_id": decided.decision_id,
            "client_id": caller.client_id,
            "now": now,
        }
        written = (await tx.execute(_NEW_REFUND, row)).mappings().one()
        return Refund(**written), decided.view

    async def _ask(self, purchase: Purchase, refund: Refund, decision: DecisionView | None) -> RefundView:
        order = vault.contract.RefundOrder(
            tenant_id=purchase.tenant_id,
            brand_id=purchase.brand_id,
            subject_id=purchase.subject_id,
            refund_id=refund.refund_id,
            charge_id=purchase.charge_id or "",
            amount_minor=refund.amount_minor,
            currency=purchase.currency,
        )
        try:
            answer = await self._vault.refund(order, Behalf(refund.client_id, refund.decision_id))
            state = RefundState(answer.state.value)
        except PeerUnreachable:
            state = RefundState.UNKNOWN
        except PeerRefused as refused:
            log.warning("refund_refused", status=refused.status, code=refused.code, refund_id=refund.refund_id)
            return await self._refused(purchase, refund, _REASONS.get(refused.code), decision)
        return await self._settle(purchase, refund, state, decision)

    async def _refused(
        self, purchase: Purchase, refund: Refund, reason: RefundReason | None, decision: DecisionView | None
    ) -> RefundView:
        """The vault has written nothing down. Without a reason it said nothing about the refund, and is asked again."""
        if reason is not None and refund.is_alone:
            return await self._settle(purchase, refund, RefundState.FAILED, decision, reason)
        if reason is not None:
            async with tenant_transaction(self._engine, purchase.tenant_id) as tx:
                await purchase_for_update(tx, purchase.tenant_id, purchase.purchase_id)
                await tx.execute(_CALL_IS_OVER, _key(refund) | {"open_before": refund.open_before})
        return await self._settle(purchase, refund, RefundState.UNKNOWN, decision)

    async def _settle(
        self,
        purchase: Purchase,
        refund: Refund,
        state: RefundState,
        decision: DecisionView | None,
        reason: RefundReason | None = None,
    ) -> RefundView:
        """With a `reason` only when no other call was begun since: that one tells its own end."""
        async with tenant_transaction(self._engine, purchase.tenant_id) as tx:
            present = await purchase_for_update(tx, purchase.tenant_id, purchase.purchase_id)
            key = _key(refund) | {"state": state.value, "reason": reason}
            changed = (await tx.execute(_SETTLE if reason is None else _FAIL, key)).scalar_one_or_none() is not None
            if changed and state is not RefundState.UNKNOWN:
                await self._note(tx, present, refund, state, reason)
            kept = await _refund(tx, refund.tenant_id, refund.refund_id)
            present = await purchase_for_update(tx, purchase.tenant_id, purchase.purchase_id)
        return _view_of(present, kept, decision)

    async def _note(
        self, tx: AsyncConnection, purchase: Purchase, refund: Refund, state: RefundState, reason: RefundReason | None
    ) -> None:
        body = {
            "v": 1,
            "event": "refunded" if state is RefundState.REFUNDED else "refund_failed",
            "at": self._clock.now().isoformat(),
            "decision_id": refund.decision_id,
            "purchase_id": purchase.purchase_id,
            "refund_id": refund.refund_id,
            "amount_minor": refund.amount_minor,
            "currency": purchase.currency,
            **({} if reason is None else {"reason": reason.value}),
        }
        await self._record.append(tx, tenant_id=purchase.tenant_id, decision_id=new_id("evt"), body=body)


async def unfinished(tx: AsyncConnection, tenant_id: str, *, called_before: datetime) -> list[str]:
    """Refunds whose end is not known, not asked about since."""
    key = {"tenant_id": tenant_id, "called_before": called_before}
    return [str(refund_id) for refund_id in (await tx.execute(_UNFINISHED, key)).scalars()]


async def require_refundable(
    tx: AsyncConnection, caller: Caller, conversation_id: str | None, purchase_id: str
) -> None:
    """Raises NotFound unless it is a purchase of the caller's brand, and of the person of a conversation it names."""
    conversation = None if conversation_id is None else await own_conversation(tx, caller, conversation_id)
    owner = await owners.of_purchase(tx, caller.tenant_id, purchase_id)
    owners.require(caller, owner)
    if conversation is not None:
        owners.require_within(owners.of_facts(conversation), owner)


async def refund_facts(tx: AsyncConnection, caller: Caller, purchase: Purchase, amount_minor: int) -> RefundFacts:
    taken = await tx.execute(_TAKEN_BACK, {"tenant_id": purchase.tenant_id, "purchase_id": purchase.purchase_id})
    return RefundFacts(
        caller=caller,
        purchase_id=purchase.purchase_id,
        brand_id=purchase.brand_id,
        subject_id=purchase.subject_id,
        paid=purchase.state is PurchaseState.PAID,
        refundable_minor=purchase.amount_minor - int(taken.scalar_one()),
        amount_minor=amount_minor,
    )


async def _refund_by_key(tx: AsyncConnection, purchase: Purchase, request_key: str) -> Refund | None:
    key = {"tenant_id": purchase.tenant_id, "purchase_id": purchase.purchase_id, "request_key": request_key}
    row = (await tx.execute(_BY_KEY, key)).mappings().one_or_none()
    return None if row is None else Refund(**row)


async def _refund(tx: AsyncConnection, tenant_id: str, refund_id: str) -> Refund:
    key = {"tenant_id": tenant_id, "refund_id": refund_id}
    return Refund(**(await tx.execute(_BY_ID, key)).mappings().one())


async def _call_again(tx: AsyncConnection, refund: Refund, now: datetime) -> Refund:
    """Write down that it is called; as it stands, when it has ended. Needs the lock of its purchase."""
    row = (await tx.execute(_CALL_AGAIN, _key(refund) | {"now": now})).mappings().one_or_none()
    return await _refund(tx, refund.tenant_id, refund.refund_id) if row is None else Refund(**row)


def _key(refund: Refund) -> dict[str, object]:
    return {"tenant_id": refund.tenant_id, "refund_id": refund.refund_id, "calls": refund.calls}


def _view_of(purchase: Purchase, refund: Refund, decision: DecisionView | None) -> RefundView:
    """As it stands; what is still asked about is unknown to whoever asks."""
    state = RefundState.UNKNOWN if refund.state in UNDER_WAY else RefundState(refund.state)
    reason = None if refund.reason is None else RefundReason(refund.reason)
    return _view(purchase, state, refund.amount_minor, decision, refund.refund_id, reason)


def _view(
    purchase: Purchase,
    state: RefundState,
    amount_minor: int,
    decision: DecisionView | None = None,
    refund_id: str | None = None,
    reason: RefundReason | None = None,
) -> RefundView:
    return RefundView(
        state=state,
        amount_minor=amount_minor,
        currency=purchase.currency,
        refund_id=refund_id,
        refunded_minor=purchase.refunded_minor,
        reason=reason,
        decision=decision,
    )


_COLUMNS = "tenant_id, refund_id, purchase_id, amount_minor, state, decision_id, client_id, called_at, calls, reason"
_BY_KEY = text(
    f"SELECT {_COLUMNS} FROM refunds WHERE tenant_id = :tenant_id AND purchase_id = :purchase_id"  # noqa: S608 - constants only
    " AND request_key = :request_key"
)
_BY_ID = text(f"SELECT {_COLUMNS} FROM refunds WHERE tenant_id = :tenant_id AND refund_id = :refund_id")  # noqa: S608 - likewise
_TAKEN_BACK = text(
    "SELECT coalesce(sum(amount_minor), 0)::bigint FROM refunds WHERE tenant_id = :tenant_id"
    " AND purchase_id = :purchase_id AND state <> 'failed'"
)
_NEW_REFUND = text(
    "INSERT INTO refunds (tenant_id, refund_id, purchase_id, request_key, amount_minor, state, decision_id, client_id,"  # noqa: S608 - constants only
    " created_at, called_at, open_since) VALUES (:tenant_id, :refund_id, :purchase_id, :request_key, :amount_minor,"
    f" 'refunding', :decision_id, :client_id, :now, :now, :now) RETURNING {_COLUMNS}"
)
_CALL_AGAIN = text(
    "WITH before AS (SELECT open_since AS open_before FROM refunds WHERE tenant_id = :tenant_id"  # noqa: S608 - constants only
    " AND refund_id = :refund_id)"
    " UPDATE refunds SET called_at = :now, open_since = :now, calls = calls + 1 FROM before"
    " WHERE tenant_id = :tenant_id AND refund_id = :refund_id AND state IN ('refunding', 'unknown')"
    f" RETURNING {_COLUMNS}, open_before"
)
_CALL_IS_OVER = text(
    "UPDATE refunds SET open_since = :open_before WHERE tenant_id = :tenant_id AND refund_id = :refund_id"
    " AND calls = :calls"
)
_FAIL = text(
    "UPDATE refunds SET state = :state, reason = :reason WHERE tenant_id = :tenant_id AND refund_id = :refund_id"
    " AND state IN ('refunding', 'unknown') AND calls = :calls RETURNING refund_id"
)
_SETTLE = text(
    "UPDATE refunds SET state = :state WHERE tenant_id = :tenant_id AND refund_id = :refund_id"
    " AND state IN ('refunding', 'unknown') RETURNING refund_id"
)
_UNFINISHED = text(
    "SELECT refund_id FROM refunds WHERE tenant_id = :tenant_id AND state IN ('refunding', 'unknown')"
    " AND called_at < :called_before ORDER BY called_at LIMIT 50"
)
