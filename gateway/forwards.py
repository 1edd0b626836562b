"""Sending a person's stored card elsewhere: decided here, carried by the vault, which alone has seen the destinations.

No mandate covers it, since what the other side does with the card nobody limits: so it takes an agent with a scope of
its own, and a person proven strongly in this conversation. Whether this agent may send cards to this destination is in
the destination's registration, which the vault holds the grant's actor to.
"""

import hashlib
from datetime import datetime
from typing import Any, Final

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

import vault.contract
from gateway.callers import Caller, CallerKind
from gateway.contract import DecisionView, ForwardRequest, ForwardState, ForwardView
from gateway.decide import decide_about_person
from gateway.deciding import Deciding
from gateway.disclosures import person_facts
from gateway.errors import CardMissing, ForwardTemplateRefused, RequestKeyReused
from gateway.facts import ConversationFacts
from gateway.peers import Behalf, Vault, did_nothing
from gateway.record.entries import Record
from gateway.store import note_use
from gateway.undecided import asked
from infra.chassis import logs
from infra.chassis.client import AnswerLost, PeerRefused
from infra.chassis.clock import Clock
from infra.chassis.engine import tenant_transaction
from infra.chassis.ids import ALPHABET, BODIES, BODY_LENGTH, new_id
from infra.chassis.problems import CardNumberRefused, NotFound, PeerUnreachable, Problem
from infra.chassis.screen import find_card_number

REFUSALS: Final[dict[str, type[Problem]]] = {
    "not_found": NotFound,
    "forward_id_reused": RequestKeyReused,
    "template_refused": ForwardTemplateRefused,
    "card_number_refused": CardNumberRefused,
}
"""The vault's codes that are about the request; nothing was sent."""
log = logs.get_logger()


class Forwards:
    def __init__(self, *, engine: AsyncEngine, deciding: Deciding, record: Record, vault: Vault, clock: Clock) -> None:
        self._engine = engine
        self._deciding = deciding
        self._record = record
        self._vault = vault
        self._clock = clock

    async def forward(self, request: ForwardRequest, caller: Caller) -> ForwardView:
        """Decide anew each time, and send at most once for each request key. A denial is an answer, not an error.

        Raises NotFound, ConversationMissing, CardMissing, CardNumberRefused, RequestKeyReused, ForwardTemplateRefused
        and the vault's PeerUnreachable; after any of these nothing was sent by this request.
        """
        caller.require_kind(CallerKind.AGENT)
        if any(find_card_number(said) is not None for said in (request.template, request.request_key)):
            raise CardNumberRefused
        now = self._clock.now()
        forward_id = forward_id_of(caller, request.request_key)
        token_id = None
        async with self._deciding.transaction(asked("forward", caller, request)) as tx:
            facts = await person_facts(tx, caller, request.conversation_id, self._clock)
            decided = await self._deciding.decide(
                tx,
                caller.tenant_id,
                lambda cedar: decide_about_person(cedar, "forward", facts, now),
                told_in=facts.conversation,
            )
            if decided.decision.allowed:
                token_id = await _card_on_file(tx, facts.conversation)
                await note_use(tx, facts.conversation, now)
                if token_id is not None:
                    about = {"destination_id": request.destination_id, "template_sha256": _sha256(request.template)}
                    await self._note(tx, caller, decided.decision_id, "forward_ordered", forward_id, now, **about)
        subject_id = facts.conversation.subject_id
        if not decided.decision.allowed or subject_id is None:
            return ForwardView(state=ForwardState.DENIED, decision=decided.view)
        if token_id is None:
            raise CardMissing
        order = vault.contract.ForwardOrder(
            tenant_id=caller.tenant_id,
            brand_id=facts.conversation.brand_id,
            subject_id=subject_id,
            forward_id=forward_id,
            destination_id=request.destination_id,
            token_id=token_id,
            template=request.template,
        )
        return await self._sent(order, caller, decided.decision_id, decided.view)

    async def _sent(
        self, order: vault.contract.ForwardOrder, caller: Caller, decision_id: str, decision: DecisionView
    ) -> ForwardView:
        """Whatever the vault says, and unknown where it says nothing."""
        try:
            answer = await self._vault.forward(order, Behalf(caller.client_id, decision_id))
        except AnswerLost:
            answer = _unknown(order.forward_id)
        except PeerRefused as refused:
            if did_nothing(refused):
                raise _refusal(refused) from None
            log.warning("forward_failed", status=refused.status, code=refused.code, forward_id=order.forward_id)
            answer = _unknown(order.forward_id)
        about = {"state": answer.state.value, "reason": answer.reason, "http_status": answer.http_status}
        async with tenant_transaction(self._engine, caller.tenant_id) as tx:
            await self._note(tx, caller, decision_id, "forward_ended", order.forward_id, self._clock.now(), **about)
        return ForwardView(
            state=ForwardState(answer.state.value),
            forward_id=answer.forward_id,
            reason=answer.reason,
            http_status=answer.http_status,
            content_type=answer.content_type,
            headers=answer.headers,
            body=answer.body,
            redactions=answer.redactions,
            withheld=answer.withheld,
            decision=decision,
        )

    async def _note(
        self,
        tx: AsyncConnection,
        caller: Caller,
        decision_id: str,
        event: str,
        forward_id: str,
        now: datetime,
        **about: Any,
    ) -> None:
        """Into the record: what was ordered and how it ended; of the template its hash, nothing of an answer."""
        body = {
            "v": 1,
            "event": event,
            "at": now.isoformat(),
            "decision_id": decision_id,
            "forward_id": forward_id,
            "client_id": caller.client_id,
            **about,
        }
        await self._record.append(tx, tenant_id=caller.tenant_id, decision_id=new_id("evt"), body=body)


def forward_id_of(caller: Caller, request_key: str) -> str:
    """The same for the same key of the same caller, so that the vault knows an order that it was given before."""
    said = f"forward\n{caller.tenant_id}\n{caller.client_id}\n{request_key}"
    number, letters = int(_sha256(said), 16) % BODIES, []
    for _ in range(BODY_LENGTH):
        number, place = divmod(number, len(ALPHABET))
        letters.append(ALPHABET[place])
    return f"fwd_{''.join(letters)}"


def _unknown(forward_id: str) -> vault.contract.ForwardView:
    return vault.contract.ForwardView(
        forward_id=forward_id,
        state=vault.contract.ForwardState.UNKNOWN,
        reason=vault.contract.ForwardReason.ANSWER_LOST,
    )


def _refusal(refused: PeerRefused) -> Problem:
    kind = REFUSALS.get(refused.code)
    if kind is None:
        log.error("forward_refused", status=refused.status, code=refused.code)
        return PeerUnreachable(code="vault_unreachable")
    if kind is RequestKeyReused:
        return RequestKeyReused(detail="This request key was used for another forward.")
    return kind()


def _sha256(said: str) -> str:
    return hashlib.sha256(said.encode()).hexdigest()


async def _card_on_file(tx: AsyncConnection, conversation: ConversationFacts) -> str | None:
    """Of the conversation's person, with its brand: one that the brand's own agents asked for."""
    row = {
        "tenant_id": conversation.tenant_id,
        "subject_id": conversation.subject_id,
        "brand_id": conversation.brand_id,
    }
    found: str | None = (await tx.execute(_CARD, row)).scalar_one_or_none()
    return found


_CARD: Final = text(
    "SELECT token_id FROM cards WHERE tenant_id = :tenant_id AND subject_id = :subject_id AND brand_id = :brand_id"
    " AND agent_id = '' AND NOT unusable"
)
