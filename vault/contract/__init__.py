"""What the vault's API takes and answers. Nothing in this file can hold a card number or a verification code.

Every call carries a grant (header `Undercroft-Grant`) whose `params_sha256` is the hash of the exact body, and whose
`tenant`, `brand` and `sub` agree with the body's, and its sender's proof (`Undercroft-Proof`). Ids are chosen by the
gateway, so a repeated call is recognised.
"""

import re
from datetime import datetime
from enum import StrEnum
from typing import Annotated

import msgspec

from vault.contract.reasons import ChargeReason as ChargeReason
from vault.contract.terms import CARD_LIKE, AmountMinor
from vault.contract.terms import AgentName as AgentName
from vault.contract.terms import Currency as Currency
from vault.contract.terms import Moment as Moment
from vault.contract.terms import TokenTerms as TokenTerms
from vault.contract.terms import TokenUses as TokenUses
from vault.contract.terms import may_be_forwarded as may_be_forwarded
from vault.contract.terms import refusals as refusals

IDENTIFIER_PATTERN = r"^[a-z]{3}_(?![a-z0-9_]*[0-9](?:_*[0-9]){12})[a-z0-9_]+\Z"
Identifier = Annotated[str, msgspec.Meta(min_length=5, max_length=64, pattern=IDENTIFIER_PATTERN)]
Label = Annotated[str, msgspec.Meta(min_length=1, max_length=120)]
_IDENTIFIER = re.compile(rf"(?=.{{5,64}}\Z){IDENTIFIER_PATTERN}")


def is_identifier(text: str) -> bool:
    """Whether it has the form of an id and hides no card number: only then it may be looked up, or shown."""
    return _IDENTIFIER.match(text) is not None


class Action(StrEnum):
    """The purpose of a grant for the vault; one grant, one action."""

    CAPTURE_CARD = "capture_card"
    READ_CAPTURE = "read_capture"
    OPEN_CAPTURE = "open_capture"
    OPEN_AUTHENTICATION = "open_authentication"
    OFFER_KEYS = "offer_keys"
    TAKE_KEYED = "take_keyed"
    CHARGE = "charge"
    HOLD = "hold"
    SETTLE = "settle"
    VOID = "void"
    REFUND = "refund"
    FORWARD = "forward"


CARRIED_BY_BROWSER = frozenset({Action.OPEN_CAPTURE, Action.OPEN_AUTHENTICATION})
"""A person's browser carries these grants from the gateway's door, so no key of the gateway's proves who sends them.

Such a grant is a bearer for its 20 seconds: single-use, for one capture or one charge of one subject, from the door's
origin only. All it opens is the form in which a card can be typed for that purchase, or the page that leads to the bank
at which that charge can be confirmed.
"""


class PageLanguage(StrEnum):
    """The languages of the card page, by their BCP 47 primary subtag."""

    ENGLISH = "en"
    SPANISH = "es"
    FRENCH = "fr"
    GERMAN = "de"
    ITALIAN = "it"
    PORTUGUESE = "pt"
    DUTCH = "nl"
    JAPANESE = "ja"
    ARABIC = "ar"


class CaptureChannel(StrEnum):
    """How the card of a capture comes in. A capture takes it that way and no other."""

    PAGE = "page"
    PHONE = "phone"
    """Keyed in during a call, for an order given by telephone (vault/keyed)."""


class CaptureState(StrEnum):
    OPEN = "open"
    COMPLETED = "completed"
    EXPIRED = "expired"


class ChargeState(StrEnum):
    """Every state but UNKNOWN, NEEDS_ACTION and HELD is an end. The moves between them: `vault/states.py`."""

    APPROVED = "approved"
    """The money was taken at once."""
    DECLINED = "declined"
    FAILED = "failed"
    """Nothing was charged and nothing will be."""
    UNKNOWN = "unknown"
    """The processor did not answer; the reconciler ends this state."""
    NEEDS_ACTION = "needs_action"
    """The card's bank asks its holder (3-D Secure). Nothing is taken until they confirm; in time it ends by itself."""
    HELD = "held"
    """The card's bank holds the money for us; it is taken by a settlement, or let go by a void or by time."""
    SETTLED = "settled"
    """Held money was taken, `taken_minor` of it; the rest was let go."""
    VOIDED = "voided"
    EXPIRED = "expired"
    """Nobody settled in time; the processor let go of the money."""


class HoldEndState(StrEnum):
    DONE = "done"
    FAILED = "failed"
    """It was not done and will not be; the charge's own state says how the hold stands."""
    UNKNOWN = "unknown"


class RefundState(StrEnum):
    REFUNDED = "refunded"
    FAILED = "failed"
    UNKNOWN = "unknown"


SCREENED = frozenset({"template"})
"""Texts that are kept nowhere and read by the card screen, which tells a number from a moment in milliseconds."""


class Order(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """What every order to the vault says about whose it is.

    An id or a brand's name has no run of digits as long as a card number's: the vault keeps them in clear, as they are.
    """

    tenant_id: Identifier
    brand_id: Identifier
    subject_id: Identifier

    def __post_init__(self) -> None:
        texts = (getattr(self, name) for name in self.__struct_fields__ if name not in SCREENED)
        if any(isinstance(text, str) and CARD_LIKE.search(text) for text in texts):
            raise ValueError("a text holds as many digits as a card number")


class CaptureOrder(Order, frozen=True, forbid_unknown_fields=True, kw_only=True, omit_defaults=True):
    """`POST /v1/captures`: let one person type one card. Repeating it answers the same capture.

    `language` is that of the conversation, if it is known; without it the person's browser says. `terms` are those of
    the token. `channel` is a fact the gateway looked up. What is not there, or is a page, leaves the order the bytes,
    and so the grant, it had before there was such a member.

    `replaces_card_of` names a token of the same brand and subject: the card that is typed takes the place of the one
    under it. The token and its terms stay, so there are none to order. A token that is missing, somebody else's or
    shredded is answered 404 alike. Of captures for the same card, the first one to be filled in counts.
    """

    capture_id: Identifier
    purchase_id: Identifier
    brand_name: Label
    amount_minor: AmountMinor
    currency: Currency
    language: PageLanguage | None = None
    terms: TokenTerms | None = None
    replaces_card_of: Identifier | None = None
    channel: CaptureChannel = CaptureChannel.PAGE

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.replaces_card_of is None:
            return
        if self.terms is not None:
            raise ValueError("a token keeps its terms")
        if self.channel is not CaptureChannel.PAGE:
            raise ValueError("a card is replaced on the page")


class CaptureView(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Also the answer of `GET /v1/captures/{capture_id}` (parameters hashed: `{"capture_id": …}`).

    `earlier_token_id`: the first token of the same card of the same subject at the same brand, if there was one that
    still is of that card. Brand and last four are of the card under the token now.
    """

    capture_id: str
    state: CaptureState
    expires_at: datetime
    token_id: str | None = None
    card_brand: str | None = None
    last4: str | None = None
    earlier_token_id: str | None = None


class ChargeOrder(Order, frozen=True, forbid_unknown_fields=True, kw_only=True, omit_defaults=True):
    """`POST /v1/charges`: `charge_id` is the idempotency key; the same id with other parameters is refused (409).

    `person_present`: somebody can be sent to a page of their bank, should it ask. The first order says so for good; who
    repeats it without is told how it stands. Nobody present: a card whose bank asks is declined.

    `begin` false: for who only wants it ended. A charge that was begun is told as it stands; one that was not is failed
    at once, as `never_sent`, without the key service, and an earlier order that is still on its way begins it no more.
    """

    charge_id: Identifier
    purchase_id: Identifier
    token_id: Identifier
    amount_minor: AmountMinor
    currency: Currency
    person_present: bool = False
    begin: bool = True


class HoldOrder(ChargeOrder, frozen=True, forbid_unknown_fields=True, kw_only=True, omit_defaults=True):
    """`POST /v1/holds`: as a charge, but the money is only held. One `charge_id` is a charge or a hold, never both."""


class ChargeView(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """`taken_minor` is what was taken in all, `disputed_minor` what the card's bank took back of it for the time being.

    `hold_until` is about when a hold that nobody ends is let go; the processor decides. `action_until` is until when
    the card's holder may confirm a charge that needs it. Brand and last four are of the card it was begun with.
    """

    charge_id: str
    state: ChargeState
    amount_minor: int
    currency: str
    refunded_minor: int = 0
    reason: ChargeReason | None = None
    taken_minor: int = 0
    disputed_minor: int = 0
    hold_until: datetime | None = None
    action_until: datetime | None = None
    card_brand: str | None = None
    last4: str | None = None


class SettleOrder(Order, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """`POST /v1/settlements`: take held money, all or a part of it; the rest is let go. Once per hold."""

    settlement_id: Identifier
    charge_id: Identifier
    amount_minor: AmountMinor
    currency: Currency


class VoidOrder(Order, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """`POST /v1/voids`: let go of held money."""

    void_id: Identifier
    charge_id: Identifier


class HoldEndView(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """How a settlement or a void stands, and the charge with it. `end_id` is the settlement's or the void's id."""

    end_id: str
    state: HoldEndState
    charge: ChargeView


class RefundOrder(Order, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """`POST /v1/refunds`: at most what the charge took, less what went back already; not while it is disputed."""

    refund_id: Identifier
    charge_id: Identifier
    amount_minor: AmountMinor
    currency: Currency


class RefundView(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    refund_id: str
    charge_id: str
    state: RefundState
    amount_minor: int
    currency: str
    refunded_minor: int


ForwardTemplate = Annotated[str, msgspec.Meta(min_length=2, max_length=16_384)]
"""The body for the destination, with a slot such as `{{card.number}}` wherever a part of the card goes.

A slot is a whole value, stands where the destination's registration allows that part, and no card number may be
written out.
"""


class ForwardState(StrEnum):
    """Every state is an end: what a destination did with a lost request is nothing anybody can look up here."""

    FORWARDED = "forwarded"
    """The destination answered; `http_status` says how."""
    FAILED = "failed"
    """Nothing was sent and nothing will be."""
    UNKNOWN = "unknown"
    """The destination may have the card. It is never sent again under this id."""


class ForwardReason(StrEnum):
    """Why a forward is not `forwarded`; our words, never the destination's."""

    CARD_SHREDDED = "card_shredded"
    CARD_CLOSED = "card_closed"
    TOKEN_LIMITED = "token_limited"  # noqa: S105 - a reason, no secret
    """Its terms limit what it may be charged, until when or by whom; a destination would not be held to them."""
    VERIFICATION_CODE_MISSING = "verification_code_missing"
    DESTINATION_UNREACHABLE = "destination_unreachable"
    """No address, no connection, or a certificate that is not the destination's."""
    DESTINATION_ADDRESS_REFUSED = "destination_address_refused"
    """Its name leads into a private network."""
    CARD_UNAVAILABLE = "card_unavailable"
    """Its key was not there in time; the code, if one was wanted, is still there, and another order may go through."""
    CARD_UNREADABLE = "card_unreadable"
    CREDENTIAL_MISSING = "credential_missing"
    """What proves us to the destination is not where the operator was to put it."""
    ANSWER_LOST = "answer_lost"
    """No answer in time, or one that broke off."""
    UNDER_WAY = "under_way"
    """Another request with this id is being carried out at this moment."""
    CARRIER_LOST = "carrier_lost"
    """The process that carried it out ended in between."""


class Withheld(StrEnum):
    """Why there is an answer and no body: what cannot be searched for card data with certainty is not shown."""

    CONTENT_TYPE = "content_type"
    CONTENT_ENCODING = "content_encoding"
    TOO_LARGE = "too_large"
    UNREADABLE = "unreadable"
    UNSURE = "unsure"
    """It holds card data in a way that cannot be cut out of it."""
    NOT_KEPT = "not_kept"
    """Answers are shown once, to the request that got them."""


class ForwardOrder(Order, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """`POST /v1/forward`: send a stored card to a destination that the tenant's operator registered.

    `forward_id` is the idempotency key: a card is sent at most once under it, and the same id with other parameters is
    refused (409). The grant's `act` must be one of the destination's agents.
    """

    forward_id: Identifier
    destination_id: Identifier
    token_id: Identifier
    template: ForwardTemplate


class ForwardView(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """`body` is the destination's answer written anew (JSON or a form), card data replaced; `redactions` counts it."""

    forward_id: str
    state: ForwardState
    reason: ForwardReason | None = None
    http_status: int | None = None
    content_type: str | None = None
    headers: dict[str, str] = {}
    """Those the registration names, unless card data was in them."""
    body: str | None = None
    redactions: int = 0
    withheld: Withheld | None = None
