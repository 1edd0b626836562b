"""Whose an object is: looked up in the store, one function for each kind, one statement each, and nowhere else.

An id in a request says which object is meant and never whose it is. Missing and foreign are one answer, NotFound, after
the same statements: `require` is called on what was found, and what was not found never gets there. What is remembered
is not here: the memory is asked for one subject's memories, and that subject is their owner. Nor are captures, which
only browsers name (`captures.Captures.door`), and refunds, which are named by their purchase.
"""

from dataclasses import dataclass
from typing import Final

from sqlalchemy import TextClause, text
from sqlalchemy.ext.asyncio import AsyncConnection

from gateway.callers import Caller, CallerKind
from gateway.facts import ConversationFacts
from infra.chassis.problems import NotFound


@dataclass(frozen=True, slots=True, kw_only=True)
class Owner:
    """`client_id` is the caller that holds the object; None for what is a person's or a brand's."""

    tenant_id: str
    brand_id: str
    subject_id: str | None
    client_id: str | None = None
    closed: bool = False
    """A closed conversation is nobody's any more, and neither is what belongs to it."""


async def of_conversation(tx: AsyncConnection, tenant_id: str, conversation_id: str) -> Owner:
    """The caller that opened it, with its person as soon as that is known. Raises NotFound."""
    return await _owner(tx, _CONVERSATION, tenant_id, conversation_id)


async def of_challenge(tx: AsyncConnection, tenant_id: str, challenge_id: str) -> tuple[Owner, str]:
    """Whoever has the conversation that it was sent in, and that conversation's id.

    Raises NotFound, also for a login's challenge: that is a browser's and no caller's.
    """
    key = {"tenant_id": tenant_id, "object_id": challenge_id}
    row = (await tx.execute(_CHALLENGE, key)).mappings().one_or_none()
    if row is None:
        raise NotFound
    found = dict(row)
    conversation_id = str(found.pop("conversation_id"))
    return Owner(**found), conversation_id


async def of_checkout(tx: AsyncConnection, tenant_id: str, checkout_id: str) -> Owner:
    """The brand that quoted it, and the person it was quoted for, if it was for one. Raises NotFound."""
    return await _owner(tx, _CHECKOUT, tenant_id, checkout_id)


async def of_purchase(tx: AsyncConnection, tenant_id: str, purchase_id: str) -> Owner:
    """The person who bought, from the brand. Raises NotFound."""
    return await _owner(tx, _PURCHASE, tenant_id, purchase_id)


async def of_mandate(tx: AsyncConnection, tenant_id: str, mandate_id: str) -> Owner:
    """The person who consented, to the brand. Raises NotFound."""
    return await _owner(tx, _MANDATE, tenant_id, mandate_id)


def of_facts(facts: ConversationFacts) -> Owner:
    """Of a conversation that was read with its facts already."""
    return Owner(
        tenant_id=facts.tenant_id,
        brand_id=facts.brand_id,
        subject_id=facts.subject_id,
        client_id=facts.client_id,
        closed=facts.closed,
    )


def require(caller: Caller, owner: Owner) -> None:
    """Raises NotFound unless this caller may name the object: of its brand, held by it, its person's, not closed.

    An agent serves all people of its brand, so a person is only compared for an assistant; `require_within` compares it
    for everybody who acts in a conversation.
    """
    caller.require_brand(owner.brand_id)
    if owner.tenant_id != caller.tenant_id or owner.closed:
        raise NotFound
    if owner.client_id is not None and owner.client_id != caller.client_id:
        raise NotFound
    if caller.kind is CallerKind.ASSISTANT and owner.subject_id != caller.subject_id:
        raise NotFound


def require_within(conversation: Owner, owner: Owner) -> None:
    """Raises NotFound unless the object is of this conversation's brand and person, or of nobody in particular."""
    if (owner.tenant_id, owner.brand_id) != (conversation.tenant_id, conversation.brand_id):
        raise NotFound
    if owner.subject_id is not None and owner.subject_id != conversation.subject_id:
        raise NotFound


async def _owner(tx: AsyncConnection, query: TextClause, tenant_id: str, object_id: str) -> Owner:
    row = (await tx.execute(query, {"tenant_id": tenant_id, "object_id": object_id})).mappings().one_or_none()
    if row is None:
        raise NotFound
    return Owner(**row)


_CONVERSATION: Final = text(
    "SELECT tenant_id, brand_id, subject_id, client_id, closed_at IS NOT NULL AS closed FROM conversations"
    " WHERE tenant_id = :tenant_id AND conversation_id = :object_id"
)
_CHALLENGE: Final = text(
    "SELECT c.tenant_id, c.brand_id, c.subject_id, c.client_id, c.closed_at IS NOT NULL AS closed, c.conversation_id"
    " FROM challenges h JOIN conversations c USING (tenant_id, conversation_id)"
    " WHERE h.tenant_id = :tenant_id AND h.challenge_id = :object_id"
)
_CHECKOUT: Final = text(
    "SELECT tenant_id, brand_id, subject_id FROM quotes WHERE tenant_id = :tenant_id AND checkout_id = :object_id"
)
_PURCHASE: Final = text(
    "SELECT tenant_id, brand_id, subject_id FROM purchases WHERE tenant_id = :tenant_id AND purchase_id = :object_id"
)
_MANDATE: Final = text(
    "SELECT tenant_id, brand_id, subject_id FROM mandates WHERE tenant_id = :tenant_id AND mandate_id = :object_id"
)
