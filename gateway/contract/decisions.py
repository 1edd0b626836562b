"""How a decision fell, why, and what would turn a deny into an allow."""

from datetime import datetime
from enum import StrEnum

import msgspec

from gateway.contract.values import ChallengeMethod, LevelName


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
    OVER_WINDOW_CAP = "over_window_cap"
    OVER_WINDOW_COUNT = "over_window_count"
    APPROVAL_NEEDED = "approval_needed"
    APPROVAL_REFUSED = "approval_refused"
    PURPOSE_NOT_COVERED = "purpose_not_covered"
    CURRENCY_NOT_COVERED = "currency_not_covered"
    PAYEE_NOT_COVERED = "payee_not_covered"
    CALLER_NOT_COVERED = "caller_not_covered"
    SCOPE_MISSING = "scope_missing"
    QUOTE_EXPIRED = "quote_expired"
    CART_CHANGED = "cart_changed"
    OVER_REFUNDABLE = "over_refundable"
    NOT_REFUNDABLE = "not_refundable"
    TENANT_RULE = "tenant_rule"
    """A rule of the tenant's own forbids it, for a reason that the others do not name."""
    EVALUATION_ERROR = "evaluation_error"


class RemedyKind(StrEnum):
    STEP_UP = "step_up"
    LOWER_AMOUNT = "lower_amount"
    APPROVAL = "approval"
    """The person says yes to exactly this, on the page at `url`."""
    WAIT_UNTIL = "wait_until"
    """There is room again at `until`; a price quoted now may have to be quoted again by then."""
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
    """For the person's own browser: to approve, or, for an assistant, to confirm exactly this with a passkey."""
    match_code: str | None = None
    """Of a page to confirm on: tell the person; the page must show the same."""
    approval_id: str | None = None
    until: datetime | None = None


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
