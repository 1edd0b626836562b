"""Which accounts an outcome touches. Pure: an outcome in, entries out, their sum zero.

Amounts are minor units of the outcome's currency; a debit is positive, a credit negative. Accounts are per tenant and
currency:

    processor_receivable   what the processor owes the tenant (asset)
    sales                  what was charged (income)
    refunds                what went back to cards by our order (against sales)
    disputes               what the cards' banks took back (loss, until it is reinstated)
    held_funds             memo: what cardholders' banks hold for us, not ours yet
    hold_claims            memo: the other side of it

Fees are not here: the processor's settlement report knows them, we do not.
"""

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Final


class Account(StrEnum):
    PROCESSOR_RECEIVABLE = "processor_receivable"
    SALES = "sales"
    REFUNDS = "refunds"
    DISPUTES = "disputes"
    HELD_FUNDS = "held_funds"
    HOLD_CLAIMS = "hold_claims"


class Event(StrEnum):
    """What happened to a charge, a refund or a dispute. `declined` and `failed` moved no money and have no entries."""

    APPROVED = "approved"
    DECLINED = "declined"
    FAILED = "failed"
    HELD = "held"
    SETTLED = "settled"
    VOIDED = "voided"
    EXPIRED = "expired"
    REFUNDED = "refunded"
    REFUND_FAILED = "refund_failed"
    WITHDRAWN = "withdrawn"
    REINSTATED = "reinstated"


@dataclass(frozen=True, slots=True, kw_only=True)
class Happened:
    """An outcome, once per `source_id` and event. `held_minor` is what the ended hold was for."""

    event: Event
    source_id: str
    charge_id: str
    currency: str
    amount_minor: int
    held_minor: int = 0
    at: datetime


Entries = tuple[tuple[Account, int], ...]
_SIDES: Final = {
    Event.APPROVED: (Account.PROCESSOR_RECEIVABLE, Account.SALES),
    Event.SETTLED: (Account.PROCESSOR_RECEIVABLE, Account.SALES),
    Event.HELD: (Account.HELD_FUNDS, Account.HOLD_CLAIMS),
    Event.REFUNDED: (Account.REFUNDS, Account.PROCESSOR_RECEIVABLE),
    Event.WITHDRAWN: (Account.DISPUTES, Account.PROCESSOR_RECEIVABLE),
    Event.REINSTATED: (Account.PROCESSOR_RECEIVABLE, Account.DISPUTES),
}
"""What is debited and what is credited with the amount."""
_HOLD_ENDS: Final = frozenset({Event.SETTLED, Event.VOIDED, Event.EXPIRED})


def entries_of(happened: Happened) -> Entries:
    """Empty when no money moved."""
    entries: list[tuple[Account, int]] = []
    sides = _SIDES.get(happened.event)
    if sides is not None:
        debited, credited = sides
        entries += [(debited, happened.amount_minor), (credited, -happened.amount_minor)]
    if happened.event in _HOLD_ENDS:
        entries += [(Account.HOLD_CLAIMS, happened.held_minor), (Account.HELD_FUNDS, -happened.held_minor)]
    return tuple(entries)
