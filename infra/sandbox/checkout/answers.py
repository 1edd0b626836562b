"""What the updater knows of cards, and how it says it: shapes of Checkout.com's API reference and SDKs.

`tests/sandbox/fixtures/checkout_fields.json` has their members, and a test compares.
"""

from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any, Final, Literal

import msgspec
from joserfc import jwe
from joserfc.jwk import RSAKey

from infra.sandbox.errors import Document
from infra.sandbox.faults import Faults, WaitingRoom
from infra.sandbox.ids import letters
from infra.sandbox.luhn import passes

OPERATION: Final = "inquiries"
BEARER_LIFE: Final = timedelta(minutes=30)
FIRST_DIGITS: Final = 6
UNPROCESSABLE: Final = 422
RATE_LIMITED: Final = 429
BUSY_SECONDS: Final = 120
MONTHS: Final = range(1, 13)


class CardAsked(msgspec.Struct, frozen=True, kw_only=True):
    number: str
    expiry_month: int
    expiry_year: int


class SourceOptions(msgspec.Struct, frozen=True, kw_only=True):
    """One of the two; an instrument is a card in Checkout.com's own vault, of which this sandbox has none."""

    card: CardAsked | None = None
    instrument: dict[str, str] | None = None


class Inquiry(msgspec.Struct, frozen=True, kw_only=True):
    source_options: SourceOptions


class Known(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """What is to be said of a card. `said`: members of the answer's card that are to be other than they are.

    `sealed_with`: under which algorithms the number comes, where not under those the vault takes.
    """

    number: str
    status: Literal["CARD_UPDATED", "CARD_EXPIRY_UPDATED", "CARD_CLOSED", "UPDATE_FAILED"]
    failure_code: str | None = None
    new_number: str | None = None
    expiry_month: int | None = None
    expiry_year: int | None = None
    shows_number: bool = True
    said: dict[str, Any] = {}
    sealed_with: tuple[str, str] = ("RSA-OAEP-256", "A256GCM")


class Refused(Exception):
    """An answer other than 200."""

    def __init__(self, status: int, *codes: str) -> None:
        super().__init__(str(status))
        self.status = status
        self.codes = codes
        self.headers = {"Retry-After": str(BUSY_SECONDS)} if status == RATE_LIMITED else {}

    def document(self) -> Document:
        return {"request_id": letters(26), "error_type": "request_invalid", "error_codes": list(self.codes)}


@dataclass(slots=True, kw_only=True)
class Updater:
    """Everything in RAM: a restarted one knows of no card. `asked`: the last four digits of each inquiry's card."""

    key: RSAKey = field(repr=False)
    faults: Faults
    waiting_room: WaitingRoom
    bearers: dict[str, datetime] = field(default_factory=dict)
    known: dict[str, Known] = field(default_factory=dict, repr=False)
    asked: list[str] = field(default_factory=list)

    def log_in(self, scope: str) -> Document:
        bearer = letters(40)
        self.bearers[bearer] = datetime.now(UTC) + BEARER_LIFE
        lasts = int(BEARER_LIFE.total_seconds())
        return {"access_token": bearer, "expires_in": lasts, "token_type": "Bearer", "scope": scope}

    def lets_in(self, bearer: str) -> bool:
        return datetime.now(UTC) < self.bearers.get(bearer, datetime.min.replace(tzinfo=UTC))

    def answer(self, card: CardAsked) -> Document:
        """Raises Refused."""
        if not (card.number.isascii() and card.number.isdigit() and passes(card.number)):
            raise Refused(UNPROCESSABLE, "card_number_invalid")
        if card.expiry_month not in MONTHS:
            raise Refused(UNPROCESSABLE, "card_expiry_month_invalid")
        self.asked.append(card.number[-4:])
        known = self.known.get(card.number)
        if known is None:
            return {"account_update_status": "UPDATE_FAILED", "account_update_failure_code": "UP_TO_DATE"}
        document: Document = {"account_update_status": known.status}
        if known.failure_code is not None:
            document["account_update_failure_code"] = known.failure_code
        if known.status in {"CARD_UPDATED", "CARD_EXPIRY_UPDATED"}:
            document["card"] = self._card(card, known)
        return document

    def _card(self, card: CardAsked, known: Known) -> Document:
        number = known.new_number or card.number
        document: Document = {
            "bin": number[:FIRST_DIGITS],
            "last4": number[-4:],
            "expiry_month": known.expiry_month or card.expiry_month,
            "expiry_year": known.expiry_year or card.expiry_year,
            "fingerprint": letters(26),
        }
        if known.shows_number:
            document["encrypted_card_number"] = self._sealed(number, known)
        return document | known.said

    def _sealed(self, number: str, known: Known) -> str:
        alg, enc = known.sealed_with
        return jwe.encrypt_compact({"alg": alg, "enc": enc}, number, self.key, algorithms=known.sealed_with)
