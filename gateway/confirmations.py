"""Confirmed: this very request, once. What a person agreed to is bound by its hash and spent by the decision on it."""

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from gateway.assurance import EvidenceKind, confirmation_for
from gateway.contract import AssuranceLevel
from gateway.facts import ConversationFacts
from infra.chassis.canonical import parameters_sha256


def confirmable(action: str, conversation_id: str, parameters: Mapping[str, Any]) -> str:
    """The hash that REQUEST_CONFIRMATION evidence carries: of one action in one conversation with all its parameters.

    Whoever asks the person to confirm computes it from what the person is shown; the decision, from what it decides on.
    """
    return parameters_sha256({"action": action, "conversation_id": conversation_id, "parameters": parameters})


async def level_for(
    tx: AsyncConnection, conversation: ConversationFacts, now: datetime, action: str, parameters: Mapping[str, Any]
) -> AssuranceLevel:
    """How sure we are for this very request. A confirmation that this counts on is spent, whatever is then decided.

    Of two equal requests at once one is confirmed: the other waits for the row and finds it spent.
    """
    if all(item.kind != EvidenceKind.REQUEST_CONFIRMATION for item in conversation.evidence):
        return conversation.assurance(now).level
    request = confirmable(action, conversation.conversation_id, parameters)
    level = conversation.assurance(now, request).level
    if level is AssuranceLevel.CONFIRMED and not await _spend(tx, conversation, now, request):
        return conversation.assurance(now).level
    return level


async def _spend(tx: AsyncConnection, conversation: ConversationFacts, now: datetime, request: str) -> bool:
    found = confirmation_for(conversation.evidence, conversation.person(now), now, request)
    if found is None:
        return False
    row = {"tenant_id": conversation.tenant_id, "evidence_id": found.evidence_id, "now": now}
    return (await tx.execute(_SPEND, row)).scalar_one_or_none() is not None


_SPEND = text(
    "UPDATE evidence SET spent_at = :now WHERE tenant_id = :tenant_id AND evidence_id = :evidence_id"
    " AND spent_at IS NULL RETURNING evidence_id"
)
