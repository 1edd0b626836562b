"""Paying for a checkout: decide, reserve and record in one transaction; then card, charge and outcome."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any, Final

from msgspec.structs import replace as replace_struct
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from gateway import approvals as asking
from gateway import ledger, owners
from gateway.approvals import Approvals
from gateway.callers import Caller, CallerKind
from gateway.captures import Captures
from gateway.card_asking import CardAsking
from gateway.cards import CardPlan, Paying, planned
from gateway.charging import Charging
from gateway.confirmations import level_for
from gateway.contract import (
    CardOnFile,
    ConfirmPurchase,
    DecisionView,
    PurchasePage,
    PurchaseRequest,
    PurchaseState,
    PurchaseView,
    RemedyKind,
)
from gateway.conversations import conversation_of, require_own
from gateway.decide import decide_purchase
from gateway.deciding import Deciding
from gateway.errors import PurchaseUnderWay
from gateway.factors.confirming import Confirming
from gateway.facts import PurchaseFacts, delegate_names
from gateway.page_language import page_language
from gateway.peers import Vault
from gateway.phone_orders import call_of, is_keyed_in, note_call
from gateway.record.entries import Record
from gateway.store import (
    Purchase,
    PurchaseLookup,
    lock_money,
    note_use,
    paid_purchases,
    purchase_lookup,
    tenant_of_brand,
)
from gateway.undecided import asked
from infra.chassis.clock import Clock
from infra.chassis.engine import directory_transaction, tenant_transaction
from infra.chassis.problems import FieldsInvalid, NotFound
from vault.contract import ChargeReason

PAGE: Final = 100
CURSOR_DIGITS_MAX: Final = 18
"""Of a position, which is a 64-bit integer."""
LOCK_NOT_AVAILABLE: Final = "55P03"
"""SQLSTATE, PostgreSQL 18 appendix A: `lock_timeout` was over."""


@dataclass(frozen=True, slots=True)
class Step:
    """Where one transaction left a request: the purchase, if there is one, and the decision, if one was made."""

    amount_minor: int
    currency: str
    purchase: Purchase | None
    decision: DecisionView | None
    denied: bool


class Purchases:
    def __init__(
        self,
        *,
        engine: AsyncEngine,
        deciding: Deciding,
        record: Record,
        vault: Vault,
        captures: Captures,
        charging: Charging,
        approvals: Approvals,
        confirming: Confirming,
        clock: Clock,
    ) -> None:
        self._engine = engine
        self._deciding = deciding
        self._record = record
        self._cards = CardAsking(engine=engine, vault=vault, record=record, clock=clock)
        self._approvals = approvals
        self._confirming = confirming
        self._captures = captures
        self._charging = charging
        self._clock = clock

    async def buy(self, request: PurchaseRequest, caller: Caller) -> PurchaseView:
        """Pay, or go on paying: one purchase for one checkout, however often and from wherever this is called.

        A request that is not under way yet is decided again each time. Raises NotFound, ConversationMissing,
        PurchaseUnderWay and the vault's PeerUnreachable.
        """
        step = await self._decide(request, caller)
        if step.denied or step.purchase is None:
            return self._denied(request, step)
        purchase = await self._go_on(step.purchase, begun=step.decision is not None)
        if purchase.reason == ChargeReason.VERIFICATION_CODE_MISSING:
            step = await self._decide(request, caller)
            if step.denied or step.purchase is None:
                return self._denied(request, step)
            purchase = await self._go_on(step.purchase, begun=step.decision is not None)
        return self._view(purchase, step.decision)

    async def paid(self, caller: Caller, *, state: str, brand_id: str, after: str) -> PurchasePage:
        """Paid purchases of one of the mcp_server's brands, in the order they were paid; nothing is ever skipped."""
        caller.require_kind(CallerKind.MCP_SERVER)
        caller.require_scope("purchase.read")
        caller.require_brand(brand_id)
        if state != PurchaseState.PAID or not (after.isascii() and after.isdigit() and len(after) <= CURSOR_DIGITS_MAX):
            raise FieldsInvalid(fields=["state" if state != PurchaseState.PAID else "after"])
        async with directory_transaction(self._engine) as tx:
            tenant_id = await tenant_of_brand(tx, brand_id)
        async with tenant_transaction(self._engine, tenant_id) as tx:
            found = await paid_purchases(tx, tenant_id=tenant_id, brand_id=brand_id, after=int(after), limit=PAGE)
        last = str(found[-1].paid_position) if found else after
        return PurchasePage(purchases=[self._view(purchase, None) for purchase in found], next_after=last)

    async def _decide(self, request: PurchaseRequest, caller: Caller) -> Step:
        conversation_id = conversation_of(caller, request.conversation_id)
        about = asked("purchase", caller, request, conversation_id=conversation_id)
        async with self._deciding.transaction(about) as tx:
            return await self._decide_in_turn(tx, request, caller, conversation_id)

    async def _decide_in_turn(
        self, tx: AsyncConnection, request: PurchaseRequest, caller: Caller, conversation_id: str
    ) -> Step:
        await require_payable(tx, caller, request.checkout_id, conversation_id)
        with _waiting_too_long_is_under_way():
            locked = await lock_money(
                tx, tenant_id=caller.tenant_id, checkout_id=request.checkout_id, conversation_id=conversation_id
            )
        now = self._clock.now()  # after the wait: what is counted and what is written down are of one day
        lookup, purchase = await purchase_lookup(
            tx,
            tenant_id=caller.tenant_id,
            checkout_id=request.checkout_id,
            conversation_id=conversation_id,
            delegates=delegate_names(caller),
            now=now,
        )
        require_own(caller, lookup.conversation)
        mine = only_mine(purchase, lookup)
        may_know = "purchase" in caller.scopes
        if may_know and mine is not None and mine.state in ledger.told_as_it_is(going_on=request.going_on):
            return Step(mine.amount_minor, mine.currency, mine, None, denied=False)
        if lookup.mandate is not None and lookup.mandate.mandate_id not in locked:
            raise PurchaseUnderWay
        return await self._decided(tx, request, caller, lookup, mine, now)

    async def _decided(
        self,
        tx: AsyncConnection,
        request: PurchaseRequest,
        caller: Caller,
        lookup: PurchaseLookup,
        earlier: Purchase | None,
        now: datetime,
    ) -> Step:
        plan = card_plan(caller, lookup, earlier, now, new_card=request.new_card, language=request.language)
        facts = purchase_facts(caller, request.cart_sha256, lookup, now, plan)
        level = await level_for(tx, facts.conversation, now, "purchase", _what_is_confirmed(facts))
        facts = replace(facts, level=level)
        decided = await self._deciding.decide(
            tx,
            caller.tenant_id,
            lambda cedar: decide_purchase(cedar, facts, now),
            told_in=facts.conversation,
        )
        view = decided.view
        subject_id, mandate = lookup.conversation.subject_id, lookup.mandate
        if not decided.decision.allowed or subject_id is None or mandate is None:
            view = await self._with_question(tx, facts, view, now)
            confirm = ConfirmPurchase(checkout_id=request.checkout_id, cart_sha256=request.cart_sha256)
            view = await self._confirming.offer(tx, view, caller, facts.conversation, confirm, now)
            return Step(lookup.quote.amount_minor, lookup.quote.currency, earlier, view, denied=True)
        await note_use(tx, lookup.conversation, now)
        attempt = ledger.Attempt(
            lookup=lookup,
            subject_id=subject_id,
            mandate_id=mandate.mandate_id,
            client_id=caller.client_id,
            decision_id=decided.decision_id,
            now=now,
            plan=plan,
            new_card=request.new_card,
        )
        purchase = await ledger.reserve(tx, attempt, earlier)
        await note_call(self._record, tx, purchase, earlier, call_of(facts.conversation, now), now)
        if facts.quote.amount_minor > mandate.approval_above_minor:
            await self._use_approval(tx, facts, purchase, now)
        return Step(purchase.amount_minor, purchase.currency, purchase, view, denied=False)

    async def _with_question(
        self, tx: AsyncConnection, facts: PurchaseFacts, view: DecisionView, now: datetime
    ) -> DecisionView:
        """Where only the person's approval is missing, the person is asked, and the remedy says where.

        Nobody is asked on behalf of somebody who has yet to step up.
        """
        kinds = [remedy.kind for remedy in view.remedies]
        if RemedyKind.APPROVAL not in kinds or RemedyKind.STEP_UP in kinds:
            return view
        approval_id = await self._approvals.ask(tx, facts, view.receipt.decision_id, now)
        if approval_id is None:
            return view
        url = self._approvals.url_of(approval_id)
        remedies = [
            replace_struct(remedy, url=url, approval_id=approval_id) if remedy.kind is RemedyKind.APPROVAL else remedy
            for remedy in view.remedies
        ]
        return replace_struct(view, remedies=remedies)

    async def _use_approval(self, tx: AsyncConnection, facts: PurchaseFacts, purchase: Purchase, now: datetime) -> None:
        """Raises PurchaseUnderWay, and with it nothing is reserved, when the approval cannot be spent on this."""
        used = facts.approval is not None and await asking.use(
            tx,
            tenant_id=purchase.tenant_id,
            approval_id=facts.approval.approval_id,
            purchase_id=purchase.purchase_id,
            now=now,
        )
        if not used:
            raise PurchaseUnderWay

    async def _go_on(self, purchase: Purchase, *, begun: bool) -> Purchase:
        """`begun`: this very request wrote the purchase's present state, so nobody has called the vault for it yet."""
        if purchase.state is PurchaseState.NEEDS_CARD:
            purchase, begun = await self._cards.take(purchase)
        if purchase.state not in ledger.UNDER_WAY:
            return purchase
        if begun:
            return await self._charging.finish(purchase)
        return await self._charging.resume(purchase.tenant_id, purchase.purchase_id)

    def _denied(self, request: PurchaseRequest, step: Step) -> PurchaseView:
        return PurchaseView(
            checkout_id=request.checkout_id,
            state=PurchaseState.DENIED,
            amount_minor=step.amount_minor,
            currency=step.currency,
            cart_sha256=request.cart_sha256,
            purchase_id=step.purchase.purchase_id if step.purchase else None,
            decision=step.decision,
        )

    def _view(self, purchase: Purchase, decision: DecisionView | None) -> PurchaseView:
        waits = purchase.state is PurchaseState.NEEDS_CARD and purchase.capture_id is not None
        asked = purchase.charge_id if purchase.state is PurchaseState.NEEDS_AUTHENTICATION else None
        card = None
        if purchase.card_brand is not None and purchase.card_last4 is not None and not waits:
            card = CardOnFile(card_brand=purchase.card_brand, last4=purchase.card_last4)
        return PurchaseView(
            checkout_id=purchase.checkout_id,
            state=purchase.state,
            amount_minor=purchase.amount_minor,
            currency=purchase.currency,
            cart_sha256=purchase.cart_sha256,
            purchase_id=purchase.purchase_id,
            brand_id=purchase.brand_id,
            subject_id=purchase.subject_id,
            decision=decision,
            card_url=self._captures.door_url(purchase.capture_id or "")
            if waits and not is_keyed_in(purchase)
            else None,
            by_keypad=waits and is_keyed_in(purchase),
            capture_id=purchase.capture_id if waits else None,
            authentication_url=self._captures.authentication_url(asked) if asked else None,
            charge_id=asked,
            card=card,
            reason=purchase.reason,
            refunded_minor=purchase.refunded_minor,
            paid_at=purchase.paid_at,
        )


def card_plan(
    caller: Caller,
    lookup: PurchaseLookup,
    earlier: Purchase | None,
    now: datetime,
    *,
    new_card: bool = False,
    language: str | None = None,
) -> CardPlan:
    """Which card is to pay. `earlier`: what there is of this purchase, as its own person's."""
    return planned(
        Paying(
            quote=lookup.quote,
            caller=caller,
            mandate=lookup.mandate,
            remembers=lookup.remembers_card,
            card=lookup.card,
            capture=None if earlier is None else earlier.capture,
            typed=new_card or (earlier is not None and earlier.card_refused),
            call=call_of(lookup.conversation, now),
            language=page_language(language),
            now=now,
        )
    )


def purchase_facts(
    caller: Caller, cart_sha256: str, lookup: PurchaseLookup, now: datetime, plan: CardPlan
) -> PurchaseFacts:
    facts = PurchaseFacts(
        caller=caller,
        conversation=lookup.conversation,
        level=lookup.conversation.assurance(now).level,
        cart_sha256=cart_sha256,
        quote=lookup.quote,
        mandate=lookup.mandate,
        keyed_by_phone=plan.keyed_by_phone,
    )
    about_this = (found for found in lookup.approvals if found.parameters_sha256 == facts.parameters_sha256)
    return replace(facts, approval=next(about_this, None))


def _what_is_confirmed(facts: PurchaseFacts) -> dict[str, Any]:
    """This checkout with this cart, at this price."""
    return {
        "checkout_id": facts.quote.checkout_id,
        "cart_sha256": facts.cart_sha256,
        "amount_minor": facts.quote.amount_minor,
        "currency": facts.quote.currency,
    }


async def require_payable(tx: AsyncConnection, caller: Caller, checkout_id: str, conversation_id: str) -> None:
    """Raises NotFound before anything is locked: nobody waits for, or holds up, what is not theirs."""
    conversation = await owners.of_conversation(tx, caller.tenant_id, conversation_id)
    owners.require(caller, conversation)
    checkout = await owners.of_checkout(tx, caller.tenant_id, checkout_id)
    if conversation.subject_id is None:  # may turn out to be whoever it was quoted for; until then the answer is a deny
        conversation = replace(conversation, subject_id=checkout.subject_id)
    owners.require_within(conversation, checkout)


def only_mine(purchase: Purchase | None, lookup: PurchaseLookup) -> Purchase | None:
    """Nobody's purchase for a conversation whose subject is not known yet; NotFound for another person's."""
    subject_id = lookup.conversation.subject_id
    if purchase is None or subject_id is None:
        return None
    if purchase.subject_id != subject_id:
        raise NotFound
    return purchase


@contextmanager
def _waiting_too_long_is_under_way() -> Iterator[None]:
    """Hundreds who pay from one person's mandates at once: the last in the queue are told to ask again.

    Around that queue only: of a wait for anything else this would say what is not so.
    """
    try:
        yield
    except DBAPIError as error:
        if getattr(error.orig, "sqlstate", None) != LOCK_NOT_AVAILABLE:
            raise
        raise PurchaseUnderWay from error
