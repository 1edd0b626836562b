"""Refunds, never more than was taken."""

import msgspec

from infra.sandbox.disputes import blocks_refunds
from infra.sandbox.errors import BadParameter, Document, StripeError
from infra.sandbox.exchange import Exchange
from infra.sandbox.ids import new_id
from infra.sandbox.lists import page_of
from infra.sandbox.money import shown
from infra.sandbox.resources import Charge, PaymentIntent, Refund

_REASONS = ("duplicate", "fraudulent", "requested_by_customer")


def create(exchange: Exchange) -> Document:
    """`POST /v1/refunds` of a charge or of an intent's charge; without `amount`, of all that is left."""
    parameters = exchange.parameters
    charge_id, intent_id = parameters.text("charge"), parameters.text("payment_intent")
    asked = parameters.whole("amount")
    reason = parameters.choice("reason", _REASONS)
    metadata = parameters.metadata()
    exchange.finish_parameters()
    charge = _charge_to_refund(exchange, charge_id, intent_id)
    amount = _amount_to_refund(exchange, charge, asked)
    refund = Refund(
        id=new_id("re"),
        created=exchange.timestamp,
        charge=charge.id,
        payment_intent=charge.payment_intent,
        amount=amount,
        currency=charge.currency,
        metadata=metadata,
        reason=reason,
    )
    charge = msgspec.structs.replace(charge, amount_refunded=charge.amount_refunded + amount)
    exchange.ledger.save(refund)
    exchange.ledger.save(charge)
    exchange.announce("refund.created", refund)
    exchange.announce("charge.refunded", charge)
    return exchange.documents.show(refund)


def retrieve(exchange: Exchange) -> Document:
    """`GET /v1/refunds/{id}`."""
    exchange.finish_parameters()
    return exchange.documents.show(exchange.get(Refund, exchange.target, param="refund"))


def listed(exchange: Exchange) -> Document:
    """`GET /v1/refunds`, of one charge with `charge`."""
    return page_of(exchange, Refund, "/v1/refunds", parent_key="charge")


def _charge_to_refund(exchange: Exchange, charge_id: str | None, intent_id: str | None) -> Charge:
    if (charge_id is None) == (intent_id is None):
        raise BadParameter("One of the following params should be provided for this request: payment_intent or charge.")
    if charge_id is not None:
        return exchange.get(Charge, charge_id, param="charge")
    intent = exchange.get(PaymentIntent, intent_id or "", param="payment_intent")
    if intent.status != "succeeded" or intent.latest_charge is None:
        raise StripeError(
            f"This PaymentIntent ({intent.id}) does not have a successful charge to refund.", param="payment_intent"
        )
    return exchange.get(Charge, intent.latest_charge, param="charge")


def _amount_to_refund(exchange: Exchange, charge: Charge, asked: int | None) -> int:
    """Raises StripeError for what cannot be given back; the ceiling is what was taken less what was given back."""
    if not charge.paid or not charge.captured:
        raise StripeError(f"Charge {charge.id} was not captured, so there is nothing to refund.", param="charge")
    if charge.refundable == 0:
        raise StripeError(f"Charge {charge.id} has already been refunded.", code="charge_already_refunded")
    if blocks_refunds(exchange, charge):
        raise StripeError(f"Charge {charge.id} has been charged back; cannot issue a refund.", code="charge_disputed")
    amount = charge.refundable if asked is None else asked
    if amount < 1:
        raise StripeError("Invalid positive integer", code="parameter_invalid_integer", param="amount")
    if amount > charge.refundable:
        raise StripeError(
            f"Refund amount ({shown(amount, charge.currency)}) is greater than unrefunded amount on charge"
            f" ({shown(charge.refundable, charge.currency)})",
            param="amount",
        )
    return amount
