"""What the vault's API refuses, beyond the chassis' own refusals.

Problem
├── NotFound (404, chassis)           missing, another tenant's, another brand's or another subject's
├── GrantRefused, GrantReplayed       (403, 409, chassis)
├── CaptureIdReused, ChargeIdReused, RefundIdReused   409  same id, other parameters
├── PurchaseCharged                   409  this purchase has a charge that is approved or under way
├── ChargeNotRefundable               409  nothing was charged, or it is not known yet
├── CurrencyDiffers                   409  the charge was in another currency
├── RefundExceedsCharge               409  more than is left of the charge
└── WebhookRefused                    400  not signed by the processor, or not an event
"""

from infra.chassis.problems import Problem


class CaptureIdReused(Problem):
    status = 409
    code = "capture_id_reused"
    detail = "This capture id was used with other parameters."


class ChargeIdReused(Problem):
    status = 409
    code = "charge_id_reused"
    detail = "This charge id was used with other parameters."


class PurchaseCharged(Problem):
    """A second wall: whatever happens in the gateway, the database holds one live charge a purchase."""

    status = 409
    code = "purchase_charged"
    detail = "This purchase has been charged already, or a charge of it is under way."


class RefundIdReused(Problem):
    status = 409
    code = "refund_id_reused"
    detail = "This refund id was used with other parameters."


class ChargeNotRefundable(Problem):
    status = 409
    code = "charge_not_refundable"
    detail = "This charge was not approved, so nothing can go back."


class CurrencyDiffers(Problem):
    status = 409
    code = "currency_differs"
    detail = "A refund goes back in the currency of its charge."


class RefundExceedsCharge(Problem):
    """`refundable_minor` says what is left."""

    status = 409
    code = "refund_exceeds_charge"
    detail = "More would go back than is left of this charge."


class WebhookRefused(Problem):
    """One answer for a wrong signature, an old one and a body that is no event."""

    status = 400
    code = "webhook_refused"
    detail = "This is not a signed event of the processor."
