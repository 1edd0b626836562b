"""Whose conversation an agent speaks of, kept for a while: it is asked with nearly every request."""

from collections import OrderedDict
from datetime import datetime, timedelta
from typing import Final

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from infra.chassis.clock import Clock
from infra.chassis.engine import tenant_transaction

FRESH_FOR: Final = timedelta(seconds=5)
"""A person who is verified now counts against the limit of a subject at most this much later."""
KEPT_MAX: Final = 20_000


class Subjects:
    def __init__(self, engine: AsyncEngine, clock: Clock) -> None:
        self._engine = engine
        self._clock = clock
        self._kept: OrderedDict[tuple[str, str, str], tuple[datetime, str | None]] = OrderedDict()

    async def of_conversation(self, tenant_id: str, client_id: str, conversation_id: str) -> str | None:
        """None while nobody is known, and for a conversation of another client: nothing is said of that one's subject.

        Raises DatabaseUnreachable.
        """
        place, now = (tenant_id, client_id, conversation_id), self._clock.now()
        kept = self._kept.get(place)
        if kept is not None and kept[0] > now:
            return kept[1]
        async with tenant_transaction(self._engine, tenant_id) as tx:
            key = {"tenant_id": tenant_id, "client_id": client_id, "conversation_id": conversation_id}
            subject_id: str | None = (await tx.execute(_SUBJECT, key)).scalar_one_or_none()
        self._kept[place] = (now + FRESH_FOR, subject_id)
        self._kept.move_to_end(place)
        while len(self._kept) > KEPT_MAX:
            self._kept.popitem(last=False)
        return subject_id


_SUBJECT = text(
    "SELECT subject_id FROM conversations WHERE tenant_id = :tenant_id AND conversation_id = :conversation_id"
    " AND client_id = :client_id"
)
