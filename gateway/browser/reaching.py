"""How sure a visit is of its person: the conversation that its consent will have, and the level that this has now.

It is opened when the person is known and more than a login is asked for; what they prove then is evidence of it.
Without a consent nobody holds a bearer for it: a visit that ends half-way leaves an empty conversation, nothing else.
"""

from datetime import datetime

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from gateway.assurance import EvidenceKind
from gateway.browser import visits
from gateway.browser.login import VisitOver
from gateway.browser.visits import Visit
from gateway.contract import AssuranceLevel
from gateway.conversations import Conversations
from gateway.oauth.step_up import BY_LOGIN
from gateway.store import conversation_facts


class StepUpNeeded(Exception):
    """The person logged in; the request asks for more than that."""

    def __init__(self, visit: Visit) -> None:
        self.visit = visit
        super().__init__("more than a login is asked for")


async def held(tx: AsyncConnection, visit: Visit, browser: str, now: datetime) -> Visit:
    """As it is now, locked, with its person known. Raises VisitOver."""
    found = await visits.find(tx, visit.tenant_id, visit.visit_id, browser=browser, now=now)
    if found is None or found.subject_id is None or found.proven_at is None:
        raise VisitOver
    return found


async def conversation_of(tx: AsyncConnection, conversations: Conversations, visit: Visit) -> str:
    """Opened once, with the login as its evidence, as old as that. `visit` is held."""
    if visit.conversation_id is not None:
        return visit.conversation_id
    if visit.subject_id is None or visit.proven_at is None or visit.client_id is None or visit.brand_id is None:
        raise VisitOver
    conversation_id = await conversations.open_for_login(
        tx,
        tenant_id=visit.tenant_id,
        brand_id=visit.brand_id,
        client_id=visit.client_id,
        subject_id=visit.subject_id,
    )
    await conversations.add_evidence(
        tx,
        tenant_id=visit.tenant_id,
        conversation_id=conversation_id,
        subject_id=visit.subject_id,
        kind=EvidenceKind.LOGIN_CODE,
        now=visit.proven_at,
    )
    await visits.opened(tx, visit, conversation_id)
    return conversation_id


async def require_level(tx: AsyncConnection, visit: Visit, level: AssuranceLevel, now: datetime) -> None:
    """Raises StepUpNeeded; also for a proof that has got too old since."""
    if level <= BY_LOGIN:
        return
    if visit.conversation_id is None:
        raise StepUpNeeded(visit)
    facts = await conversation_facts(tx, visit.tenant_id, visit.conversation_id)
    if facts.assurance(now).level < level:
        raise StepUpNeeded(visit)


async def end(tx: AsyncConnection, visit: Visit, now: datetime) -> None:
    """Without a consent: what was opened for it is closed."""
    if visit.conversation_id is not None:
        row = {"tenant_id": visit.tenant_id, "conversation_id": visit.conversation_id, "now": now}
        await tx.execute(_CLOSE, row)
    await visits.end(tx, visit)


_CLOSE = text(
    "UPDATE conversations SET closed_at = :now WHERE tenant_id = :tenant_id AND conversation_id = :conversation_id"
)
