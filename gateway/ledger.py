"""Writing money down: reserve, post, void, and the purchase's states around them. Every function runs inside `tx`.

needs_card ──▶ charging ──▶ paid
    ▲             ├──▶ unknown, needs_authentication ──▶ paid, declined, failed
    └─────────────┴──▶ declined, failed      (may be tried again: new decision, reservation and charge)
"""

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from gateway import card_rows
from gateway.cards import Card, CardPlan
from gateway.contract import PurchaseState
from gateway.errors import PurchaseUnderWay
from gateway.store import Purchase, PurchaseLookup, purchase_for_update
from gateway.windows import day_of
from infra.chassis.ids import new_id
from vault.contract import ChargeReason

RESERVATION_TTL: Final = timedelta(minutes=15)
"""Time to find a card and type it. While a charge is on its way a reservation does not end."""
UNDER_WAY: Final = frozenset({PurchaseState.CHARGING, PurchaseState.UNKNOWN, PurchaseState.NEEDS_AUTHENTICATION})
CARD_REFUSED: Final = frozenset(ChargeReason) - {
    ChargeReason.PROCESSOR_ERROR,
    ChargeReason.PROCESSOR_UNREACHABLE,
    ChargeReason.NEVER_SENT,
    ChargeReason.CARD_REPLACED,
    ChargeReason.AUTHENTICATION_EXPIRED,
}
"""After these another card is asked for; after the others the same one may be tried again."""
CARD_SPOILT: Final = frozenset(
    {
        ChargeReason.LOST_OR_STOLEN,
        ChargeReason.EXPIRED_CARD,
        ChargeReason.INCORRECT_NUMBER,
        ChargeReason.VERIFICATION_CODE_MISSING,
        ChargeReason.CARD_CLOSED,
    }
)
"""After these the card is of no use for other purchases either: another has to take its place."""
TOKEN_GONE: Final = frozenset(
    {
        ChargeReason.CARD_SHREDDED,
        ChargeReason.CARD_UNREADABLE,
        ChargeReason.TOKEN_EXPIRED,
        ChargeReason.TOKEN_SPENT,
        ChargeReason.TOKEN_NOT_FOR_AGENT,
        ChargeReason.TOKEN_NOT_FOR_CURRENCY,
        ChargeReason.TOKEN_NOT_FOR_AMOUNT,
    }
)
"""After these nothing that would take its place helps: the token is not what it is taken for here, and off file."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Attempt:
    """An allowed request to pay, about to be written down."""

    lookup: PurchaseLookup
    subject_id: str
    mandate_id: str
    client_id: str
    decision_id: str
    now: datetime
    plan: CardPlan
    new_card: bool = False
    """The person wants to pay with another card than the one on file."""


def told_as_it_is(*, going_on: bool) -> frozenset[PurchaseState]:
    """In these states a request to pay is told how its purchase stands, and nothing is decided."""
    ended = {PurchaseState.DECLINED, PurchaseState.FAILED} if going_on else set()
    return UNDER_WAY | {PurchaseState.PAID} | ended


async def reserve(tx: AsyncConnection, attempt: Attempt, earlier: Purchase | None) -> Purchase:
    """Hold the money and write the purchase, which then needs a card or is charging the card on file.

    An earlier attempt's reservation gives way to the new one; its card page stays in use where the plan says so. The
    caller has decided in this very transaction, under `store.lock_money`. Raises
    PurchaseUnderWay rather than begin again what is being charged.
    """
    quote = attempt.lookup.quote
    row: dict[str, object] = {
        "tenant_id": attempt.lookup.conversation.tenant_id,
        "purchase_id": earlier.purchase_id if earlier else new_id("pur"),
        "checkout_id": quote.checkout_id,
        "brand_id": quote.brand_id,
        "subject_id": attempt.subject_id,
        "conversation_id": attempt.lookup.conversation.conversation_id,
        "client_id": attempt.client_id,
        "cart_sha256": quote.cart_sha256,
        "amount_minor": quote.amount_minor,
        "currency": quote.currency,
        "decision_id": attempt.decision_id,
        "reservation_id": new_id("rsv"),
        "mandate_id": attempt.mandate_id,
        "day": day_of(attempt.now),
        "now": attempt.now,
        "expires_at": attempt.now + RESERVATION_TTL,
        "new_card": attempt.new_card,
    }
    if earlier is not None and (await tx.execute(_PURCHASE_AGAIN, row)).scalar_one_or_none() is None:
        raise PurchaseUnderWay
    await tx.execute(_VOID_HELD, row)
    if earlier is None:
        await tx.execute(_NEW_PURCHASE, row)
    await tx.execute(_NEW_RESERVATION, row)
    purchase = await purchase_for_update(tx, str(row["tenant_id"]), str(row["purchase_id"]))
    if attempt.plan.card is not None:
        return await begin_charge(tx, purchase, attempt.plan.card, attempt.now)
    if attempt.plan.wanted is not None:
        return await card_rows.new_capture(tx, purchase, attempt.plan.wanted, attempt.now)
    return purchase


async def begin_charge(tx: AsyncConnection, purchase: Purchase, card: Card, now: datetime) -> Purchase:
    """Write the intention down: which charge, on which card. Only then may the vault be called."""
    row = {
        "tenant_id": purchase.tenant_id,
        "purchase_id": purchase.purchase_id,
        "charge_id": new_id("chg"),
        "token_id": card.token_id,
        "card_brand": card.card_brand,
        "last4": card.last4,
        "now": now,
    }
    await tx.execute(_BEGIN_CHARGE, row)
    return await purchase_for_update(tx, purchase.tenant_id, purchase.purchase_id)


async def call_again(tx: AsyncConnection, purchase: Purchase, now: datetime) -> Purchase:
    """Count one more call of the vault for the same charge, before it is made."""
    await tx.execute(_CALL_AGAIN, {"tenant_id": purchase.tenant_id, "purchase_id": purchase.purchase_id, "now": now})
    return await purchase_for_update(tx, purchase.tenant_id, purchase.purchase_id)


async def may_begin(tx: AsyncConnection, purchase: Purchase, now: datetime) -> bool:
    """Whether a charge the vault may never have heard of may still be begun: in the time its money was reserved for.

    After that it is only ended. A reservation itself does not end while its charge may be under way.
    """
    row = _key(purchase) | {"now": now}
    return (await tx.execute(_STILL_RESERVED, row)).scalar_one_or_none() is not None


async def post(tx: AsyncConnection, purchase: Purchase, now: datetime) -> None:
    """Paid: the reservation is spent, the card is put on file if it is to be, the purchase gets its place in the row.

    The place is drawn from the brand's counter, whose row stays locked until this commits: places become visible in
    their order, so that a reader who remembers the last one misses nothing.
    """
    row = _key(purchase) | {"brand_id": purchase.brand_id, "state": "posted", "now": now}
    await tx.execute(_CLOSE_RESERVATION, row)
    await card_rows.keep(tx, purchase, now)
    row["position"] = (await tx.execute(_NEXT_POSITION, row)).scalar_one()
    await tx.execute(_PAID, row)


async def void(
    tx: AsyncConnection, purchase: Purchase, now: datetime, *, state: PurchaseState, reason: ChargeReason
) -> None:
    """Not paid: the money is free again."""
    refused = reason in CARD_REFUSED
    row = _key(purchase) | {"state": "voided", "now": now}
    await tx.execute(_CLOSE_RESERVATION, row)
    await tx.execute(_NOT_PAID, row | {"state": state.value, "reason": reason.value, "card_refused": refused})
    if reason in TOKEN_GONE:
        await card_rows.drop(tx, purchase, purchase.token_id)
    if reason in CARD_SPOILT:
        await card_rows.spoil(tx, purchase)


async def release(tx: AsyncConnection, purchase: Purchase, now: datetime) -> None:
    """Free the money of a purchase that waits for a card; the next request reserves again."""
    await tx.execute(_CLOSE_RESERVATION, _key(purchase) | {"state": "voided", "now": now})


async def ask_person(tx: AsyncConnection, purchase: Purchase) -> None:
    """The card's bank wants to ask its holder; the charge gets a door, and the money stays reserved."""
    row = _key(purchase) | {"charge_id": purchase.charge_id}
    await tx.execute(_NEEDS_AUTHENTICATION, row)
    await tx.execute(_LIST_CHARGE, row)


async def leave_unknown(tx: AsyncConnection, purchase: Purchase) -> None:
    await tx.execute(_UNKNOWN, _key(purchase))


async def void_stale(tx: AsyncConnection, tenant_id: str, now: datetime) -> list[str]:
    """End reservations nobody came back for; their purchases. Never one whose charge is on its way."""
    rows = await tx.execute(_VOID_STALE, {"tenant_id": tenant_id, "now": now})
    return [str(purchase_id) for purchase_id in rows.scalars()]


async def unfinished(
    tx: AsyncConnection, tenant_id: str, *, charging_before: datetime, unknown_before: datetime
) -> list[str]:
    """Purchases whose charge was begun and not heard of since; the longest waiting first."""
    key = {"tenant_id": tenant_id, "charging_before": charging_before, "unknown_before": unknown_before}
    return [str(purchase_id) for purchase_id in (await tx.execute(_UNFINISHED, key)).scalars()]


def _key(purchase: Purchase) -> dict[str, object]:
    return {
        "tenant_id": purchase.tenant_id,
        "purchase_id": purchase.purchase_id,
        "reservation_id": purchase.reservation_id,
    }


_VOID_HELD = text(
    "UPDATE reservations SET state = 'voided', closed_at = :now"
    " WHERE tenant_id = :tenant_id AND purchase_id = :purchase_id AND state = 'held'"
)
_NEW_PURCHASE = text(
    "INSERT INTO purchases (tenant_id, purchase_id, checkout_id, brand_id, subject_id, conversation_id, client_id,"
    " cart_sha256, amount_minor, currency, state, decision_id, reservation_id, card_refused, created_at)"
    " VALUES (:tenant_id, :purchase_id, :checkout_id, :brand_id, :subject_id, :conversation_id, :client_id,"
    " :cart_sha256, :amount_minor, :currency, 'needs_card', :decision_id, :reservation_id, :new_card, :now)"
)
_PURCHASE_AGAIN = text(
    "UPDATE purchases SET conversation_id = :conversation_id, client_id = :client_id, cart_sha256 = :cart_sha256,"
    " amount_minor = :amount_minor, currency = :currency, state = 'needs_card', decision_id = :decision_id,"
    " reservation_id = :reservation_id, card_refused = card_refused OR :new_card, reason = NULL"
    " WHERE tenant_id = :tenant_id AND purchase_id = :purchase_id AND state NOT IN ('charging', 'unknown',"
    " 'needs_authentication', 'paid') RETURNING purchase_id"
)
_NEW_RESERVATION = text(
    "INSERT INTO reservations (tenant_id, reservation_id, mandate_id, subject_id, brand_id, currency, purchase_id, day,"
    " amount_minor, state, reserved_at, expires_at) VALUES (:tenant_id, :reservation_id, :mandate_id, :subject_id,"
    " :brand_id, :currency, :purchase_id, :day, :amount_minor, 'held', :now, :expires_at)"
)
_CLOSE_RESERVATION = text(
    "UPDATE reservations SET state = :state, closed_at = :now"
    " WHERE tenant_id = :tenant_id AND reservation_id = :reservation_id AND state = 'held'"
)
_VOID_STALE = text(
    "WITH stale AS (SELECT p.purchase_id, p.reservation_id FROM purchases p JOIN reservations r USING (tenant_id,"
    " reservation_id) WHERE p.tenant_id = :tenant_id AND r.state = 'held' AND r.expires_at <= :now"
    " AND p.state NOT IN ('charging', 'unknown', 'needs_authentication', 'paid') LIMIT 100"
    " FOR UPDATE OF p SKIP LOCKED)"
    " UPDATE reservations r SET state = 'voided', closed_at = :now FROM stale WHERE r.tenant_id = :tenant_id"
    " AND r.reservation_id = stale.reservation_id AND r.state = 'held'"
    " RETURNING stale.purchase_id"
)
_BEGIN_CHARGE = text(
    "UPDATE purchases SET state = 'charging', charge_id = :charge_id, token_id = :token_id, card_brand = :card_brand,"
    " card_last4 = :last4, charge_calls = 1, called_at = :now"
    " WHERE tenant_id = :tenant_id AND purchase_id = :purchase_id"
)
_CALL_AGAIN = text(
    "UPDATE purchases SET charge_calls = charge_calls + 1, called_at = :now"
    " WHERE tenant_id = :tenant_id AND purchase_id = :purchase_id"
)
_STILL_RESERVED = text(
    "SELECT 1 FROM reservations WHERE tenant_id = :tenant_id AND reservation_id = :reservation_id"
    " AND state = 'held' AND expires_at > :now"
)
_NEXT_POSITION = text(
    "UPDATE brands SET paid_count = paid_count + 1 WHERE tenant_id = :tenant_id AND brand_id = :brand_id"
    " RETURNING paid_count"
)
_PAID = text(
    "UPDATE purchases SET state = 'paid', paid_at = :now, paid_position = :position"
    " WHERE tenant_id = :tenant_id AND purchase_id = :purchase_id"
)
_NOT_PAID = text(
    "UPDATE purchases SET state = :state, reason = :reason, card_refused = card_refused OR :card_refused,"
    " capture_id = CASE WHEN :card_refused THEN NULL ELSE capture_id END"
    " WHERE tenant_id = :tenant_id AND purchase_id = :purchase_id"
)
_UNKNOWN = text(
    "UPDATE purchases SET state = 'unknown'"
    " WHERE tenant_id = :tenant_id AND purchase_id = :purchase_id AND state = 'charging'"
)
_NEEDS_AUTHENTICATION = text(
    "UPDATE purchases SET state = 'needs_authentication'"
    " WHERE tenant_id = :tenant_id AND purchase_id = :purchase_id AND state IN ('charging', 'unknown')"
)
_LIST_CHARGE = text(
    "INSERT INTO charge_directory (charge_id, tenant_id) VALUES (:charge_id, :tenant_id) ON CONFLICT DO NOTHING"
)
_UNFINISHED = text(
    "SELECT purchase_id FROM purchases WHERE tenant_id = :tenant_id AND ("
    "(state IN ('charging', 'needs_authentication') AND called_at < :charging_before)"
    " OR (state = 'unknown' AND called_at < :unknown_before))"
    " ORDER BY called_at LIMIT 50"
)
