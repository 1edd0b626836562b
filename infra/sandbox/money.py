"""Which amounts and currencies are taken (https://docs.stripe.com/currencies)."""

from decimal import Decimal

from infra.sandbox.errors import BadParameter

AMOUNT_MINOR_MAX = 99_999_999  # eight digits, the limit Stripe documents
_MINIMUM_MINOR = {  # https://docs.stripe.com/currencies#minimum-and-maximum-charge-amounts
    "usd": 50, "aed": 200, "aud": 50, "bgn": 100, "brl": 50, "cad": 50, "chf": 50, "czk": 1500, "dkk": 250,
    "eur": 50, "gbp": 30, "hkd": 400, "huf": 17500, "inr": 50, "jpy": 50, "mxn": 1000, "myr": 200, "nok": 300,
    "nzd": 50, "pln": 200, "ron": 200, "sek": 300, "sgd": 50, "thb": 1000,
}  # fmt: skip
_ZERO_DECIMAL = {"jpy"}


def check_currency(code: str) -> str:
    """The code in lower case, as Stripe shows it."""
    lowered = code.lower()
    if lowered not in _MINIMUM_MINOR:
        known = ", ".join(sorted(_MINIMUM_MINOR))
        raise BadParameter(f"Invalid currency. The sandbox processor supports: {known}", param="currency")
    return lowered


def check_amount(amount_minor: int, currency: str) -> int:
    if amount_minor < 1:
        raise BadParameter(
            "This value must be greater than or equal to 1.", code="parameter_invalid_integer", param="amount"
        )
    if amount_minor < _MINIMUM_MINOR[currency]:
        raise BadParameter(
            f"Amount must be at least {shown(_MINIMUM_MINOR[currency], currency)} {currency}",
            code="amount_too_small",
            param="amount",
        )
    if amount_minor > AMOUNT_MINOR_MAX:
        raise BadParameter(
            f"Amount must be no more than {shown(AMOUNT_MINOR_MAX, currency)} {currency}",
            code="amount_too_large",
            param="amount",
        )
    return amount_minor


def shown(amount_minor: int, currency: str) -> str:
    if currency in _ZERO_DECIMAL:
        return str(amount_minor)
    major, minor = divmod(amount_minor, 100)
    return f"{major:,}.{minor:02d}"


def units_of(amount: Decimal, currency: str) -> int:
    """Minor units of an amount in units, as the second processor counts; raises BadParameter for parts of one."""
    scaled = amount if currency in _ZERO_DECIMAL else amount * 100
    if not scaled.is_finite() or scaled != scaled.to_integral_value():
        raise BadParameter("Parts of a minor unit.", param="amount")
    return int(scaled)
