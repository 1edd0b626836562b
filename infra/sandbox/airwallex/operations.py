"""Every route of Airwallex's payment API that the sandbox speaks, and what it does."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Annotated, Any, Literal, TypeVar

import msgspec

from infra.sandbox import cards
from infra.sandbox.airwallex.books import Attempt, Books, Dispute, Intent, Refund, Row, written
from infra.sandbox.airwallex.documents import dispute_document, intent_document, refund_document
from infra.sandbox.airwallex.refusals import (
    Refusal,
    declined,
    duplicate,
    invalid,
    missing,
    network_code,
    refused_card,
    wrong_status,
)
from infra.sandbox.errors import BadParameter, CardError, Document
from infra.sandbox.ids import new_id
from infra.sandbox.luhn import find_card_number
from infra.sandbox.money import check_amount, check_currency, units_of
from infra.sandbox.resources import Card

PAGE_SIZE_MAX = 1_000
CONFIRM = "payment_intents.confirm"
_BEFORE_THE_CHARGE = frozenset({"REQUIRES_PAYMENT_METHOD", "REQUIRES_CUSTOMER_ACTION"})
_TAKES_BACK = frozenset({"CHARGEBACK", "PRE_ARBITRATION", "ARBITRATION"})
_ENDED = frozenset({"WON", "REVERSED"})
_DISPUTED = {"needs_response": "CHARGEBACK", "warning_needs_response": "RFI"}

RequestId = Annotated[str, msgspec.Meta(min_length=1, max_length=64)]
S = TypeVar("S", bound=msgspec.Struct)
R = TypeVar("R", bound=Row)


class Asked(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    request_id: RequestId


class CardOptions(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    auto_capture: bool = True
    card_input_via: Literal["ecommerce", "moto"] = "ecommerce"


class Options(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    card: CardOptions = CardOptions()


class CreateAsked(Asked, frozen=True, kw_only=True):
    amount: Decimal
    currency: str
    merchant_order_id: Annotated[str, msgspec.Meta(min_length=1, max_length=64)]
    metadata: dict[str, str] = {}
    payment_method_options: Options = Options()
    return_url: str | None = None


class ThreeDs(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    return_url: Annotated[str, msgspec.Meta(pattern=r"^https?://[^\s]{1,1000}\Z")]


class TypedCard(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    number: str
    expiry_month: Annotated[str, msgspec.Meta(pattern=r"^[0-9]{2}\Z")]
    expiry_year: Annotated[str, msgspec.Meta(pattern=r"^[0-9]{4}\Z")]
    name: str | None = None
    cvc: str | None = None
    three_ds: ThreeDs | None = None


class Method(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    type: Literal["card"]
    card: TypedCard


class ConfirmAsked(Asked, frozen=True, kw_only=True):
    payment_method: Method
    return_url: str | None = None


class CaptureAsked(Asked, frozen=True, kw_only=True):
    amount: Decimal | None = None


class CancelAsked(Asked, frozen=True, kw_only=True):
    cancellation_reason: str | None = None


class RefundAsked(Asked, frozen=True, kw_only=True):
    payment_intent_id: str
    amount: Decimal | None = None
    metadata: dict[str, str] = {}
    reason: Annotated[str, msgspec.Meta(max_length=128)] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Exchange:
    """One call while it is executed. `target` is the id in the path; `wanted` the query of a list."""

    books: Books
    content: bytes
    target: str
    wanted: dict[str, str]
    now: datetime
    fingerprint_key: bytes
    page_url: str

    def asked(self, kind: type[S]) -> S:
        """The body. Raises Refusal for what is not in its shape, and for a request id that was used before."""
        try:
            asked = msgspec.json.decode(self.content, type=kind)
        except (msgspec.MsgspecError, UnicodeDecodeError):
            raise invalid("request body") from None
        if isinstance(asked, Asked):
            if find_card_number(asked.request_id):
                raise invalid("request_id")
            if self.books.is_used(asked.request_id):
                raise duplicate(asked.request_id)
        return asked

    def find(self, kind: type[R], identifier: str) -> R:
        found = self.books.find(kind, identifier)
        if found is None:
            raise missing(identifier)
        return found

    def keep(self, intent: Intent, **changes: Any) -> Intent:
        kept = msgspec.structs.replace(intent, updated_at=written(self.now), **changes)
        self.books.save(kept)
        return kept

    def shown(self, intent: Intent) -> Document:
        return intent_document(intent, self.page_url)


@dataclass(frozen=True, slots=True, kw_only=True)
class Operation:
    """`name` is what faults are aimed at."""

    name: str
    method: Literal["GET", "POST"]
    path: str
    run: Callable[[Exchange], Document]


def create(exchange: Exchange) -> Document:
    asked = exchange.asked(CreateAsked)
    if any(find_card_number(text) for text in (asked.merchant_order_id, *asked.metadata.values())):
        raise invalid("metadata")
    options = asked.payment_method_options.card
    intent = Intent(
        id=new_id("int"),
        created_at=written(exchange.now),
        updated_at=written(exchange.now),
        request_id=asked.request_id,
        merchant_order_id=asked.merchant_order_id,
        amount=_minor(asked.amount, asked.currency),
        currency=asked.currency,
        status="REQUIRES_PAYMENT_METHOD",
        auto_capture=options.auto_capture,
        card_input_via=options.card_input_via,
        metadata=asked.metadata,
        return_url=asked.return_url,
    )
    exchange.books.use_up(asked.request_id)
    return exchange.shown(exchange.keep(intent))


def confirm(exchange: Exchange) -> Document:
    """A decline is answered as an error; the intent, and its attempt with the reason, stay."""
    asked = exchange.asked(ConfirmAsked)
    intent = exchange.find(Intent, exchange.target)
    if intent.status not in _BEFORE_THE_CHARGE:
        raise wrong_status(intent.status)
    card = _accepted(exchange, asked.payment_method.card)
    exchange.books.use_up(asked.request_id)
    three_ds = asked.payment_method.card.three_ds
    attempt = Attempt(
        id=new_id("att"),
        status="RECEIVED",
        card=card,
        created_at=written(exchange.now),
        back_url=None if three_ds is None else three_ds.return_url,
    )
    intent = exchange.keep(intent, attempt=attempt, return_url=asked.return_url or intent.return_url)
    if cards.behaviour_of(card).authentication and intent.card_input_via != "moto":
        redirected = msgspec.structs.replace(attempt, status="AUTHENTICATION_REDIRECTED")
        return exchange.shown(exchange.keep(intent, status="REQUIRES_CUSTOMER_ACTION", attempt=redirected))
    return exchange.shown(charge(exchange, intent, attempt))


def charge(exchange: Exchange, intent: Intent, attempt: Attempt) -> Intent:
    """Raises Refusal, whose traces are kept."""
    behaviour = cards.behaviour_of(attempt.card)
    if behaviour.decline is not None:
        refusal = declined(behaviour.decline)
        code = None if behaviour.decline.blocked else network_code(behaviour.decline)
        failed = msgspec.structs.replace(attempt, status="FAILED", failure_code=refusal.code, network_code=code)
        exchange.keep(intent, status="REQUIRES_PAYMENT_METHOD", attempt=failed)
        raise refusal
    taken = intent.auto_capture
    paid = msgspec.structs.replace(
        attempt, status="CAPTURE_REQUESTED" if taken else "AUTHORIZED", captured=intent.amount if taken else 0
    )
    done = exchange.keep(intent, status="SUCCEEDED" if taken else "REQUIRES_CAPTURE", attempt=paid)
    if behaviour.dispute is not None:
        open_dispute(exchange, done, stage=_DISPUTED[behaviour.dispute_status], reason_code=behaviour.dispute)
    return done


def capture(exchange: Exchange) -> Document:
    asked = exchange.asked(CaptureAsked)
    intent = exchange.find(Intent, exchange.target)
    if intent.status != "REQUIRES_CAPTURE" or intent.attempt is None:
        raise wrong_status(intent.status)
    amount = intent.amount if asked.amount is None else _minor(asked.amount, intent.currency, least=1)
    if amount > intent.amount:
        raise Refusal("amount_above_limit", "The operating amount is above the limit.", source="amount")
    exchange.books.use_up(asked.request_id)
    taken = msgspec.structs.replace(intent.attempt, status="CAPTURE_REQUESTED", captured=amount)
    return exchange.shown(exchange.keep(intent, status="SUCCEEDED", attempt=taken))


def cancel(exchange: Exchange) -> Document:
    asked = exchange.asked(CancelAsked)
    intent = exchange.find(Intent, exchange.target)
    if intent.status not in _BEFORE_THE_CHARGE | {"REQUIRES_CAPTURE"}:
        raise wrong_status(intent.status)
    exchange.books.use_up(asked.request_id)
    return exchange.shown(let_go(exchange, intent, "CANCELLED", asked.cancellation_reason))


def let_go(exchange: Exchange, intent: Intent, how: str, reason: str | None) -> Intent:
    """`how` is what the attempt becomes; one that was refused stays so."""
    attempt = intent.attempt
    if attempt is not None and attempt.status != "FAILED":
        attempt = msgspec.structs.replace(attempt, status=how)
    return exchange.keep(
        intent, status="CANCELLED", attempt=attempt, cancelled_at=written(exchange.now), cancellation_reason=reason
    )


def retrieve(exchange: Exchange) -> Document:
    return exchange.shown(exchange.find(Intent, exchange.target))


def listed(exchange: Exchange) -> Document:
    return _page(exchange, Intent, "merchant_order_id", exchange.shown)


def refund(exchange: Exchange) -> Document:
    asked = exchange.asked(RefundAsked)
    intent = exchange.find(Intent, asked.payment_intent_id)
    attempt = intent.attempt
    if intent.status != "SUCCEEDED" or attempt is None:
        raise wrong_status(intent.status)
    if _taken_back(exchange, intent):
        raise Refusal("refund_not_allowed", "The payment is charged back.", source="payment_intent_id")
    left = attempt.captured - attempt.refunded
    amount = left if asked.amount is None else _minor(asked.amount, intent.currency, least=1)
    if amount > left or amount < 1:
        raise Refusal("amount_above_limit", "The operating amount is above the limit.", source="amount")
    exchange.books.use_up(asked.request_id)
    made = Refund(
        id=new_id("rfd"),
        created_at=written(exchange.now),
        updated_at=written(exchange.now),
        request_id=asked.request_id,
        payment_intent_id=intent.id,
        payment_attempt_id=attempt.id,
        amount=amount,
        currency=intent.currency,
        status="ACCEPTED",
        metadata=asked.metadata,
        reason=asked.reason,
    )
    exchange.books.save(made)
    exchange.keep(intent, attempt=msgspec.structs.replace(attempt, refunded=attempt.refunded + amount))
    return refund_document(made)


def retrieve_refund(exchange: Exchange) -> Document:
    return refund_document(exchange.find(Refund, exchange.target))


def list_refunds(exchange: Exchange) -> Document:
    return _page(exchange, Refund, "payment_intent_id", refund_document)


def list_disputes(exchange: Exchange) -> Document:
    return _page(exchange, Dispute, "payment_intent_id", dispute_document)


def open_dispute(exchange: Exchange, intent: Intent, *, stage: str, reason_code: str) -> Dispute:
    if intent.attempt is None:
        raise wrong_status(intent.status)
    made = Dispute(
        id=new_id("dst"),
        created_at=written(exchange.now),
        updated_at=written(exchange.now),
        payment_intent_id=intent.id,
        payment_attempt_id=intent.attempt.id,
        merchant_order_id=intent.merchant_order_id,
        amount=intent.amount,
        currency=intent.currency,
        stage=stage,
        status="REQUIRES_RESPONSE",
        reason_code=reason_code,
        due_at=written(exchange.now + timedelta(days=7)),
    )
    exchange.books.save(made)
    return made


def _page(exchange: Exchange, kind: type[R], listed_by: str, show: Callable[[R], Document]) -> Document:
    wanted = dict(exchange.wanted)
    try:
        number, size = int(wanted.pop("page_num", "0")), int(wanted.pop("page_size", "10"))
    except ValueError:
        raise invalid("page_num") from None
    parent = wanted.pop(listed_by, None)
    if wanted or number < 0 or not 1 <= size <= PAGE_SIZE_MAX:
        raise invalid(next(iter(wanted), "page_size"))
    found, more = exchange.books.listed(kind, parent, number=number, size=size)
    return {"items": [show(row) for row in found], "has_more": more}


def _taken_back(exchange: Exchange, intent: Intent) -> bool:
    found, _ = exchange.books.listed(Dispute, intent.id, number=0, size=PAGE_SIZE_MAX)
    return any(one.stage in _TAKES_BACK and one.status not in _ENDED for one in found)


def _accepted(exchange: Exchange, typed: TypedCard) -> Card:
    try:
        return cards.accept(
            typed.number,
            int(typed.expiry_month),
            int(typed.expiry_year),
            typed.cvc,
            now=exchange.now.astimezone(UTC),
            fingerprint_key=exchange.fingerprint_key,
        )
    except CardError as problem:
        raise refused_card(problem) from None


def _minor(amount: Decimal, currency: str, *, least: int | None = None) -> int:
    """Raises Refusal for an amount or a currency that is not taken. With `least`, the smallest charge does not bind."""
    try:
        lowered = check_currency(currency)
        counted = units_of(amount, lowered)
        if least is None:
            return check_amount(counted, lowered)
    except BadParameter as problem:
        raise invalid(problem.param or "amount") from None
    if counted < least:
        raise invalid("amount")
    return counted


OPERATIONS = (
    Operation(name="payment_intents.create", method="POST", path="/payment_intents/create", run=create),
    Operation(name="payment_intents.list", method="GET", path="/payment_intents", run=listed),
    Operation(name="payment_intents.retrieve", method="GET", path="/payment_intents/{target:str}", run=retrieve),
    Operation(name=CONFIRM, method="POST", path="/payment_intents/{target:str}/confirm", run=confirm),
    Operation(name="payment_intents.capture", method="POST", path="/payment_intents/{target:str}/capture", run=capture),
    Operation(name="payment_intents.cancel", method="POST", path="/payment_intents/{target:str}/cancel", run=cancel),
    Operation(name="refunds.create", method="POST", path="/refunds/create", run=refund),
    Operation(name="refunds.list", method="GET", path="/refunds", run=list_refunds),
    Operation(name="refunds.retrieve", method="GET", path="/refunds/{target:str}", run=retrieve_refund),
    Operation(name="disputes.list", method="GET", path="/payment_disputes", run=list_disputes),
)
