"""Words and bounds that several requests and answers share."""

from enum import IntEnum, StrEnum
from typing import Annotated

import msgspec

IDENTIFIER_PATTERN = r"^[a-z]{3}_(?![a-z0-9_]*[0-9](?:_*[0-9]){12})[a-z0-9_]+\Z"
"""An id is looked up, and so said to the database: it has no run of digits as long as the shortest card number's."""
Identifier = Annotated[str, msgspec.Meta(min_length=5, max_length=64, pattern=IDENTIFIER_PATTERN)]
AmountMinor = Annotated[int, msgspec.Meta(gt=0, le=99_999_999)]
Currency = Annotated[str, msgspec.Meta(pattern=r"^[A-Z]{3}\Z")]
Sha256 = Annotated[str, msgspec.Meta(pattern=r"^[0-9a-f]{64}\Z")]
ChatText = Annotated[str, msgspec.Meta(min_length=1, max_length=2_000)]
LanguageTag = Annotated[
    str, msgspec.Meta(max_length=35, pattern=r"^(?!(?:.*[0-9]){8})[A-Za-z]{2,8}(-[A-Za-z0-9]{1,8})*\Z")
]
"""BCP 47 by its form (RFC 5646 section 2.1; its 4.4.1 for the length), without room for a card number."""
Code = Annotated[str, msgspec.Meta(pattern=r"^[0-9]{6}\Z")]


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


class SpendingPurpose(StrEnum):
    """What a checkout is for, as its seller says. Gift cards stand alone: they are as good as cash to a thief."""

    GOODS = "goods"
    SERVICES = "services"
    SUBSCRIPTIONS = "subscriptions"
    TRAVEL = "travel"
    GIFT_CARDS = "gift_cards"
    DONATIONS = "donations"


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
    SMS_CODE = "sms_code"
    OPENID_LOGIN = "openid_login"
    PASSKEY = "passkey"
    PHONE_APPROVAL = "phone_approval"
