"""Lists, searches and expansion, shaped as Stripe's."""

import re
from collections.abc import Callable

from infra.sandbox.errors import BadParameter, Document
from infra.sandbox.exchange import Exchange, whole_within
from infra.sandbox.ledger import Page
from infra.sandbox.resources import Charge, PaymentIntent, PaymentMethod, Resource

_LIMIT_MAX = 100
_EXPAND_DEPTH_MAX = 4  # https://docs.stripe.com/api/expanding_objects
_EXPANDABLE: dict[str, dict[str, type[Resource]]] = {
    "payment_intent": {"payment_method": PaymentMethod, "latest_charge": Charge},
    "charge": {"payment_intent": PaymentIntent},
    "refund": {"charge": Charge, "payment_intent": PaymentIntent},
    "dispute": {"charge": Charge, "payment_intent": PaymentIntent},
}
_CLAUSE = re.compile(
    r"""\s*(?P<negated>-)?(?P<field>metadata\[(?P<quote>["'])(?P<key>[^"'\]]{1,40})(?P=quote)\]|status|currency|amount)"""
    r"""\s*:\s*(?:(?P<mark>["'])(?P<text>[^"']{0,500})(?P=mark)|(?P<number>\d{1,12}))\s*"""
)


def page_of(exchange: Exchange, kind: type[Resource], url: str, *, parent_key: str | None = None) -> Document:
    """`GET` of a list: `limit`, `starting_after`, `ending_before`, and one filter that names the parent."""
    parameters = exchange.parameters
    limit = whole_within(parameters, "limit", 1, _LIMIT_MAX, 10)
    after, before = parameters.text("starting_after"), parameters.text("ending_before")
    parent = None if parent_key is None else parameters.text(parent_key)
    exchange.finish_parameters()
    if after is not None and before is not None:
        raise BadParameter("You can only use one of `starting_after` and `ending_before`.")
    for mark, param in ((after, "starting_after"), (before, "ending_before")):
        if mark is not None:
            exchange.get(kind, mark, param=param)
    found, more = exchange.ledger.page(kind, Page(limit=limit, after=after, before=before), parent=parent)
    return {
        "object": "list",
        "data": [exchange.documents.show(one) for one in found],
        "has_more": more,
        "url": url,
    }


def search_intents(exchange: Exchange) -> Document:
    """Search by metadata, status, currency and amount, joined by AND. Unlike Stripe's, it sees writes at once."""
    parameters = exchange.parameters
    query = parameters.required_text("query")
    limit = whole_within(parameters, "limit", 1, _LIMIT_MAX, 10)
    page = parameters.text("page")
    exchange.finish_parameters()
    wanted = _read_query(query)
    offset = _read_page(page)
    hits = [intent for intent in exchange.ledger.all_of(PaymentIntent) if wanted(intent)]
    shown = hits[offset : offset + limit]
    more = len(hits) > offset + limit
    return {
        "object": "search_result",
        "data": [exchange.documents.show(intent) for intent in shown],
        "has_more": more,
        "next_page": str(offset + limit) if more else None,
        "url": "/v1/payment_intents/search",
    }


def expand(exchange: Exchange, document: Document, paths: tuple[str, ...]) -> Document:
    """Replace ids by the objects they name; raises BadParameter for what cannot be expanded."""
    for path in paths:
        steps = path.split(".")
        if len(steps) > _EXPAND_DEPTH_MAX:
            raise BadParameter("You cannot expand more than 4 levels of a property.", param="expand")
        rows = document.get("data")
        if document.get("object") in {"list", "search_result"} and isinstance(rows, list):
            if steps[0] != "data" or len(steps) == 1:
                raise BadParameter(f"This property cannot be expanded ({steps[0][:40]}).", param="expand")
            for row in rows:
                _expand_one(exchange, row, steps[1:])
        else:
            _expand_one(exchange, document, steps)
    return document


def _expand_one(exchange: Exchange, document: Document, steps: list[str]) -> None:
    kind = _EXPANDABLE.get(str(document.get("object")), {}).get(steps[0])
    if kind is None:
        raise BadParameter(f"This property cannot be expanded ({steps[0][:40]}).", param="expand")
    value = document.get(steps[0])
    if isinstance(value, str):
        value = exchange.documents.show(exchange.get(kind, value, param="expand"))
        document[steps[0]] = value
    if isinstance(value, dict) and len(steps) > 1:
        _expand_one(exchange, value, steps[1:])


def _read_query(query: str) -> Callable[[PaymentIntent], bool]:
    tests: list[tuple[str, str | None, str, bool]] = []
    position = 0
    while True:
        match = _CLAUSE.match(query, position)
        if match is None:
            raise BadParameter("We were unable to parse your search query.", param="query")
        value = match["text"] if match["text"] is not None else match["number"]
        tests.append((match["field"], match["key"], value, match["negated"] is not None))
        position = match.end()
        if position == len(query):
            return lambda intent: all(_holds(intent, *test) for test in tests)
        if not query.startswith("AND ", position):
            raise BadParameter("We were unable to parse your search query.", param="query")
        position += len("AND ")


def _holds(intent: PaymentIntent, field: str, key: str | None, value: str, negated: bool) -> bool:
    found = str(getattr(intent, field)) if key is None else intent.metadata.get(key)
    return (found is not None and found.casefold() == value.casefold()) is not negated


def _read_page(page: str | None) -> int:
    if page is None:
        return 0
    if not (page.isascii() and page.isdigit()) or len(page) > len(str(10**6)):
        raise BadParameter("Invalid page.", param="page")
    return int(page)
