"""One line of a file of cards: a JSON object for one card of one person, and why one is not taken.

    {"reference": "cus_81", "subject_id": "sub_ada", "number": "…", "exp_month": 12, "exp_year": 2030,
     "holder": "Ada Byron", "brand_id": "brd_lamps", "terms": {"uses": "single"}}

`reference` is what the other vault called the card. The last three may be left out; `terms` are contract.TokenTerms. A
verification code is in no line: nobody may have kept one (PCI DSS 3.3.1).
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Annotated, Any, Final

import msgspec

from infra.chassis import strict_json
from infra.chassis.screen import find_card_number
from vault.cleartext.batch.sealed_file import LINE_BYTES_MAX
from vault.cleartext.intake import read_holder
from vault.cleartext.pan import CardDetails, CardFlaw, CardFlawed, CardNumber, expiry_flaw
from vault.contract import Identifier, TokenTerms

REFERENCE_LENGTH_MAX: Final = 200
CODES: Final = frozenset({
    "cav", "cav2", "cid", "code", "csc", "cvc", "cvc2", "cvv", "cvv2", "cvn", "securitycode", "cardcode",
    "verificationcode", "verificationvalue", "cardverificationcode", "cardverificationvalue", "pin", "pinblock",
    "track", "track1", "track2", "trackdata", "magstripe",
})  # fmt: skip
"""What others call what nobody may keep; in any spelling. Whatever else a line holds that we do not know, we refuse."""


class LineFlaw(StrEnum):
    """Besides the members of CardFlaw. None carries a value."""

    LINE_TOO_LONG = "line_too_long"
    LINE_UNREADABLE = "line_unreadable"
    """Not one JSON object, or with members that are missing, unknown, or of another kind."""
    CODE_GIVEN = "code_given"
    """A verification code, a PIN, or what is on a magnetic stripe."""
    REFERENCE_LIKE_A_CARD = "reference_like_a_card"
    """It could be a card number, and would be written down in clear."""


class LineRefused(ValueError):
    """`reasons`: every flaw, at least one. `reference`, where it could be read and may be shown."""

    def __init__(self, reasons: tuple[str, ...], reference: str | None) -> None:
        super().__init__(", ".join(reasons))
        self.reasons = reasons
        self.reference = reference


@dataclass(frozen=True, slots=True, eq=False)
class CardLine:
    """`brand_id` and `terms`: None where the line says nothing of them. Whoever has it wipes the number."""

    reference: str
    subject_id: str
    brand_id: str | None
    terms: TokenTerms | None
    details: CardDetails


class Written(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True, omit_defaults=True):
    """As it stands in the file."""

    reference: Annotated[str, msgspec.Meta(min_length=1, max_length=REFERENCE_LENGTH_MAX)]
    subject_id: Identifier
    number: str
    exp_month: int
    exp_year: int
    holder: str = ""
    brand_id: Identifier | None = None
    terms: TokenTerms | None = None


def read_line(line: bytes, now: datetime) -> CardLine:
    """Raises LineRefused, naming every flaw."""
    written, flaws, holder = read_shape(line), list[CardFlaw](), ""
    number: CardNumber | None = None
    try:
        number = CardNumber(written.number)
    except CardFlawed as flawed:
        flaws.append(flawed.flaw)
    if (month_flaw := expiry_flaw(written.exp_month, written.exp_year, now)) is not None:
        flaws.append(month_flaw)
    try:
        holder = read_holder(written.holder) if written.holder else ""
    except CardFlawed as flawed:
        flaws.append(flawed.flaw)
    if number is None or flaws:
        if number is not None:
            number.wipe()
        raise LineRefused(tuple(flaw.value for flaw in flaws), written.reference)
    details = CardDetails(number=number, exp_month=written.exp_month, exp_year=written.exp_year, holder=holder)
    return CardLine(written.reference, written.subject_id, written.brand_id, written.terms, details)


def read_shape(line: bytes) -> Written:
    """A line that is one, whatever its card is worth. Raises LineRefused."""
    if len(line) > LINE_BYTES_MAX:
        raise LineRefused((LineFlaw.LINE_TOO_LONG,), None)
    try:
        found = strict_json.decode(line)
    except strict_json.NotStrictJson:
        raise LineRefused((LineFlaw.LINE_UNREADABLE,), None) from None
    if not isinstance(found, Mapping):
        raise LineRefused((LineFlaw.LINE_UNREADABLE,), None)
    reference = _shown(found.get("reference"))
    if any(_bare(name) in CODES for name in found):
        raise LineRefused((LineFlaw.CODE_GIVEN,), reference)
    try:
        written = msgspec.convert(found, Written)
    except msgspec.ValidationError:  # whose words may repeat the line
        raise LineRefused((LineFlaw.LINE_UNREADABLE,), reference) from None
    if not written.reference.isprintable():
        raise LineRefused((LineFlaw.LINE_UNREADABLE,), None)
    if reference is None:
        raise LineRefused((LineFlaw.REFERENCE_LIKE_A_CARD,), None)
    return written


def _bare(name: str) -> str:
    return "".join(letter for letter in name.lower() if letter.isalnum())


def _shown(reference: Any) -> str | None:
    """What the other vault called it, unless a card's number may be in it."""
    if not isinstance(reference, str) or not 1 <= len(reference) <= REFERENCE_LENGTH_MAX:
        return None
    return None if find_card_number(reference) is not None or not reference.isprintable() else reference
