"""How a card looks inside a payment method and inside a charge, with Stripe's field sets."""

from infra.sandbox.cards import behaviour_of
from infra.sandbox.errors import Document
from infra.sandbox.resources import Billing, Card, Charge, PaymentMethod

_ADDRESS_FIELDS = ("city", "country", "line1", "line2", "postal_code", "state")


def payment_method_document(method: PaymentMethod) -> Document:
    return {
        "id": method.id,
        "object": "payment_method",
        "allow_redisplay": method.allow_redisplay,
        "billing_details": billing_document(method.billing),
        "card": _stored_card(method.card),
        "created": method.created,
        "customer": None,
        "customer_account": None,
        "livemode": False,
        "metadata": method.metadata,
        "type": "card",
    }


def billing_document(billing: Billing) -> Document:
    return {
        "address": {name: billing.address.get(name) for name in _ADDRESS_FIELDS},
        "email": billing.email,
        "name": billing.name,
        "phone": billing.phone,
        "tax_id": None,
    }


def charged_card_document(charge: Charge) -> Document:
    """The `payment_method_details.card` of a charge."""
    card = charge.payment_method.card
    return {
        "amount_authorized": charge.amount if charge.paid else None,
        "authorization_code": None,
        "brand": card.brand,
        "checks": _checks(card),
        "country": card.country,
        "exp_month": card.exp_month,
        "exp_year": card.exp_year,
        "extended_authorization": {"status": "disabled"},
        "fingerprint": card.fingerprint,
        "funding": card.funding,
        "incremental_authorization": {"status": "unavailable"},
        "installments": None,
        "last4": card.last4,
        "mandate": None,
        "multicapture": {"status": "unavailable"},
        "network": card.brand,
        "network_token": {"used": False},
        "network_transaction_id": None,
        "overcapture": {"maximum_amount_capturable": charge.amount, "status": "unavailable"},
        "regulated_status": "unregulated",
        "three_d_secure": _authenticated() if charge.authenticated else None,
        "transaction_link_id": None,
        "wallet": None,
    }


def _stored_card(card: Card) -> Document:
    return {
        "brand": card.brand,
        "checks": _checks(card),
        "country": card.country,
        "display_brand": card.brand,
        "exp_month": card.exp_month,
        "exp_year": card.exp_year,
        "fingerprint": card.fingerprint,
        "funding": card.funding,
        "generated_from": None,
        "last4": card.last4,
        "networks": {"available": [card.brand], "preferred": None},
        "regulated_status": "unregulated",
        "three_d_secure_usage": {"supported": behaviour_of(card).authentication or card.brand == "visa"},
        "wallet": None,
    }


def _checks(card: Card) -> Document:
    return {"address_line1_check": None, "address_postal_code_check": None, "cvc_check": card.code_check}


def _authenticated() -> Document:
    return {
        "authentication_flow": "challenge",
        "electronic_commerce_indicator": "05",
        "exemption_indicator": None,
        "result": "authenticated",
        "result_reason": None,
        "transaction_id": None,
        "version": "2.2.0",
    }
