"""May this be done? Decided as the act itself is, on facts looked up in the same way, and recorded; nothing is done.

An allow here is a forecast: it reserves nothing, mints no grant, and the act is decided again when it is asked for. A
person's confirmation of one act is neither spent nor counted by asking.
"""

from collections.abc import Mapping
from datetime import datetime
from typing import Final, assert_never

from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from gateway import owners
from gateway.callers import Caller, CallerKind
from gateway.cedar import Cedar
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
from gateway.decide import Decision, decide_about_person, decide_purchase, decide_refund
from gateway.disclosures import person_facts
from gateway.facts import delegate_names
from gateway.purchases import only_mine, purchase_facts, require_payable
from gateway.record.entries import Record
from gateway.refunds import refund_facts, require_refundable
from gateway.store import purchase_lookup, purchase_of
from infra.chassis.clock import Clock
from infra.chassis.engine import tenant_transaction
from infra.chassis.ids import new_id

ACTION_OF: Final[Mapping[type[Enquiry], str]] = {
    RecallEnquiry: "recall",
    RememberEnquiry: "remember",
    ForgetEnquiry: "forget",
    ReadMandatesEnquiry: "read_mandates",
}


class Enquiries:
    def __init__(self, engine: AsyncEngine, cedar: Cedar, record: Record, clock: Clock) -> None:
        self._engine = engine
        self._cedar = cedar
        self._record = record
        self._clock = clock

    async def answer(self, enquiry: DecisionRequest, caller: Caller) -> DecisionView:
        """The decision, recorded. Raises NotFound, for foreign and unknown ids alike, and ConversationMissing."""
        caller.require_kind(CallerKind.AGENT, CallerKind.ASSISTANT)
        decision_id = new_id("dec")
        async with tenant_transaction(self._engine, caller.tenant_id) as tx:
            decision = await self._decide(tx, enquiry, caller, self._clock.now())
            receipt = await self._record.append(
                tx, tenant_id=caller.tenant_id, decision_id=decision_id, body=decision.body(decision_id)
            )
        return decision.view(receipt)

    async def _decide(self, tx: AsyncConnection, enquiry: DecisionRequest, caller: Caller, now: datetime) -> Decision:
        match enquiry:
            case PurchaseEnquiry():
                return await self._purchase(tx, enquiry, caller, now)
            case RefundEnquiry():
                return await self._refund(tx, enquiry, caller, now)
            case RecallEnquiry() | RememberEnquiry() | ForgetEnquiry() | ReadMandatesEnquiry():
                facts = await person_facts(tx, caller, enquiry.conversation_id, self._clock)
                tier = enquiry.tier if isinstance(enquiry, RecallEnquiry) else 0
                return decide_about_person(self._cedar, ACTION_OF[type(enquiry)], facts, now, tier=tier)
            case RevokeMandateEnquiry():
                return await self._revocation(tx, enquiry, caller, now)
            case _:
                assert_never(enquiry)

    async def _purchase(self, tx: AsyncConnection, enquiry: PurchaseEnquiry, caller: Caller, now: datetime) -> Decision:
        conversation_id = conversation_of(caller, enquiry.conversation_id)
        await require_payable(tx, caller, enquiry.checkout_id, conversation_id)
        lookup, purchase = await purchase_lookup(
            tx,
            tenant_id=caller.tenant_id,
            checkout_id=enquiry.checkout_id,
            conversation_id=conversation_id,
            delegates=delegate_names(caller),
            now=now,
        )
        require_own(caller, lookup.conversation)
        only_mine(purchase, lookup)
        return decide_purchase(self._cedar, purchase_facts(caller, enquiry.cart_sha256, lookup, now), now)

    async def _refund(self, tx: AsyncConnection, enquiry: RefundEnquiry, caller: Caller, now: datetime) -> Decision:
        caller.require_kind(CallerKind.AGENT)
        await require_refundable(tx, caller, enquiry.conversation_id, enquiry.purchase_id)
        purchase = await purchase_of(tx, caller.tenant_id, enquiry.purchase_id)
        return decide_refund(self._cedar, await refund_facts(tx, caller, purchase, enquiry.amount_minor), now)

    async def _revocation(
        self, tx: AsyncConnection, enquiry: RevokeMandateEnquiry, caller: Caller, now: datetime
    ) -> Decision:
        """As the revocation itself: who may not revoke is told why; who may learns which mandates are the person's."""
        facts = await person_facts(tx, caller, enquiry.conversation_id, self._clock)
        decision = decide_about_person(self._cedar, "revoke_mandate", facts, now)
        if decision.allowed:
            owner = await owners.of_mandate(tx, caller.tenant_id, enquiry.mandate_id)
            owners.require_within(owners.of_facts(facts.conversation), owner)
        return decision
