"""Stripe's words in ours: why it declined, and how disputes and refunds stand.

A standing that is not here is not relied on.
"""

from collections.abc import Mapping
from typing import Final

from vault.cleartext.processors import DisputeStanding, RefundStanding
from vault.contract import ChargeReason

REASONS: Final[Mapping[str, ChargeReason]] = {
    "insufficient_funds": ChargeReason.INSUFFICIENT_FUNDS,
    "lost_card": ChargeReason.LOST_OR_STOLEN,
    "stolen_card": ChargeReason.LOST_OR_STOLEN,
    "pickup_card": ChargeReason.LOST_OR_STOLEN,
    "fraudulent": ChargeReason.FRAUD_SUSPECTED,
    "merchant_blacklist": ChargeReason.FRAUD_SUSPECTED,
    "authentication_required": ChargeReason.AUTHENTICATION_REQUIRED,
    "payment_intent_authentication_failure": ChargeReason.AUTHENTICATION_FAILED,
    "expired_card": ChargeReason.EXPIRED_CARD,
    "invalid_expiry_month": ChargeReason.EXPIRED_CARD,
    "invalid_expiry_year": ChargeReason.EXPIRED_CARD,
    "incorrect_number": ChargeReason.INCORRECT_NUMBER,
    "invalid_number": ChargeReason.INCORRECT_NUMBER,
    "incorrect_cvc": ChargeReason.INCORRECT_VERIFICATION_CODE,
    "invalid_cvc": ChargeReason.INCORRECT_VERIFICATION_CODE,
    "processing_error": ChargeReason.PROCESSOR_ERROR,
}
"""Stripe's `decline_code` or else `code` (docs.stripe.com/declines/codes); any other is `card_declined`."""
DISPUTES: Final[Mapping[str, DisputeStanding]] = {
    "warning_needs_response": DisputeStanding.INQUIRY,
    "warning_under_review": DisputeStanding.INQUIRY,
    "warning_closed": DisputeStanding.CLOSED,
    "prevented": DisputeStanding.CLOSED,
    "needs_response": DisputeStanding.OPEN,
    "under_review": DisputeStanding.OPEN,
    "lost": DisputeStanding.LOST,
    "appeal_needs_response": DisputeStanding.LOST,
    "appeal_under_review": DisputeStanding.LOST,
    "won": DisputeStanding.WON,
}
"""Stripe's statuses (docs.stripe.com/api/disputes/object). During an appeal the money is still away."""
STANDINGS: Final[Mapping[str, RefundStanding]] = {
    "succeeded": RefundStanding.SUCCEEDED,
    "pending": RefundStanding.PENDING,
    "requires_action": RefundStanding.PENDING,
    "failed": RefundStanding.FAILED,
    "canceled": RefundStanding.FAILED,
}
