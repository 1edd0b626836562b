"""What the gateway's API takes and answers.

Bearer in `Authorization`; an agent names its conversation, an assistant's bearer carries it. Nothing here lets a caller
state an owner, a price, a level or a tier.
"""

from datetime import datetime
from enum import IntEnum, StrEnum
from typing import Annotated

import msgspec

Identifier = Annotated[str, msgspec.Meta(min_length=5, max_length=64, pattern=r"^[a-z]{3}_[a-z0-9_]+$")]
AmountMinor = Annotated[int, msgspec.Meta(gt=0, le=99_999_999)]
Currency = Annotated[str, msgspec.Meta(pattern=r"^[A-Z]{3}$")]
Sha256 = Annotated[str, msgspec.Meta(pattern=r"^[0-9a-f]{64}$")]
ChatText = Annotated[str, msgspec.Meta(min_length=1, max_length=2_000)]
Code = Annotated[str, msgspec.Meta(pattern=r"^[0-9]{6}$")]


class AssuranceLevel(IntEnum):
    """How sure we are that it is the subject. Ordered; written in JSON by name, in lower case."""

    ANONYMOUS = 0
    RECOGNISED = 1
    VERIFIED = 2
    STRONG = 3
    CONFIRMED = 4


class LevelName(StrEnum):
    ANONYMOUS = "anonymous"
    RECOGNISED = "recognised"
    VERIFIED = "verified"
    STRONG = "strong"
    CONFIRMED = "confirmed"


class Channel(StrEnum):
    CHAT = "chat"
    EMAIL = "email"
    VOICE = "voice"
    BACK_OFFICE = "back_office"
    ASSISTANT = "assistant"


class ContactKind(StrEnum):
    EMAIL = "email"
    PHONE = "phone"


class ChallengeMethod(StrEnum):
    EMAIL_CODE = "email_code"


class Outcome(StrEnum):
    ALLOW = "allow"
    DENY = "deny"


class Reason(StrEnum):
    """Why a decision fell as it did. Closed: a new reason is a change of the contract."""

    WITHIN_MANDATE = "within_mandate"
    WITHIN_LEVEL = "within_level"
    CALLER_MAY = "caller_may"
    ASSURANCE_TOO_LOW = "assurance_too_low"
    SUBJECT_UNKNOWN = "subject_unknown"
    NO_MANDATE = "no_mandate"
    MANDATE_REVOKED = "mandate_revoked"
    MANDATE_EXPIRED = "mandate_expired"
    OVER_PAYMENT_CAP = "over_payment_cap"
    OVER_DAY_CAP = "over_day_cap"
    CURRENCY_NOT_COVERED = "currency_not_covered"
    PAYEE_NOT_COVERED = "payee_not_covered"
    CALLER_NOT_COVERED = "caller_not_covered"
    SCOPE_MISSING = "scope_missing"
    QUOTE_EXPIRED = "quote_expired"
    CART_CHANGED = "cart_changed"
    OVER_REFUNDABLE = "over_refundable"
    NOT_REFUNDABLE = "not_refundable"
    EVALUATION_ERROR = "evaluation_error"


class RemedyKind(StrEnum):
    STEP_UP = "step_up"
    LOWER_AMOUNT = "lower_amount"
    NEW_MANDATE = "new_mandate"
    NEW_QUOTE = "new_quote"


class Remedy(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What would turn this deny into an allow, computed by deciding again on changed facts."""

    kind: RemedyKind
    level: LevelName | None = None
    methods: list[ChallengeMethod] | None = None
    amount_minor_max: int | None = None
    currency: str | None = None
    url: str | None = None


class Receipt(msgspec.Struct, frozen=True, kw_only=True):
    """A signed promise that this decision's leaf is in the tenant's record."""

    decision_id: str
    leaf_sha256: str
    signed_at: datetime
    key_id: str
    signature: str
    """Ed25519 over the RFC 8785 form of the other four fields plus `tenant_id`; base64url, no padding."""


class DecisionView(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    outcome: Outcome
    reasons: list[Reason]
    receipt: Receipt
    remedies: list[Remedy] = []


class ContactPoint(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    kind: ContactKind
    value: Annotated[str, msgspec.Meta(min_length=3, max_length=254)]


class ConversationRequest(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """`POST /v1/conversations` by an agent. The contact point is a claim: whom to challenge. It proves nothing."""

    brand_id: Identifier
    channel: Channel
    contact_point: ContactPoint | None = None


class ConversationView(msgspec.Struct, frozen=True, kw_only=True):
    """Says nothing about whether the claimed contact point is known."""

    conversation_id: str
    assurance_level: LevelName
    level_expires_at: datetime | None = None


class ChallengeRequest(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """`POST /v1/conversations/{conversation_id}/challenges`."""

    method: ChallengeMethod


class ChallengeView(msgspec.Struct, frozen=True, kw_only=True):
    challenge_id: str
    method: ChallengeMethod
    sent_to: str
    """Masked as the caller named it, e.g. `a•••@example.com`."""
    expires_at: datetime
    tries_left: int


class AnswerRequest(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """`POST /v1/challenges/{challenge_id}/answers`."""

    code: Code


class QuoteRequest(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """`PUT /v1/quotes/{checkout_id}` by mcp_server: what a checkout costs now, and by its bearer whose it is.

    Replaces the earlier quote of the same person.
    """

    brand_id: Identifier
    cart_sha256: Sha256
    amount_minor: AmountMinor
    currency: Currency
    description: Annotated[str, msgspec.Meta(min_length=1, max_length=200)]


class QuoteView(msgspec.Struct, frozen=True, kw_only=True):
    checkout_id: str
    cart_sha256: str
    amount_minor: int
    currency: str
    expires_at: datetime


class PurchaseRequest(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """`POST /v1/purchases`: pay for this checkout as quoted. One purchase a checkout; repeating it goes on with it."""

    checkout_id: Identifier
    cart_sha256: Sha256
    conversation_id: Identifier | None = None


class PurchaseState(StrEnum):
    DENIED = "denied"
    NEEDS_CARD = "needs_card"
    CHARGING = "charging"
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
    request_key: Annotated[str, msgspec.Meta(pattern=r"^[A-Za-z0-9_-]{8,64}$")]
    conversation_id: Identifier | None = None


class RefundState(StrEnum):
    DENIED = "denied"
    REFUNDED = "refunded"
    FAILED = "failed"
    UNKNOWN = "unknown"


class RefundView(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    state: RefundState
    amount_minor: int
    currency: str
    refund_id: str | None = None
    refunded_minor: int = 0
    decision: DecisionView | None = None


class RememberRequest(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """`POST /v1/memories`. `said_by_subject` is the caller's word; provenance keeps it so, with less confidence."""

    text: ChatText
    said_by_subject: bool = False
    conversation_id: Identifier | None = None


class RememberedView(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    decision: DecisionView
    memory_id: str | None = None
    tier: int | None = None


class RecallRequest(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """`POST /v1/recalls`."""

    query: Annotated[str, msgspec.Meta(max_length=500)] = ""
    limit: Annotated[int, msgspec.Meta(ge=1, le=50)] = 10
    conversation_id: Identifier | None = None


class RecalledMemory(msgspec.Struct, frozen=True, kw_only=True):
    memory_id: str
    text: str
    tier: int
    source: str
    channel: str
    confidence_percent: int
    remembered_at: datetime


class RecallView(msgspec.Struct, frozen=True, kw_only=True):
    """`remedies` name the levels that would show higher tiers, whether or not there is anything there."""

    assurance_level: LevelName
    tier_max: int
    memories: list[RecalledMemory]
    decision: DecisionView


class ForgetRequest(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """`POST /v1/erasures`: one memory, or everything the brand's tenant remembers of this subject."""

    memory_id: Identifier | None = None
    conversation_id: Identifier | None = None


class ForgetView(msgspec.Struct, frozen=True, kw_only=True):
    decision: DecisionView
    forgotten: bool


class MandateView(msgspec.Struct, frozen=True, kw_only=True):
    mandate_id: str
    brand_id: str
    currency: str
    payment_cap_minor: int
    day_cap_minor: int
    spent_today_minor: int
    delegates: list[str]
    state: str
    expires_at: datetime


class MandateList(msgspec.Struct, frozen=True, kw_only=True):
    """`GET /v1/mandates`: the subject's mandates for this brand, newest first; none when denied."""

    decision: DecisionView
    mandates: list[MandateView]


class RevocationRequest(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """`POST /v1/mandates/{mandate_id}/revocations`."""

    conversation_id: Identifier | None = None


class RevocationView(msgspec.Struct, frozen=True, kw_only=True):
    decision: DecisionView
    revoked: bool


class RecordCheckpoint(msgspec.Struct, frozen=True, kw_only=True):
    """`GET /v1/record/checkpoint`: the newest signed tree head, as a C2SP signed note."""

    tree_size: int
    root_sha256: str
    note: str
    verifier_key: str
    """`name+key id+key` as verifiers of notes take it. Trust it from a place of your own, not from beside the note."""


class RecordInclusion(msgspec.Struct, frozen=True, kw_only=True):
    """RFC 9162 section 2.1.3: the hashes beside the way from leaf to root, lowest first."""

    tree_index: int
    path_sha256: list[str]
    checkpoint: RecordCheckpoint


class RecordEntry(msgspec.Struct, frozen=True, kw_only=True):
    """`GET /v1/record/entries/{decision_id}`. Its leaf is SHA-256 of a zero byte and `canonical` in UTF-8."""

    decision_id: str
    canonical: str
    leaf_sha256: str
    inclusion: RecordInclusion | None
    """None in the second before it is sealed."""


class RecordVerification(msgspec.Struct, frozen=True, kw_only=True):
    """`POST /v1/record/verifications`: everything recomputed from the stored entries."""

    intact: bool
    tree_size: int
    unsealed: int
    findings: list[str]
