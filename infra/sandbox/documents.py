"""Resources as Stripe's JSON objects. The field sets are those of Stripe's published fixtures (tests compare them)."""

from collections.abc import Sequence

import msgspec

from infra.sandbox.card_documents import billing_document, charged_card_document, payment_method_document
from infra.sandbox.errors import Document
from infra.sandbox.ledger import Ledger
from infra.sandbox.resources import (
    Charge,
    Dispute,
    Event,
    Failure,
    PaymentIntent,
    PaymentMethod,
    Refund,
    Resource,
)

_EVIDENCE_FIELDS = (
    "access_activity_log",
    "billing_address",
    "cancellation_policy",
    "cancellation_policy_disclosure",
    "cancellation_rebuttal",
    "customer_communication",
    "customer_email_address",
    "customer_name",
    "customer_purchase_ip",
    "customer_signature",
    "duplicate_charge_documentation",
    "duplicate_charge_explanation",
    "duplicate_charge_id",
    "product_description",
    "receipt",
    "refund_policy",
    "refund_policy_disclosure",
    "refund_refusal_explanation",
    "service_date",
    "service_documentation",
    "shipping_address",
    "shipping_carrier",
    "shipping_date",
    "shipping_documentation",
    "shipping_tracking_number",
    "uncategorized_file",
    "uncategorized_text",
)
_SECONDS_TO_ANSWER_A_DISPUTE = 14 * 24 * 60 * 60


class Documents:
    """Shows resources; looks up what a document holds of others (a charge's refunds, an event's open deliveries)."""

    def __init__(self, ledger: Ledger, *, page_url: str) -> None:
        self._ledger = ledger
        self._page_url = page_url

    def show(self, resource: Resource) -> Document:
        match resource:
            case PaymentMethod():
                return payment_method_document(resource)
            case PaymentIntent():
                return _payment_intent(resource, f"{self._page_url}/_sandbox/authenticate/{resource.id}")
            case Charge():
                return _charge(resource, [_refund(one) for one in self._refunds_of(resource)])
            case Refund():
                return _refund(resource)
            case Dispute():
                return _dispute(resource)
            case Event():
                return _event(resource, pending=int(self._ledger.is_scheduled(resource.id)))
            case _:
                raise TypeError(type(resource).__name__)

    def _refunds_of(self, charge: Charge) -> Sequence[Refund]:
        return list(self._ledger.all_of(Refund, parent=charge.id)) if charge.amount_refunded else []


def failure_document(failure: Failure) -> Document:
    """The error of a declined attempt, also shown as an intent's `last_payment_error`."""
    fields: Document = {
        "charge": failure.charge,
        "code": failure.code,
        "decline_code": failure.decline_code,
        "doc_url": f"https://docs.stripe.com/error-codes/{failure.code.replace('_', '-')}",
        "message": failure.message,
        "param": failure.param,
        "payment_method": None if failure.payment_method is None else payment_method_document(failure.payment_method),
        "type": failure.kind,
    }
    return {name: value for name, value in fields.items() if value is not None}


def _payment_intent(intent: PaymentIntent, page_url: str) -> Document:
    return {
        "id": intent.id,
        "object": "payment_intent",
        "amount": intent.amount,
        "amount_capturable": intent.amount_capturable,
        "amount_details": {"tip": {}},
        "amount_received": intent.amount_received,
        "application": None,
        "application_fee_amount": None,
        "automatic_payment_methods": _automatic(intent),
        "canceled_at": intent.canceled_at,
        "cancellation_reason": intent.cancellation_reason,
        "capture_method": intent.capture_method,
        "client_secret": intent.client_secret,
        "confirmation_method": "automatic",
        "created": intent.created,
        "currency": intent.currency,
        "customer": None,
        "customer_account": None,
        "description": intent.description,
        "excluded_payment_method_types": None,
        "last_payment_error": None if intent.last_failure is None else failure_document(intent.last_failure),
        "latest_charge": intent.latest_charge,
        "livemode": False,
        "managed_payments": {"enabled": False},
        "metadata": intent.metadata,
        "next_action": _next_action(intent, page_url) if intent.status == "requires_action" else None,
        "on_behalf_of": None,
        "payment_method": intent.payment_method,
        "payment_method_configuration_details": None,
        "payment_method_options": {
            "card": {
                "installments": None,
                "mandate_options": None,
                "network": None,
                "request_three_d_secure": intent.request_three_d_secure,
            }
        },
        "payment_method_types": ["card"],
        "processing": None,
        "receipt_email": intent.receipt_email,
        "review": None,
        "setup_future_usage": intent.setup_future_usage,
        "shipping": None,
        "source": None,
        "statement_descriptor": intent.statement_descriptor,
        "statement_descriptor_suffix": intent.statement_descriptor_suffix,
        "status": intent.status,
        "transfer_data": None,
        "transfer_group": None,
    }


def _automatic(intent: PaymentIntent) -> Document | None:
    if not intent.automatic_methods:
        return None
    shown: Document = {"enabled": True}
    return shown if intent.allow_redirects is None else {"allow_redirects": intent.allow_redirects, **shown}


def _next_action(intent: PaymentIntent, page_url: str) -> Document:
    if intent.return_url is not None:
        return {
            "type": "redirect_to_url",
            "redirect_to_url": {"return_url": intent.return_url, "url": page_url},
        }
    return {
        "type": "use_stripe_sdk",
        "use_stripe_sdk": {"type": "three_d_secure_redirect", "stripe_js": page_url},
    }


def _charge(charge: Charge, refunds: Sequence[Document]) -> Document:
    billing = charge.payment_method.billing
    failure = charge.failure
    refunded = charge.released or (charge.captured and charge.refundable == 0)
    return {
        "id": charge.id,
        "object": "charge",
        "amount": charge.amount,
        "amount_captured": charge.amount_captured,
        "amount_refunded": charge.amount if charge.released else charge.amount_refunded,
        "application": None,
        "application_fee": None,
        "application_fee_amount": None,
        "balance_transaction": None,
        "billing_details": billing_document(billing),
        "calculated_statement_descriptor": charge.statement_descriptor_suffix,
        "captured": charge.captured,
        "created": charge.created,
        "currency": charge.currency,
        "customer": None,
        "description": charge.description,
        "disputed": charge.disputed,
        "failure_balance_transaction": None,
        "failure_code": None if failure is None else failure.code,
        "failure_message": None if failure is None else failure.message,
        "fraud_details": {},
        "livemode": False,
        "metadata": charge.metadata,
        "on_behalf_of": None,
        "outcome": _outcome(charge),
        "paid": charge.paid,
        "payment_intent": charge.payment_intent,
        "payment_method": charge.payment_method.id,
        "payment_method_details": {"card": charged_card_document(charge), "type": "card"},
        "receipt_email": charge.receipt_email,
        "receipt_number": None,
        "receipt_url": None,
        "refunded": refunded,
        "refunds": {
            "data": list(refunds),
            "has_more": False,
            "object": "list",
            "url": f"/v1/charges/{charge.id}/refunds",
        },
        "review": None,
        "shipping": None,
        "source": None,
        "source_transfer": None,
        "statement_descriptor": charge.statement_descriptor,
        "statement_descriptor_suffix": charge.statement_descriptor_suffix,
        "status": "succeeded" if charge.paid else "failed",
        "transfer_data": None,
        "transfer_group": None,
    }


def _outcome(charge: Charge) -> Document:
    failure = charge.failure
    if failure is None:
        status, reason, said, kind = "approved_by_network", None, "Payment complete.", "authorized"
    elif failure.decline_code == "fraudulent":
        status, reason, said, kind = (
            "not_sent_to_network",
            "highest_risk_level",
            "Stripe blocked this payment as too risky.",
            "blocked",
        )
    else:
        status, reason = "declined_by_network", failure.decline_code
        said, kind = "The bank did not return any further details with this decline.", "issuer_declined"
    return {
        "advice_code": None,
        "network_advice_code": None,
        "network_decline_code": None,
        "network_status": status,
        "reason": reason,
        "seller_message": said,
        "type": kind,
    }


def _refund(refund: Refund) -> Document:
    return {
        "id": refund.id,
        "object": "refund",
        "amount": refund.amount,
        "balance_transaction": None,
        "charge": refund.charge,
        "created": refund.created,
        "currency": refund.currency,
        "customer": None,
        "customer_account": None,
        "destination_details": {"card": {"type": "refund"}, "type": "card"},
        "metadata": refund.metadata,
        "payment_intent": refund.payment_intent,
        "payment_method": None,
        "reason": refund.reason,
        "receipt_number": None,
        "source_transfer_reversal": None,
        "status": refund.status,
        "transfer_reversal": None,
    }


def _dispute(dispute: Dispute) -> Document:
    return {
        "id": dispute.id,
        "object": "dispute",
        "amount": dispute.amount,
        "balance_transactions": [],
        "charge": dispute.charge,
        "created": dispute.created,
        "currency": dispute.currency,
        "enhanced_eligibility_types": [],
        "evidence": {**dict.fromkeys(_EVIDENCE_FIELDS), "enhanced_evidence": {}},
        "evidence_details": {
            "due_by": dispute.created + _SECONDS_TO_ANSWER_A_DISPUTE,
            "enhanced_eligibility": {},
            "has_evidence": False,
            "past_due": False,
            "submission_count": 0,
        },
        "is_charge_refundable": dispute.status.startswith("warning_"),
        "livemode": False,
        "metadata": {},
        "payment_intent": dispute.payment_intent,
        "payment_method_details": {
            "card": {
                "brand": "visa",
                "case_type": "inquiry" if dispute.status.startswith("warning_") else "chargeback",
                "network": "visa",
                "network_reason_code": "10.4",
            },
            "type": "card",
        },
        "reason": dispute.reason,
        "status": dispute.status,
    }


def _event(event: Event, *, pending: int) -> Document:
    return {
        "id": event.id,
        "object": "event",
        "api_version": event.api_version,
        "created": event.created,
        "data": {"object": msgspec.json.decode(event.subject)},
        "livemode": False,
        "pending_webhooks": pending,
        "request": {"id": event.request, "idempotency_key": event.idempotency_key},
        "type": event.type,
    }
