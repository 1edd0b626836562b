"""Charges, through the front door, over the real database and the sandbox processor."""

import asyncio
from datetime import timedelta

import pytest

from infra.chassis.ids import new_id
from tests.vault.bench import Bench, Person
from vault.charges import POLL_SECONDS
from vault.cleartext.processors import Payment
from vault.cleartext.processors.stripe import StripeProcessor
from vault.tables import ChargeRow


async def test_a_card_typed_on_the_page_is_charged_once_and_then_is_on_file(bench: Bench, ada: Person):
    first = ada.charge(await bench.new_token(ada))

    answer = await bench.charge(first)
    again = await bench.charge(first)
    later = await bench.charge(ada.charge(first.token_id, amount_minor=500))

    assert answer.json() == {
        "charge_id": first.charge_id,
        "state": "approved",
        "amount_minor": 7998,
        "currency": "USD",
        "refunded_minor": 0,
        "reason": None,
        "taken_minor": 7998,
        "disputed_minor": 0,
        "hold_until": None,
        "action_until": None,
        "card_brand": "visa",
        "last4": "4242",
    }
    assert again.json() == answer.json()
    assert later.json()["state"] == "approved"
    assert bench.taken_minor(first.charge_id) == 7998


@pytest.mark.control("UC-3.3")
async def test_a_key_service_that_is_away_does_not_cost_the_verification_code(bench: Bench, ada: Person):
    token_id = await bench.new_token(ada)
    bench.clock.advance(timedelta(seconds=61))  # the tenant's key is not held in memory any more
    root = bench.settings.keys.root_key_file
    assert root is not None

    away = root.rename(root.with_suffix(".away"))
    without = await bench.charge(ada.charge(token_id))
    away.rename(root)
    bench.clock.advance(timedelta(seconds=30))  # whoever worked on the first one is known to have stopped
    charged = await bench.charge(ada.charge(token_id))

    assert without.status_code == 503
    assert charged.json()["state"] == "approved"


@pytest.mark.parametrize(
    ("number", "reason"),
    [
        ("4000000000000002", "card_declined"),
        ("4000000000009995", "insufficient_funds"),
        ("4000000000009987", "lost_or_stolen"),
        ("4000000000009979", "lost_or_stolen"),
        ("4000000000000069", "expired_card"),
        ("4000000000000127", "incorrect_verification_code"),
        ("4000000000000119", "processor_error"),
        ("4100000000000019", "fraud_suspected"),
        ("4000002500003155", "authentication_required"),
    ],
)
async def test_a_refused_card_is_declined_with_our_word_for_it(bench: Bench, ada: Person, number: str, reason: str):
    order = ada.charge(await bench.new_token(ada, number))

    answer = (await bench.charge(order)).json()

    assert (answer["state"], answer["reason"]) == ("declined", reason)
    assert bench.taken_minor(order.charge_id) == 0


@pytest.mark.control("UC-C.1")
async def test_the_same_order_given_at_once_many_times_charges_once(bench: Bench, ada: Person):
    order = ada.charge(await bench.new_token(ada))

    answers = await asyncio.gather(*(bench.charge(order) for _ in range(50)))

    assert [answer.json()["state"] for answer in answers] == ["approved"] * 50
    assert len(bench.processor_charges(order.charge_id)) == 1


@pytest.mark.control("UC-C.1")
async def test_one_charge_id_for_fifty_amounts_at_once_is_one_charge_and_the_others_are_refused(
    bench: Bench, ada: Person
):
    order = ada.charge(await bench.new_token(ada))
    said = {"charge_id": order.charge_id, "purchase_id": order.purchase_id}
    orders = [ada.charge(order.token_id, **said, amount_minor=100 + number) for number in range(50)]

    answers = await asyncio.gather(*(bench.charge(one) for one in orders))

    (done,) = [answer.json() for answer in answers if answer.status_code == 200]
    refused = [answer for answer in answers if answer.status_code != 200]
    assert {(answer.status_code, answer.json()["code"]) for answer in refused} == {(409, "charge_id_reused")}
    assert (done["state"], bench.taken_minor(order.charge_id)) == ("approved", done["amount_minor"])


@pytest.mark.control("UC-C.1")
async def test_a_charge_id_with_another_card_or_as_a_hold_is_refused(bench: Bench, ada: Person):
    order = await bench.paid_charge(ada)
    said = {"charge_id": order.charge_id, "purchase_id": order.purchase_id}

    answers = [
        await bench.charge(ada.charge(await bench.new_token(ada), **said)),
        await bench.hold(ada.hold(order.token_id, **said)),
    ]

    assert [(answer.status_code, answer.json()["code"]) for answer in answers] == [(409, "charge_id_reused")] * 2
    assert len(bench.processor_charges(order.charge_id)) == 1


@pytest.mark.parametrize("change", [{"amount_minor": 1}, {"currency": "EUR"}, {"purchase_id": "pur_other"}])
@pytest.mark.control("UC-C.1")
async def test_a_charge_id_with_other_parameters_is_refused(bench: Bench, ada: Person, change: dict[str, object]):
    order = await bench.paid_charge(ada)
    other = ada.charge(order.token_id, **{"charge_id": order.charge_id, "purchase_id": order.purchase_id, **change})

    answer = await bench.charge(other)

    assert (answer.status_code, answer.json()["code"]) == (409, "charge_id_reused")
    assert len(bench.processor_charges(order.charge_id)) == 1


@pytest.mark.control("UC-3.3.1")
async def test_a_new_card_without_its_code_is_not_charged(bench: Bench, ada: Person):
    order = ada.charge(await bench.new_token(ada))
    bench.clock.advance(timedelta(minutes=10))

    answer = (await bench.charge(order)).json()

    assert (answer["state"], answer["reason"]) == ("failed", "verification_code_missing")
    assert bench.processor_charges(order.charge_id) == []


@pytest.mark.control("UC-3.3.1")
async def test_a_code_is_used_for_one_charge_only(bench: Bench, ada: Person):
    declined = ada.charge(await bench.new_token(ada, "4000000000000002"))

    first = (await bench.charge(declined)).json()
    second = (await bench.charge(ada.charge(declined.token_id))).json()

    assert first["state"] == "declined"
    assert (second["state"], second["reason"]) == ("failed", "verification_code_missing")


async def test_a_processor_that_is_down_fails_the_charge_and_the_code_is_kept_for_the_next(bench: Bench, ada: Person):
    token = await bench.new_token(ada)
    bench.processor.fault("error_503", operation="payment_intents.create")

    failed = (await bench.charge(ada.charge(token))).json()
    next_one = (await bench.charge(ada.charge(token))).json()

    assert (failed["state"], failed["reason"]) == ("failed", "processor_unreachable")
    assert next_one["state"] == "approved"


@pytest.mark.parametrize("fault", ["timeout_before_charge", "error_500", "error_503", "rate_limit", "not_json"])
async def test_a_charge_that_did_not_reach_the_processor_is_unknown_and_then_failed(
    alone: Bench, ada: Person, fault: str
):
    order = ada.charge(await alone.new_token(ada))
    alone.processor.fault(fault)

    unknown = (await alone.charge(order)).json()
    ended = await alone.vault.reconciler.run_once()
    known = (await alone.charge(order)).json()

    assert (unknown["state"], ended) == ("unknown", 1)
    assert (known["state"], known["reason"]) == ("failed", "never_sent")
    assert alone.taken_minor(order.charge_id) == 0


@pytest.mark.parametrize("fault", ["timeout_after_charge", "timeout_during_charge", "error_500_after_charge"])
@pytest.mark.control("UC-C.1")
async def test_a_charge_whose_answer_was_lost_is_unknown_and_then_approved_once(alone: Bench, ada: Person, fault: str):
    order = ada.charge(await alone.new_token(ada))
    alone.processor.fault(fault)

    unknown = (await alone.charge(order)).json()
    await alone.vault.reconciler.run_once()
    known = (await alone.charge(order)).json()

    assert (unknown["state"], known["state"]) == ("unknown", "approved")
    assert len(alone.processor_charges(order.charge_id)) == 1
    assert (await alone.charge(ada.charge(order.token_id))).json()["state"] == "approved"


async def test_asking_again_ends_an_unknown_charge_without_waiting_for_the_reconciler(bench: Bench, ada: Person):
    order = ada.charge(await bench.new_token(ada))
    bench.processor.fault("timeout_after_charge")

    unknown = (await bench.charge(order)).json()
    known = (await bench.charge(order)).json()

    assert (unknown["state"], known["state"]) == ("unknown", "approved")


async def test_a_charge_stays_unknown_while_the_processor_is_silent(alone: Bench, ada: Person):
    order = ada.charge(await alone.new_token(ada))
    alone.processor.fault("timeout_after_charge")
    await alone.charge(order)
    alone.processor.fault("error_503", operation="payment_intents.retrieve", times=2)

    ended = [await alone.vault.reconciler.run_once() for _ in range(3)]

    assert ended == [0, 0, 1]
    assert (await alone.charge(order)).json()["state"] == "approved"


@pytest.mark.parametrize("changed", ["tenant_id", "brand_id", "subject_id", "token_id"])
@pytest.mark.control("UC-7.3")
async def test_a_token_is_not_found_by_anybody_else(bench: Bench, ada: Person, changed: str):
    token = await bench.new_token(ada)
    whose = {"tenant_id": ada.tenant_id, "brand_id": ada.brand_id, "subject_id": ada.subject_id}
    other = Person(**(whose | {changed: f"{changed[:3]}_other"}) if changed != "token_id" else whose)
    foreign = other.charge("tok_missing" if changed == "token_id" else token)

    answer = await bench.charge(foreign)
    missing = await bench.charge(Person().charge("tok_missing"))

    assert answer.status_code == missing.status_code == 404
    assert {**answer.json(), "request_id": ""} == {**missing.json(), "request_id": ""}
    assert bench.processor_charges(foreign.charge_id) == []


@pytest.mark.control("UC-7.3")
async def test_charge_ids_of_two_tenants_do_not_meet(bench: Bench, ada: Person):
    charge_id, bob = new_id("chg"), Person()

    first = await bench.charge(ada.charge(await bench.new_token(ada), charge_id=charge_id))
    second = await bench.charge(bob.charge(await bench.new_token(bob), charge_id=charge_id, amount_minor=100))

    assert [first.json()["amount_minor"], second.json()["amount_minor"]] == [7998, 100]
    assert bench.taken_minor(charge_id) == 8098


@pytest.mark.control("UC-C.1")
async def test_a_purchase_is_charged_once_even_under_two_charge_ids(bench: Bench, ada: Person):
    first = ada.charge(await bench.new_token(ada))
    await bench.charge(first)
    others = [ada.charge(first.token_id, purchase_id=first.purchase_id) for _ in range(4)]

    answers = await asyncio.gather(*(bench.charge(order) for order in others))

    assert {(answer.status_code, answer.json()["code"]) for answer in answers} == {(409, "purchase_charged")}
    assert [bench.taken_minor(order.charge_id) for order in others] == [0, 0, 0, 0]


async def test_a_purchase_whose_charge_was_declined_can_be_charged_with_another_card(bench: Bench, ada: Person):
    declined = ada.charge(await bench.new_token(ada, "4000000000000002"))
    await bench.charge(declined)

    paid = await bench.charge(ada.charge(await bench.new_token(ada), purchase_id=declined.purchase_id))

    assert paid.json()["state"] == "approved"


async def test_whoever_asks_while_the_reconciler_takes_the_charge_over_waits_for_its_outcome(
    bench: Bench, ada: Person, monkeypatch: pytest.MonkeyPatch
):
    """The charge was nobody's when it was read, and the reconciler's when it was to be taken over."""
    order = ada.charge(await bench.new_token(ada))
    bench.processor.fault("timeout_after_charge")
    assert (await bench.charge(order)).json()["state"] == "unknown"
    reconciler, looking, found, waits = bench.vault.reconciler, asyncio.Event(), asyncio.Event(), []
    end_charge, look_up, sleep = reconciler.end_charge, StripeProcessor.look_up_payment, asyncio.sleep
    rounds: list[asyncio.Task[ChargeRow]] = []

    async def overtaken(tenant_id: str, charge_id: str) -> ChargeRow:
        if not rounds:
            rounds.append(asyncio.create_task(end_charge(tenant_id, charge_id)))
            await looking.wait()
        return await end_charge(tenant_id, charge_id)

    async def slow_look_up(processor: StripeProcessor, ref: str) -> Payment:
        looking.set()
        await found.wait()
        return await look_up(processor, ref)

    async def counted(seconds: float) -> None:
        if seconds == POLL_SECONDS:
            waits.append(seconds)
        if len(waits) == 3:
            found.set()
        await sleep(seconds)

    monkeypatch.setattr(reconciler, "end_charge", overtaken)
    monkeypatch.setattr(StripeProcessor, "look_up_payment", slow_look_up)
    monkeypatch.setattr(asyncio, "sleep", counted)
    answer = await bench.charge(order)
    found.set()
    await rounds[0]

    assert answer.json()["state"] == "approved"
    assert len(waits) >= 3
    assert len(bench.processor_charges(order.charge_id)) == 1
