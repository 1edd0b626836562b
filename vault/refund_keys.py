"""Under which key a refund is asked for at its processor: one key, until nothing asked under it can still happen.

A processor that knows a key does nothing twice under it, and keeps it for a day from its first use
(docs.stripe.com/api/idempotent_requests: "at least 24 hours"). Under a second key it would make a second refund, should
the first request still be in its hands and in none of its lists. So a lost answer is asked for again under the same
key, and the answer that was kept under it, be it a 500, is repeated all that day. A new key is for the day after: when
the processor, asked by our id, does not know the refund, and the last request that nobody heard of is hours old.

That costs time and no money: a refund whose first answer was a 500, and of which the processor did nothing, is asked
for anew after 23 hours. The database refuses an earlier key (migration `asked_once`).
"""

from datetime import datetime, timedelta
from typing import Final

from vault.cleartext.processors import RefundRequest
from vault.store import Tx
from vault.tables import RefundRow

KEY_LASTS: Final = timedelta(hours=23)
"""After the first use; an hour less than the processor promises, so that a slow request is still within it."""
QUIET_FOR: Final = timedelta(hours=2)
"""After the last request without an answer: no processor works on one for longer. It was cut off after seconds."""


def key_since(row: RefundRow, now: datetime) -> datetime | None:
    """Since when the key is used that it may be asked for under; None while it must not be asked for again."""
    if now - row.key_since < KEY_LASTS:
        return row.key_since
    return now if nothing_under_way(row, now) else None


def nothing_under_way(row: RefundRow, now: datetime) -> bool:
    """Whether no earlier request of it can still be carried out. `row` as it stood before one that is answered."""
    return now - row.asked_at >= QUIET_FOR


def refund_request(row: RefundRow) -> RefundRequest:
    """What to ask the processor for, under the key that is used now."""
    return RefundRequest(
        key=f"{row.tenant_id}:{row.refund_id}:refund:{int(row.key_since.timestamp())}",
        tenant_id=row.tenant_id,
        refund_id=row.refund_id,
        payment_ref=row.charge_ref,
        amount_minor=row.amount_minor,
        currency=row.currency,
    )


async def note_asking(tx: Tx, row: RefundRow, since: datetime, now: datetime) -> bool:
    """Before it is asked for again: that it is, and under which key. False when somebody else is at work on it."""
    asked = {"refund_id": row.refund_id, "since": since, "now": now, "ours_until": row.worked_until}
    return (await tx.run(_NOTE_ASKING, asked)).first() is not None


_NOTE_ASKING: Final = """
UPDATE refunds SET key_since = :since, asked_at = :now WHERE tenant_id = :tenant_id AND refund_id = :refund_id
    AND state IN ('intended', 'unknown') AND worked_until = :ours_until RETURNING refund_id"""
