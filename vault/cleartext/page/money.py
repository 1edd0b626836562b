"""An amount as a person reads it."""

from typing import Final

_NO_MINOR_UNIT: Final = frozenset(
    {"BIF", "CLP", "DJF", "GNF", "ISK", "JPY", "KMF", "KRW", "PYG", "RWF", "UGX", "VND", "VUV", "XAF", "XOF", "XPF"}
)
_THOUSANDTHS: Final = frozenset({"BHD", "IQD", "JOD", "KWD", "LYD", "OMR", "TND"})
"""ISO 4217, column "minor unit"; every other currency has hundredths."""
_SIGNS: Final = {"USD": "$", "EUR": "€", "GBP": "£", "JPY": "¥", "INR": "₹", "KRW": "₩"}


def amount_text(amount_minor: int, currency: str) -> str:
    """`7998, "USD"` becomes `$79.98 USD`: the sign for the eye, the code so that no dollar is taken for another."""
    places = 0 if currency in _NO_MINOR_UNIT else 3 if currency in _THOUSANDTHS else 2
    whole, fraction = divmod(amount_minor, 10**places)
    figure = f"{whole:,}.{fraction:0{places}d}" if places else f"{whole:,}"
    return f"{_SIGNS.get(currency, '')}{figure} {currency}"
