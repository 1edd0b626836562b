"""Stripe's words for how disputes and refunds stand, in ours. A word that is not here is not relied on."""

from collections.abc import Mapping
from typing import Final

from vault.cleartext.processors import DisputeStanding, RefundStanding

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
