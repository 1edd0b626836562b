"""Every route of the Stripe API that the sandbox speaks."""

from infra.sandbox import disputes, payment_intents, payment_methods, refunds
from infra.sandbox.errors import Document
from infra.sandbox.exchange import Exchange, Operation
from infra.sandbox.lists import page_of
from infra.sandbox.resources import Charge, Event


def _retrieve_charge(exchange: Exchange) -> Document:
    exchange.finish_parameters()
    return exchange.documents.show(exchange.get(Charge, exchange.target, param="charge"))


def _list_charges(exchange: Exchange) -> Document:
    return page_of(exchange, Charge, "/v1/charges", parent_key="payment_intent")


def _retrieve_event(exchange: Exchange) -> Document:
    exchange.finish_parameters()
    return exchange.documents.show(exchange.get(Event, exchange.target, param="id"))


def _list_events(exchange: Exchange) -> Document:
    return page_of(exchange, Event, "/v1/events", parent_key="type")


OPERATIONS = (
    Operation(name="payment_methods.create", method="POST", path="/v1/payment_methods", run=payment_methods.create),
    Operation(
        name="payment_methods.retrieve",
        method="GET",
        path="/v1/payment_methods/{target:str}",
        run=payment_methods.retrieve,
    ),
    Operation(name="payment_intents.create", method="POST", path="/v1/payment_intents", run=payment_intents.create),
    Operation(name="payment_intents.list", method="GET", path="/v1/payment_intents", run=payment_intents.listed),
    Operation(
        name="payment_intents.search", method="GET", path="/v1/payment_intents/search", run=payment_intents.search
    ),
    Operation(
        name="payment_intents.retrieve",
        method="GET",
        path="/v1/payment_intents/{target:str}",
        run=payment_intents.retrieve,
    ),
    Operation(
        name="payment_intents.confirm",
        method="POST",
        path="/v1/payment_intents/{target:str}/confirm",
        run=payment_intents.confirm,
    ),
    Operation(
        name="payment_intents.capture",
        method="POST",
        path="/v1/payment_intents/{target:str}/capture",
        run=payment_intents.settle,
    ),
    Operation(
        name="payment_intents.cancel",
        method="POST",
        path="/v1/payment_intents/{target:str}/cancel",
        run=payment_intents.cancel,
    ),
    Operation(name="charges.list", method="GET", path="/v1/charges", run=_list_charges),
    Operation(name="charges.retrieve", method="GET", path="/v1/charges/{target:str}", run=_retrieve_charge),
    Operation(name="refunds.create", method="POST", path="/v1/refunds", run=refunds.create),
    Operation(name="refunds.list", method="GET", path="/v1/refunds", run=refunds.listed),
    Operation(name="refunds.retrieve", method="GET", path="/v1/refunds/{target:str}", run=refunds.retrieve),
    Operation(name="disputes.list", method="GET", path="/v1/disputes", run=disputes.listed),
    Operation(name="disputes.retrieve", method="GET", path="/v1/disputes/{target:str}", run=disputes.retrieve),
    Operation(name="events.list", method="GET", path="/v1/events", run=_list_events),
    Operation(name="events.retrieve", method="GET", path="/v1/events/{target:str}", run=_retrieve_event),
)
