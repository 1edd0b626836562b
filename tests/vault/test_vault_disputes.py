"""Disputes and their reversals: seen by looking, recorded once, refunds stopped while the bank has the money."""

import json
from typing import Any, Literal

import pytest

from infra.chassis.ids import new_id
from tests.vault.bench import Bench, Person, rows
from tests.vault.events import event_about, post
from tests.vault.money import DISPUTED, INQUIRY, Till, ledger_of
from vault.contract import ChargeOrder

TAKEN, TAKEN_BACK = {"processor_receivable": 7998, "sales": -7998}, {"disputes": 7998, "sales": -7998}


async def disputed_charge(bench: Bench, person: Person, number: str = DISPUTED) -> ChargeOrder:
    order = person.charge(await bench.new_token(person, number))
    assert (await bench.charge(order)).json()["state"] == "approved"
    return order


async def tell(bench: Bench, order: ChargeOrder, kind: str = "charge.dispute.created", **changes: Any) -> None:
    """The processor's event about a dispute, which names the payment and no tenant; and a round of the reconciler."""
    body = event_about(bench.payment_ref(order.charge_id), "dispute", kind, **changes)
    assert (await post(bench, body)).status_code == 200
    await bench.vault.reconciler.run_once()


def decide(bench: Bench, order: ChargeOrder, status: Literal["won", "lost"]) -> None:
    """The bank's decision."""
    (charge,) = bench.processor_charges(order.charge_id)
    (dispute,) = bench.processor.client().v1.disputes.list({"charge": charge["id"]}).data
    url = f"{bench.processor.url}/_sandbox/disputes/{dispute.id}/close"
    bench.processor.plain.post(url, json={"status": status}).raise_for_status()


async def states(bench: Bench, person: Person) -> list[str]:
    found = await rows(bench.databases.app_dsn, "SELECT state FROM disputes", person.tenant_id)
    return [row["state"] for row in found]


@pytest.mark.control("UC-C.2")
async def test_a_dispute_takes_the_money_back_once_and_stops_refunds(alone: Bench, ada: Person):
    order, till = await disputed_charge(alone, ada), Till(alone, ada)
    before = await ledger_of(alone, ada)

    for kind in ("charge.dispute.created", "charge.dispute.funds_withdrawn", "charge.dispute.created"):
        await tell(alone, order, kind)
    refused = await till.refund(order.charge_id, 100)

    assert (before, await ledger_of(alone, ada)) == (TAKEN, TAKEN_BACK)
    assert await states(alone, ada) == ["open"]
    assert (refused["status"], refused["code"]) == (409, "charge_disputed")
    assert (await alone.charge(order)).json()["disputed_minor"] == 7998


async def test_a_chargeback_that_is_reversed_gives_the_money_again_and_refunds_with_it(alone: Bench, ada: Person):
    order, till = await disputed_charge(alone, ada), Till(alone, ada)
    await tell(alone, order)
    decide(alone, order, "won")

    for kind in ("charge.dispute.funds_reinstated", "charge.dispute.closed"):
        await tell(alone, order, kind)
    refunded = await till.refund(order.charge_id, 7998)

    assert await states(alone, ada) == ["won"]
    assert refunded["state"] == "refunded"
    assert await ledger_of(alone, ada) == {"refunds": 7998, "sales": -7998}


async def test_a_dispute_heard_of_only_when_it_is_over_is_posted_whole(alone: Bench, ada: Person):
    order = await disputed_charge(alone, ada)
    decide(alone, order, "won")

    await tell(alone, order, "charge.dispute.closed")

    posted = await rows(alone.databases.app_dsn, "SELECT event FROM postings ORDER BY event", ada.tenant_id)
    assert [row["event"] for row in posted] == ["approved", "reinstated", "withdrawn"]
    assert await ledger_of(alone, ada) == TAKEN


async def test_a_late_event_of_an_open_dispute_does_not_reopen_a_lost_one(alone: Bench, ada: Person):
    order = await disputed_charge(alone, ada)
    decide(alone, order, "lost")
    await tell(alone, order, "charge.dispute.closed")

    await tell(alone, order, "charge.dispute.created", data={"object": {"status": "needs_response"}})

    assert await states(alone, ada) == ["lost"]
    assert await ledger_of(alone, ada) == TAKEN_BACK


async def test_an_inquiry_moves_no_money_and_stops_no_refund(alone: Bench, ada: Person):
    order, till = await disputed_charge(alone, ada, INQUIRY), Till(alone, ada)

    await tell(alone, order)
    refunded = await till.refund(order.charge_id, 998)
    decide(alone, order, "lost")
    await tell(alone, order, "charge.dispute.closed")

    assert refunded["state"] == "refunded"
    assert await states(alone, ada) == ["closed"]
    assert await ledger_of(alone, ada) == {"processor_receivable": 7000, "refunds": 998, "sales": -7998}


async def test_a_refund_that_a_dispute_we_have_not_heard_of_forbids_fails_at_the_processor(bench: Bench, ada: Person):
    order, till = await disputed_charge(bench, ada), Till(bench, ada)

    answer = await till.refund(order.charge_id, 100)

    assert (answer["state"], answer["refunded_minor"]) == ("failed", 0)
    assert await ledger_of(bench, ada) == TAKEN


async def test_an_event_that_met_a_silent_processor_is_seen_to_later(alone: Bench, ada: Person):
    order = await disputed_charge(alone, ada)
    alone.processor.fault("error_503", operation="disputes.list")

    await tell(alone, order)
    before = await states(alone, ada)
    await alone.vault.reconciler.run_once()

    assert (before, await states(alone, ada)) == ([], ["open"])


async def test_a_dispute_of_a_charge_whose_answer_was_lost_is_recorded_after_the_charge(alone: Bench, ada: Person):
    order = ada.charge(await alone.new_token(ada, DISPUTED))
    alone.processor.fault("timeout_after_charge")
    assert (await alone.charge(order)).json()["state"] == "unknown"

    await tell(alone, order)
    await alone.vault.reconciler.run_once()

    assert (await alone.charge(order)).json()["disputed_minor"] == 7998


async def test_what_an_event_says_of_a_dispute_is_not_believed(alone: Bench, ada: Person):
    paid = await alone.paid_charge(ada)
    lie = {"object": "dispute", "id": "dp_liedlied", "amount": 7998, "currency": "usd", "status": "lost"}

    await tell(alone, paid, data={"object": lie | {"payment_intent": alone.payment_ref(paid.charge_id)}})

    assert await states(alone, ada) == []
    assert await ledger_of(alone, ada) == TAKEN


async def test_an_event_about_a_payment_nobody_knows_is_answered_as_any_other(alone: Bench, ada: Person):
    paid = await alone.paid_charge(ada)
    known = event_about(alone.payment_ref(paid.charge_id), "dispute", "charge.dispute.created")
    unknown = json.loads(known) | {"id": f"evt_{new_id('evt')[4:]}"}
    unknown["data"]["object"]["payment_intent"] = "pi_nobodysPayment"

    answers = [await post(alone, body) for body in (known, json.dumps(unknown).encode())]

    assert {(answer.status_code, answer.content) for answer in answers} == {(200, b'{"received":true}')}
    events = await rows(alone.databases.owner_dsn, "SELECT count(*) FROM inbox_events", ada.tenant_id)
    assert events == [{"count": 1}]
