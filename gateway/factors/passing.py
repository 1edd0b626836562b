"""What a challenge that was answered leaves behind: the conversation's subject, evidence, and the challenge's end."""

from dataclasses import replace
from datetime import datetime

from sqlalchemy.ext.asyncio import AsyncConnection

from gateway.assurance import EVIDENCE_OF, EvidenceKind
from gateway.contract import AssuranceLevel, ChallengeState
from gateway.conversations import Conversations
from gateway.factors import store
from gateway.factors.store import Challenge


class LinkOver(Exception):
    """No such challenge, or it is answered or over, or this is another browser; the four are not told apart."""


class NotThisSubject(Exception):
    """Somebody proved who they are, and the conversation is another's, or closed. Nothing was attached."""


async def locked_open(tx: AsyncConnection, challenge: Challenge, now: datetime) -> Challenge:
    """The challenge as it is now, locked until the transaction ends. Raises LinkOver."""
    found = await store.for_update(tx, challenge.tenant_id, challenge.challenge_id)
    if found is None or not found.open_at(now):
        raise LinkOver
    return found


async def passed(
    tx: AsyncConnection,
    conversations: Conversations,
    challenge: Challenge,
    *,
    subject_id: str,
    at: datetime,
    now: datetime,
    level: AssuranceLevel | None = None,
) -> None:
    """`at` is when the person proved themselves. `challenge` is locked. Raises NotThisSubject."""
    if challenge.subject_id not in {None, subject_id} or not await store.name_subject(tx, challenge, subject_id):
        raise NotThisSubject
    await store.finish(tx, replace(challenge, subject_id=subject_id), ChallengeState.PASSED, now)
    kinds = [EVIDENCE_OF[challenge.method]]
    if challenge.request_sha256 is not None:
        kinds.append(EvidenceKind.REQUEST_CONFIRMATION)
    for kind in kinds:
        await conversations.add_evidence(
            tx,
            tenant_id=challenge.tenant_id,
            conversation_id=challenge.conversation_id,
            subject_id=subject_id,
            kind=kind,
            now=at,
            level=level,
            request_sha256=challenge.request_sha256 if kind is EvidenceKind.REQUEST_CONFIRMATION else None,
        )
