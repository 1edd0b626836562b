"""Stripe, through its official SDK. Nothing the processor wrote as text leaves this file.

The SDK logs card numbers at DEBUG and messages at INFO (to stderr too when STRIPE_LOG is set), its exceptions carry the
answer's body, and it invents idempotency keys: the logger is switched off, exceptions are turned into ours without a
cause, keys are always our own. It makes no attempt of its own to retry.
"""

import logging
import re
from collections.abc import Awaitable, Mapping
from typing import Final, TypeVar

import msgspec
import stripe
from stripe import _util as stripe_util
from stripe.params import (
    PaymentIntentConfirmParams,
    PaymentIntentCreateParams,
    PaymentMethodCreateParams,
    PaymentMethodCreateParamsCard,
    RefundListParams,
)

from infra.chassis.ids import new_id
from infra.chassis.screen import find_card_number
from infra.chassis.secret import Secret
from vault.cleartext.pan import CardDetails, VerificationCode
from vault.cleartext.processors import (
    CardRefused,
    Dispute,
    EventRefused,
    Payment,
    PaymentOrder,
    PaymentState,
    ProcessorEvent,
    ProcessorRefused,
    ProcessorSilent,
    RefundRequest,
    RefundResult,
)
from vault.cleartext.processors.noted import NOTHING, Noted
from vault.cleartext.processors.redirects import led_to_the_bank
from vault.cleartext.processors.stripe_words import DISPUTES, REASONS, STANDINGS
from vault.cleartext.processors.transport import Transport
from vault.contract import ChargeReason, is_identifier

SIGNATURE_AGE_SECONDS_MAX: Final = 300
"""Stripe's own default: older events are replays."""
_STATES: Final[Mapping[str, PaymentState]] = {
    "requires_confirmation": PaymentState.UNCONFIRMED,
    "requires_payment_method": PaymentState.UNCONFIRMED,
    "requires_action": PaymentState.NEEDS_AUTHENTICATION,
    "requires_capture": PaymentState.HELD,
    "processing": PaymentState.PROCESSING,
    "succeeded": PaymentState.SUCCEEDED,
    "canceled": PaymentState.CANCELLED,
}
_LAPSED: Final = frozenset({"automatic", "expired"})
"""Cancellation reasons by which Stripe says that it let go of held money by itself."""
_REFUSALS: Final = frozenset({400, 401, 403, 404})
"""Statuses by which Stripe says that it did nothing; 409 and 429 may be about a request still under way."""
REFUNDS_A_PAGE: Final = 100
"""The processor's largest page; a refund further back must be found too, or it would be given twice."""
DISPUTES_MAX: Final = 100
"""The processor's largest page. A payment is disputed once, in rare cases twice."""
_REFERENCE: Final = re.compile(r"(?:pi|pm|re|evt|dp|du)_[A-Za-z0-9]{6,100}")
_PAYMENT: Final = re.compile(r"pi_[A-Za-z0-9]{6,100}")
_OUR_ID: Final = re.compile(r"[a-z]{3}_[a-z0-9_]{1,60}")
_EVENT_KIND: Final = re.compile(r"[a-z_]{2,40}(?:\.[a-z_]{2,40}){1,4}")
_S = TypeVar("_S", bound=msgspec.Struct)


class _Named(msgspec.Struct, frozen=True):
    id: str


class _Failure(msgspec.Struct, frozen=True):
    code: str | None = None
    decline_code: str | None = None


class _Redirect(msgspec.Struct, frozen=True):
    url: str | None = None


class _NextAction(msgspec.Struct, frozen=True):
    """docs.stripe.com/payments/3d-secure/authentication-flow: with a `return_url` it is a redirect."""

    type: str
    redirect_to_url: _Redirect | None = None


class _Intent(msgspec.Struct, frozen=True):
    id: str
    status: str
    last_payment_error: _Failure | None = None
    latest_charge: str | None = None
    amount_received: int = 0
    cancellation_reason: str | None = None
    next_action: _NextAction | None = None


class _Intents(msgspec.Struct, frozen=True):
    data: list[_Intent]


class _Dispute(msgspec.Struct, frozen=True):
    id: str
    status: str
    amount: int
    currency: str


class _Disputes(msgspec.Struct, frozen=True):
    data: list[_Dispute]


class _Refund(msgspec.Struct, frozen=True):
    id: str
    status: str | None = None
    metadata: Noted | None = None


class _Refunds(msgspec.Struct, frozen=True):
    data: list[_Refund]
    has_more: bool = False


class _EventObject(msgspec.Struct, frozen=True):
    """`payment_intent` is what a charge, a refund or a dispute belongs to; a payment intent has its own `id`."""

    id: str = ""
    metadata: Noted | None = None
    payment_intent: str | None = None


class _EventData(msgspec.Struct, frozen=True):
    object: _EventObject


class _Event(msgspec.Struct, frozen=True):
    id: str
    type: str
    data: _EventData


class StripeProcessor:
    def __init__(
        self,
        *,
        url: str,
        api_key: Secret[str],
        webhook_secret: Secret[str],
        timeout_seconds: float,
        action_origins: frozenset[str] = frozenset(),
    ) -> None:
        """`action_origins`: where a card's holder may be sent to confirm (redirects.py); without any, nowhere."""
        _silence_the_sdk()
        self._webhook_secret = webhook_secret
        self._action_origins = action_origins
        self._transport = Transport(timeout_seconds)
        self._api = stripe.StripeClient(
            api_key.reveal(),
            base_addresses={"api": url.rstrip("/")},
            http_client=self._transport,
            max_network_retries=0,
        ).v1

    async def open_payment(self, order: PaymentOrder) -> str:
        """For cards alone; `allow_redirects: never` would keep their holder from their bank's page."""
        wanted: PaymentIntentCreateParams = {
            "amount": order.amount_minor,
            "currency": order.currency.lower(),
            "capture_method": "manual" if order.hold else "automatic",
            "metadata": {"tenant_id": order.tenant_id, "charge_id": order.charge_id},
        }
        if order.return_url is None:
            wanted["automatic_payment_methods"] = {"enabled": True, "allow_redirects": "never"}
        else:
            wanted["automatic_payment_methods"] = {"enabled": True}
            wanted["allowed_payment_method_types"] = ["card"]
        call = self._api.payment_intents.create_async(wanted, {"idempotency_key": order.key})
        return _reference((await _answer(call, _Named)).id)

    async def present_card(self, key: str, card: CardDetails, code: VerificationCode | None) -> str:
        fields: PaymentMethodCreateParamsCard = {
            "number": str(card.number.reveal(), "ascii"),
            "exp_month": card.exp_month,
            "exp_year": card.exp_year,
        }
        if code is not None:
            fields["cvc"] = str(code.reveal(), "ascii")
        asked: PaymentMethodCreateParams = {"type": "card", "card": fields}
        if card.holder:
            asked["billing_details"] = {"name": card.holder}
        call = self._api.payment_methods.create_async(asked, {"idempotency_key": key})
        return _reference((await _answer(call, _Named)).id)

    async def confirm_payment(
        self, key: str, ref: str, method_ref: str, *, by_phone: bool = False, return_url: str | None = None
    ) -> Payment:
        """A card that wants 3-D Secure is declined where nobody can be sent to their bank.

        A telephone order is told here and not when it is opened: Stripe takes `moto` during confirmation only. An
        account it was not enabled for refuses the parameter, and has charged nothing.
        """
        asked: PaymentIntentConfirmParams = {"payment_method": method_ref}
        if return_url is None:
            asked["error_on_requires_action"] = True
        else:
            asked["return_url"] = return_url
        if by_phone:
            asked["payment_method_options"] = {"card": {"moto": True}}
        call = self._api.payment_intents.confirm_async(ref, asked, {"idempotency_key": key})
        return self._payment(await _answer(call, _Intent))

    async def look_up_payment(self, ref: str) -> Payment:
        return self._payment(await _answer(self._api.payment_intents.retrieve_async(ref), _Intent))

    async def find_payments(self, tenant_id: str, charge_id: str) -> list[Payment]:
        """Stripe's search lags behind by up to a minute, in bad hours more (docs.stripe.com/search)."""
        if not _OUR_ID.fullmatch(tenant_id) or not _OUR_ID.fullmatch(charge_id):
            raise ProcessorRefused(ChargeReason.PROCESSOR_ERROR)
        query = f"metadata['tenant_id']:'{tenant_id}' AND metadata['charge_id']:'{charge_id}'"
        found = await _answer(self._api.payment_intents.search_async({"query": query}), _Intents)
        return [self._payment(intent) for intent in found.data]

    async def settle_payment(self, key: str, ref: str, amount_minor: int, currency: str) -> Payment:  # noqa: ARG002 - Stripe counts minor units
        call = self._api.payment_intents.capture_async(
            ref, {"amount_to_capture": amount_minor}, {"idempotency_key": key}
        )
        return self._payment(await _answer(call, _Intent))

    async def cancel_payment(self, ref: str, key: str | None = None) -> None:
        """Cancelling twice is harmless, so an attempt may have a key of its own: a key would replay an old failure."""
        call = self._api.payment_intents.cancel_async(ref, None, {"idempotency_key": key or new_id("cnl")})
        await _answer(call, _Named)

    async def disputes_of(self, ref: str) -> list[Dispute]:
        intent = await _answer(self._api.payment_intents.retrieve_async(ref), _Intent)
        if intent.latest_charge is None:
            return []
        call = self._api.disputes.list_async({"charge": intent.latest_charge, "limit": DISPUTES_MAX})
        return [_dispute(one) for one in (await _answer(call, _Disputes)).data]

    async def refund(self, request: RefundRequest) -> RefundResult:
        call = self._api.refunds.create_async(
            {
                "payment_intent": request.payment_ref,
                "amount": request.amount_minor,
                "metadata": {"tenant_id": request.tenant_id, "refund_id": request.refund_id},
            },
            {"idempotency_key": request.key},
        )
        return _refund_result(await _answer(call, _Refund))

    async def find_refund(self, request: RefundRequest) -> RefundResult | None:
        intent = await _answer(self._api.payment_intents.retrieve_async(request.payment_ref), _Intent)
        if intent.latest_charge is None:
            return None
        wanted: RefundListParams = {"charge": intent.latest_charge, "limit": REFUNDS_A_PAGE}
        while True:
            listed = await _answer(self._api.refunds.list_async(wanted), _Refunds)
            for refund in listed.data:
                if (refund.metadata or NOTHING).refund_id == request.refund_id:
                    return _refund_result(refund)
            if not listed.has_more or not listed.data:
                return None
            wanted["starting_after"] = listed.data[-1].id

    def read_event(self, body: bytes, signature: str | None) -> ProcessorEvent:
        secret = self._webhook_secret.reveal()
        if signature is not None and not signature.isascii():
            raise EventRefused  # the SDK's comparison breaks on it
        try:
            stripe.WebhookSignature.verify_header(body, signature, secret, SIGNATURE_AGE_SECONDS_MAX)
            event = msgspec.json.decode(body, type=_Event)
        except (stripe.SignatureVerificationError, ValueError):
            raise EventRefused from None
        if not _is_reference(event.id) or not _EVENT_KIND.fullmatch(event.type):
            raise EventRefused
        about = event.data.object
        tenant_id = (about.metadata or NOTHING).tenant_id
        payment_ref = about.payment_intent or about.id
        return ProcessorEvent(
            event.id,
            event.type,
            tenant_id if tenant_id.startswith("tnt_") and is_identifier(tenant_id) else None,
            payment_ref if _PAYMENT.fullmatch(payment_ref) and _is_reference(payment_ref) else None,
        )

    async def close(self) -> None:
        await self._transport.close_async()

    def _payment(self, intent: _Intent) -> Payment:
        """With the page of the card's bank, where one is named that may be shown."""
        redirect = None if intent.next_action is None else intent.next_action.redirect_to_url
        return led_to_the_bank(_payment(intent), None if redirect is None else redirect.url, self._action_origins)


def _silence_the_sdk() -> None:
    """For good: the web server configures logging when it starts, which enables every logger there is again."""
    logger = logging.getLogger("stripe")
    logger.propagate = False
    if _say_nothing not in logger.filters:
        logger.addFilter(_say_nothing)
    stripe.log = None
    stripe_util.STRIPE_LOG = None
    stripe.enable_telemetry = False


def _say_nothing(_record: logging.LogRecord) -> bool:
    """A filter no record passes; unlike `disabled`, `logging.config.dictConfig` leaves it where it is."""
    return False


async def _answer(call: Awaitable[stripe.StripeObject], kind: type[_S]) -> _S:
    """What we read of the SDK's answer, or one of our two exceptions.

    The SDK's own exceptions carry the processor's text and its whole answer; they end here.
    """
    try:
        return msgspec.convert((await call).to_dict(), type=kind)
    except stripe.CardError as error:
        raise CardRefused(_reason(error)) from None
    except stripe.StripeError as error:
        if error.http_status in _REFUSALS and not isinstance(error, stripe.IdempotencyError):
            raise ProcessorRefused(ChargeReason.PROCESSOR_ERROR) from None
        raise ProcessorSilent from None
    except msgspec.ValidationError:
        raise ProcessorSilent from None


def _reason(error: stripe.CardError) -> ChargeReason:
    body = error.json_body if isinstance(error.json_body, dict) else {}
    details = body.get("error")
    try:
        return _reason_of(msgspec.convert(details, type=_Failure))
    except msgspec.ValidationError:
        return ChargeReason.CARD_DECLINED


def _reason_of(failure: _Failure) -> ChargeReason:
    for word in (failure.decline_code, failure.code):
        if word is not None and word in REASONS:
            return REASONS[word]
    return ChargeReason.CARD_DECLINED


def _payment(intent: _Intent) -> Payment:
    state = _STATES.get(intent.status)
    if state is None:
        raise ProcessorSilent
    failure, ref = intent.last_payment_error, _reference(intent.id)
    if failure is None:
        lapsed = intent.cancellation_reason in _LAPSED
        return Payment(ref, state, taken_minor=intent.amount_received, lapsed=lapsed)
    if state is PaymentState.UNCONFIRMED:
        state = PaymentState.DECLINED
    return Payment(ref, state, _reason_of(failure))


def _dispute(dispute: _Dispute) -> Dispute:
    standing = DISPUTES.get(dispute.status)
    if standing is None or dispute.amount <= 0 or not re.fullmatch("[a-z]{3}", dispute.currency):
        raise ProcessorSilent
    return Dispute(_reference(dispute.id), standing, dispute.amount, dispute.currency.upper())


def _refund_result(refund: _Refund) -> RefundResult:
    standing = STANDINGS.get(refund.status or "")
    if standing is None:
        raise ProcessorSilent
    return RefundResult(_reference(refund.id), standing)


def _reference(value: object) -> str:
    """A reference of the processor, which goes into our database: its shape is checked, and that it hides no card."""
    if not isinstance(value, str) or not _is_reference(value):
        raise ProcessorSilent
    return value


def _is_reference(value: str) -> bool:
    return _REFERENCE.fullmatch(value) is not None and find_card_number(value) is None
