"""What is told about a person, and what is kept: recall, remember, forget. Each leaves one entry in the record."""

from collections.abc import Awaitable
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any, Final, TypeVar

import msgspec
from sqlalchemy.ext.asyncio import AsyncConnection

import memory.contract
from gateway.assurance import name_of
from gateway.callers import Caller, CallerKind
from gateway.cedar import Cedar
from gateway.confirmations import level_for
from gateway.contract import (
    DecisionView,
    ForgetRequest,
    ForgetView,
    RecalledMemory,
    RecallRequest,
    RecallView,
    RememberedView,
    RememberRequest,
)
from gateway.conversations import conversation_of, own_conversation
from gateway.decide import Decision, decide_about_person, decide_recall
from gateway.deciding import Deciding
from gateway.errors import MemoryRefused
from gateway.facts import ConversationFacts, PersonFacts
from gateway.peers import Behalf, Memory
from gateway.preparations import take_preparation
from gateway.store import note_use
from gateway.turns import Turns
from gateway.undecided import asked
from infra.chassis.client import PeerRefused
from infra.chassis.clock import Clock
from infra.chassis.ids import new_id
from infra.chassis.problems import PeerUnreachable
from memory.contract import ForgetOrder, MemoryView, Provenance, RecallOrder, ReleaseOrder, RememberOrder, Source, Tier

SURE_PERCENT: Final = 80
"""An agent or assistant states it itself: it was there, and may have misunderstood."""
HEARSAY_PERCENT: Final = 60
"""The caller says that the subject said so, which nobody can check."""
RELAYED: Final = frozenset({409, 422})
"""What the memory says about the text or about its room; everything else is a failure between us and it."""
V = TypeVar("V")
Asked = RecallRequest | RememberRequest | ForgetRequest


@dataclass(frozen=True, slots=True)
class Told:
    """A recorded decision and the facts it was made from."""

    facts: PersonFacts
    decision: Decision
    decision_id: str
    view: DecisionView
    preparation_id: str | None = None
    """Of a recall: what was prepared in this conversation and is used up by this decision, whatever it says."""

    @property
    def tier_max(self) -> int:
        return self.decision.tier

    @property
    def subject_id(self) -> str:
        """Only after an allow, which no decision gives without a subject."""
        subject_id = self.facts.conversation.subject_id
        if subject_id is None:
            msg = "a memory was allowed for nobody"
            raise RuntimeError(msg)
        return subject_id


class Disclosures:
    def __init__(self, deciding: Deciding, memory: Memory, turns: Turns, clock: Clock) -> None:
        self._deciding = deciding
        self._turns = turns
        self._memory = memory
        self._clock = clock

    async def recall(self, request: RecallRequest, caller: Caller) -> RecallView:
        """What the present level may see, and which levels would see more: the same whether or not there is more."""
        self._turns.hear(caller, request.conversation_id, request.query)
        told = await self._decide("recall", request, caller)
        memories: list[RecalledMemory] = []
        if told.decision.allowed:
            found = await self._found(request, caller, told)
            memories = [_recalled(item) for item in found.memories if item.tier <= told.tier_max]
        return RecallView(
            assurance_level=name_of(told.facts.level),
            tier_max=told.tier_max,
            memories=memories,
            decision=told.view,
        )

    async def _found(self, request: RecallRequest, caller: Caller, told: Told) -> memory.contract.RecallView:
        order = RecallOrder(
            tenant_id=caller.tenant_id,
            brand_id=told.facts.conversation.brand_id,
            subject_id=told.subject_id,
            query=request.query,
            tier_max=Tier(told.tier_max),
            limit=request.limit,
        )
        behalf = Behalf(caller.client_id, told.decision_id)
        if told.preparation_id is None or told.preparation_id != request.preparation_id:
            return await _answer(self._memory.recall(order, behalf))
        release = ReleaseOrder(**msgspec.structs.asdict(order), preparation_id=told.preparation_id)
        return await _answer(self._memory.release(release, behalf))

    async def remember(self, request: RememberRequest, caller: Caller) -> RememberedView:
        """Keep a text, with the provenance that the gateway knows; the memory finds its tier."""
        self._turns.hear(caller, request.conversation_id, request.text)
        told = await self._decide("remember", request, caller)
        if not told.decision.allowed:
            return RememberedView(decision=told.view)
        order = RememberOrder(
            tenant_id=caller.tenant_id,
            brand_id=told.facts.conversation.brand_id,
            subject_id=told.subject_id,
            memory_id=new_id("mem"),
            text=request.text,
            provenance=_provenance(caller, told.facts.conversation, said_by_subject=request.said_by_subject),
        )
        kept = await _answer(self._memory.remember(order, Behalf(caller.client_id, told.decision_id)))
        return RememberedView(decision=told.view, memory_id=kept.memory_id, tier=int(kept.tier))

    async def forget(self, request: ForgetRequest, caller: Caller) -> ForgetView:
        told = await self._decide("forget", request, caller)
        if not told.decision.allowed:
            return ForgetView(decision=told.view, forgotten=False)
        order = ForgetOrder(
            tenant_id=caller.tenant_id,
            brand_id=told.facts.conversation.brand_id,
            subject_id=told.subject_id,
            memory_id=request.memory_id,
        )
        gone = await _answer(self._memory.forget(order, Behalf(caller.client_id, told.decision_id)))
        return ForgetView(decision=told.view, forgotten=gone.forgotten)

    async def _decide(self, action: str, request: Asked, caller: Caller) -> Told:
        now = self._clock.now()
        async with self._deciding.transaction(asked(action, caller, request)) as tx:
            facts = await person_facts(tx, caller, request.conversation_id, self._clock)
            level = await level_for(tx, facts.conversation, now, action, _parameters(request))
            facts, preparation_id = replace(facts, level=level), None
            decided = await self._deciding.decide(
                tx, caller.tenant_id, lambda cedar: _decision(cedar, action, facts, now), told_in=facts.conversation
            )
            if decided.decision.allowed:
                await note_use(tx, facts.conversation, now)
            if action == "recall":
                preparation_id = await take_preparation(tx, facts.conversation, now)
        return Told(facts, decided.decision, decided.decision_id, decided.view, preparation_id)


def _decision(cedar: Cedar, action: str, facts: PersonFacts, now: datetime) -> Decision:
    if action == "recall":
        return decide_recall(cedar, facts, now)[0]
    return decide_about_person(cedar, action, facts, now)


async def person_facts(tx: AsyncConnection, caller: Caller, named: str | None, clock: Clock) -> PersonFacts:
    """Of the caller's own conversation. Raises NotFound, ConversationMissing."""
    now = clock.now()
    conversation = (await own_conversation(tx, caller, conversation_of(caller, named))).about_person(now)
    return PersonFacts(caller=caller, conversation=conversation, level=conversation.assurance(now).level)


def _parameters(request: Asked) -> dict[str, Any]:
    """What a person confirms: not where it was said, and not how the answer was made ready."""
    named = msgspec.structs.asdict(request).items()
    return {name: value for name, value in named if name not in {"conversation_id", "preparation_id"}}


def _provenance(caller: Caller, conversation: ConversationFacts, *, said_by_subject: bool) -> Provenance:
    """Who, where and how sure: from the bearer and the conversation. That the subject said it is the caller's word."""
    source = Source.ASSISTANT if caller.kind is CallerKind.ASSISTANT else Source.AGENT
    return Provenance(
        source=Source.SUBJECT if said_by_subject else source,
        channel=conversation.channel,
        conversation_id=conversation.conversation_id,
        client_id=caller.client_id,
        confidence_percent=HEARSAY_PERCENT if said_by_subject else SURE_PERCENT,
    )


def _recalled(item: MemoryView) -> RecalledMemory:
    return RecalledMemory(
        memory_id=item.memory_id,
        text=item.text,
        tier=int(item.tier),
        source=item.provenance.source.value,
        channel=item.provenance.channel,
        confidence_percent=item.provenance.confidence_percent,
        remembered_at=item.remembered_at,
    )


async def _answer(call: Awaitable[V]) -> V:
    """The memory's answer. Raises MemoryRefused with the memory's own status and code, or PeerUnreachable."""
    try:
        return await call
    except PeerRefused as refused:
        if refused.status in RELAYED:
            raise MemoryRefused(status=refused.status, code=refused.code) from None
        raise PeerUnreachable(code="memory_unreachable") from refused
