"""Held money: taken in whole or in part, let go, or run out of time; once, whatever is lost on the way."""

import asyncio
from datetime import timedelta
from typing import Any

import pytest

from infra.chassis.ids import new_id
from tests.vault.bench import Bench, Person, rows
from tests.vault.money import DECLINES, Till, ledger_of

AT_ONCE = 7998


async def test_a_hold_is_settled_in_part_and_the_rest_is_let_go(bench: Bench, ada: Person):
    till = Till(bench, ada)
    hold = await till.held()

    settled = await till.settle(hold, 5000)
    again = await till.settle(hold, 5000, settlement_id=settled["end_id"])

    assert (settled["state"], settled["charge"]["state"], settled["charge"]["taken_minor"]) == ("done", "settled", 5000)
    assert again == settled
    (charge,) = bench.processor_charges(hold.charge_id)
    assert (charge["status"], charge["amount_settled_minor"]) == ("settled", 5000)
    assert await ledger_of(bench, ada) == {"processor_receivable": 5000, "sales": -5000}


async def test_a_voided_hold_takes_nothing_and_frees_the_purchase(bench: Bench, ada: Person):
    till = Till(bench, ada)
    hold = await till.held()
    meanwhile = await till.charge(ada.charge(hold.token_id, purchase_id=hold.purchase_id))

    voided = await till.void(hold)
    afterwards = await till.charge(ada.charge(hold.token_id, purchase_id=hold.purchase_id))

    assert meanwhile["code"] == "purchase_charged"
    assert (voided["state"], voided["charge"]["state"]) == ("done", "voided")
    assert bench.processor_charges(hold.charge_id)[0]["status"] == "released"
    assert afterwards["state"] == "approved"


async def test_a_card_that_is_refused_holds_nothing(bench: Bench, ada: Person):
    till = Till(bench, ada)
    order = ada.hold(await bench.new_token(ada, DECLINES))

    answer = (await bench.hold(order)).json()
    ended = await till.settle(order, 100)

    assert (answer["state"], answer["reason"]) == ("declined", "card_declined")
    assert (ended["code"], ended["state"]) == ("not_held", "declined")
    assert await ledger_of(bench, ada) == {}


async def test_a_hold_can_be_refunded_only_after_and_only_up_to_what_was_settled(bench: Bench, ada: Person):
    till = Till(bench, ada)
    hold = await till.held()

    early = await till.refund(hold.charge_id, 1)
    await till.settle(hold, 3000)
    too_much = await till.refund(hold.charge_id, 3001)
    right = await till.refund(hold.charge_id, 3000)

    assert early["code"] == "charge_not_refundable"
    assert (too_much["code"], too_much["refundable_minor"]) == ("refund_exceeds_charge", 3000)
    assert (right["state"], right["refunded_minor"]) == ("refunded", 3000)


@pytest.mark.control("UC-C.1")
async def test_a_settlement_and_a_void_at_once_cannot_both_be_carried_out(bench: Bench, ada: Person):
    till = Till(bench, ada)
    hold = await till.held()

    answers = await asyncio.gather(
        *(till.settle(hold, 1000 + number) for number in range(3)), *(till.void(hold) for _ in range(3))
    )

    done = [answer for answer in answers if answer.get("state") == "done"]
    assert len(done) == 1
    assert {answer["code"] for answer in answers if answer not in done} <= {"hold_ending", "not_held"}
    taken = done[0]["charge"]["taken_minor"]
    assert bench.taken_minor(hold.charge_id) == taken


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"amount_minor": AT_ONCE + 1}, "settlement_exceeds_hold"),
        ({"currency": "EUR"}, "currency_differs"),
    ],
)
async def test_more_than_is_held_or_another_currency_is_refused(
    bench: Bench, ada: Person, changes: dict[str, Any], code: str
):
    till = Till(bench, ada)
    hold = await till.held()

    refused = await till.settle(hold, changes.pop("amount_minor", 100), **changes)
    settled = await till.settle(hold, AT_ONCE)

    assert refused["code"] == code
    assert settled["charge"]["taken_minor"] == AT_ONCE


async def test_an_id_of_an_end_means_one_thing(bench: Bench, ada: Person):
    till = Till(bench, ada)
    one, other = await till.held(), await till.held()
    settled = await till.settle(one, 1000)

    answers = [
        await till.settle(one, 999, settlement_id=settled["end_id"]),
        await till.settle(other, 1000, settlement_id=settled["end_id"]),
        await till.void(one, void_id=settled["end_id"]),
        await till.charge(ada.charge(one.token_id, charge_id=one.charge_id, purchase_id=one.purchase_id)),
    ]

    assert [answer["code"] for answer in answers] == ["hold_end_id_reused"] * 3 + ["charge_id_reused"]


@pytest.mark.parametrize("name", ["tenant_id", "brand_id", "subject_id"])
@pytest.mark.control("UC-7.3")
async def test_somebody_elses_hold_is_not_found(bench: Bench, ada: Person, name: str):
    hold = await Till(bench, ada).held()
    whose = {"tenant_id": ada.tenant_id, "brand_id": ada.brand_id, "subject_id": ada.subject_id}
    stranger = Till(bench, Person(**(whose | {name: f"{name[:3]}_other"})))

    answers = [await stranger.settle(hold, 1), await stranger.void(hold), await stranger.settle(hold, 1, missing=True)]

    assert [(answer["status"], answer["code"]) for answer in answers] == [(404, "not_found")] * 3


@pytest.mark.parametrize(
    ("fault", "done_at_once"),
    [("timeout_before_charge", False), ("timeout_after_charge", True), ("error_500_after_charge", True)],
)
@pytest.mark.parametrize("kind", ["settle", "void"])
async def test_an_end_whose_answer_was_lost_is_unknown_and_then_done_once(
    alone: Bench, ada: Person, kind: str, fault: str, done_at_once: bool
):
    till = Till(alone, ada)
    hold = await till.held()
    alone.processor.fault(fault, operation=f"payment_intents.{'capture' if kind == 'settle' else 'cancel'}")

    unknown = await (till.settle(hold, 2000) if kind == "settle" else till.void(hold))
    meanwhile = alone.processor_charges(hold.charge_id)[0]["status"]
    ended = await alone.vault.reconciler.run_once()
    known = (await alone.hold(hold)).json()

    assert (unknown["state"], unknown["charge"]["state"]) == ("unknown", "held")
    assert (meanwhile != "held") is done_at_once
    assert (ended, known["state"]) == (1, "settled" if kind == "settle" else "voided")
    assert alone.taken_minor(hold.charge_id) == known["taken_minor"] == (2000 if kind == "settle" else 0)


async def test_a_hold_nobody_settles_expires_when_the_processor_let_go_of_it(alone: Bench, ada: Person):
    till = Till(alone, ada)
    hold, other = await till.held(), await till.held()
    alone.clock.advance(timedelta(days=7))
    alone.expire(hold.charge_id)

    ended = await alone.vault.reconciler.run_once()
    states = [(await alone.hold(order)).json()["state"] for order in (hold, other)]
    late = await till.settle(hold, 100)

    assert (ended, states) == (1, ["expired", "held"])
    assert (late["code"], late["state"]) == ("not_held", "expired")
    assert await ledger_of(alone, ada) == {"held_funds": AT_ONCE, "hold_claims": -AT_ONCE}


async def test_a_settlement_after_the_processor_let_go_fails_and_says_that_the_hold_expired(bench: Bench, ada: Person):
    till = Till(bench, ada)
    hold = await till.held()
    bench.expire(hold.charge_id)

    answer = await till.settle(hold, 100)

    assert (answer["state"], answer["charge"]["state"], answer["charge"]["taken_minor"]) == ("failed", "expired", 0)


async def test_what_somebody_settled_at_the_processor_by_hand_is_found_and_posted(alone: Bench, ada: Person):
    till = Till(alone, ada)
    hold = await till.held()
    alone.processor.client().v1.payment_intents.capture(alone.payment_ref(hold.charge_id), {"amount_to_capture": 1234})

    answer = await till.settle(hold, 100)

    assert (answer["state"], answer["charge"]["state"], answer["charge"]["taken_minor"]) == ("failed", "settled", 1234)
    assert await ledger_of(alone, ada) == {"processor_receivable": 1234, "sales": -1234}


@pytest.mark.parametrize("fault", ["timeout_after_charge", "error_500_after_charge"])
async def test_a_hold_whose_answer_was_lost_is_found_held_and_not_let_go(alone: Bench, ada: Person, fault: str):
    till = Till(alone, ada)
    order = ada.hold(await alone.new_token(ada))
    alone.processor.fault(fault)

    unknown = (await alone.hold(order)).json()
    await alone.vault.reconciler.run_once()
    settled = await till.settle(order, AT_ONCE)

    assert unknown["state"] == "unknown"
    assert (settled["state"], alone.taken_minor(order.charge_id)) == ("done", AT_ONCE)


async def test_a_payment_whose_name_was_lost_is_found_by_our_ids_and_cancelled(alone: Bench, ada: Person):
    """The processor opened it, the answer never came, and the vault died before it could say so."""
    till = Till(alone, ada)
    paid = await alone.paid_charge(ada)
    client = alone.processor.client()
    lost = ada.charge(paid.token_id)
    whose = {"tenant_id": ada.tenant_id, "charge_id": lost.charge_id}
    opened = client.v1.payment_intents.create(
        {"amount": AT_ONCE, "currency": "usd", "metadata": whose},
    )
    await till.intend(lost)

    ended = await alone.vault.reconciler.run_once()
    known = (await alone.charge(lost)).json()

    assert (ended, known["state"], known["reason"]) == (1, "failed", "never_sent")
    assert client.v1.payment_intents.retrieve(opened.id).status == "canceled"
    named = await rows(
        alone.databases.app_dsn, "SELECT processor_ref FROM charges WHERE state = 'failed'", ada.tenant_id
    )
    assert named == [{"processor_ref": opened.id}]


async def test_a_payment_of_another_charge_is_not_taken_for_ours(alone: Bench, ada: Person):
    paid = await alone.paid_charge(ada)
    lost = ada.charge(paid.token_id, charge_id=new_id("chg"))
    await Till(alone, ada).intend(lost)

    await alone.vault.reconciler.run_once()

    assert (await alone.charge(lost)).json()["state"] == "failed"
    assert alone.taken_minor(paid.charge_id) == AT_ONCE
