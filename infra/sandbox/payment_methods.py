"""Payment methods of type card: the one place where a card number arrives."""

from dataclasses import dataclass, field

from infra.sandbox import cards
from infra.sandbox.errors import BadParameter, Document
from infra.sandbox.exchange import Exchange
from infra.sandbox.form import Parameters
from infra.sandbox.ids import new_id
from infra.sandbox.resources import Billing, PaymentMethod

_REDISPLAY = ("always", "limited", "unspecified")
_ADDRESS_FIELDS = ("city", "country", "line1", "line2", "postal_code", "state")


@dataclass(frozen=True, slots=True, kw_only=True)
class CardEntry:
    """What was typed. Lives for one call; the number and the code do not print."""

    number: str = field(repr=False)
    exp_month: int
    exp_year: int
    code: str | None = field(repr=False)
    billing: Billing
    metadata: dict[str, str]
    allow_redisplay: str


def create(exchange: Exchange) -> Document:
    """`POST /v1/payment_methods`."""
    entry = read_entry(exchange.parameters)
    exchange.finish_parameters()
    return exchange.documents.show(keep_entry(exchange, entry))


def retrieve(exchange: Exchange) -> Document:
    """`GET /v1/payment_methods/{id}`."""
    exchange.finish_parameters()
    return exchange.documents.show(exchange.get(PaymentMethod, exchange.target, param="payment_method"))


def read_entry(parameters: Parameters) -> CardEntry:
    """Read `type`, `card`, `billing_details`, `metadata`; the card itself is not checked yet."""
    kind = parameters.required_text("type")
    if kind != "card":
        raise BadParameter("The sandbox processor only takes payment methods of type card.", param="type")
    card = parameters.child("card")
    if card.has("token"):
        raise BadParameter("The sandbox processor has no tokens: send the card.", param="card[token]")
    return CardEntry(
        number=card.required_text("number"),
        exp_month=card.required_whole("exp_month"),
        exp_year=card.required_whole("exp_year"),
        code=card.text("cvc"),
        billing=_read_billing(parameters.child("billing_details")),
        metadata=parameters.metadata(),
        allow_redisplay=parameters.choice("allow_redisplay", _REDISPLAY) or "unspecified",
    )


def keep_entry(exchange: Exchange, entry: CardEntry) -> PaymentMethod:
    """Check the card and store what may be stored of it; raises CardError."""
    card = cards.accept(
        entry.number,
        entry.exp_month,
        entry.exp_year,
        entry.code,
        now=exchange.now,
        fingerprint_key=exchange.fingerprint_key,
    )
    method = PaymentMethod(
        id=new_id("pm"),
        created=exchange.timestamp,
        card=card,
        billing=entry.billing,
        metadata=entry.metadata,
        allow_redisplay=entry.allow_redisplay,
    )
    exchange.ledger.save(method)
    return method


def _read_billing(parameters: Parameters) -> Billing:
    address = parameters.child("address")
    return Billing(
        name=parameters.plain_text("name"),
        email=parameters.plain_text("email"),
        phone=parameters.plain_text("phone"),
        address={name: address.plain_text(name) for name in _ADDRESS_FIELDS},
    )
