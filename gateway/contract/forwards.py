"""Sending a stored card to a destination that the tenant's operator registered."""

from enum import StrEnum
from typing import Annotated

import msgspec

from gateway.contract.decisions import DecisionView
from gateway.contract.values import Identifier

ForwardTemplate = Annotated[str, msgspec.Meta(min_length=2, max_length=16_384)]


class ForwardRequest(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """`POST /v1/forward` by an agent with scope `forward`, for the person's card on file with this brand.

    `template` is the body for the destination, with slots such as `{{card.number}}` where the registration takes
    them (vault.contract.ForwardTemplate). `request_key` makes it repeatable: under one key a card is sent at most once.
    """

    destination_id: Identifier
    template: ForwardTemplate
    request_key: Annotated[str, msgspec.Meta(pattern=r"^[A-Za-z0-9_-]{8,64}\Z")]
    conversation_id: Identifier | None = None


class ForwardState(StrEnum):
    DENIED = "denied"
    FORWARDED = "forwarded"
    """The destination answered; `http_status` says how."""
    FAILED = "failed"
    """Nothing was sent."""
    UNKNOWN = "unknown"
    """It may have been sent, and is not sent again under this key."""


class ForwardView(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """`body` is the destination's answer without card data, shown once; `withheld` says why there is none."""

    state: ForwardState
    forward_id: str | None = None
    reason: str | None = None
    """For failed and unknown: a member of vault.contract.ForwardReason."""
    http_status: int | None = None
    content_type: str | None = None
    headers: dict[str, str] = {}
    body: str | None = None
    redactions: int = 0
    withheld: str | None = None
    """A member of vault.contract.Withheld."""
    decision: DecisionView | None = None
