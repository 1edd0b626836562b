"""Refunds: up to what was taken, once each, also when the processor is silent."""

import asyncio
from datetime import timedelta
from typing import Any

import pytest

from tests.vault.bench import Bench, Person
from vault.cleartext.processors import stripe


def refunded_minor(bench: Bench, charge_id: str) -> int:
    return sum(charge["amount_refunded_minor"] for charge in bench.processor_charges(charge_id))


async def test_a_refund_goes_back_once_and_says_what_is_back_in_all(bench: Bench, ada: Person):
    paid = await bench.paid_charge(ada)
    first, second = ada.refund(paid.charge_id, 3000), ada.refund(paid.charge_id, 4998)

    answers = [(await bench.refund(order)).json() for order in (first, first, second)]

    assert [answer["state"] for answer in answers] == ["refunded"] * 3
    assert [answer["refunded_minor"] for answer in answers] == [3000, 3000, 7998]
    assert refunded_minor(bench, paid.charge_id) == 7998
    assert (await bench.charge(paid)).json()["refunded_minor"] == 7998


async def test_more_than_is_left_is_refused_and_says_what_is_left(bench: Bench, ada: Person):
    paid = await bench.paid_charge(ada)
    await bench.refund(ada.refund(paid.charge_id, 5000))

    answer = await bench.refund(ada.refund(paid.charge_id, 2999))

    assert (answer.status_code, answer.json()["code"]) == (409, "refund_exceeds_charge")
    assert answer.json()["refundable_minor"] == 2998
    assert refunded_minor(bench, paid.charge_id) == 5000


@pytest.mark.control("UC-C.1")
async def test_refunds_at_once_cannot_give_back_more_than_was_taken(bench: Bench, ada: Person):
    paid = await bench.paid_charge(ada)

    answers = await asyncio.gather(*(bench.refund(ada.refund(paid.charge_id, 3000)) for _ in range(5)))

    assert sorted(answer.status_code for answer in answers) == [200, 200, 409, 409, 409]
    assert refunded_minor(bench, paid.charge_id) == 6000


async def test_the_same_refund_given_at_once_goes_back_once(bench: Bench, ada: Person):
    paid = await bench.paid_charge(ada)
    order = ada.refund(paid.charge_id, 1000)

    answers = await asyncio.gather(*(bench.refund(order) for _ in range(5)))

    assert {answer.json()["state"] for answer in answers} == {"refunded"}
    assert refunded_minor(bench, paid.charge_id) == 1000


@pytest.mark.parametrize(
    ("fault", "went_back_at_once"),
    [("timeout_before_charge", False), ("timeout_after_charge", True), ("error_500_after_charge", True)],
)
async def test_a_refund_whose_answer_was_lost_is_unknown_and_then_refunded_once(
    alone: Bench, ada: Person, fault: str, went_back_at_once: bool
):
    paid = await alone.paid_charge(ada)
    order = ada.refund(paid.charge_id, 2000)
    alone.processor.fault(fault, operation="refunds.create")

    unknown = (await alone.refund(order)).json()
    at_once = refunded_minor(alone, paid.charge_id)
    ended = await alone.vault.reconciler.run_once()
    known = (await alone.refund(order)).json()

    assert (unknown["state"], ended, known["state"]) == ("unknown", 1, "refunded")
    assert at_once == (2000 if went_back_at_once else 0)
    assert refunded_minor(alone, paid.charge_id) == 2000
    assert known["refunded_minor"] == 2000


async def test_an_unknown_refund_behind_many_later_ones_is_found_and_not_given_twice(
    alone: Bench, ada: Person, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(stripe, "REFUNDS_A_PAGE", 1)
    paid = await alone.paid_charge(ada)
    order = ada.refund(paid.charge_id, 1000)
    alone.processor.fault("timeout_after_charge", operation="refunds.create")
    await alone.refund(order)
    for _ in range(3):
        await alone.refund(ada.refund(paid.charge_id, 100))
    alone.clock.advance(timedelta(hours=2))

    await alone.vault.reconciler.run_once()
    known = (await alone.refund(order)).json()

    assert known["state"] == "refunded"
    assert refunded_minor(alone, paid.charge_id) == 1300


async def test_an_unknown_refund_holds_its_amount(bench: Bench, ada: Person):
    paid = await bench.paid_charge(ada)
    bench.processor.fault("timeout_before_charge", operation="refunds.create")
    await bench.refund(ada.refund(paid.charge_id, 7000))

    answer = await bench.refund(ada.refund(paid.charge_id, 1000))

    assert answer.json()["refundable_minor"] == 998


@pytest.mark.parametrize("change", [{"amount_minor": 1}, {"currency": "EUR"}])
async def test_a_refund_id_with_other_parameters_is_refused(bench: Bench, ada: Person, change: dict[str, Any]):
    paid = await bench.paid_charge(ada)
    order = ada.refund(paid.charge_id, 1000)
    await bench.refund(order)
    values: dict[str, Any] = {"charge_id": paid.charge_id, "amount_minor": 1000, "refund_id": order.refund_id}

    answer = await bench.refund(ada.refund(**(values | change)))

    assert (answer.status_code, answer.json()["code"]) == (409, "refund_id_reused")


async def test_a_refund_id_used_for_another_charge_is_refused(bench: Bench, ada: Person):
    paid, other = await bench.paid_charge(ada), await bench.paid_charge(ada)
    order = ada.refund(paid.charge_id, 1000)
    await bench.refund(order)

    answer = await bench.refund(ada.refund(other.charge_id, 1000, refund_id=order.refund_id))

    assert (answer.status_code, answer.json()["code"]) == (409, "refund_id_reused")


async def test_a_charge_that_took_nothing_gives_nothing_back(bench: Bench, ada: Person):
    declined = ada.charge(await bench.new_token(ada, "4000000000000002"))
    await bench.charge(declined)
    paid = await bench.paid_charge(ada)

    answers = [
        await bench.refund(ada.refund(declined.charge_id, 1)),
        await bench.refund(ada.refund(paid.charge_id, 1, currency="EUR")),
    ]

    assert [answer.json()["code"] for answer in answers] == ["charge_not_refundable", "currency_differs"]


@pytest.mark.parametrize("name", ["tenant_id", "brand_id", "subject_id"])
async def test_somebody_elses_charge_is_not_found(bench: Bench, ada: Person, name: str):
    paid = await bench.paid_charge(ada)
    whose = {"tenant_id": ada.tenant_id, "brand_id": ada.brand_id, "subject_id": ada.subject_id}
    stranger = Person(**(whose | {name: f"{name[:3]}_other"}))

    foreign = await bench.refund(stranger.refund(paid.charge_id, 1))
    missing = await bench.refund(ada.refund("chg_missing", 1))

    assert (foreign.status_code, missing.status_code) == (404, 404)
    assert {**foreign.json(), "request_id": ""} == {**missing.json(), "request_id": ""}
