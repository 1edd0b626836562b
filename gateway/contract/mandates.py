"""What a person consented to."""

from datetime import datetime

import msgspec

from gateway.contract.decisions import DecisionView
from gateway.contract.values import Identifier


class MandateView(msgspec.Struct, frozen=True, kw_only=True):
    """`brand_id` is where it was granted, `payees` whom it may pay.

    What is spent counts whoever of the person's assistants and agents spent it at these brands, also under an earlier
    mandate.
    """

    mandate_id: str
    brand_id: str
    payees: list[str]
    purposes: list[str]
    currency: str
    payment_cap_minor: int
    day_cap_minor: int
    window_seconds: int
    window_cap_minor: int
    window_count_max: int
    approval_above_minor: int
    spent_today_minor: int
    spent_in_window_minor: int
    bought_in_window: int
    delegates: list[str]
    state: str
    expires_at: datetime


class MandateList(msgspec.Struct, frozen=True, kw_only=True):
    """`GET /v1/mandates`: the subject's mandates for this brand, newest first; none when denied."""

    decision: DecisionView
    mandates: list[MandateView]
    next_after: str | None = None
    """There is more: hand it back as `after`."""


class RevocationRequest(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """`POST /v1/mandates/{mandate_id}/revocations`."""

    conversation_id: Identifier | None = None


class RevocationView(msgspec.Struct, frozen=True, kw_only=True):
    decision: DecisionView
    revoked: bool
