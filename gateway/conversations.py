"""Conversations and the evidence that attaches to them."""

from collections.abc import Mapping
from datetime import datetime
from typing import Final

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from gateway import owners
from gateway.assurance import EVIDENCE_OF, TTL_OF, EvidenceKind, name_of
from gateway.callers import Caller, CallerKind
from gateway.challenges import METHOD_OF, CheckedCode, Codes
from gateway.contacts import Contacts
from gateway.contract import (
    AnswerRequest,
    AssuranceLevel,
    ChallengeMethod,
    ChallengeRequest,
    ChallengeView,
    Channel,
    ContactKind,
    ConversationRequest,
    ConversationView,
)
from gateway.errors import ChallengeImpossible, CodeRefused, ConversationMissing
from gateway.facts import ConversationFacts
from gateway.store import conversation_facts
from infra.chassis.clock import Clock
from infra.chassis.engine import tenant_transaction
from infra.chassis.ids import new_id
from infra.chassis.problems import FieldsInvalid, NotFound

CODE_PURPOSE = "conversation"
CONTACT_OF: Final[Mapping[ChallengeMethod, ContactKind]] = {
    method: ContactKind(kind) for kind, method in METHOD_OF.items()
}


class Conversations:
    def __init__(self, engine: AsyncEngine, contacts: Contacts, codes: Codes, clock: Clock) -> None:
        self._engine = engine
        self._contacts = contacts
        self._codes = codes
        self._clock = clock

    async def open(self, request: ConversationRequest, caller: Caller) -> ConversationView:
        """A new dialogue with nobody in particular. A claimed contact point is kept sealed and proves nothing."""
        caller.require_kind(CallerKind.AGENT)
        caller.require_scope("conversation")
        caller.require_brand(request.brand_id)
        if request.channel is Channel.ASSISTANT:
            raise FieldsInvalid(fields=["channel"])
        row = {
            "tenant_id": caller.tenant_id,
            "conversation_id": new_id("cnv"),
            "brand_id": request.brand_id,
            "channel": request.channel.value,
            "client_id": caller.client_id,
            "subject_id": None,
            **self._claim(caller.tenant_id, request),
            "now": self._clock.now(),
        }
        async with tenant_transaction(self._engine, caller.tenant_id) as tx:
            await tx.execute(_NEW_CONVERSATION, row)
            facts = await conversation_facts(tx, caller.tenant_id, str(row["conversation_id"]))
        return self._view(facts)

    async def read(self, conversation_id: str, caller: Caller) -> ConversationView:
        async with tenant_transaction(self._engine, caller.tenant_id) as tx:
            return self._view(await own_conversation(tx, caller, conversation_id))

    async def close(self, conversation_id: str, caller: Caller) -> None:
        """The dialogue is over: nothing can be asked in it any more, whatever evidence it had."""
        async with tenant_transaction(self._engine, caller.tenant_id) as tx:
            await own_conversation(tx, caller, conversation_id)
            key = {"tenant_id": caller.tenant_id, "conversation_id": conversation_id, "now": self._clock.now()}
            await tx.execute(_CLOSE, key)

    async def challenge(self, conversation_id: str, request: ChallengeRequest, caller: Caller) -> ChallengeView:
        """Send a one-time code to the conversation's subject or, while unknown, to the claimed contact point."""
        kind = CONTACT_OF[request.method]
        async with tenant_transaction(self._engine, caller.tenant_id) as tx:
            facts = await own_conversation(tx, caller, conversation_id)
            value = await self._address(tx, facts, kind, _named(request, kind, caller))
        return await self._codes.send(
            caller.tenant_id,
            purpose=CODE_PURPOSE,
            contact_kind=kind,
            contact_value=value,
            conversation_id=conversation_id,
            brand_name=facts.brand_name,
            client_id=caller.client_id,
        )

    async def answer(self, challenge_id: str, request: AnswerRequest, caller: Caller) -> ConversationView:
        """A right code makes the contact point's owner the subject, and is evidence for as long as its kind lasts.

        Raises CodeRefused, also for a challenge of somebody else's conversation, whose tries stay untouched.
        """
        async with tenant_transaction(self._engine, caller.tenant_id) as tx:
            try:
                owner, conversation_id = await owners.of_challenge(tx, caller.tenant_id, challenge_id)
                owners.require(caller, owner)
                conversation_of(caller, conversation_id)
            except NotFound:
                raise CodeRefused from None
        checked = await self._codes.check(caller.tenant_id, challenge_id, request.code, purpose=CODE_PURPOSE)
        async with tenant_transaction(self._engine, caller.tenant_id) as tx:
            subject_id = await self._contacts.verified_subject(
                tx, caller.tenant_id, checked.contact_kind, checked.contact_value
            )
            await self._attach(tx, caller.tenant_id, conversation_id, subject_id, checked)
            return self._view(await own_conversation(tx, caller, conversation_id))

    async def _attach(
        self, tx: AsyncConnection, tenant_id: str, conversation_id: str, subject_id: str, checked: CheckedCode
    ) -> None:
        """Name the subject once; a conversation never changes whose it is."""
        row = {"tenant_id": tenant_id, "conversation_id": conversation_id, "subject_id": subject_id}
        if (await tx.execute(_NAME_SUBJECT, row)).scalar_one_or_none() is None:
            raise CodeRefused
        await self.add_evidence(
            tx,
            tenant_id=tenant_id,
            conversation_id=conversation_id,
            subject_id=subject_id,
            kind=EVIDENCE_OF[checked.method],
            now=self._clock.now(),
            contact_kind=checked.contact_kind,
            contact_blind=self._contacts.blind_index(tenant_id, checked.contact_kind, checked.contact_value),
        )

    async def open_for_login(
        self, tx: AsyncConnection, *, tenant_id: str, brand_id: str, client_id: str, subject_id: str
    ) -> str:
        """The conversation of an assistant whose subject has just logged in; evidence is added separately."""
        row = {
            "tenant_id": tenant_id,
            "conversation_id": new_id("cnv"),
            "brand_id": brand_id,
            "channel": Channel.ASSISTANT.value,
            "client_id": client_id,
            "subject_id": subject_id,
            "claimed_kind": None,
            "claimed_blind": None,
            "claimed_sealed": None,
            "now": self._clock.now(),
        }
        await tx.execute(_NEW_CONVERSATION, row)
        return str(row["conversation_id"])

    async def add_evidence(
        self,
        tx: AsyncConnection,
        *,
        tenant_id: str,
        conversation_id: str,
        subject_id: str,
        kind: str,
        now: datetime,
        level: AssuranceLevel | None = None,
        request_sha256: str | None = None,
        contact_kind: str | None = None,
        contact_blind: bytes | None = None,
    ) -> None:
        """`kind` is one of assurance.EvidenceKind, which also says how long it lasts.

        For `level` and `request_sha256` see assurance.Evidence. What came by a contact point counts only while that is
        one subject's.
        """
        row = {
            "tenant_id": tenant_id,
            "evidence_id": new_id("evi"),
            "conversation_id": conversation_id,
            "subject_id": subject_id,
            "kind": EvidenceKind(kind).value,
            "now": now,
            "expires_at": now + TTL_OF[EvidenceKind(kind)],
            "level": level,
            "request_sha256": request_sha256,
            "contact_kind": contact_kind,
            "contact_blind": contact_blind,
        }
        await tx.execute(_NEW_EVIDENCE, row)

    def _claim(self, tenant_id: str, request: ConversationRequest) -> dict[str, object]:
        claim = request.contact_point
        if claim is None:
            return {"claimed_kind": None, "claimed_blind": None, "claimed_sealed": None}
        value = self._contacts.normalise(claim.kind, claim.value)
        return {
            "claimed_kind": claim.kind.value,
            "claimed_blind": self._contacts.blind_index(tenant_id, claim.kind, value),
            "claimed_sealed": self._contacts.seal(tenant_id, claim.kind, value),
        }

    async def _address(self, tx: AsyncConnection, facts: ConversationFacts, kind: str, named: str | None) -> str:
        if named is not None:
            return named
        if facts.subject_id is not None:
            value = await self._contacts.value_of(tx, facts.tenant_id, facts.subject_id, kind)
            if value is None:
                raise ChallengeImpossible
            return value
        if facts.claimed_kind != kind or facts.claimed_sealed is None:
            raise ChallengeImpossible
        return self._contacts.open(facts.tenant_id, facts.claimed_kind, facts.claimed_sealed)

    def _view(self, facts: ConversationFacts) -> ConversationView:
        assurance = facts.assurance(self._clock.now())
        return ConversationView(
            conversation_id=facts.conversation_id,
            assurance_level=name_of(assurance.level),
            level_expires_at=assurance.expires_at,
        )


def _named(request: ChallengeRequest, kind: str, caller: Caller) -> str | None:
    """The contact point to challenge, as the person named it to an agent; an assistant's person is known already."""
    if request.contact_point is None:
        return None
    if request.contact_point.kind != kind or caller.kind is not CallerKind.AGENT:
        raise FieldsInvalid(fields=["contact_point"])
    return request.contact_point.value


def conversation_of(caller: Caller, named: str | None) -> str:
    """An assistant's bearer carries its conversation; an agent names one. Raises ConversationMissing, NotFound."""
    caller.require_kind(CallerKind.AGENT, CallerKind.ASSISTANT)
    if caller.kind is CallerKind.ASSISTANT:
        if caller.conversation_id is None or named not in {None, caller.conversation_id}:
            raise NotFound
        return caller.conversation_id
    if named is None:
        raise ConversationMissing
    return named


async def own_conversation(tx: AsyncConnection, caller: Caller, conversation_id: str) -> ConversationFacts:
    """The caller's own open conversation. Somebody else's, a closed one and a missing one are all NotFound."""
    facts = await conversation_facts(tx, caller.tenant_id, conversation_of(caller, conversation_id))
    require_own(caller, facts)
    return facts


def require_own(caller: Caller, facts: ConversationFacts) -> None:
    """Raises NotFound unless this caller holds this conversation and it is still open."""
    owners.require(caller, owners.of_facts(facts))


_NEW_CONVERSATION = text(
    "INSERT INTO conversations (tenant_id, conversation_id, brand_id, channel, client_id, subject_id,"
    " claimed_contact_kind, claimed_contact_blind, claimed_contact_sealed, opened_at) VALUES (:tenant_id,"
    " :conversation_id, :brand_id, :channel, :client_id, :subject_id, :claimed_kind, :claimed_blind, :claimed_sealed,"
    " :now)"
)
_CLOSE = text(
    "UPDATE conversations SET closed_at = :now WHERE tenant_id = :tenant_id AND conversation_id = :conversation_id"
)
_NAME_SUBJECT = text(
    "UPDATE conversations SET subject_id = :subject_id WHERE tenant_id = :tenant_id"
    " AND conversation_id = :conversation_id AND (subject_id IS NULL OR subject_id = :subject_id) RETURNING subject_id"
)
_NEW_EVIDENCE = text(
    "INSERT INTO evidence (tenant_id, evidence_id, conversation_id, subject_id, kind, obtained_at, expires_at, level,"
    " request_sha256, contact_kind, contact_blind) VALUES (:tenant_id, :evidence_id, :conversation_id, :subject_id,"
    " :kind, :now, :expires_at, :level, :request_sha256, :contact_kind, :contact_blind)"
)
