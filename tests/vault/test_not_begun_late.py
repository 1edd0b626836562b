"""A charge is begun while its order wants that; who only wants it ended gets an end, and nobody is charged later."""

import asyncio

import msgspec
import pytest

from tests.vault.bench import Bench, Person, root_away
from vault.keys.ring import HELD_FOR


@pytest.mark.parametrize("hold", [False, True])
@pytest.mark.control("UC-C.1")
async def test_without_its_key_service_an_order_that_only_wants_an_end_gets_it_and_the_earlier_one_begins_nothing(
    bench: Bench, ada: Person, hold: bool
):
    token = await bench.new_token(ada)
    order = ada.hold(token) if hold else ada.charge(token)
    late = msgspec.structs.replace(order, begin=False)
    give = bench.hold if hold else bench.charge
    bench.clock.advance(HELD_FOR)

    with root_away(bench):
        refused = await give(order)  # type: ignore[arg-type]  # a hold's order is a charge's
        ended = (await give(late)).json()  # type: ignore[arg-type]  # a hold's order is a charge's
    afterwards = (await give(order)).json()  # type: ignore[arg-type]  # a hold's order is a charge's
    another = (await bench.charge(ada.charge(token, purchase_id=order.purchase_id))).json()

    assert (refused.status_code, refused.json()["code"]) == (503, "key_service_unreachable")
    assert (ended["state"], ended["reason"]) == ("failed", "never_sent")
    assert afterwards == ended
    assert (bench.payments(order.charge_id), another["state"]) == ([], "approved")


async def test_a_charge_that_was_begun_is_told_as_it_stands_to_who_wants_it_ended(bench: Bench, ada: Person):
    paid = await bench.paid_charge(ada)

    said = {"charge_id": paid.charge_id, "purchase_id": paid.purchase_id, "begin": False}
    answer = (await bench.charge(ada.charge(paid.token_id, **said))).json()

    assert (answer["state"], answer["taken_minor"]) == ("approved", 7998)


@pytest.mark.control("UC-C.1")
async def test_of_orders_at_once_that_begin_and_that_end_all_hear_the_same_and_money_is_taken_once_or_never(
    bench: Bench, ada: Person
):
    token = await bench.new_token(ada)
    first = ada.charge(token)
    said = {"charge_id": first.charge_id, "purchase_id": first.purchase_id}
    orders = [ada.charge(token, **said, begin=number % 2 == 0) for number in range(20)]

    answers = await asyncio.gather(*(bench.charge(one) for one in orders))

    (state,) = {answer.json()["state"] for answer in answers}
    assert bench.taken_minor(first.charge_id) == {"approved": 7998, "failed": 0}[state]


@pytest.mark.parametrize("change", [{"amount_minor": 1}, {"currency": "EUR"}, {"purchase_id": "pur_other"}])
async def test_an_order_that_wants_an_end_ends_no_charge_with_other_parameters(
    bench: Bench, ada: Person, change: dict[str, object]
):
    paid = await bench.paid_charge(ada)

    said = {"charge_id": paid.charge_id, "purchase_id": paid.purchase_id, "begin": False, **change}
    answer = await bench.charge(ada.charge(paid.token_id, **said))

    assert (answer.status_code, answer.json()["code"]) == (409, "charge_id_reused")
