"""May this be done? Decided as the act itself is, on facts looked up in the same way, and recorded; nothing is done.

An allow here is a forecast: it reserves nothing, mints no grant, and the act is decided again when it is asked for. A
person's confirmation of one act is neither spent nor counted by asking.
"""

from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime
from typing import Final, assert_never

from sqlalchemy.ext.asyncio import AsyncConnection

from gateway import owners
from gateway.callers import Caller, CallerKind
from gateway.contract import (
    DecisionRequest,
    DecisionView,
    Enquiry,
    ForgetEnquiry,
    PurchaseEnquiry,
    ReadMandatesEnquiry,
    RecallEnquiry,
    RefundEnquiry,
    RememberEnquiry,
    RevokeMandateEnquiry,
)
from gateway.conversations import conversation_of, require_own
from gateway.decide import decide_about_person, decide_purchase, decide_refund
from gateway.deciding import Deciding, Make
from gateway.disclosures import person_facts
from gateway.facts import ConversationFacts, delegate_names
from gateway.purchases import card_plan, only_mine, purchase_facts
from gateway.refunds import refund_facts, require_refundable
from gateway.store import purchase_lookup, purchase_of
from gateway.undecided import asked
from infra.chassis.clock import Clock

Question = tuple[Make, ConversationFacts | None]
"""What is to be decided, and in which conversation its remedies are told."""
ACTION_OF: Final[Mapping[type[Enquiry], str]] = {
    PurchaseEnquiry: "purchase",
    RefundEnquiry: "refund",
    RecallEnquiry: "recall",
    RememberEnquiry: "remember",
    ForgetEnquiry: "forget",
    ReadMandatesEnquiry: "read_mandates",
    RevokeMandateEnquiry: "revoke_mandate",
}


class Enquiries:
    def __init__(self, deciding: Deciding, clock: Clock) -> None:
        self._deciding = deciding
        self._clock = clock

    async def answer(self, enquiry: DecisionRequest, caller: Caller) -> DecisionView:
        """The decision, recorded. Raises NotFound, for foreign and unknown ids alike, and ConversationMissing."""
        caller.require_kind(CallerKind.AGENT, CallerKind.ASSISTANT)
        now = self._clock.now()
        async with self._deciding.transaction(asked(ACTION_OF[type(enquiry)], caller, enquiry)) as tx:
            make, conversation = await self._asked(tx, enquiry, caller, now)
            decided = await self._deciding.decide(
                tx, caller.tenant_id, lambda cedar: replace(make(cedar), enquiry=True), told_in=conversation
            )
            if isinstance(enquiry, RevokeMandateEnquiry) and decided.decision.allowed:
                await self._require_own_mandate(tx, enquiry, caller)
        return decided.view

    async def _asked(self, tx: AsyncConnection, enquiry: DecisionRequest, caller: Caller, now: datetime) -> Question:
        match enquiry:
            case PurchaseEnquiry():
                return await self._purchase(tx, enquiry, caller, now)
            case RefundEnquiry():
                return await self._refund(tx, enquiry, caller, now), None
            case RecallEnquiry() | RememberEnquiry() | ForgetEnquiry() | ReadMandatesEnquiry() | RevokeMandateEnquiry():
                facts = await person_facts(tx, caller, enquiry.conversation_id, self._clock)
                tier = enquiry.tier if isinstance(enquiry, RecallEnquiry) else 0
                action = ACTION_OF[type(enquiry)]
                return lambda cedar: decide_about_person(cedar, action, facts, now, tier=tier), facts.conversation
            case _:
                assert_never(enquiry)

    async def _purchase(self, tx: AsyncConnection, enquiry: PurchaseEnquiry, caller: Caller, now: datetime) -> Question:
        """Nothing is locked, so whose it is can be asked of the facts, which join a checkout with its own people."""
        conversation_id = conversation_of(caller, enquiry.conversation_id)
        lookup, purchase = await purchase_lookup(
            tx,
            tenant_id=caller.tenant_id,
            checkout_id=enquiry.checkout_id,
            conversation_id=conversation_id,
            delegates=delegate_names(caller),
            now=now,
        )
        require_own(caller, lookup.conversation)
        plan = card_plan(caller, lookup, only_mine(purchase, lookup), now)
        facts = purchase_facts(caller, enquiry.cart_sha256, lookup, now, plan)
        return lambda cedar: decide_purchase(cedar, facts, now), facts.conversation

    async def _refund(self, tx: AsyncConnection, enquiry: RefundEnquiry, caller: Caller, now: datetime) -> Make:
        caller.require_kind(CallerKind.AGENT)
        await require_refundable(tx, caller, enquiry.conversation_id, enquiry.purchase_id)
        purchase = await purchase_of(tx, caller.tenant_id, enquiry.purchase_id)
        facts = await refund_facts(tx, caller, purchase, enquiry.amount_minor)
        return lambda cedar: decide_refund(cedar, facts, now)

    async def _require_own_mandate(self, tx: AsyncConnection, enquiry: RevokeMandateEnquiry, caller: Caller) -> None:
        """As the revocation itself: who may revoke learns which mandates are the person's. Raises NotFound."""
        facts = await person_facts(tx, caller, enquiry.conversation_id, self._clock)
        owner = await owners.of_mandate(tx, caller.tenant_id, enquiry.mandate_id)
        owners.require_within(owners.of_facts(facts.conversation), owner)
