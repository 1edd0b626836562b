"""Asking whether something may be done, before doing it."""

from typing import Annotated

import msgspec

from gateway.contract.values import AmountMinor, Identifier, Sha256

RecallableTier = Annotated[int, msgspec.Meta(ge=0, le=4)]


class Enquiry(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True, tag_field="action"):
    """What every question of `POST /v1/decisions` says. An assistant's bearer carries its conversation."""

    conversation_id: Identifier | None = None


class PurchaseEnquiry(Enquiry, frozen=True, forbid_unknown_fields=True, kw_only=True, tag="purchase"):
    """May this checkout be paid as quoted? One that is being paid, or is paid, is judged as if it were not yet."""

    checkout_id: Identifier
    cart_sha256: Sha256


class RefundEnquiry(Enquiry, frozen=True, forbid_unknown_fields=True, kw_only=True, tag="refund"):
    """May so much of this purchase be given back? For agents."""

    purchase_id: Identifier
    amount_minor: AmountMinor


class RecallEnquiry(Enquiry, frozen=True, forbid_unknown_fields=True, kw_only=True, tag="recall"):
    """May memories of this tier be seen? Says nothing about whether there are any."""

    tier: RecallableTier = 0


class RememberEnquiry(Enquiry, frozen=True, forbid_unknown_fields=True, kw_only=True, tag="remember"):
    """May something be kept about the person? Whether a text is kept depends on the text as well."""


class ForgetEnquiry(Enquiry, frozen=True, forbid_unknown_fields=True, kw_only=True, tag="forget"):
    """May something about the person be forgotten? Says nothing about whether there is anything."""


class ReadMandatesEnquiry(Enquiry, frozen=True, forbid_unknown_fields=True, kw_only=True, tag="read_mandates"):
    """May the person's consents with this brand be seen? Says nothing about whether there are any."""


class RevokeMandateEnquiry(Enquiry, frozen=True, forbid_unknown_fields=True, kw_only=True, tag="revoke_mandate"):
    """May this consent be taken back? One revoked already may be revoked again, which changes nothing."""

    mandate_id: Identifier


DecisionRequest = (
    PurchaseEnquiry
    | RefundEnquiry
    | RecallEnquiry
    | RememberEnquiry
    | ForgetEnquiry
    | ReadMandatesEnquiry
    | RevokeMandateEnquiry
)
"""`POST /v1/decisions`; `action` says which. The answer is a DecisionView: nothing is reserved, nothing is bound."""
