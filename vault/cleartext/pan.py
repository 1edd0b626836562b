"""Card number, verification code and card details, as values that refuse to be careless.

Digits live in one bytearray that `wipe()` overwrites. They do not print, format, compare, hash, pickle, copy or
serialise; `reveal()` is the only way to them and its callers are listed in a test. Honest limit: what the form's parser
and the processor's SDK hold as `str` is beyond our reach and lives until Python frees it.
"""

from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from typing import Final, NoReturn, SupportsIndex

from infra.chassis.screen import luhn
from vault.cleartext.issuers import NUMBER_LENGTH_MAX, NUMBER_LENGTH_MIN, CardBrand, IssuerRange, find_issuer
from vault.cleartext.masking import masked

VALID_YEARS_MAX: Final = 20
"""Issuers print at most this far ahead; more is a typing error."""
LATEST_CLOCK_OFFSET: Final = timedelta(hours=12)
"""A card is good through the last day of its month where its holder lives: the last place on Earth is UTC-12."""
CODE_LENGTHS: Final = (3, 4)


class CardFlaw(StrEnum):
    """Everything that can be wrong with what a person typed. The page has words for each; none carries a value."""

    NUMBER_MISSING = "number_missing"
    NUMBER_INCOMPLETE = "number_incomplete"
    NUMBER_INVALID = "number_invalid"
    NUMBER_UNSUPPORTED = "number_unsupported"
    EXPIRY_MISSING = "expiry_missing"
    EXPIRY_INVALID = "expiry_invalid"
    EXPIRY_PAST = "expiry_past"
    EXPIRY_TOO_FAR = "expiry_too_far"
    CODE_MISSING = "code_missing"
    CODE_INVALID = "code_invalid"
    CODE_LENGTH = "code_length"
    HOLDER_MISSING = "holder_missing"
    HOLDER_INVALID = "holder_invalid"
    SEALED_UNREADABLE = "sealed_unreadable"


class CardFlawed(ValueError):
    """A value that is not a card number, a verification code or an expiry; says which flaw, never the value."""

    def __init__(self, flaw: CardFlaw) -> None:
        super().__init__(flaw.value)
        self.flaw = flaw


class DigitsWiped(RuntimeError):
    """The digits were asked for after they had been destroyed."""


class CarelessUse(TypeError):
    """Something tried to print, compare, copy or serialise a card number or a verification code."""


class _Digits:
    """ASCII digits nobody can use by accident."""

    __slots__ = ("_digits",)
    __hash__ = None  # type: ignore[assignment]  # a hash of a card number is a card number

    def __init__(self, digits: str | bytearray) -> None:
        """A copy: whoever brings a bytearray overwrites his own."""
        self._digits = bytearray(digits, "ascii") if isinstance(digits, str) else bytearray(digits)

    def reveal(self) -> memoryview:
        """The digits as read-only ASCII bytes; a view, so it turns to zeros when the value is wiped."""
        if not any(self._digits):
            raise DigitsWiped
        return memoryview(self._digits).toreadonly()

    def wipe(self) -> None:
        """Overwrite the digits in place. Wiping twice is harmless."""
        for index in range(len(self._digits)):
            self._digits[index] = 0

    def __repr__(self) -> str:
        return f"<{type(self).__name__} hidden>"

    def __str__(self) -> NoReturn:
        raise CarelessUse(f"{type(self).__name__} does not print")

    def __format__(self, format_spec: str) -> NoReturn:
        raise CarelessUse(f"{type(self).__name__} does not print")

    def __eq__(self, other: object) -> NoReturn:
        raise CarelessUse(f"{type(self).__name__} does not compare; compare fingerprints")

    def __reduce_ex__(self, protocol: SupportsIndex) -> NoReturn:
        raise CarelessUse(f"{type(self).__name__} does not pickle or copy")


class CardNumber(_Digits):
    """A number that passes its brand's lengths and the Luhn check (ISO/IEC 7812-1, annex B).

    `digits` is nothing but ASCII digits; separators are the form parser's business. Raises `CardFlawed`.
    `last4`, `masked`, `brand` and `code_length` outlive `wipe()`: they are what may be shown.
    """

    __slots__ = ("brand", "code_length", "last4", "masked")

    def __init__(self, digits: str) -> None:
        issuer = _issuer_of(digits)
        super().__init__(digits)
        self.brand: CardBrand = issuer.brand
        self.code_length: int = issuer.code_length
        self.last4: str = digits[-4:]
        self.masked: str = masked(digits)


class VerificationCode(_Digits):
    """Three or four digits. Never stored: PCI DSS 3.3.1 forbids it after the charge, we forbid it before as well."""

    __slots__ = ()

    def __init__(self, digits: str | bytearray) -> None:
        if not digits:
            raise CardFlawed(CardFlaw.CODE_MISSING)
        if not (digits.isascii() and digits.isdigit()):
            raise CardFlawed(CardFlaw.CODE_INVALID)
        if len(digits) not in CODE_LENGTHS:
            raise CardFlawed(CardFlaw.CODE_LENGTH)
        super().__init__(digits)

    @property
    def length(self) -> int:
        return len(self._digits)


@dataclass(frozen=True, slots=True, eq=False)
class CardDetails:
    """What is sealed under one token. `exp_year` has four digits; `holder` is the name as typed, or empty."""

    number: CardNumber
    exp_month: int
    exp_year: int
    holder: str = field(repr=False)


def expiry_flaw(exp_month: int, exp_year: int, now: datetime) -> CardFlaw | None:
    """What is wrong with an expiry at `now` (aware), if anything."""
    if not 1 <= exp_month <= 12:  # noqa: PLR2004 - months of a year
        return CardFlaw.EXPIRY_INVALID
    somewhere_still = now.astimezone(UTC) - LATEST_CLOCK_OFFSET
    if (exp_year, exp_month) < (somewhere_still.year, somewhere_still.month):
        return CardFlaw.EXPIRY_PAST
    if (exp_year, exp_month) > (now.year + VALID_YEARS_MAX, now.month):
        return CardFlaw.EXPIRY_TOO_FAR
    return None


def _issuer_of(digits: str) -> IssuerRange:
    if not digits:
        raise CardFlawed(CardFlaw.NUMBER_MISSING)
    if not (digits.isascii() and digits.isdecimal()) or len(digits) > NUMBER_LENGTH_MAX:
        raise CardFlawed(CardFlaw.NUMBER_INVALID)
    issuer = find_issuer(digits)
    if issuer is not None and len(digits) not in issuer.lengths:
        raise CardFlawed(CardFlaw.NUMBER_INCOMPLETE if len(digits) < max(issuer.lengths) else CardFlaw.NUMBER_INVALID)
    if len(digits) < NUMBER_LENGTH_MIN:
        raise CardFlawed(CardFlaw.NUMBER_INCOMPLETE)
    if not luhn(digits):
        raise CardFlawed(CardFlaw.NUMBER_INVALID)
    if issuer is None:
        raise CardFlawed(CardFlaw.NUMBER_UNSUPPORTED)
    return issuer
