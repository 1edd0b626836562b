"""The events, their shapes, and the one function that adds one, in the transaction of what happened.

An event's payload is fixed when it is added and is the same bytes at every delivery:

    {"id": "evt_…", "type": "charge.approved", "version": 1, "timestamp": RFC 3339 in UTC, "tenant_id": "tnt_…",
     "data": {…}}

`type` says the shape of `data`, and `version` is raised when a shape loses or changes a member; members may be added
without. Of a card no shape has more than brand and last four; every text is screened for card numbers besides.
"""

from collections.abc import Mapping
from datetime import datetime
from enum import StrEnum
from typing import Any, Final

import msgspec

from infra.chassis import logs
from infra.chassis.crashpoints import reach
from infra.chassis.ids import new_id
from infra.chassis.screen import mask
from vault.store import Tx

VERSION: Final = 1
log = logs.get_logger()


class Kind(StrEnum):
    """`type` of an event. An outcome nobody knows yet is no event."""

    CHARGE_APPROVED = "charge.approved"
    CHARGE_DECLINED = "charge.declined"
    CHARGE_FAILED = "charge.failed"
    CHARGE_HELD = "charge.held"
    CHARGE_SETTLED = "charge.settled"
    CHARGE_VOIDED = "charge.voided"
    CHARGE_EXPIRED = "charge.expired"
    REFUND_REFUNDED = "refund.refunded"
    REFUND_FAILED = "refund.failed"
    DISPUTE_INQUIRY = "dispute.inquiry"
    DISPUTE_CLOSED = "dispute.closed"
    DISPUTE_OPEN = "dispute.open"
    DISPUTE_LOST = "dispute.lost"
    DISPUTE_WON = "dispute.won"
    CARD_STORED = "card.stored"
    CARD_UPDATED = "card.updated"
    """Another number or month under the same token."""
    CARD_CLOSED = "card.closed"
    """Its issuer closed the account and opened no other."""
    CARD_EXPIRED = "card.expired"
    """The month printed on it has ended."""
    CARD_SHREDDED = "card.shredded"
    CANARY_USED = "canary.used"
    """A token that nobody should ever have used."""


class Data(msgspec.Struct, frozen=True, kw_only=True):
    """What happened. Amounts are minor units of `currency`."""


class ChargeData(Data, frozen=True, kw_only=True):
    """`reason` is a member of contract.ChargeReason; `state` one of contract.ChargeState."""

    charge_id: str
    purchase_id: str
    brand_id: str
    subject_id: str
    token_id: str
    card_brand: str | None
    last4: str | None
    state: str
    reason: str | None
    amount_minor: int
    taken_minor: int
    currency: str


class RefundData(Data, frozen=True, kw_only=True):
    refund_id: str
    charge_id: str
    state: str
    amount_minor: int
    currency: str


class DisputeData(Data, frozen=True, kw_only=True):
    """`dispute_ref` is the processor's name of it."""

    dispute_ref: str
    charge_id: str
    state: str
    amount_minor: int
    currency: str


class CardData(Data, frozen=True, kw_only=True):
    token_id: str
    brand_id: str
    subject_id: str
    card_brand: str
    last4: str


class ShreddedData(CardData, frozen=True, kw_only=True):
    """`cause`: `ordered`; `expired` for a card long past its month; `spent` for one whose only charge was made."""

    cause: str


class CanaryData(Data, frozen=True, kw_only=True):
    """Who tried to use it: brand, subject and purchase as the order named them."""

    token_id: str
    brand_id: str
    subject_id: str
    purchase_id: str | None


SHAPES: Final[Mapping[str, type[Data]]] = {
    "charge": ChargeData,
    "refund": RefundData,
    "dispute": DisputeData,
    "card": CardData,
    "canary": CanaryData,
}
"""By the first part of the kind; `card.shredded` says its cause besides."""


class Envelope(msgspec.Struct, frozen=True, kw_only=True):
    id: str
    type: str
    version: int
    timestamp: datetime
    tenant_id: str
    data: Mapping[str, Any]


class NewEvent(msgspec.Struct, frozen=True, kw_only=True):
    """A row of `outbox_events` that is yet to be added."""

    event_id: str
    kind: str
    about: str
    payload: str
    happened_at: datetime


def shape_of(kind: Kind) -> type[Data]:
    return ShreddedData if kind is Kind.CARD_SHREDDED else SHAPES[kind.partition(".")[0]]


async def add_event(tx: Tx, kind: Kind, data: Data, *, about: str, at: datetime) -> str:
    """Add an event, owed to each endpoint of the tenant that wants its kind; its id.

    Call it in the transaction of what happened: both stand or fall together. `about` is the id of the charge or the
    card: of one of these, events are delivered in the order they were added, so hold its row. Raises TypeError for data
    of another kind's shape.
    """
    event = new_event(tx.tenant_id, kind, data, about=about, at=at)
    await tx.run(_ADD, msgspec.structs.asdict(event))
    reach("outbox_event_added")
    return event.event_id


def new_event(tenant_id: str, kind: Kind, data: Data, *, about: str, at: datetime) -> NewEvent:
    """For whoever adds it by himself, in the transaction of what happened. Raises TypeError as `add_event` does."""
    if type(data) is not shape_of(kind):
        raise TypeError(f"{kind} has another shape")
    event_id = new_id("evt")
    event = Envelope(
        id=event_id,
        type=kind.value,
        version=VERSION,
        timestamp=at,
        tenant_id=tenant_id,
        data=_screened(event_id, kind, data),
    )
    return NewEvent(
        event_id=event_id, kind=kind.value, about=about, payload=msgspec.json.encode(event).decode(), happened_at=at
    )


def _screened(event_id: str, kind: Kind, data: Data) -> dict[str, Any]:
    """Ids are chosen by callers, references by the processor: none leaves here with a card number in it."""
    given: dict[str, Any] = msgspec.to_builtins(data)
    kept = {name: mask(value) if isinstance(value, str) else value for name, value in given.items()}
    if kept != given:
        log.error("event_masked", event_id=event_id, kind=kind.value, members=[n for n in kept if kept[n] != given[n]])
    return kept


_ADD: Final = "SELECT tell_event(:tenant_id, :event_id, :kind, :about, :payload, :happened_at)"
"""Who is owed it is settled there (migration 0007)."""
