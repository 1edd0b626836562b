"""From the bytes the card page posts to card details and a verification code, or to every flaw at once.

Two forms of the same post: plain fields (no JavaScript) and three `sealed_*` fields (sealed in the browser). Tolerant
of how people and autofill write numbers, strict about everything else. What is kept for showing again holds neither a
card number nor a verification code, whatever was typed into which field.
"""

import unicodedata
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from re import compile as compile_pattern
from typing import Final, TypeVar
from urllib.parse import parse_qsl

import msgspec

from infra.chassis import strict_json
from vault.cleartext.hpke import PageKeys, SealedFor, SealedForm, SealedFormRefused, SealSuite
from vault.cleartext.pan import CardDetails, CardFlaw, CardFlawed, CardNumber, VerificationCode, expiry_flaw

FORM_BYTES_MAX: Final = 8192
"""A form sealed with X-Wing is about 2,000 bytes; a plain one with a long name, percent-encoded, as many at most."""
FIELD_LENGTHS_MAX: Final = {
    "csrf": 128,
    "number": 64,
    "expiry": 24,
    "code": 16,
    "holder": 200,
    "sealed_kid": 32,
    "sealed_enc": 1500,
    "sealed_ct": 2800,
}
"""Every field a form may have, with room for separators; longer is not a person typing."""
CARD_FIELDS: Final = frozenset({"number", "expiry", "code", "holder"})
SEALED_FIELDS: Final = frozenset({"sealed_kid", "sealed_enc", "sealed_ct"})
HOLDER_LENGTH_MAX: Final = 80
HOLDER_DIGITS_MAX: Final = 4
"""A name may hold a short number ("3rd", "Unit 12"); more digits is a card number in the wrong field."""
_EXPIRY: Final = compile_pattern(r"(\d{1,2})[/.\-](\d{2}|\d{4})|(\d{2})(\d{2}|\d{4})")
_CENTURY: Final = 2000
_Made = TypeVar("_Made")


class FormMalformed(ValueError):
    """Not a form our page can have posted: no person typed this."""


@dataclass(frozen=True, slots=True)
class KeptFields:
    """What may be shown again in the form after an error. `expiry` is `MM/YY`; empty where there is nothing to keep."""

    expiry: str = ""
    holder: str = ""


class CardFormRefused(ValueError):
    """The person has to correct something. `flaws` has at least one member and is in the order of the fields."""

    def __init__(self, flaws: tuple[CardFlaw, ...], kept: KeptFields) -> None:
        super().__init__(", ".join(flaws))
        self.flaws = flaws
        self.kept = kept


@dataclass(frozen=True, slots=True, eq=False)
class CardIntake:
    """One card as it entered. `suite` is what the browser's script sealed it with; None for a form posted plain."""

    details: CardDetails
    code: VerificationCode
    suite: SealSuite | None = None


class _SealedFields(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    number: str
    expiry: str
    code: str
    holder: str


@dataclass(slots=True)
class _Reading:
    """Collects flaws while fields are read, so that one answer names all of them."""

    flaws: list[CardFlaw] = field(default_factory=list)

    def attempt(self, make: Callable[[], _Made]) -> _Made | None:
        try:
            return make()
        except CardFlawed as flawed:
            self.flaws.append(flawed.flaw)
            return None


def read_form(body: bytes) -> dict[str, str]:
    """The fields of an `application/x-www-form-urlencoded` body. Raises `FormMalformed`, without a value in it."""
    if len(body) > FORM_BYTES_MAX:
        raise FormMalformed("the form is too large")
    try:
        pairs = parse_qsl(
            body.decode("ascii"),
            keep_blank_values=True,
            strict_parsing=True,
            errors="strict",
            max_num_fields=len(FIELD_LENGTHS_MAX),
        )
    except ValueError:
        raise FormMalformed("the form cannot be read") from None
    fields = dict(pairs)
    if len(fields) != len(pairs):
        raise FormMalformed("a field is repeated")
    if any(name not in FIELD_LENGTHS_MAX or len(value) > FIELD_LENGTHS_MAX[name] for name, value in fields.items()):
        raise FormMalformed("a field is unknown or too long")
    return fields


def take_card(fields: Mapping[str, str], *, place: SealedFor, keys: PageKeys, now: datetime) -> CardIntake:
    """The card in a form read by `read_form`, sealed or plain.

    Raises `CardFormRefused`, `FormMalformed`, or `SealedFormReplayed` for a sealed form that was opened before.
    """
    if not SEALED_FIELDS & fields.keys():
        return parse_card_form(fields, now)
    if not fields.keys() >= SEALED_FIELDS or CARD_FIELDS & fields.keys():
        raise FormMalformed("the form is neither plain nor sealed")
    sealed = SealedForm(key_id=fields["sealed_kid"], enc=fields["sealed_enc"], ct=fields["sealed_ct"])
    try:
        opened = keys.open(sealed, place=place, now=now)
        typed = msgspec.convert(strict_json.decode(opened.plaintext), type=_SealedFields)
    except (SealedFormRefused, strict_json.NotStrictJson, msgspec.ValidationError):
        raise CardFormRefused((CardFlaw.SEALED_UNREADABLE,), KeptFields()) from None
    return parse_card_form(msgspec.structs.asdict(typed), now, opened.suite)


def parse_card_form(
    fields: Mapping[str, str], now: datetime, suite: SealSuite | None = None, *, named: bool = True
) -> CardIntake:
    """Card details and verification code from what was typed. Raises `CardFormRefused` naming every flaw.

    Not `named`: from a keypad, which has no letters; the holder is then empty.
    """
    reading = _Reading()
    number = reading.attempt(lambda: CardNumber(_typed_digits(fields, "number", CardFlaw.NUMBER_INVALID)))
    expiry = reading.attempt(lambda: _read_expiry(fields.get("expiry", ""), now))
    code = reading.attempt(lambda: _read_code(fields, number))
    holder = reading.attempt(lambda: read_holder(fields.get("holder", ""))) if named else ""
    if number is None or expiry is None or code is None or holder is None:
        for digits in (number, code):
            if digits is not None:
                digits.wipe()
        raise CardFormRefused(tuple(reading.flaws), _kept(expiry, holder))
    month, year = expiry
    details = CardDetails(number=number, exp_month=month, exp_year=year, holder=holder)
    return CardIntake(details=details, code=code, suite=suite)


def _read_code(fields: Mapping[str, str], number: CardNumber | None) -> VerificationCode:
    code = VerificationCode(_typed_digits(fields, "code", CardFlaw.CODE_INVALID))
    if number is not None and code.length != number.code_length:
        code.wipe()
        raise CardFlawed(CardFlaw.CODE_LENGTH)
    return code


def _read_expiry(typed: str, now: datetime) -> tuple[int, int]:
    text = ascii_digits(typed)
    if not text:
        raise CardFlawed(CardFlaw.EXPIRY_MISSING)
    match = _EXPIRY.fullmatch(text)
    if match is None:
        raise CardFlawed(CardFlaw.EXPIRY_INVALID)
    month, year = (int(part) for part in match.groups() if part is not None)
    year += _CENTURY if year < _CENTURY // 20 else 0
    flaw = expiry_flaw(month, year, now)
    if flaw is not None:
        raise CardFlawed(flaw)
    return month, year


def read_holder(typed: str) -> str:
    """The name as it is kept. Raises CardFlawed."""
    holder = " ".join(unicodedata.normalize("NFC", typed).split())
    if not holder:
        raise CardFlawed(CardFlaw.HOLDER_MISSING)
    hidden = any(unicodedata.category(character).startswith("C") for character in holder)
    digits = sum(character.isdecimal() for character in holder)
    if hidden or digits > HOLDER_DIGITS_MAX or len(holder) > HOLDER_LENGTH_MAX:
        raise CardFlawed(CardFlaw.HOLDER_INVALID)
    return holder


def _kept(expiry: tuple[int, int] | None, holder: str | None) -> KeptFields:
    shown_holder = holder if holder and not any(character.isnumeric() for character in holder) else ""
    return KeptFields(
        expiry=f"{expiry[0]:02d}/{expiry[1] % 100:02d}" if expiry else "",
        holder=shown_holder,
    )


def _typed_digits(fields: Mapping[str, str], name: str, flaw: CardFlaw) -> str:
    digits = ascii_digits(fields.get(name, "")).replace("-", "")
    if digits and not digits.isdecimal():
        raise CardFlawed(flaw)
    return digits


def ascii_digits(typed: str) -> str:
    """Digits of any script as ASCII, every dash as `-`, no spaces and no invisible characters; the rest unchanged."""
    if typed.isascii():
        return typed.translate(_ASCII)
    return "".join(_plain(character) for character in typed)


def _plain(character: str) -> str:
    category = unicodedata.category(character)
    if category == "Nd":
        return str(unicodedata.decimal(character))
    if category == "Pd":
        return "-"
    if category in {"Zs", "Cf", "Cc"}:
        return ""
    return (
        "/" if unicodedata.name(character, "").endswith(("SOLIDUS", "FRACTION SLASH", "DIVISION SLASH")) else character
    )


_ASCII: Final = {number: _plain(chr(number)) for number in range(128)}
"""What `_plain` makes of each, so that most of what is typed is done at once."""
