"""What is remembered, as Airwallex's JSON objects.

Which fields there are: the models of its Node SDK 2.0.0-beta.4 (`paymentAcceptancePaymentIntentSingleResponse`,
`…PaymentAttempt`, `…Refund`, `…PaymentDispute`), where every field may be absent; a test compares. Amounts in units.
"""

from decimal import Decimal

from infra.sandbox.airwallex.books import Attempt, Dispute, Intent, Refund
from infra.sandbox.errors import Document
from infra.sandbox.money import shown as major_text


def intent_document(intent: Intent, page_url: str) -> Document:
    attempt = intent.attempt
    shown: Document = {
        "id": intent.id,
        "request_id": intent.request_id,
        "amount": units(intent.amount, intent.currency),
        "currency": intent.currency,
        "merchant_order_id": intent.merchant_order_id,
        "status": intent.status,
        "captured_amount": units(0 if attempt is None else attempt.captured, intent.currency),
        "metadata": intent.metadata,
        "created_at": intent.created_at,
        "updated_at": intent.updated_at,
        "client_secret": f"{intent.id}_secret",
    }
    if intent.return_url is not None:
        shown["return_url"] = intent.return_url
    if intent.cancelled_at is not None:
        shown |= {"cancelled_at": intent.cancelled_at, "cancellation_reason": intent.cancellation_reason}
    if attempt is not None:
        shown["latest_payment_attempt"] = _attempt_document(attempt, intent)
    if intent.status == "REQUIRES_CUSTOMER_ACTION":
        url = f"{page_url}/_sandbox/authenticate/{intent.id}"
        shown["next_action"] = {"type": "redirect_iframe", "method": "GET", "url": url}
    return shown


def refund_document(refund: Refund) -> Document:
    shown: Document = {
        "id": refund.id,
        "request_id": refund.request_id,
        "payment_intent_id": refund.payment_intent_id,
        "payment_attempt_id": refund.payment_attempt_id,
        "amount": units(refund.amount, refund.currency),
        "currency": refund.currency,
        "status": refund.status,
        "metadata": refund.metadata,
        "created_at": refund.created_at,
        "updated_at": refund.updated_at,
    }
    return shown if refund.reason is None else {**shown, "reason": refund.reason}


def dispute_document(dispute: Dispute) -> Document:
    return {
        "id": dispute.id,
        "payment_intent_id": dispute.payment_intent_id,
        "payment_attempt_id": dispute.payment_attempt_id,
        "merchant_order_id": dispute.merchant_order_id,
        "amount": units(dispute.amount, dispute.currency),
        "currency": dispute.currency,
        "stage": dispute.stage,
        "status": dispute.status,
        "reason": {"original_code": dispute.reason_code},
        "payment_method_type": "card",
        "due_at": dispute.due_at,
        "created_at": dispute.created_at,
        "updated_at": dispute.updated_at,
    }


def units(amount: int, currency: str) -> Decimal:
    """Minor units as units; goes out as a JSON number."""
    return Decimal(major_text(amount, currency.lower()).replace(",", ""))


def _attempt_document(attempt: Attempt, intent: Intent) -> Document:
    card = attempt.card
    shown: Document = {
        "id": attempt.id,
        "amount": units(intent.amount, intent.currency),
        "currency": intent.currency,
        "payment_intent_id": intent.id,
        "merchant_order_id": intent.merchant_order_id,
        "payment_method": {
            "type": "card",
            "card": {
                "brand": card.brand,
                "card_type": card.funding,
                "expiry_month": f"{card.exp_month:02d}",
                "expiry_year": str(card.exp_year),
                "fingerprint": card.fingerprint,
                "issuer_country_code": card.country,
                "last4": card.last4,
            },
        },
        "payment_method_options": {"card": {"card_input_via": intent.card_input_via}},
        "status": attempt.status,
        "captured_amount": units(attempt.captured, intent.currency),
        "refunded_amount": units(attempt.refunded, intent.currency),
        "authentication_data": {"authentication_type": "3ds" if attempt.authenticated else "none"},
        "created_at": attempt.created_at,
        "updated_at": intent.updated_at,
    }
    if attempt.failure_code is not None:
        shown["failure_code"] = attempt.failure_code
    if attempt.network_code is not None:
        shown["provider_original_response_code"] = attempt.network_code
    return shown
