"""Stripe's published test cards (https://docs.stripe.com/testing) and what each of them does.

A number lives in this module's arguments only: what leaves is a `Card` with a keyed fingerprint.
"""

import hmac
from dataclasses import dataclass
from datetime import UTC, datetime

from infra.sandbox import luhn
from infra.sandbox.errors import CardError
from infra.sandbox.ids import as_letters
from infra.sandbox.resources import Card, CheckResult

_DIGITS_MIN, _DIGITS_MAX = 12, 19
_CODE_DIGITS = 3
_CODE_DIGITS_AMEX = 4
_MONTHS = 12
_YEARS_AHEAD_MAX = 50
_FINGERPRINT_LETTERS = 16


@dataclass(frozen=True, slots=True, kw_only=True)
class Decline:
    """`code` and `decline_code` as https://docs.stripe.com/declines/codes lists them."""

    code: str = "card_declined"
    decline_code: str | None = None
    message: str = "Your card was declined."
    param: str | None = None
    blocked: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class TestCard:
    """One row of the table: what the card looks like and what happens when it is charged."""

    number: str
    behaviour: str
    brand: str = "visa"
    funding: str = "credit"
    country: str = "US"
    decline: Decline | None = None
    authentication: bool = False
    dispute: str | None = None
    dispute_status: str = "needs_response"
    code_check: CheckResult = "pass"


def _declined(decline_code: str, message: str = "Your card was declined.", *, code: str = "card_declined") -> Decline:
    return Decline(code=code, decline_code=decline_code, message=message)


_GENERIC = _declined("generic_decline")
_TABLE = (
    TestCard(number="4242424242424242", behaviour="approve"),
    TestCard(number="4000056655665556", behaviour="approve_visa_debit", funding="debit"),
    TestCard(number="5555555555554444", behaviour="approve_mastercard", brand="mastercard"),
    TestCard(number="2223003122003222", behaviour="approve_mastercard_2_series", brand="mastercard"),
    TestCard(number="5200828282828210", behaviour="approve_mastercard_debit", brand="mastercard", funding="debit"),
    TestCard(number="5105105105105100", behaviour="approve_mastercard_prepaid", brand="mastercard", funding="prepaid"),
    TestCard(number="378282246310005", behaviour="approve_amex", brand="amex"),
    TestCard(number="371449635398431", behaviour="approve_amex_second", brand="amex"),
    TestCard(number="6011111111111117", behaviour="approve_discover", brand="discover"),
    TestCard(number="3056930009020004", behaviour="approve_diners", brand="diners"),
    TestCard(number="3566002020360505", behaviour="approve_jcb", brand="jcb", country="JP"),
    TestCard(number="6200000000000005", behaviour="approve_unionpay", brand="unionpay", country="CN"),
    TestCard(number="4000000000000002", behaviour="generic_decline", decline=_GENERIC),
    TestCard(
        number="4000000000009995",
        behaviour="insufficient_funds",
        decline=_declined("insufficient_funds", "Your card has insufficient funds."),
    ),
    TestCard(number="4000000000009987", behaviour="lost_card", decline=_declined("lost_card")),
    TestCard(number="4000000000009979", behaviour="stolen_card", decline=_declined("stolen_card")),
    TestCard(
        number="4000000000000069",
        behaviour="expired_card",
        decline=Decline(
            code="expired_card", decline_code="expired_card", message="Your card has expired.", param="exp_month"
        ),
    ),
    TestCard(
        number="4000000000000127",
        behaviour="incorrect_cvc",
        code_check="fail",
        decline=Decline(
            code="incorrect_cvc",
            decline_code="incorrect_cvc",
            message="Your card's security code is incorrect.",
            param="cvc",
        ),
    ),
    TestCard(
        number="4000000000000119",
        behaviour="processing_error",
        decline=_declined(
            "processing_error",
            "An error occurred while processing your card. Try again in a little bit.",
            code="processing_error",
        ),
    ),
    TestCard(
        number="4000000000006975",
        behaviour="card_velocity_exceeded",
        decline=_declined(
            "card_velocity_exceeded",
            "Your card was declined for making repeated attempts too frequently or exceeding its amount limit.",
        ),
    ),
    TestCard(
        number="4100000000000019", behaviour="fraudulent", decline=Decline(decline_code="fraudulent", blocked=True)
    ),
    TestCard(number="4000000000000341", behaviour="attaches_then_declines", decline=_GENERIC),
    TestCard(number="4000000000000101", behaviour="code_check_fails", code_check="fail"),
    TestCard(number="4000000000000259", behaviour="disputed_fraudulent", dispute="fraudulent"),
    TestCard(number="4000000000002685", behaviour="disputed_not_received", dispute="product_not_received"),
    TestCard(
        number="4000000000001976",
        behaviour="inquiry",
        dispute="fraudulent",
        dispute_status="warning_needs_response",
    ),
    TestCard(number="4000002500003155", behaviour="authentication_unless_set_up", authentication=True),
    TestCard(number="4000002760003184", behaviour="authentication_always", authentication=True),
    TestCard(number="4000008400001629", behaviour="authentication_then_decline", authentication=True, decline=_GENERIC),
)
_BY_NUMBER = {row.number: row for row in _TABLE}
_BY_BEHAVIOUR = {row.behaviour: row for row in _TABLE}


def behaviour_of(card: Card) -> TestCard:
    return _BY_BEHAVIOUR[card.behaviour]


def accept(
    number: str, exp_month: int, exp_year: int, code: str | None, *, now: datetime, fingerprint_key: bytes
) -> Card:
    """Check what a person typed and keep all but the number and the code; raises CardError as Stripe would.

    A number that is not a published test number is refused: the sandbox never takes a real card.
    """
    digits = number.replace(" ", "").replace("-", "")
    if not (digits.isascii() and digits.isdigit() and _DIGITS_MIN <= len(digits) <= _DIGITS_MAX):
        raise CardError("The card number is not a valid credit card number.", code="invalid_number", param="number")
    if not luhn.passes(digits):
        raise CardError("Your card number is incorrect.", code="incorrect_number", param="number")
    year = _check_expiry(exp_month, exp_year, now.astimezone(UTC))
    row = _BY_NUMBER.get(digits)
    if row is None:
        raise CardError(
            "Your card was declined. Your request was in test mode, but used a non test card.",
            code="card_declined",
            extra={"decline_code": "test_mode_live_card"},
        )
    _check_code(code, row.brand)
    return Card(
        brand=row.brand,
        funding=row.funding,
        country=row.country,
        last4=digits[-4:],
        exp_month=exp_month,
        exp_year=year,
        fingerprint=as_letters(hmac.digest(fingerprint_key, digits.encode(), "sha256"), _FINGERPRINT_LETTERS),
        behaviour=row.behaviour,
        code_check=None if code is None else "unchecked",
    )


def check_result(card: Card) -> CheckResult:
    """What the bank answers about the code; `unavailable` when none was given."""
    return "unavailable" if card.code_check is None else behaviour_of(card).code_check


def _check_expiry(month: int, year: int, now: datetime) -> int:
    """The year in four digits."""
    century = 100
    full_year = year + now.year // century * century if 0 <= year < century else year
    if not 1 <= month <= _MONTHS:
        raise CardError("Your card's expiration month is invalid.", code="invalid_expiry_month", param="exp_month")
    if not now.year <= full_year <= now.year + _YEARS_AHEAD_MAX:
        raise CardError("Your card's expiration year is invalid.", code="invalid_expiry_year", param="exp_year")
    if (full_year, month) < (now.year, now.month):
        raise CardError("Your card's expiration month is invalid.", code="invalid_expiry_month", param="exp_month")
    return full_year


def _check_code(code: str | None, brand: str) -> None:
    if code is None:
        return
    length = _CODE_DIGITS_AMEX if brand == "amex" else _CODE_DIGITS
    if not (code.isascii() and code.isdigit() and len(code) == length):
        raise CardError("Your card's security code is invalid.", code="invalid_cvc", param="cvc")
