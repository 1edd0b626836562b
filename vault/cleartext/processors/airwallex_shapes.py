"""What Airwallex answers, and what it means in our words. Pure; nothing it wrote as text leaves this file.

Shapes are those of its API reference (airwallex.com/docs/api/payments: payment_intents, payment_attempts, refunds,
payment_disputes) and of its Node SDK's models; statuses are those of airwallex.com/docs/payments/reference/
payment-statuses and …/disputes/dispute-flow, error codes those of airwallex.com/docs/payments__error-response-codes.
"""

import re
from collections.abc import Mapping
from decimal import Decimal
from typing import Final

import msgspec

from infra.chassis.screen import find_card_number
from vault.cleartext.processors import (
    CardRefused,
    Dispute,
    DisputeStanding,
    Payment,
    PaymentState,
    ProcessorRefused,
    ProcessorSilent,
    RefundResult,
    RefundStanding,
)
from vault.cleartext.processors.noted import Noted
from vault.contract import ChargeReason
from vault.currencies import minor_places

_REFERENCE: Final = re.compile(r"(?:int|rfd|dst|dis)_[A-Za-z0-9_-]{6,100}")
_PAYMENT: Final = re.compile(r"int_[A-Za-z0-9_-]{6,100}")
_STATES: Final[Mapping[str, PaymentState]] = {
    "REQUIRES_PAYMENT_METHOD": PaymentState.UNCONFIRMED,
    "REQUIRES_CUSTOMER_ACTION": PaymentState.NEEDS_AUTHENTICATION,
    "REQUIRES_CAPTURE": PaymentState.HELD,
    "PENDING": PaymentState.PROCESSING,
    "SUCCEEDED": PaymentState.SUCCEEDED,
    "CANCELLED": PaymentState.CANCELLED,
}
_FAILED: Final = "FAILED"
_LAPSED: Final = "EXPIRED"
"""Statuses of an attempt: it was refused; its hold ran out."""
_STANDINGS: Final[Mapping[str, RefundStanding]] = {
    "RECEIVED": RefundStanding.PENDING,
    "ACCEPTED": RefundStanding.SUCCEEDED,
    "SETTLED": RefundStanding.SUCCEEDED,
    "SUCCEEDED": RefundStanding.SUCCEEDED,
    "FAILED": RefundStanding.FAILED,
}
"""An accepted one is on its way to the cardholder; like Stripe's `succeeded` it may still come back days later."""
_PAGES: Final = frozenset({"redirect", "redirect_iframe"})
_NO_DATA: Final = frozenset({b"null", b"{}"})
_BEFORE_MONEY: Final = frozenset({"RFI", "PRE_CHARGEBACK"})
"""Stages in which the bank asks and has taken nothing yet."""
_WITH_MONEY: Final = frozenset({"CHARGEBACK", "PRE_ARBITRATION", "ARBITRATION"})
_BEFORE: Final[Mapping[str, DisputeStanding]] = {
    "REQUIRES_RESPONSE": DisputeStanding.INQUIRY,
    "CHALLENGED": DisputeStanding.INQUIRY,
    "PENDING_CLOSURE": DisputeStanding.INQUIRY,
    "ACCEPTED": DisputeStanding.LOST,
    "LOST": DisputeStanding.CLOSED,
    "EXPIRED": DisputeStanding.CLOSED,
    "WON": DisputeStanding.CLOSED,
    "REVERSED": DisputeStanding.CLOSED,
}
"""A case that is accepted before the chargeback costs the money, too; one that ended otherwise there costs nothing."""
_AFTER: Final[Mapping[str, DisputeStanding]] = {
    "REQUIRES_RESPONSE": DisputeStanding.OPEN,
    "CHALLENGED": DisputeStanding.OPEN,
    "PENDING_CLOSURE": DisputeStanding.OPEN,
    "PENDING_DECISION": DisputeStanding.OPEN,
    "ACCEPTED": DisputeStanding.LOST,
    "LOST": DisputeStanding.LOST,
    "EXPIRED": DisputeStanding.LOST,
    "WON": DisputeStanding.WON,
    "REVERSED": DisputeStanding.WON,
}
_BY_NETWORK: Final[Mapping[str, ChargeReason]] = {
    "14": ChargeReason.INCORRECT_NUMBER,
    "41": ChargeReason.LOST_OR_STOLEN,
    "43": ChargeReason.LOST_OR_STOLEN,
    "51": ChargeReason.INSUFFICIENT_FUNDS,
    "54": ChargeReason.EXPIRED_CARD,
    "59": ChargeReason.FRAUD_SUSPECTED,
    "65": ChargeReason.AUTHENTICATION_REQUIRED,
    "1A": ChargeReason.AUTHENTICATION_REQUIRED,
    "82": ChargeReason.INCORRECT_VERIFICATION_CODE,
    "N7": ChargeReason.INCORRECT_VERIFICATION_CODE,
    "91": ChargeReason.PROCESSOR_ERROR,
    "96": ChargeReason.PROCESSOR_ERROR,
}
"""The card networks' response codes (ISO 8583, field 39, and Visa's and Mastercard's additions)."""
_DECLINES: Final[Mapping[str, ChargeReason]] = {
    "issuer_declined": ChargeReason.CARD_DECLINED,
    "provider_declined": ChargeReason.CARD_DECLINED,
    "card_brand_not_supported": ChargeReason.CARD_DECLINED,
    "risk_declined": ChargeReason.FRAUD_SUSPECTED,
    "authentication_declined": ChargeReason.AUTHENTICATION_FAILED,
    "3ds_not_supported": ChargeReason.AUTHENTICATION_REQUIRED,
    "no_3ds_liability_shift": ChargeReason.AUTHENTICATION_REQUIRED,
}
"""Codes that say no to this card."""
_FLAWS: Final[Mapping[str, ChargeReason]] = {
    "number": ChargeReason.INCORRECT_NUMBER,
    "expiry_month": ChargeReason.EXPIRED_CARD,
    "expiry_year": ChargeReason.EXPIRED_CARD,
    "cvc": ChargeReason.INCORRECT_VERIFICATION_CODE,
}
"""The last part of `source` in a `validation_error` about the card."""
_CARD: Final = "payment_method.card."
_MAY_HAVE_ACTED: Final = frozenset({"service_unavailable", "internal_error", "too_many_requests"})
_REFUSALS: Final = frozenset({400, 401, 403, 404})


class UsedBefore(ProcessorSilent):
    """Our key was used before: the earlier request with it may have acted."""


class NextAction(msgspec.Struct, frozen=True):
    """What a payment waits for.

    Since version 2024-06-14 a card's is `redirect_iframe`: an address of Airwallex's own, opened by GET, from which it
    looks at the person's device, leads them to their bank if it wants to ask, and back to us (airwallex.com/docs/
    payments__native-api__3d-secure-authentication__native-api-(for-api-versions-on-or-after-2024-06-14)). Its key is in
    the address, which therefore must not be posted, whatever `method` says. Until then it was a form for us to post, in
    steps of ours, with a `stage` and its fields in `data`; we do not ask for that version, and do not speak it.

    `data` is not decoded: msgspec keeps short names of fields for the next answer, and a number may stand among them.
    """

    type: str = ""
    url: str | None = None
    stage: str | None = None
    data: msgspec.Raw = msgspec.Raw(b"null")

    @property
    def page(self) -> str | None:
        """The address, if a link is all it takes."""
        return self.url if self.type in _PAGES and not self.stage and bytes(self.data) in _NO_DATA else None


class _Attempt(msgspec.Struct, frozen=True):
    status: str = ""
    failure_code: str | None = None
    provider_original_response_code: str | None = None


class Intent(msgspec.Struct, frozen=True):
    id: str
    status: str
    currency: str
    captured_amount: Decimal = Decimal(0)
    metadata: Noted | None = None
    latest_payment_attempt: _Attempt | None = None
    next_action: NextAction | None = None

    @property
    def failure(self) -> ChargeReason | None:
        attempt = self.latest_payment_attempt
        if attempt is None or attempt.status != _FAILED:
            return None
        return _reason(attempt.failure_code, attempt.provider_original_response_code)


class Intents(msgspec.Struct, frozen=True):
    items: list[Intent]
    has_more: bool = False


class Refund(msgspec.Struct, frozen=True):
    id: str
    status: str
    metadata: Noted | None = None


class Refunds(msgspec.Struct, frozen=True):
    items: list[Refund]
    has_more: bool = False


class _DisputeShown(msgspec.Struct, frozen=True):
    id: str
    stage: str
    status: str
    amount: Decimal
    currency: str


class Disputes(msgspec.Struct, frozen=True):
    items: list[_DisputeShown]
    has_more: bool = False


class Bearer(msgspec.Struct, frozen=True):
    """`expires_at` as Airwallex writes times: `2020-06-21T05:23:25+0000`."""

    token: str
    expires_at: str


class EventObject(msgspec.Struct, frozen=True):
    """A payment intent has its own `id`; attempts, refunds and disputes name the intent they belong to."""

    id: str = ""
    payment_intent_id: str | None = None
    metadata: Noted | None = None


class _EventData(msgspec.Struct, frozen=True):
    object: EventObject


class Event(msgspec.Struct, frozen=True):
    id: str
    name: str
    data: _EventData


class _Details(msgspec.Struct, frozen=True):
    original_response_code: str | None = None


class _Refusal(msgspec.Struct, frozen=True):
    """The code of the network stands at either of two places, by the version of the API."""

    code: str = ""
    source: str | None = None
    provider_original_response_code: str | None = None
    details: _Details | None = None


def refusal(status: int, body: bytes) -> ProcessorRefused | ProcessorSilent:
    """What an answer that is no success means. Its message is not read."""
    try:
        said = msgspec.json.decode(body, type=_Refusal)
    except (msgspec.MsgspecError, UnicodeDecodeError):
        return ProcessorSilent()
    if status not in _REFUSALS or said.code in _MAY_HAVE_ACTED or not said.code:
        return ProcessorSilent()
    if said.code == "duplicate_request":
        return UsedBefore()
    return _said_no(said)


def _said_no(said: _Refusal) -> ProcessorRefused:
    if said.code in _DECLINES:
        further = None if said.details is None else said.details.original_response_code
        return CardRefused(_reason(said.code, said.provider_original_response_code or further))
    if said.code == "validation_error" and (said.source or "").startswith(_CARD):
        return CardRefused(_FLAWS.get((said.source or "").rpartition(".")[2], ChargeReason.CARD_DECLINED))
    return ProcessorRefused(ChargeReason.PROCESSOR_ERROR)


def payment(intent: Intent) -> Payment:
    """Raises ProcessorSilent for what cannot be relied on."""
    state, ref, failure = _STATES.get(intent.status), reference(intent.id), intent.failure
    if state is None or not re.fullmatch("[A-Z]{3}", intent.currency):
        raise ProcessorSilent
    if state is PaymentState.UNCONFIRMED and failure is not None:
        state = PaymentState.DECLINED
    attempt = intent.latest_payment_attempt
    return Payment(
        ref,
        state,
        failure,
        taken_minor=minor(intent.captured_amount, intent.currency),
        lapsed=attempt is not None and attempt.status == _LAPSED,
    )


def refund_result(refund: Refund) -> RefundResult:
    standing = _STANDINGS.get(refund.status)
    if standing is None:
        raise ProcessorSilent
    return RefundResult(reference(refund.id), standing)


def dispute(shown: _DisputeShown) -> Dispute:
    standing, amount = _standing(shown.stage, shown.status), minor(shown.amount, shown.currency)
    if standing is None or amount <= 0:
        raise ProcessorSilent
    return Dispute(reference(shown.id), standing, amount, shown.currency)


def _standing(stage: str, status: str) -> DisputeStanding | None:
    if stage in _BEFORE_MONEY:
        return _BEFORE.get(status)
    return _AFTER.get(status) if stage in _WITH_MONEY else None


def major(amount_minor: int, currency: str) -> Decimal:
    """`7998, "USD"` is 79.98: Airwallex counts units, not minor units."""
    return Decimal(amount_minor).scaleb(-minor_places(currency))


def minor(amount: Decimal, currency: str) -> int:
    """Raises ProcessorSilent for an amount that is none: part of a minor unit, negative, not finite."""
    if not amount.is_finite():
        raise ProcessorSilent
    scaled = amount.scaleb(minor_places(currency))
    if scaled < 0 or scaled != scaled.to_integral_value():
        raise ProcessorSilent
    return int(scaled)


def reference(value: str) -> str:
    """A reference, which goes into our database: its shape is checked, and that it hides no card."""
    if not _REFERENCE.fullmatch(value) or find_card_number(value) is not None:
        raise ProcessorSilent
    return value


def payment_reference(value: str) -> str | None:
    return value if _PAYMENT.fullmatch(value) and find_card_number(value) is None else None


def _reason(code: str | None, of_network: str | None) -> ChargeReason:
    """A decline that names no code of ours is still a decline."""
    by_code = _DECLINES.get(code or "", ChargeReason.CARD_DECLINED)
    if by_code is not ChargeReason.CARD_DECLINED:
        return by_code
    return _BY_NETWORK.get(of_network or "", by_code)
