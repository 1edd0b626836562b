"""Speculative recall: its work begins while the person still speaks; only a decision on the final request shows it.

The answer says nothing and waits for nothing: what the memory opens, it opens after the answer. An allow to prepare is
no allow to see: that is decided anew, at the level of that moment, when the recall is asked for.
"""

import asyncio
from typing import Final

from gateway.callers import Caller
from gateway.contract import PreparationRequest, PreparationView
from gateway.decide import decide_recall
from gateway.deciding import Deciding
from gateway.disclosures import person_facts
from gateway.peers import Behalf, Memory
from gateway.preparations import note_preparation
from gateway.record.entries import Record
from gateway.turns import Turns
from gateway.undecided import asked
from infra.chassis import logs
from infra.chassis.client import PeerRefused
from infra.chassis.clock import Clock
from infra.chassis.ids import new_id
from infra.chassis.problems import Problem
from memory.contract import PrepareOrder, Tier

UNDER_WAY_MAX: Final = 16
"""Of one process. Beyond, nothing is prepared and the recall takes its time: guesses must not crowd out requests."""
log = logs.get_logger()


class Preparing:
    def __init__(self, deciding: Deciding, record: Record, memory: Memory, turns: Turns, clock: Clock) -> None:
        self._deciding = deciding
        self._record = record
        self._memory = memory
        self._turns = turns
        self._clock = clock
        self._under_way: set[asyncio.Task[None]] = set()

    async def prepare(self, request: PreparationRequest, caller: Caller) -> PreparationView:
        """Decide, record, answer; what is allowed is begun. Raises NotFound, ConversationMissing, CardNumberRefused."""
        self._turns.overhear(caller, request.conversation_id, request.query)
        now = self._clock.now()
        preparation_id = new_id("prp")
        async with self._deciding.transaction(asked("recall", caller, request)) as tx:
            facts = await person_facts(tx, caller, request.conversation_id, self._clock)
            decided = await self._deciding.decide(
                tx, caller.tenant_id, lambda cedar: decide_recall(cedar, facts, now)[0], told_in=None
            )
            decision = decided.decision
            body = {
                "v": 1,
                "event": "recall_prepared" if decision.allowed else "recall_not_prepared",
                "at": now.isoformat(),
                "decision_id": decided.decision_id,
                "preparation_id": preparation_id,
            }
            await self._record.append(tx, tenant_id=caller.tenant_id, decision_id=new_id("evt"), body=body)
            expires_at = await note_preparation(tx, facts.conversation, preparation_id, now)
        subject_id = facts.conversation.subject_id
        if decision.allowed and subject_id is not None:
            order = PrepareOrder(
                tenant_id=caller.tenant_id,
                brand_id=facts.conversation.brand_id,
                subject_id=subject_id,
                preparation_id=preparation_id,
                query=request.query,
                tier_max=Tier(decision.tier),
            )
            self._begin(order, Behalf(caller.client_id, decided.decision_id))
        return PreparationView(preparation_id=preparation_id, expires_at=expires_at, receipt=decided.view.receipt)

    async def settled(self) -> None:
        """Wait until nothing is under way."""
        await asyncio.gather(*self._under_way)

    async def close(self) -> None:
        for task in self._under_way:
            task.cancel()
        await asyncio.gather(*self._under_way, return_exceptions=True)

    def _begin(self, order: PrepareOrder, behalf: Behalf) -> None:
        if len(self._under_way) >= UNDER_WAY_MAX:
            log.info("preparation_skipped")
            return
        task = asyncio.ensure_future(self._ask(order, behalf))
        self._under_way.add(task)
        task.add_done_callback(self._under_way.discard)

    async def _ask(self, order: PrepareOrder, behalf: Behalf) -> None:
        """Whatever comes of it: the final request works without."""
        try:
            await self._memory.prepare(order, behalf)
        except (Problem, PeerRefused) as error:
            log.info("preparation_failed", error=type(error).__name__)
