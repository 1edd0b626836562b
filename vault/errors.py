"""What the vault's API refuses, beyond the chassis' own refusals.

Problem
├── NotFound (404, chassis)           missing, another tenant's, another brand's or another subject's
├── GrantRefused, GrantReplayed       (403, 409, chassis)
├── CaptureNotByPhone                 409  a card was keyed in for a capture on the page
├── CaptureClosed                     409  the capture takes no card any more
├── CaptureIdReused, ChargeIdReused, RefundIdReused, HoldEndIdReused   409  same id, other parameters
├── ForwardIdReused                   409  likewise
├── TemplateRefused                   422  a forward's body that its destination does not take
├── CardNumberRefused                 422  (chassis) a number written out in a forward's body
├── PurchaseCharged                   409  this purchase has a charge that is approved or under way
├── ChargeNotRefundable               409  nothing was charged, or it is not known yet
├── ChargeDisputed                    409  the card's bank has the money, or may take it
├── NotHeld                           409  there is no hold of this charge to end
├── HoldEnding                        409  another settlement or void of it is under way
├── SettlementExceedsHold             409  more than is held
├── CurrencyDiffers                   409  the charge was in another currency
├── RefundExceedsCharge               409  more than is left of the charge
├── WebhookRefused                    400  not signed by the processor, or not an event
└── VaultSealed                       503  its custodians have not been here
"""

from infra.chassis.problems import Problem


class CaptureIdReused(Problem):
    status = 409
    code = "capture_id_reused"
    detail = "This capture id was used with other parameters."


class CaptureNotByPhone(Problem):
    status = 409
    code = "capture_not_by_phone"
    detail = "The card of this capture is typed on the card page; none can be keyed in for it."


class CaptureClosed(Problem):
    status = 409
    code = "capture_closed"
    detail = "This capture takes no card any more."


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
    detail = "Money is settled and goes back in the currency of its charge."


class ChargeDisputed(Problem):
    """A refund besides a chargeback would give the money back twice."""

    status = 409
    code = "charge_disputed"
    detail = "The card's bank has taken the money of this charge back; nothing is refunded besides."


class HoldEndIdReused(Problem):
    status = 409
    code = "hold_end_id_reused"
    detail = "This settlement or void id was used with other parameters."


class NotHeld(Problem):
    """`state` says how the charge stands instead."""

    status = 409
    code = "not_held"
    detail = "No money is held for this charge."


class HoldEnding(Problem):
    status = 409
    code = "hold_ending"
    detail = "Another settlement or void of this hold is under way."


class SettlementExceedsHold(Problem):
    """`held_minor` says what is held."""

    status = 409
    code = "settlement_exceeds_hold"
    detail = "More would be taken than is held."


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


class ForwardIdReused(Problem):
    status = 409
    code = "forward_id_reused"
    detail = "This forward id was used with other parameters."


class TemplateRefused(Problem):
    """The sentence says what is wrong with it and never what stands in it."""

    status = 422
    code = "template_refused"
    detail = "The template is not one that this destination takes."


class VaultSealed(Problem):
    """Nothing was looked at, used up or written. Its custodians have to come; that takes minutes, not moments."""

    status = 503
    code = "sealed"
    detail = "The vault is sealed: its custodians have to open it first."
