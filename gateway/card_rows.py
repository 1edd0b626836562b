"""Cards on file and cards that are asked for, written down. Every function runs inside `tx`, beside `ledger.py`."""

from datetime import datetime

import msgspec
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from gateway.cards import Card, Wanted, kept_for
from gateway.store import Purchase, purchase_for_update
from infra.chassis.ids import new_id
from vault.contract import CaptureState, CaptureView, TokenTerms


async def new_capture(tx: AsyncConnection, purchase: Purchase, wanted: Wanted, now: datetime) -> Purchase:
    """Another card page for this purchase, or keypad; the door of an earlier one no longer opens."""
    row = {
        "tenant_id": purchase.tenant_id,
        "purchase_id": purchase.purchase_id,
        "capture_id": new_id("cap"),
        "brand_id": purchase.brand_id,
        "subject_id": purchase.subject_id,
        "amount_minor": purchase.amount_minor,
        "currency": purchase.currency,
        "channel": wanted.channel.value,
        "terms": _as_json(wanted.terms),
        "replaces_card_of": wanted.replaces_card_of,
        "language": None if wanted.language is None else wanted.language.value,
        "now": now,
    }
    for statement in (_END_CAPTURES, _NEW_CAPTURE, _LIST_CAPTURE, _USE_CAPTURE):
        await tx.execute(statement, row)
    return await purchase_for_update(tx, purchase.tenant_id, purchase.purchase_id)


async def end_capture(tx: AsyncConnection, purchase: Purchase) -> None:
    """The vault says that nobody can fill it in any more."""
    await _note_capture(tx, purchase, CaptureState.EXPIRED, None)


async def take(tx: AsyncConnection, purchase: Purchase, capture: CaptureView, now: datetime) -> Card | None:
    """The card of a capture that was filled in; None while it is not. It is on file at once where it replaces one."""
    if capture.token_id is None or capture.card_brand is None or capture.last4 is None:
        return None
    await _note_capture(tx, purchase, capture.state, capture.token_id)
    card = Card(token_id=capture.token_id, card_brand=capture.card_brand, last4=capture.last4)
    if purchase.capture is not None and purchase.capture.replaces_card_of is not None:
        await tx.execute(_REPLACED, _card_row(purchase, card) | {"now": now})
    return card


async def keep(tx: AsyncConnection, purchase: Purchase, now: datetime) -> None:
    """Put the card that has just paid on file, if it was asked for to be remembered; one that replaced another is."""
    capture = purchase.capture
    if purchase.token_id is None or purchase.card_brand is None or purchase.card_last4 is None:
        return
    card = Card(token_id=purchase.token_id, card_brand=purchase.card_brand, last4=purchase.card_last4)
    if capture is None or capture.token_id != card.token_id:
        return
    if capture.replaces_card_of is not None:  # what raced with its first payment may have found it to be of no use
        await tx.execute(_USABLE, _card_row(purchase, card))
    elif capture.is_remembered:
        of = {"agent_id": kept_for(capture.terms), "terms": _as_json(capture.terms), "now": now}
        await tx.execute(_KEEP, _card_row(purchase, card) | of)


async def charged(tx: AsyncConnection, purchase: Purchase, card_brand: str | None, last4: str | None) -> Purchase:
    """Which card the vault charged. Another than was on file here, if its person typed one and nobody came back."""
    if purchase.token_id is None or card_brand is None or last4 is None:
        return purchase
    if (card_brand, last4) == (purchase.card_brand, purchase.card_last4):
        return purchase
    card = Card(token_id=purchase.token_id, card_brand=card_brand, last4=last4)
    was = {"was_brand": purchase.card_brand, "was_last4": purchase.card_last4}
    row = _card_row(purchase, card) | {"purchase_id": purchase.purchase_id, **was}
    await tx.execute(_CHARGED, row)
    await tx.execute(_SHOW, row)
    return await purchase_for_update(tx, purchase.tenant_id, purchase.purchase_id)


async def drop(tx: AsyncConnection, purchase: Purchase, token_id: str | None) -> None:
    """Off file: nothing is ever paid with this token again."""
    row = {"tenant_id": purchase.tenant_id, "subject_id": purchase.subject_id, "token_id": token_id}
    await tx.execute(_DROP, row)


async def spoil(tx: AsyncConnection, purchase: Purchase) -> None:
    """The card that was charged is of no use any more; unless another has taken its place meanwhile."""
    row = {
        "tenant_id": purchase.tenant_id,
        "subject_id": purchase.subject_id,
        "token_id": purchase.token_id,
        "card_brand": purchase.card_brand,
        "last4": purchase.card_last4,
    }
    await tx.execute(_SPOIL, row)


async def _note_capture(tx: AsyncConnection, purchase: Purchase, state: CaptureState, token_id: str | None) -> None:
    key = {"tenant_id": purchase.tenant_id, "capture_id": purchase.capture_id}
    await tx.execute(_NOTE_CAPTURE, key | {"state": state.value, "token_id": token_id})


def _card_row(purchase: Purchase, card: Card) -> dict[str, object]:
    return {
        "tenant_id": purchase.tenant_id,
        "subject_id": purchase.subject_id,
        "brand_id": purchase.brand_id,
        "token_id": card.token_id,
        "card_brand": card.card_brand,
        "last4": card.last4,
    }


def _as_json(terms: TokenTerms | None) -> str | None:
    return None if terms is None else msgspec.json.encode(terms).decode()


_END_CAPTURES = text(
    "UPDATE captures SET state = 'expired'"
    " WHERE tenant_id = :tenant_id AND purchase_id = :purchase_id AND state = 'open'"
)
_NEW_CAPTURE = text(
    "INSERT INTO captures (tenant_id, capture_id, purchase_id, brand_id, subject_id, amount_minor, currency, state,"
    " channel, terms, replaces_card_of, language, created_at) VALUES (:tenant_id, :capture_id, :purchase_id, :brand_id,"
    " :subject_id, :amount_minor, :currency, 'open', :channel, CAST(:terms AS jsonb), :replaces_card_of, :language,"
    " :now)"
)
_LIST_CAPTURE = text("INSERT INTO capture_directory (capture_id, tenant_id) VALUES (:capture_id, :tenant_id)")
_USE_CAPTURE = text(
    "UPDATE purchases SET capture_id = :capture_id WHERE tenant_id = :tenant_id AND purchase_id = :purchase_id"
)
_NOTE_CAPTURE = text(
    "UPDATE captures SET state = :state, token_id = :token_id"
    " WHERE tenant_id = :tenant_id AND capture_id = :capture_id AND state <> :state"
)
_KEEP = text(
    "INSERT INTO cards (tenant_id, subject_id, brand_id, agent_id, token_id, card_brand, last4, terms, kept_at)"
    " VALUES (:tenant_id, :subject_id, :brand_id, :agent_id, :token_id, :card_brand, :last4, CAST(:terms AS jsonb),"
    " :now) ON CONFLICT (tenant_id, subject_id, brand_id, agent_id) DO UPDATE SET token_id = excluded.token_id,"
    " card_brand = excluded.card_brand, last4 = excluded.last4, terms = excluded.terms, unusable = false,"
    " kept_at = excluded.kept_at"
)
_REPLACED = text(
    "UPDATE cards SET card_brand = :card_brand, last4 = :last4, unusable = false, kept_at = :now"
    " WHERE tenant_id = :tenant_id AND subject_id = :subject_id AND token_id = :token_id"
)
_USABLE = text(
    "UPDATE cards SET unusable = false WHERE tenant_id = :tenant_id AND subject_id = :subject_id"
    " AND token_id = :token_id AND card_brand = :card_brand AND last4 = :last4"
)
_SHOW = text(
    "UPDATE cards SET card_brand = :card_brand, last4 = :last4"
    " WHERE tenant_id = :tenant_id AND subject_id = :subject_id AND token_id = :token_id"
    " AND card_brand = :was_brand AND last4 = :was_last4"
)
_CHARGED = text(
    "UPDATE purchases SET card_brand = :card_brand, card_last4 = :last4"
    " WHERE tenant_id = :tenant_id AND purchase_id = :purchase_id AND token_id = :token_id"
)
_DROP = text("DELETE FROM cards WHERE tenant_id = :tenant_id AND subject_id = :subject_id AND token_id = :token_id")
_SPOIL = text(
    "UPDATE cards SET unusable = true WHERE tenant_id = :tenant_id AND subject_id = :subject_id"
    " AND token_id = :token_id AND card_brand = :card_brand AND last4 = :last4"
)
