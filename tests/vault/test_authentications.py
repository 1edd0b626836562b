"""3-D Secure, through the front doors: asked, confirmed or refused at the bank, believed only from the processor."""

import asyncio
from datetime import datetime, timedelta

import pytest

from tests.sandbox.running import API_KEY
from tests.vault.authenticating import ALWAYS, THEN_DECLINES, UNLESS_SET_UP, Holder
from tests.vault.bench import Bench, Person, rows
from tests.vault.events import event_about, post
from tests.vault.killed import checked
from tests.vault.money import Till, ledger_of
from vault.authentications.answering import LOOK_EVERY, POLL_SECONDS
from vault.cleartext.processors import Payment
from vault.cleartext.processors.stripe import StripeProcessor
from vault.contract import TokenTerms, TokenUses


@pytest.fixture
def holder(bench: Bench, ada: Person) -> Holder:
    return Holder(bench, bench.processor, ada)


@pytest.fixture
def sole(alone: Bench, ada: Person) -> Holder:
    """In a vault whose reconciler finds nobody else's charges."""
    return Holder(alone, alone.processor, ada)


def intents(holder: Holder, order_id: str) -> list[dict[str, object]]:
    """The payments that the processor knows of a charge."""
    found = holder.processor.plain.get(
        f"{holder.processor.url}/v1/payment_intents",
        headers={"authorization": f"Bearer {API_KEY}"},
        params={"limit": 50},
    ).json()["data"]
    return [intent for intent in found if intent["metadata"].get("charge_id") == order_id]


@pytest.mark.parametrize("number", [ALWAYS, UNLESS_SET_UP])
async def test_a_charge_that_its_holder_confirms_at_their_bank_is_approved_once(
    holder: Holder, bench: Bench, ada: Person, number: str
):
    order = await holder.asked(number)
    waiting = await holder.repeat(order)

    page = await holder.see_through(order)
    known = await holder.repeat(order)

    assert (waiting["state"], known["state"], known["taken_minor"]) == ("needs_action", "approved", 7998)
    assert waiting["action_until"] is not None
    assert known["action_until"] is None
    assert "Your bank confirmed it" in page.text
    assert "$79.98" in page.text
    assert bench.taken_minor(order.charge_id) == 7998
    assert await ledger_of(bench, ada) == {"processor_receivable": 7998, "sales": -7998}


async def test_a_card_that_declines_after_its_holder_confirmed_is_declined_with_the_banks_reason(holder: Holder):
    order = await holder.asked(THEN_DECLINES)

    page = await holder.see_through(order)
    known = await holder.repeat(order)

    assert (known["state"], known["reason"]) == ("declined", "card_declined")
    assert "The payment was not made" in page.text


async def test_a_holder_who_refuses_is_not_charged(holder: Holder, bench: Bench, ada: Person):
    order = await holder.asked()

    page = await holder.see_through(order, "fail")
    known = await holder.repeat(order)
    paid_otherwise = await bench.charge(ada.charge(await bench.new_token(ada), purchase_id=order.purchase_id))

    assert (known["state"], known["reason"], known["taken_minor"]) == ("declined", "authentication_failed", 0)
    assert "Nothing was charged" in page.text
    assert [intent["status"] for intent in intents(holder, order.charge_id)] == ["canceled"]
    assert paid_otherwise.json()["state"] == "approved"


async def test_with_nobody_present_the_card_is_declined_as_before(holder: Holder, bench: Bench):
    order = await holder.order(person_present=False)

    answer = (await bench.charge(order)).json()

    assert (answer["state"], answer["reason"]) == ("declined", "authentication_required")
    assert (await holder.enter(order)).status_code == 410


async def test_a_hold_that_its_holder_confirms_is_held_and_then_settled(holder: Holder, bench: Bench, ada: Person):
    till, order = Till(bench, ada), await holder.asked(hold=True)

    too_early = await till.settle(order, 5000)
    await holder.see_through(order)
    held = await holder.repeat(order)
    settled = await till.settle(order, 5000)
    refunded = await till.refund(order.charge_id, 2000)

    assert (too_early["code"], too_early["state"]) == ("not_held", "needs_action")
    assert held["state"] == "held"
    assert (settled["charge"]["state"], settled["charge"]["taken_minor"]) == ("settled", 5000)
    assert refunded["state"] == "refunded"
    assert await ledger_of(bench, ada) == {"processor_receivable": 3000, "refunds": 2000, "sales": -5000}


@pytest.mark.control("UC-C.1", "UC-C.4")
async def test_while_its_holder_is_asked_a_purchase_has_no_other_charge_and_nothing_to_refund(
    holder: Holder, bench: Bench, ada: Person
):
    order = await holder.asked()

    second = await bench.charge(ada.charge(await bench.new_token(ada), purchase_id=order.purchase_id))
    refund = await bench.refund(ada.refund(order.charge_id, 100))
    await holder.see_through(order)
    after = await bench.refund(ada.refund(order.charge_id, 100))

    assert second.json()["code"] == "purchase_charged"
    assert refund.json()["code"] == "charge_not_refundable"
    assert after.json()["state"] == "refunded"


async def test_a_token_for_one_charge_is_spent_while_its_holder_is_asked_and_free_when_they_refuse(
    bench: Bench, ada: Person
):
    holder = Holder(bench, bench.processor, ada)
    token = await bench.new_token(ada, ALWAYS, terms=TokenTerms(uses=TokenUses.SINGLE))
    order = ada.charge(token, person_present=True)
    assert (await bench.charge(order)).json()["state"] == "needs_action"

    meanwhile = await bench.charge(ada.charge(token))
    await holder.see_through(order, "fail")
    afterwards = await bench.charge(ada.charge(token))

    assert meanwhile.json()["reason"] == "token_spent"
    assert afterwards.json()["reason"] == "verification_code_missing"


@pytest.mark.control("UC-C.4")
async def test_an_abandoned_charge_is_cancelled_at_the_processor_when_its_time_is_up(
    sole: Holder, alone: Bench, ada: Person
):
    order = await sole.asked()
    link = await sole.link(order)
    alone.clock.advance(timedelta(minutes=15) - LOOK_EVERY)

    before = await alone.vault.reconciler.run_once()
    alone.clock.advance(LOOK_EVERY)
    ended = await alone.vault.reconciler.run_once()
    late = sole.answer(link)
    page = await sole.page(order)

    assert (before, ended) == (0, 1)
    assert [intent["status"] for intent in intents(sole, order.charge_id)] == ["canceled"]
    known = await sole.repeat(order)
    assert (known["state"], known["reason"]) == ("declined", "authentication_expired")
    assert late.status_code == 400
    assert "The payment was not made" in page.text
    assert await checked(alone.databases, ada.tenant_id)


async def test_what_was_confirmed_at_the_last_moment_is_not_lost_to_the_time_being_up(
    sole: Holder, alone: Bench, ada: Person
):
    order = await sole.asked()
    sole.answer(await sole.link(order))
    alone.clock.advance(timedelta(minutes=15))

    ended = await alone.vault.reconciler.run_once()

    assert ended == 1
    assert (await sole.repeat(order))["state"] == "approved"
    assert alone.taken_minor(order.charge_id) == 7998
    assert await checked(alone.databases, ada.tenant_id)


@pytest.mark.parametrize("found_by", ["event", "round", "asking_again"])
@pytest.mark.control("UC-C.4")
async def test_who_never_comes_back_from_the_bank_is_found_out_about(sole: Holder, alone: Bench, found_by: str):
    order = await sole.asked()
    sole.answer(await sole.link(order))

    if found_by == "event":
        body = event_about(alone.payment_ref(order.charge_id), "payment_intent", "payment_intent.succeeded")
        assert (await post(alone, body)).status_code == 200
        await alone.vault.reconciler.run_once()
    if found_by == "round":
        alone.clock.advance(LOOK_EVERY)
        await alone.vault.reconciler.run_once()
    known = await sole.repeat(order)

    assert known["state"] == "approved"
    assert alone.taken_minor(order.charge_id) == 7998


@pytest.mark.parametrize("said", ["payment_intent.succeeded", "payment_intent.payment_failed"])
@pytest.mark.control("UC-C.4")
async def test_an_event_that_says_how_it_ended_is_not_believed(sole: Holder, alone: Bench, said: str):
    order = await sole.asked()
    (intent,) = intents(sole, order.charge_id)

    assert (await post(alone, event_about(str(intent["id"]), "payment_intent", said))).status_code == 200
    await alone.vault.reconciler.run_once()

    assert (await sole.repeat(order))["state"] == "needs_action"


async def test_a_lost_answer_to_the_confirmation_ends_with_the_holder_being_asked(sole: Holder, alone: Bench):
    order = await sole.order()
    alone.processor.fault("timeout_after_charge")

    unknown = await sole.repeat(order)
    await alone.vault.reconciler.run_once()
    asked = await sole.repeat(order)
    await sole.see_through(order)

    assert (unknown["state"], asked["state"]) == ("unknown", "needs_action")
    assert (await sole.repeat(order))["state"] == "approved"


async def test_the_time_to_confirm_counts_from_the_order_and_not_from_when_we_learned_of_the_question(
    sole: Holder, alone: Bench
):
    """So that it ends before the goods are held for somebody else."""
    order = await sole.order()
    ordered_at = alone.clock.now()
    alone.processor.fault("timeout_after_charge")
    await sole.repeat(order)
    alone.clock.advance(timedelta(minutes=10))

    await alone.vault.reconciler.run_once()
    asked = await sole.repeat(order)
    alone.clock.advance(timedelta(minutes=5))
    await alone.vault.reconciler.run_once()
    known = await sole.repeat(order)

    assert datetime.fromisoformat(asked["action_until"]) == ordered_at + timedelta(minutes=15)
    assert (known["state"], known["reason"]) == ("declined", "authentication_expired")


async def test_while_the_processor_is_silent_the_charge_waits_and_the_person_is_told(
    sole: Holder, alone: Bench, ada: Person
):
    order = await sole.asked()
    sole.answer(await sole.link(order))
    alone.processor.fault("error_503", operation="payment_intents.retrieve", times=3)

    page = await sole.page(order)
    asked_again = await sole.repeat(order)
    rounds = []
    for _ in range(2):
        alone.clock.advance(LOOK_EVERY)
        rounds.append(await alone.vault.reconciler.run_once())

    assert page.status_code == 503
    assert (asked_again["state"], rounds) == ("needs_action", [0, 1])
    assert (await sole.repeat(order))["state"] == "approved"


async def test_a_cancellation_that_is_not_heard_of_is_tried_again(sole: Holder, alone: Bench, ada: Person):
    order = await sole.asked()
    alone.clock.advance(timedelta(minutes=15))
    alone.processor.fault("error_500_after_charge", operation="payment_intents.cancel")

    nothing = await alone.vault.reconciler.run_once()
    ended = await alone.vault.reconciler.run_once()

    known = await sole.repeat(order)
    assert (nothing, ended) == (0, 1)
    assert (known["state"], known["reason"]) == ("declined", "authentication_expired")


async def test_repeating_the_order_without_anybody_present_tells_how_it_stands(holder: Holder, bench: Bench):
    order = await holder.asked()
    bare = {name: getattr(order, name) for name in order.__struct_fields__ if name != "person_present"}

    answer = await bench.charge(type(order)(**bare))

    assert answer.json()["state"] == "needs_action"


async def test_the_tenant_is_told_of_the_end_and_not_of_the_question(holder: Holder, bench: Bench, ada: Person):
    order = await holder.asked()
    sql = "SELECT kind FROM outbox_events WHERE about = :about"
    before = await rows(bench.databases.app_dsn, sql, ada.tenant_id, about=order.charge_id)

    await holder.see_through(order)
    after = await rows(bench.databases.app_dsn, sql, ada.tenant_id, about=order.charge_id)

    assert (before, after) == ([], [{"kind": "charge.approved"}])


async def test_who_comes_back_while_an_event_is_being_looked_into_sees_what_came_of_it(
    sole: Holder, alone: Bench, monkeypatch: pytest.MonkeyPatch
):
    """The round has the charge, and its look-up is held up until the person's page has begun to wait for it."""
    order = await sole.asked()
    sole.answer(await sole.link(order))
    looking, waiting = asyncio.Event(), asyncio.Event()
    look_up, sleep = StripeProcessor.look_up_payment, asyncio.sleep
    calls = 0

    async def second_is_slow(processor: StripeProcessor, ref: str) -> Payment:
        nonlocal calls
        calls += 1
        if calls == 2:  # the first look is before the claim
            looking.set()
            await waiting.wait()
        return await look_up(processor, ref)

    async def noticed(seconds: float) -> None:
        if seconds == POLL_SECONDS:
            waiting.set()
        await sleep(seconds)

    monkeypatch.setattr(StripeProcessor, "look_up_payment", second_is_slow)
    monkeypatch.setattr(asyncio, "sleep", noticed)
    alone.clock.advance(LOOK_EVERY)
    found = asyncio.create_task(alone.vault.reconciler.run_once())
    await looking.wait()

    page = await sole.page(order)

    assert "Your bank confirmed it" in page.text
    assert await found == 1
    assert len(alone.processor_charges(order.charge_id)) == 1
