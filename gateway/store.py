"""Facts, looked up: each query is one statement, scoped by tenant, named for what it returns."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import msgspec
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from gateway.assurance import Evidence, to_note_as_used
from gateway.cards import Capture, Card
from gateway.contract import PurchaseState
from gateway.facts import ApprovalFacts, ApprovalState, ConversationFacts, MandateFacts, QuoteFacts
from gateway.spending import BUT_FOR_THIS, TAKEN, TAKINGS_IF_FULL, relief_of, taken_of, window_of
from gateway.windows import day_of
from infra.chassis.problems import NotFound
from vault.contract import CaptureChannel, CaptureState, PageLanguage, TokenTerms

LOCK_WAIT_MS = 5_000
"""For others who pay from the same person's mandates. Well below what any statement may take (`engine.py`), which would
say that the database is away when it is only one person's money that is busy."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Purchase:
    """The stored purchase. `refunded_minor` is what went back for certain."""

    tenant_id: str
    purchase_id: str
    checkout_id: str
    brand_id: str
    brand_name: str
    subject_id: str
    conversation_id: str
    client_id: str
    cart_sha256: str
    amount_minor: int
    currency: str
    state: PurchaseState
    decision_id: str
    reservation_id: str
    reservation_held: bool
    capture_id: str | None
    capture: Capture | None
    token_id: str | None
    charge_id: str | None
    charge_calls: int
    called_at: datetime | None
    card_brand: str | None
    card_last4: str | None
    card_refused: bool
    reason: str | None
    refunded_minor: int
    paid_at: datetime | None
    paid_position: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class PurchaseLookup:
    """Everything known about one request to pay: read in one statement."""

    quote: QuoteFacts
    conversation: ConversationFacts
    mandate: MandateFacts | None
    card: Card | None
    """Kept for this caller, or for whoever has a mandate."""
    remembers_card: bool
    """The mandate lets cards be kept, and those that are be used."""
    approvals: tuple[ApprovalFacts, ...]
    """Asked of this person for this checkout by this caller, newest first."""


async def conversation_facts(tx: AsyncConnection, tenant_id: str, conversation_id: str) -> ConversationFacts:
    """The conversation with all its evidence. Raises NotFound."""
    key = {"tenant_id": tenant_id, "conversation_id": conversation_id}
    row = (await tx.execute(_CONVERSATION, key)).mappings().one_or_none()
    if row is None:
        raise NotFound
    return _conversation(row)


async def note_use(tx: AsyncConnection, facts: ConversationFacts, now: datetime) -> None:
    """A decision counted on this conversation's evidence: it does not idle away yet. Mostly writes nothing."""
    used = to_note_as_used(facts.evidence, facts.subject_id, now)
    if used:
        await tx.execute(_NOTE_USE, {"tenant_id": facts.tenant_id, "used": used, "now": now})


async def lock_money(tx: AsyncConnection, *, tenant_id: str, checkout_id: str, conversation_id: str) -> frozenset[str]:
    """Queue behind others who pay for this checkout or from this person's mandates, until the transaction ends.

    The purchase itself too: a charge begun meanwhile must be seen, or this request would begin another one. A statement
    of its own: what is read next must see what those others committed while this one waited. Answers the mandates that
    are locked: one that was granted, or whose person became known, while this waited is not among them.

    For LOCK_WAIT_MS at most: a DBAPIError of SQLSTATE 55P03 then says so. Later waits of the transaction are for other
    things, and are as long as any: the statement that locked lifts the bound again, in the same round trip.
    """
    key = {"tenant_id": tenant_id, "checkout_id": checkout_id, "conversation_id": conversation_id}
    await tx.execute(_WAIT_AT_MOST, {"wait": f"{LOCK_WAIT_MS}ms"})
    return frozenset((await tx.execute(_LOCK_MONEY, key)).scalar_one())


async def purchase_lookup(
    tx: AsyncConnection,
    *,
    tenant_id: str,
    checkout_id: str,
    conversation_id: str,
    delegates: tuple[str, ...],
    now: datetime,
) -> tuple[PurchaseLookup, Purchase | None]:
    """What a purchase is decided from, and the purchase itself if there is one. Raises NotFound."""
    key = {
        "tenant_id": tenant_id,
        "checkout_id": checkout_id,
        "conversation_id": conversation_id,
        "delegates": list(delegates),
        "day": day_of(now),
        "now": now,
    }
    row = (await tx.execute(_PURCHASE_LOOKUP, key)).mappings().one_or_none()
    if row is None:
        raise NotFound
    quote = QuoteFacts(
        checkout_id=checkout_id,
        brand_id=row["brand_id"],
        cart_sha256=row["cart_sha256"],
        amount_minor=row["amount_minor"],
        currency=row["currency"],
        purposes=tuple(row["purposes"]),
        expires_at=row["quote_expires_at"],
    )
    lookup = PurchaseLookup(
        quote=quote,
        conversation=_conversation(row),
        mandate=_mandate(row, now),
        card=_card(row["card"]),
        remembers_card=row["mandate"] is not None and row["mandate"]["remembers_card"],
        approvals=tuple(_approval(found) for found in row["approvals"]),
    )
    return lookup, None if row["purchase"] is None else _purchase(row["purchase"])


async def purchase_for_update(tx: AsyncConnection, tenant_id: str, purchase_id: str) -> Purchase:
    """Locked until the transaction ends. Raises NotFound."""
    key = {"tenant_id": tenant_id, "purchase_id": purchase_id}
    if (await tx.execute(_LOCK_PURCHASE, key)).scalar_one_or_none() is None:
        raise NotFound
    row = (await tx.execute(_PURCHASE, key)).mappings().one()
    return _purchase(row)


async def purchase_of(tx: AsyncConnection, tenant_id: str, purchase_id: str) -> Purchase:
    """As it is at this moment, not locked. Raises NotFound."""
    row = (await tx.execute(_PURCHASE, {"tenant_id": tenant_id, "purchase_id": purchase_id})).mappings().one_or_none()
    if row is None:
        raise NotFound
    return _purchase(row)


async def paid_purchases(
    tx: AsyncConnection, *, tenant_id: str, brand_id: str, after: int, limit: int
) -> list[Purchase]:
    """In the order they were paid, beginning after position `after`."""
    key = {"tenant_id": tenant_id, "brand_id": brand_id, "after": after, "limit": limit}
    return [_purchase(row) for row in (await tx.execute(_PAID_PURCHASES, key)).mappings()]


async def tenant_of_brand(tx: AsyncConnection, brand_id: str) -> str:
    """From the directory, before a tenant is known. Raises NotFound."""
    tenant_id = (await tx.execute(_TENANT_OF_BRAND, {"brand_id": brand_id})).scalar_one_or_none()
    if tenant_id is None:
        raise NotFound
    return str(tenant_id)


async def all_tenants(tx: AsyncConnection) -> list[str]:
    return [str(tenant_id) for tenant_id in (await tx.execute(_ALL_TENANTS)).scalars()]


def _conversation(row: Mapping[Any, Any]) -> ConversationFacts:
    return ConversationFacts(
        tenant_id=row["tenant_id"],
        conversation_id=row["conversation_id"],
        brand_id=row["conversation_brand_id"],
        brand_name=row["brand_name"],
        channel=row["channel"],
        client_id=row["conversation_client_id"],
        subject_id=row["subject_id"],
        claimed_kind=row["claimed_contact_kind"],
        claimed_sealed=row["claimed_contact_sealed"],
        closed=row["closed"],
        takes_phone_orders=row["phone_orders"],
        evidence=tuple(
            Evidence(**{**item, **{name: _moment(item[name]) for name in ("obtained_at", "expires_at", "used_at")}})
            for item in row["evidence"]
        ),
    )


def _mandate(row: Mapping[Any, Any], now: datetime) -> MandateFacts | None:
    found = row["mandate"]
    if found is None:
        return None
    return MandateFacts(
        mandate_id=found["mandate_id"],
        subject_id=found["subject_id"],
        payees=tuple(found["payees"]),
        purposes=tuple(found["purposes"]),
        currency=found["currency"],
        payment_cap_minor=found["payment_cap_minor"],
        day_cap_minor=found["day_cap_minor"],
        window=window_of(found),
        approval_above_minor=found["approval_above_minor"],
        taken=taken_of(row["taken"]),
        relief=relief_of(row["takings"], row["amount_minor"], found, now),
        delegates=tuple(found["delegates"]),
        revoked=found["revoked_at"] is not None,
        expires_at=datetime.fromisoformat(found["expires_at"]),
    )


def _approval(row: Mapping[Any, Any]) -> ApprovalFacts:
    expires_at = datetime.fromisoformat(row["expires_at"])
    return ApprovalFacts(**{**row, "state": ApprovalState(row["state"]), "expires_at": expires_at})


def _card(row: Mapping[Any, Any] | None) -> Card | None:
    return None if row is None else Card(**{**row, "terms": _terms(row["terms"])})


def _capture(row: Mapping[Any, Any] | None) -> Capture | None:
    if row is None:
        return None
    return Capture(
        **{
            **row,
            "state": CaptureState(row["state"]),
            "channel": CaptureChannel(row["channel"]),
            "terms": _terms(row["terms"]),
            "language": None if row["language"] is None else PageLanguage(row["language"]),
        }
    )


def _terms(kept: Any) -> TokenTerms | None:
    return None if kept is None else msgspec.convert(kept, TokenTerms)


def _purchase(row: Mapping[Any, Any]) -> Purchase:
    """From a row, or from a row as JSON, in which times are text."""
    times = {name: _moment(row[name]) for name in ("called_at", "paid_at")}
    return Purchase(**{**row, **times, "state": PurchaseState(row["state"]), "capture": _capture(row["capture"])})


def _moment(value: str | datetime | None) -> datetime | None:
    return datetime.fromisoformat(value) if isinstance(value, str) else value


_EVIDENCE = (
    "(SELECT coalesce(json_agg(json_build_object('evidence_id', e.evidence_id, 'subject_id', e.subject_id, 'kind',"
    " e.kind, 'obtained_at', e.obtained_at, 'expires_at', e.expires_at, 'used_at', e.used_at, 'level', e.level,"
    " 'request_sha256', e.request_sha256, 'spent', e.spent_at IS NOT NULL, 'shared', e.contact_blind IS NOT NULL"
    " AND ARRAY[e.subject_id] IS DISTINCT FROM (SELECT array_agg(p.subject_id) FROM contact_points p"
    " WHERE p.tenant_id = e.tenant_id AND p.kind = e.contact_kind AND p.blind_index = e.contact_blind))), '[]')"
    " FROM evidence e WHERE e.tenant_id = c.tenant_id AND e.conversation_id = c.conversation_id) AS evidence"
)
_CONVERSATION_COLUMNS = (
    "c.tenant_id, c.conversation_id, c.brand_id AS conversation_brand_id, b.name AS brand_name, b.phone_orders,"
    " c.channel, c.client_id AS conversation_client_id, c.subject_id, c.claimed_contact_kind, c.claimed_contact_sealed,"
    f" c.closed_at IS NOT NULL AS closed, {_EVIDENCE}"
)
_PURCHASE_COLUMNS = (
    "p.tenant_id, p.purchase_id, p.checkout_id, p.brand_id, b.name AS brand_name, p.subject_id, p.conversation_id,"
    " p.client_id, p.cart_sha256, p.amount_minor, p.currency, p.state, p.decision_id, p.reservation_id,"
    " EXISTS (SELECT FROM reservations r WHERE r.tenant_id = p.tenant_id AND r.reservation_id = p.reservation_id"
    " AND r.state = 'held') AS reservation_held, p.capture_id, (SELECT row_to_json(a) FROM (SELECT k.capture_id,"
    " k.state, k.channel, k.amount_minor, k.currency, k.terms, k.replaces_card_of, k.token_id, k.language"
    " FROM captures k WHERE k.tenant_id = p.tenant_id AND k.capture_id = p.capture_id) a) AS capture,"
    " p.token_id, p.charge_id,"
    " p.charge_calls, p.called_at, p.card_brand, p.card_last4, p.card_refused, p.reason,"
    " (SELECT coalesce(sum(f.amount_minor), 0)::bigint FROM refunds f WHERE f.tenant_id = p.tenant_id"
    " AND f.purchase_id = p.purchase_id"
    " AND f.state = 'refunded') AS refunded_minor, p.paid_at, p.paid_position"
)
_BRAND_OF_PURCHASE = "JOIN brands b ON b.tenant_id = p.tenant_id AND b.brand_id = p.brand_id"

_CONVERSATION = text(
    f"SELECT {_CONVERSATION_COLUMNS} FROM conversations c JOIN brands b USING (tenant_id, brand_id)"  # noqa: S608 - constants only
    " WHERE c.tenant_id = :tenant_id AND c.conversation_id = :conversation_id"
)
_NOTE_USE = text(
    "UPDATE evidence SET used_at = :now WHERE tenant_id = :tenant_id AND evidence_id = ANY(:used)"
    " AND coalesce(used_at, obtained_at) < :now"
)
_WAIT_AT_MOST = text("SELECT set_config('lock_timeout', :wait, true)")
# OFFSET 0 keeps the locking a step of its own, which is over before its row gets to what lifts the bound; NULL is the
# role's own setting. Every column is named outside, or the planner would leave out what nobody reads, lock and all.
_LOCK_MONEY = text(
    "WITH q AS (SELECT 1 FROM quotes WHERE tenant_id = :tenant_id AND checkout_id = :checkout_id FOR NO KEY UPDATE),"
    " m AS (SELECT mandate_id FROM mandates WHERE tenant_id = :tenant_id AND subject_id = (SELECT subject_id"
    " FROM conversations WHERE tenant_id = :tenant_id AND conversation_id = :conversation_id)"
    " ORDER BY mandate_id FOR NO KEY UPDATE),"
    " p AS (SELECT 1 FROM purchases WHERE tenant_id = :tenant_id AND checkout_id = :checkout_id FOR UPDATE)"
    " SELECT locked.*, set_config('lock_timeout', NULL, true) FROM (SELECT coalesce((SELECT array_agg(mandate_id)"
    " FROM m), '{}'), (SELECT count(*) FROM q) AS q, (SELECT count(*) FROM p) AS p OFFSET 0) locked"
)
_PURCHASE_LOOKUP = text(
    f"""
    SELECT {_CONVERSATION_COLUMNS}, q.brand_id, q.cart_sha256, q.amount_minor, q.currency,
        q.purposes, q.expires_at AS quote_expires_at, row_to_json(m) AS mandate, row_to_json(t) AS taken,
        l.list AS takings, coalesce(v.list, '[]') AS approvals, row_to_json(k) AS card, row_to_json(s) AS purchase
    FROM quotes q
    JOIN conversations c
        ON c.tenant_id = q.tenant_id AND c.conversation_id = :conversation_id AND c.brand_id = q.brand_id
        AND (q.subject_id IS NULL OR c.subject_id IS NULL OR q.subject_id = c.subject_id)
    JOIN brands b ON b.tenant_id = q.tenant_id AND b.brand_id = q.brand_id
    LEFT JOIN LATERAL (
        SELECT {_PURCHASE_COLUMNS} FROM purchases p
        WHERE p.tenant_id = q.tenant_id AND p.checkout_id = q.checkout_id
    ) s ON true
    LEFT JOIN LATERAL (
        SELECT token_id, card_brand, last4, terms, unusable FROM cards
        WHERE tenant_id = q.tenant_id AND subject_id = c.subject_id AND brand_id = q.brand_id
            AND agent_id IN ('', c.client_id)
        ORDER BY agent_id DESC LIMIT 1
    ) k ON true
    LEFT JOIN LATERAL (
        SELECT * FROM mandates
        WHERE tenant_id = q.tenant_id AND subject_id = c.subject_id
        ORDER BY (q.brand_id = ANY(payees) AND delegates && CAST(:delegates AS text[])
                AND revoked_at IS NULL AND expires_at > :now AND currency = q.currency) DESC,
            q.brand_id = ANY(payees) DESC, delegates && CAST(:delegates AS text[]) DESC, granted_at DESC
        LIMIT 1
    ) m ON true
    LEFT JOIN LATERAL ({TAKEN}{BUT_FOR_THIS}) t ON true
    LEFT JOIN LATERAL ({TAKINGS_IF_FULL}) l ON true
    LEFT JOIN LATERAL (
        SELECT json_agg(json_build_object('approval_id', a.approval_id, 'parameters_sha256', a.parameters_sha256,
            'expires_at', a.expires_at, 'state', CASE WHEN a.state = 'used' AND a.purchase_id = s.purchase_id
            THEN 'approved' ELSE a.state END) ORDER BY a.asked_at DESC) AS list
        FROM approvals a
        WHERE a.tenant_id = q.tenant_id AND a.checkout_id = q.checkout_id AND a.subject_id = c.subject_id
            AND a.client_id = c.client_id
    ) v ON true
    WHERE q.tenant_id = :tenant_id AND q.checkout_id = :checkout_id
    """  # noqa: S608 - constants only
)
_LOCK_PURCHASE = text(
    "SELECT purchase_id FROM purchases WHERE tenant_id = :tenant_id AND purchase_id = :purchase_id FOR UPDATE"
)
_PURCHASE = text(
    f"SELECT {_PURCHASE_COLUMNS} FROM purchases p {_BRAND_OF_PURCHASE}"  # noqa: S608 - constants only
    " WHERE p.tenant_id = :tenant_id AND p.purchase_id = :purchase_id"
)
_PAID_PURCHASES = text(
    f"SELECT {_PURCHASE_COLUMNS} FROM purchases p {_BRAND_OF_PURCHASE}"  # noqa: S608 - constants only
    " WHERE p.tenant_id = :tenant_id AND p.brand_id = :brand_id AND p.state = 'paid' AND p.paid_position > :after"
    " ORDER BY p.paid_position LIMIT :limit"
)
_TENANT_OF_BRAND = text("SELECT tenant_id FROM brand_directory WHERE brand_id = :brand_id")
_ALL_TENANTS = text("SELECT tenant_id FROM tenants ORDER BY tenant_id")
