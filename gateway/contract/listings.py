"""Lists, page by page. What a caller may see in them is decided by policy."""

from datetime import datetime

import msgspec

from gateway.contract.decisions import DecisionView
from gateway.contract.purchases import CardOnFile, PurchaseState


class PurchaseSummary(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    purchase_id: str
    checkout_id: str
    brand_id: str
    state: PurchaseState
    amount_minor: int
    currency: str
    created_at: datetime
    refunded_minor: int = 0
    card: CardOnFile | None = None
    paid_at: datetime | None = None


class PurchaseList(msgspec.Struct, frozen=True, kw_only=True):
    """`GET /v1/purchases` by an agent or assistant: the person's purchases from this brand, newest first."""

    decision: DecisionView
    purchases: list[PurchaseSummary]
    next_after: str | None
    """There is more: hand it back. None when this was all; a list is never cut off without saying so."""


class ConversationSummary(msgspec.Struct, frozen=True, kw_only=True):
    conversation_id: str
    brand_id: str
    channel: str
    opened_at: datetime


class ConversationList(msgspec.Struct, frozen=True, kw_only=True):
    """`GET /v1/conversations` by an agent: those that it holds and that are open, newest first."""

    conversations: list[ConversationSummary]
    next_after: str | None
    """As in PurchaseList."""
