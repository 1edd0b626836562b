"""Money as people write and read it; integer minor units everywhere else. Pure."""

import re
from typing import Final

AMOUNT_MINOR_MAX: Final = 99_999_999
"""The processor's ceiling, as in gateway.contract.AmountMinor."""
_NONE = ("BIF", "CLP", "DJF", "GNF", "JPY", "KMF", "KRW", "PYG", "RWF", "UGX", "VND", "VUV", "XAF", "XOF", "XPF")
_THREE = ("BHD", "IQD", "JOD", "KWD", "LYD", "OMR", "TND")
DECIMALS: Final = dict.fromkeys(_NONE, 0) | dict.fromkeys(_THREE, 3)
"""ISO 4217 minor units other than two."""
_WRITTEN: Final = re.compile(r"^([0-9]{1,9})(?:\.([0-9]{1,3}))?\Z")


def decimals_of(currency: str) -> int:
    return DECIMALS.get(currency, 2)


def read_amount(written: str, currency: str) -> int | None:
    """Minor units of `150`, `150.5` or `150.00`; None for anything else, zero, or too much.

    No thousands separators: `1,500` is fifteen hundred to one reader and one and a half to another.
    """
    match = _WRITTEN.match(written.strip())
    decimals = decimals_of(currency)
    if match is None or len(match.group(2) or "") > decimals:
        return None
    minor = int(match.group(1) + (match.group(2) or "").ljust(decimals, "0"))
    return minor if 0 < minor <= AMOUNT_MINOR_MAX else None


def write_amount(minor: int, currency: str) -> str:
    """The form that `read_amount` reads."""
    decimals = decimals_of(currency)
    if decimals == 0:
        return str(minor)
    whole, part = divmod(minor, 10**decimals)
    return f"{whole}.{part:0{decimals}d}"


def show_amount(minor: int, currency: str) -> str:
    """For reading: `1,250.00 USD`."""
    whole, dot, part = write_amount(minor, currency).partition(".")
    return f"{int(whole):,}{dot}{part} {currency}"
