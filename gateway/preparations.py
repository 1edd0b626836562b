"""What was prepared in which conversation: one row, used up by the next decision on a recall, whatever it says.

The row says that something may be used, and nothing about what; what was opened is in the memory service alone.
"""

from datetime import datetime, timedelta
from typing import Final

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from gateway.facts import ConversationFacts
from memory.contract import PREPARATION_TTL_SECONDS

TTL: Final = timedelta(seconds=PREPARATION_TTL_SECONDS)


async def note_preparation(
    tx: AsyncConnection, conversation: ConversationFacts, preparation_id: str, now: datetime
) -> datetime:
    """When it ends. Takes the place of an earlier one of this conversation; the tenant's expired ones go with it."""
    row = {
        "tenant_id": conversation.tenant_id,
        "conversation_id": conversation.conversation_id,
        "preparation_id": preparation_id,
        "expires_at": now + TTL,
    }
    await tx.execute(_DROP_EXPIRED, {"tenant_id": conversation.tenant_id, "now": now})
    await tx.execute(_NOTE, row)
    return now + TTL


async def take_preparation(tx: AsyncConnection, conversation: ConversationFacts, now: datetime) -> str | None:
    """The id of what was prepared in this conversation and has not ended. Of two at once one gets it."""
    key = {"tenant_id": conversation.tenant_id, "conversation_id": conversation.conversation_id}
    row = (await tx.execute(_TAKE, key)).one_or_none()
    return str(row.preparation_id) if row is not None and now < row.expires_at else None


_NOTE = text(
    "INSERT INTO recall_preparations (tenant_id, conversation_id, preparation_id, expires_at)"
    " VALUES (:tenant_id, :conversation_id, :preparation_id, :expires_at) ON CONFLICT (tenant_id, conversation_id)"
    " DO UPDATE SET preparation_id = excluded.preparation_id, expires_at = excluded.expires_at"
)
_TAKE = text(
    "DELETE FROM recall_preparations WHERE tenant_id = :tenant_id AND conversation_id = :conversation_id"
    " RETURNING preparation_id, expires_at"
)
# What another transaction holds is left to it: two that prepare at once must not wait for each other's old rows.
_DROP_EXPIRED = text(
    "DELETE FROM recall_preparations WHERE tenant_id = :tenant_id AND conversation_id IN ("
    " SELECT conversation_id FROM recall_preparations WHERE tenant_id = :tenant_id AND expires_at < :now"
    " ORDER BY expires_at LIMIT 100 FOR UPDATE SKIP LOCKED)"
)
