"""Errors in Airwallex's shape (airwallex.com/docs/payments__error-response-codes)."""

from infra.sandbox.cards import Decline
from infra.sandbox.errors import CardError, Document

NETWORK_CODES = {
    "insufficient_funds": "51",
    "lost_card": "41",
    "stolen_card": "43",
    "expired_card": "54",
    "incorrect_cvc": "N7",
    "processing_error": "96",
    "card_velocity_exceeded": "65",
}
"""Stripe's decline codes, by which cards.py knows its cards, as the card networks' response codes; any other is 05."""
DO_NOT_HONOUR = "05"
_CARD_FIELDS = {"number": "number", "exp_month": "expiry_month", "exp_year": "expiry_year", "cvc": "cvc"}


class Refusal(Exception):
    """`used_up`: the request id is spent, because what was asked for was tried."""

    def __init__(
        self,
        code: str,
        message: str,
        *,
        status: int = 400,
        source: str | None = None,
        network_code: str | None = None,
        used_up: bool = False,
    ) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.status = status
        self.source = source
        self.network_code = network_code
        self.used_up = used_up

    def document(self) -> Document:
        shown: Document = {"code": self.code, "message": self.message}
        if self.source is not None:
            shown["source"] = self.source
        if self.network_code is not None:
            shown["provider_original_response_code"] = self.network_code
            shown["details"] = {"original_response_code": self.network_code}
        return shown


def invalid(source: str, message: str | None = None) -> Refusal:
    return Refusal("validation_error", message or f"{source} is not valid.", source=source)


def missing(identifier: str) -> Refusal:
    """What is no id of ours is not repeated: it may be a card number in the wrong place."""
    shown = identifier if identifier.replace("_", "").isalpha() else "given"
    return Refusal("resource_not_found", f"The resource with ID {shown} cannot be found.", status=404)


def duplicate(request_id: str) -> Refusal:
    return Refusal("duplicate_request", f"The request ID {request_id} has been used previously.", source="request_id")


def wrong_status(status: str) -> Refusal:
    return Refusal(
        "invalid_status_for_operation", f"The PaymentIntent status {status} is invalid for operation.", source="status"
    )


def unavailable(message: str) -> Refusal:
    return Refusal("service_unavailable", message, status=503)


def broken() -> Refusal:
    message = "An internal error was encountered. Please try again later."
    return Refusal("internal_error", message, status=500, used_up=True)


def refused_card(problem: CardError) -> Refusal:
    """A card that is not taken in: `accept` of cards.py said why in Stripe's words."""
    if problem.code == "card_declined":
        return declined(Decline(decline_code="test_mode_live_card"))
    return invalid(f"payment_method.card.{_CARD_FIELDS.get(str(problem.param), 'number')}")


def declined(decline: Decline) -> Refusal:
    if decline.blocked:
        return Refusal("risk_declined", "The transaction was declined by our risk engine.", used_up=True)
    return Refusal(
        "issuer_declined",
        "The card issuer declined this transaction. Please refer to the original response code.",
        network_code=network_code(decline),
        used_up=True,
    )


def network_code(decline: Decline) -> str:
    return NETWORK_CODES.get(decline.decline_code or "", DO_NOT_HONOUR)
