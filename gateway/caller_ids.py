"""Caller id: what a carrier signed about the call, never what an agent says about it. It recognises, and no more.

Whatever is wrong with it (a bad signature, an unknown signer, too old, used before, another number, attestation B or C,
a number that nobody or more than one person has) is answered alike: with the conversation as it is.
"""

from typing import Final

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from gateway.assurance import EvidenceKind
from gateway.callers import Caller, CallerKind
from gateway.contacts import Contacts
from gateway.contract import CallerIdRequest, Channel, ContactKind, ConversationView
from gateway.conversations import Conversations, own_conversation
from gateway.errors import CallerIdImpossible
from gateway.facts import ConversationFacts
from gateway.passports import FRESH, SKEW, Carriers, Passport, PassportRefused, check
from infra.chassis import logs
from infra.chassis.clock import Clock
from infra.chassis.engine import tenant_transaction

FULL: Final = "A"
"""RFC 8588 section 4: the carrier knows the customer, and that the number is theirs to use."""
ISSUER: Final = "stir"
"""Under which PASSporTs are kept among the assertions that were used up; no client has such an id."""
log = logs.get_logger()


class CallerIds:
    def __init__(
        self, engine: AsyncEngine, conversations: Conversations, contacts: Contacts, carriers: Carriers, clock: Clock
    ) -> None:
        self._engine = engine
        self._conversations = conversations
        self._contacts = contacts
        self._carriers = carriers
        self._clock = clock

    async def add(self, conversation_id: str, request: CallerIdRequest, caller: Caller) -> ConversationView:
        """The conversation after looking at what the carrier signed. Raises NotFound, CallerIdImpossible.

        A PASSporT is used up by its first look, in the whole house.
        """
        caller.require_kind(CallerKind.AGENT)
        caller.require_scope("conversation")
        async with tenant_transaction(self._engine, caller.tenant_id) as tx:
            facts = await own_conversation(tx, caller, conversation_id)
            row = {"tenant_id": facts.tenant_id, "brand_id": facts.brand_id}
            brand_numbers = frozenset((await tx.execute(_NUMBERS_OF_BRAND, row)).scalar_one())
        claimed = self._claimed_number(facts)
        try:
            passport = check(request.identity, self._carriers, self._clock.now())
            _require_this_call(passport, claimed, brand_numbers)
        except PassportRefused as refused:
            log.info("caller_id_refused", why=refused.why)
        else:
            async with tenant_transaction(self._engine, caller.tenant_id) as tx:
                await self._count(tx, await own_conversation(tx, caller, conversation_id), passport)
        return await self._conversations.read(conversation_id, caller)

    def _claimed_number(self, facts: ConversationFacts) -> str:
        if facts.channel != Channel.VOICE or facts.claimed_kind != ContactKind.PHONE or facts.claimed_sealed is None:
            raise CallerIdImpossible
        return self._contacts.open(facts.tenant_id, facts.claimed_kind, facts.claimed_sealed)

    async def _count(self, tx: AsyncConnection, facts: ConversationFacts, passport: Passport) -> None:
        """Evidence, if it is the first look, the carrier is sure, and the number is one person's."""
        now = self._clock.now()
        row = {"issuer": ISSUER, "jti": passport.sha256, "expires_at": passport.issued_at + FRESH + SKEW}
        if (await tx.execute(_SPEND, row)).rowcount != 1:
            log.info("caller_id_refused", why="used_before")
            return
        number = passport.caller_number
        subject_id = await self._contacts.subject_of(tx, facts.tenant_id, ContactKind.PHONE, number)
        if passport.attestation != FULL or subject_id is None:
            return
        await self._conversations.add_evidence(
            tx,
            tenant_id=facts.tenant_id,
            conversation_id=facts.conversation_id,
            subject_id=subject_id,
            kind=EvidenceKind.CALLER_ID,
            now=now,
            contact_kind=ContactKind.PHONE,
            contact_blind=self._contacts.blind_index(facts.tenant_id, ContactKind.PHONE, number),
        )


def _require_this_call(passport: Passport, claimed: str, brand_numbers: frozenset[str]) -> None:
    if passport.caller_number != claimed:
        raise PassportRefused("another_caller")
    if brand_numbers and not brand_numbers & passport.called_numbers:
        raise PassportRefused("another_called")


_NUMBERS_OF_BRAND = text("SELECT phone_numbers FROM brands WHERE tenant_id = :tenant_id AND brand_id = :brand_id")
_SPEND = text(
    "INSERT INTO spent_assertions (issuer, jti, expires_at) VALUES (:issuer, :jti, :expires_at) ON CONFLICT DO NOTHING"
)
