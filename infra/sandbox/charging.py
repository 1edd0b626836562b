"""What happens when an intent is confirmed: ask for 3-D Secure, decline, hold the money or take it."""

import msgspec

from infra.sandbox.cards import Decline, behaviour_of, check_result
from infra.sandbox.documents import failure_document
from infra.sandbox.errors import CardError, StripeError
from infra.sandbox.exchange import Exchange
from infra.sandbox.ids import new_id
from infra.sandbox.resources import Charge, Dispute, Failure, PaymentIntent, PaymentMethod

_AUTHENTICATION_REQUIRED = Decline(
    code="authentication_required",
    decline_code="authentication_required",
    message="Your card was declined. This transaction requires authentication.",
)


def confirm(exchange: Exchange, intent: PaymentIntent, *, nobody_present: bool) -> PaymentIntent:
    """Charge the intent's payment method.

    `nobody_present` (off session, or told to fail rather than wait) turns a wish for 3-D Secure into a decline.
    Raises CardError, whose traces (the failed charge, the intent's new state) are kept.
    """
    method = _usable_method(exchange, intent)
    if behaviour_of(method.card).authentication and not intent.moto:
        if nobody_present:
            raise _decline(exchange, intent, method, _AUTHENTICATION_REQUIRED)
        waiting = msgspec.structs.replace(intent, status="requires_action", last_failure=None)
        exchange.ledger.save(waiting)
        exchange.announce("payment_intent.requires_action", waiting)
        return waiting
    return charge(exchange, intent, method, authenticated=False)


def finish_authentication(exchange: Exchange, intent: PaymentIntent, *, passed: bool) -> PaymentIntent:
    """The person answered the 3-D Secure challenge. Never raises for a decline: nobody is waiting for an answer."""
    method = _usable_method(exchange, intent)
    if not passed:
        failure = Failure(
            code="payment_intent_authentication_failure",
            kind="invalid_request_error",
            message="The provided PaymentMethod has failed authentication. You can provide payment_method_data or a"
            " new PaymentMethod to attempt to fulfill this PaymentIntent again.",
            payment_method=method,
        )
        return _fail(exchange, intent, failure)
    try:
        return charge(exchange, intent, method, authenticated=True)
    except CardError:
        return exchange.get(PaymentIntent, intent.id, param="intent")


def charge(exchange: Exchange, intent: PaymentIntent, method: PaymentMethod, *, authenticated: bool) -> PaymentIntent:
    """Take or hold the money, or raise CardError with its traces written."""
    behaviour = behaviour_of(method.card)
    if behaviour.decline is not None:
        raise _decline(exchange, intent, method, behaviour.decline, authenticated=authenticated)
    method = msgspec.structs.replace(_checked(method), used=True)
    exchange.ledger.save(method)
    held = intent.capture_method == "manual"
    made = _new_charge(exchange, intent, method, authenticated=authenticated, failure=None)
    exchange.ledger.save(made)
    done = msgspec.structs.replace(
        intent,
        status="requires_capture" if held else "succeeded",
        latest_charge=made.id,
        last_failure=None,
        amount_capturable=intent.amount if held else 0,
        amount_received=0 if held else intent.amount,
    )
    exchange.ledger.save(done)
    exchange.announce("charge.succeeded", made)
    exchange.announce("payment_intent.amount_capturable_updated" if held else "payment_intent.succeeded", done)
    if behaviour.dispute is not None:
        _open_dispute(exchange, made, behaviour.dispute, behaviour.dispute_status)
    return done


def _usable_method(exchange: Exchange, intent: PaymentIntent) -> PaymentMethod:
    if intent.payment_method is None:
        raise StripeError(
            "You cannot confirm this PaymentIntent because it's missing a payment method. You can either update the"
            " PaymentIntent with a payment method and then confirm it again, or confirm it again directly with a"
            " payment method.",
            code="payment_intent_unexpected_state",
            extra={"payment_intent": exchange.documents.show(intent)},
        )
    method = exchange.get(PaymentMethod, intent.payment_method, param="payment_method")
    if method.used:
        raise StripeError(
            "The provided PaymentMethod was previously used with a PaymentIntent without Customer attachment, shared"
            " with a connected account without Customer attachment, or was detached from a Customer. It may not be"
            " used again. To use a PaymentMethod multiple times, you must attach it to a Customer first."
        )
    return method


def _checked(method: PaymentMethod) -> PaymentMethod:
    """The method with the bank's answer about the code."""
    card = msgspec.structs.replace(method.card, code_check=check_result(method.card))
    return msgspec.structs.replace(method, card=card)


def _decline(
    exchange: Exchange, intent: PaymentIntent, method: PaymentMethod, decline: Decline, *, authenticated: bool = False
) -> CardError:
    method = _checked(method)
    exchange.ledger.save(method)
    failure = Failure(
        code=decline.code,
        decline_code=decline.decline_code,
        message=decline.message,
        param=decline.param,
        payment_method=method,
    )
    made = _new_charge(exchange, intent, method, authenticated=authenticated, failure=failure)
    exchange.ledger.save(made)
    exchange.announce("charge.failed", made)
    failure = msgspec.structs.replace(failure, charge=made.id)
    failed = _fail(exchange, msgspec.structs.replace(intent, latest_charge=made.id), failure)
    shown = failure_document(failure)
    shown["payment_intent"] = exchange.documents.show(failed)
    return CardError(decline.message, code=decline.code, param=decline.param, extra=shown, leaves_trace=True)


def _fail(exchange: Exchange, intent: PaymentIntent, failure: Failure) -> PaymentIntent:
    failed = msgspec.structs.replace(
        intent, status="requires_payment_method", payment_method=None, last_failure=failure
    )
    exchange.ledger.save(failed)
    exchange.announce("payment_intent.payment_failed", failed)
    return failed


def _new_charge(
    exchange: Exchange, intent: PaymentIntent, method: PaymentMethod, *, authenticated: bool, failure: Failure | None
) -> Charge:
    captured = failure is None and intent.capture_method != "manual"
    return Charge(
        id=new_id("ch"),
        created=exchange.timestamp,
        payment_intent=intent.id,
        payment_method=method,
        amount=intent.amount,
        currency=intent.currency,
        captured=captured,
        amount_captured=intent.amount if captured else 0,
        paid=failure is None,
        moto=intent.moto,
        authenticated=authenticated,
        metadata=intent.metadata,
        description=intent.description,
        receipt_email=intent.receipt_email,
        statement_descriptor=intent.statement_descriptor,
        statement_descriptor_suffix=intent.statement_descriptor_suffix,
        failure=failure,
    )


def _open_dispute(exchange: Exchange, made: Charge, reason: str, status: str) -> None:
    dispute = Dispute(
        id=new_id("dp"),
        created=exchange.timestamp,
        charge=made.id,
        payment_intent=made.payment_intent,
        amount=made.amount,
        currency=made.currency,
        reason=reason,
        status=status,
    )
    exchange.ledger.save(dispute)
    exchange.ledger.save(msgspec.structs.replace(made, disputed=True))
    exchange.announce("charge.dispute.created", dispute)
    if not status.startswith("warning_"):
        exchange.announce("charge.dispute.funds_withdrawn", dispute)
