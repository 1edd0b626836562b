"""Events from rows: what an outcome's transaction calls, one line at each outcome."""

from collections.abc import Sequence
from datetime import datetime
from typing import Final

from vault.contract import RefundState
from vault.outbox.events import (
    CardData,
    ChargeData,
    DisputeData,
    Kind,
    NewEvent,
    RefundData,
    ShreddedData,
    add_event,
    new_event,
)
from vault.store import Tx
from vault.tables import CardRow, ChargeRow, RefundRow


async def tell_charge(tx: Tx, row: ChargeRow) -> None:
    """A charge or a hold as it came out, or as a hold ended; with the card it was begun with."""
    data = ChargeData(
        charge_id=row.charge_id,
        purchase_id=row.purchase_id,
        brand_id=row.brand_id,
        subject_id=row.subject_id,
        token_id=row.token_id,
        card_brand=row.card_brand,
        last4=row.last4,
        state=row.state,
        reason=row.reason,
        amount_minor=row.amount_minor,
        taken_minor=row.taken_minor,
        currency=row.currency,
    )
    await add_event(tx, Kind(f"charge.{row.state}"), data, about=row.charge_id, at=row.updated_at)


async def tell_refund(tx: Tx, row: RefundRow, state: RefundState, at: datetime) -> None:
    data = RefundData(
        refund_id=row.refund_id,
        charge_id=row.charge_id,
        state=state.value,
        amount_minor=row.amount_minor,
        currency=row.currency,
    )
    await add_event(tx, Kind(f"refund.{state.value}"), data, about=row.charge_id, at=at)


async def tell_dispute(tx: Tx, data: DisputeData, at: datetime) -> None:
    await add_event(tx, Kind(f"dispute.{data.state}"), data, about=data.charge_id, at=at)


def card_event(kind: Kind, card: CardRow, at: datetime) -> NewEvent:
    """`kind`: CARD_STORED or CARD_UPDATED. Added where the card is: `at_once.py`."""
    data = CardData(
        token_id=card.token_id,
        brand_id=card.brand_id,
        subject_id=card.subject_id,
        card_brand=card.card_brand,
        last4=card.last4,
    )
    return new_event(card.tenant_id, kind, data, about=card.token_id, at=at)


async def tell_shredded(tx: Tx, tokens: Sequence[str], cause: str, at: datetime) -> None:
    """Those of the cards that were emptied at `at`, by this transaction; brand and last four are still there."""
    for row in (await tx.run(_SHREDDED, {"tokens": list(tokens), "at": at})).mappings().all():
        await add_event(tx, Kind.CARD_SHREDDED, ShreddedData(**row, cause=cause), about=row["token_id"], at=at)


async def tell_expired(tx: Tx, at: datetime, limit: int) -> int:
    """Cards whose month ended in the last four weeks and of which nobody was told since; how many there were.

    What was told is known by its event, which is kept for longer than that (outbox/settings.py).
    """
    found = (await tx.run(_EXPIRED, {"today": at.date(), "limit": limit})).mappings().all()
    for row in found:
        await add_event(tx, Kind.CARD_EXPIRED, CardData(**row), about=row["token_id"], at=at)
    return len(found)


_SHREDDED: Final = """SELECT token_id, brand_id, subject_id, card_brand, last4 FROM cards
    WHERE tenant_id = :tenant_id AND token_id = ANY(CAST(:tokens AS text[])) AND shredded_at = :at ORDER BY token_id"""
_EXPIRED: Final = """
SELECT token_id, brand_id, subject_id, card_brand, last4 FROM cards c
WHERE tenant_id = :tenant_id AND shredded_at IS NULL
    AND good_through < CAST(:today AS date) AND good_through >= CAST(:today AS date) - 28
    AND NOT EXISTS (SELECT 1 FROM outbox_events e WHERE e.tenant_id = c.tenant_id AND e.about = c.token_id
        AND e.kind = 'card.expired' AND e.happened_at > c.good_through)
ORDER BY token_id LIMIT :limit"""
