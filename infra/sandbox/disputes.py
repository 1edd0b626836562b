"""Disputes: opened by test cards (charging.py), ended by hand, because no bank decides here."""

from typing import Literal

import msgspec

from infra.sandbox.errors import Document, StripeError
from infra.sandbox.exchange import Exchange
from infra.sandbox.lists import page_of
from infra.sandbox.resources import Charge, Dispute

Ending = Literal["won", "lost"]
_OPEN = {"needs_response", "warning_needs_response"}
_GIVES_BACK = {"won", "warning_closed", "warning_needs_response"}


def retrieve(exchange: Exchange) -> Document:
    """`GET /v1/disputes/{id}`."""
    exchange.finish_parameters()
    return exchange.documents.show(exchange.get(Dispute, exchange.target, param="dispute"))


def listed(exchange: Exchange) -> Document:
    """`GET /v1/disputes`, of one charge with `charge`."""
    return page_of(exchange, Dispute, "/v1/disputes", parent_key="charge")


def end(exchange: Exchange, ending: Ending) -> Dispute:
    """The bank decided. Whatever it says about an inquiry, which took no money, it is closed."""
    dispute = exchange.get(Dispute, exchange.target, param="dispute")
    if dispute.status not in _OPEN:
        raise StripeError(f"This dispute has already ended with the status {dispute.status}.")
    inquiry = dispute.status.startswith("warning_")
    ended = msgspec.structs.replace(dispute, status="warning_closed" if inquiry else ending)
    exchange.ledger.save(ended)
    exchange.announce("charge.dispute.closed", ended)
    if ended.status == "won":
        exchange.announce("charge.dispute.funds_reinstated", ended)
    return ended


def blocks_refunds(exchange: Exchange, charge: Charge) -> bool:
    """Whether the money of a disputed charge is, or may have to go, back at the cardholder's bank."""
    if not charge.disputed:
        return False
    return any(one.status not in _GIVES_BACK for one in exchange.ledger.all_of(Dispute, parent=charge.id))
