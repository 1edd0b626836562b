"""Challenges that a person answers elsewhere: in their browser or on their phone."""

from enum import StrEnum
from typing import Annotated

import msgspec

from gateway.contract.values import Identifier, Sha256


class ChallengeState(StrEnum):
    """Of a challenge by link or by phone. Only `passed` left evidence."""

    PENDING = "pending"
    PASSED = "passed"
    REFUSED = "refused"
    EXPIRED = "expired"
    FAILED = "failed"


class ConfirmPurchase(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True, tag="purchase"):
    """The person is shown what the checkout costs and what is in it, as it was quoted."""

    checkout_id: Identifier
    cart_sha256: Sha256


class ConfirmRecall(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True, tag="recall"):
    """The person is shown the question; `POST /v1/recalls` with the same two may then see everything, once."""

    query: Annotated[str, msgspec.Meta(max_length=500)] = ""
    limit: Annotated[int, msgspec.Meta(ge=1, le=50)] = 10


Confirm = ConfirmPurchase | ConfirmRecall
