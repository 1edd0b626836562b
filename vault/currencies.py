"""How many minor units a currency's unit has: ISO 4217, column "minor unit"."""

from typing import Final

_NO_MINOR_UNIT: Final = frozenset(
    {"BIF", "CLP", "DJF", "GNF", "ISK", "JPY", "KMF", "KRW", "PYG", "RWF", "UGX", "VND", "VUV", "XAF", "XOF", "XPF"}
)
_THOUSANDTHS: Final = frozenset({"BHD", "IQD", "JOD", "KWD", "LYD", "OMR", "TND"})
"""Every other currency has hundredths. Ours, because an amount is charged by ISO's units, and the CLDR has other ones
for a dozen currencies: it shows no fraction of an Iraqi dinar, which has 1,000."""


def minor_places(currency: str) -> int:
    """Decimal places of an amount in `currency`, a code of three capital letters."""
    return 0 if currency in _NO_MINOR_UNIT else 3 if currency in _THOUSANDTHS else 2
