"""Another card under a token: ordered, typed, and what then lies in the row."""

import json
from typing import Any

import pytest

from tests.vault.bench import Bench, Doors, Person, rows
from tests.vault.keys import cards
from vault.cleartext.opening import Opener, details_of
from vault.contract import CaptureOrder, ChargeOrder
from vault.envelope import open_sealed
from vault.places import place_under_terms
from vault.store import Store

MASTERCARD, AMEX = "5555555555554444", "378282246310005"


async def asked(doors: Doors, person: Person, token: str) -> CaptureOrder:
    """A page on which the person may type another card for the token, opened in his browser."""
    order = person.capture(replaces_card_of=token)
    answer = await doors.order_capture(order)
    assert answer.status_code == 200, answer.text
    assert (await doors.enter(order)).status_code == 303
    return order


async def replaced(doors: Doors, person: Person, token: str, number: str = MASTERCARD, **typed: str) -> CaptureOrder:
    order = await asked(doors, person, token)
    answer = await doors.type_card(order, number, **typed)
    assert answer.status_code == 303, answer.status_code
    return order


async def row_of(bench: Bench, person: Person, token: str) -> dict[str, Any]:
    found = await cards(bench.databases, person.tenant_id)
    return next(row for row in found if row["token_id"] == token)


async def opened(bench: Bench, person: Person, token: str) -> tuple[str, int, int]:
    """Number, month and year as they are sealed there now."""
    store = Store(bench.vault.engine)
    async with store.transaction(person.tenant_id) as tx:
        card = await tx.card(token)
    assert card is not None
    card, record_key = await Opener(store, bench.vault.keeping.ring).record_key(card)
    at = place_under_terms(person.tenant_id, token, "number", card.terms)
    beside = details_of(card, record_key)
    return open_sealed(record_key, card.sealed_number, at).decode(), beside.exp_month, beside.exp_year


async def told(bench: Bench, order: ChargeOrder) -> tuple[str, str | None]:
    answer = (await bench.charge(order)).json()
    return answer["state"], answer["reason"]


async def last4_told(bench: Bench, order: ChargeOrder) -> str:
    sql = "SELECT payload FROM outbox_events WHERE about = :charge_id"
    (event,) = await rows(bench.databases.app_dsn, sql, order.tenant_id, charge_id=order.charge_id)
    last4: str = json.loads(event["payload"])["data"]["last4"]
    return last4


def around(monkeypatch: pytest.MonkeyPatch, where: Any, name: str, *, before: Any = None, after: Any = None) -> None:
    """Once, something happens right before or right after a step of the code."""
    step, done = getattr(where, name), list[str]()

    async def stepped(*arguments: Any, **named: Any) -> Any:
        first = not done
        done.append(name)
        if first and before is not None:
            await before()
        result = await step(*arguments, **named)
        if first and after is not None:
            await after()
        return result

    monkeypatch.setattr(where, name, stepped)
