"""Quotes, purchases and refunds."""

from datetime import datetime
from enum import StrEnum
from typing import Annotated

import msgspec

from gateway.contract.decisions import DecisionView
from gateway.contract.values import AmountMinor, Currency, Identifier, LanguageTag, Sha256, SpendingPurpose


class QuoteRequest(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """`PUT /v1/quotes/{checkout_id}` by mcp_server: what a checkout costs now, and by its bearer whose it is.

    Replaces the earlier quote of the same person.
    """

    brand_id: Identifier
    cart_sha256: Sha256
    amount_minor: AmountMinor
    currency: Currency
    description: Annotated[str, msgspec.Meta(min_length=1, max_length=200)]
    purposes: Annotated[tuple[SpendingPurpose, ...], msgspec.Meta(min_length=1, max_length=6)] = (
        SpendingPurpose.GOODS,
    )
    """Of everything in the cart. A seller that says nothing sells goods."""


class QuoteView(msgspec.Struct, frozen=True, kw_only=True):
    checkout_id: str
    cart_sha256: str
    amount_minor: int
    currency: str
    expires_at: datetime


class PurchaseRequest(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """`POST /v1/purchases`: pay for this checkout as quoted. One purchase a checkout; repeating it goes on with it.

    `going_on`: the caller takes it to be under way, and has not looked again at what the cart costs and whether it is
    there. Should it have ended unpaid meanwhile, that is told, and nothing is begun.

    `new_card`: the person wants to pay with another card than the one on file, or to type it instead of keying it in.
    They get the card page; until they have used it, or for this checkout ever, no other card pays. The new one takes
    the place of the one on file. `language`: in which the person is spoken with, for that page.
    """

    checkout_id: Identifier
    cart_sha256: Sha256
    conversation_id: Identifier | None = None
    going_on: bool = False
    new_card: bool = False
    language: LanguageTag | None = None


class PurchaseState(StrEnum):
    DENIED = "denied"
    NEEDS_CARD = "needs_card"
    CHARGING = "charging"
    NEEDS_AUTHENTICATION = "needs_authentication"
    """The card's bank asks its holder; the money stays reserved meanwhile, and asking again gives the outcome."""
    PAID = "paid"
    DECLINED = "declined"
    FAILED = "failed"
    UNKNOWN = "unknown"


class CardOnFile(msgspec.Struct, frozen=True, kw_only=True):
    card_brand: str
    last4: str


class PurchaseView(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A denied request has no `purchase_id` unless an earlier one for this checkout was allowed."""

    checkout_id: str
    state: PurchaseState
    amount_minor: int
    currency: str
    cart_sha256: str = ""
    purchase_id: str | None = None
    brand_id: str | None = None
    subject_id: str | None = None
    decision: DecisionView | None = None
    card_url: str | None = None
    capture_id: str | None = None
    by_keypad: bool = False
    """The card is keyed in by the caller, in this call; there is no page for it."""
    authentication_url: str | None = None
    """For needs_authentication: where the person confirms with their bank."""
    charge_id: str | None = None
    """With the link only; it names the page."""
    card: CardOnFile | None = None
    reason: str | None = None
    """For declined and failed: a member of vault.contract.ChargeReason."""
    refunded_minor: int = 0
    paid_at: datetime | None = None


class PurchasePage(msgspec.Struct, frozen=True, kw_only=True):
    """`GET /v1/purchases?state=paid&brand_id=…&after=…` by mcp_server: paid purchases in the order they were paid."""

    purchases: list[PurchaseView]
    next_after: str
    """Cursor; hand it back to get what came later. Never skips a purchase."""


class RefundRequest(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """`POST /v1/purchases/{purchase_id}/refunds` by an agent with scope `refund`. `request_key` makes it repeatable."""

    amount_minor: AmountMinor
    request_key: Annotated[str, msgspec.Meta(pattern=r"^[A-Za-z0-9_-]{8,64}\Z")]
    conversation_id: Identifier | None = None


class RefundState(StrEnum):
    DENIED = "denied"
    REFUNDED = "refunded"
    FAILED = "failed"
    UNKNOWN = "unknown"


class RefundReason(StrEnum):
    """Why a refund failed that the vault refused: nothing went back, and under its request key nothing ever will."""

    CHARGE_DISPUTED = "charge_disputed"
    CHARGE_NOT_REFUNDABLE = "charge_not_refundable"
    CURRENCY_DIFFERS = "currency_differs"
    REFUND_EXCEEDS_CHARGE = "refund_exceeds_charge"


class RefundView(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    state: RefundState
    amount_minor: int
    currency: str
    refund_id: str | None = None
    refunded_minor: int = 0
    reason: RefundReason | None = None
    """Only of a failed one. Without: the processor could not do it."""
    decision: DecisionView | None = None
