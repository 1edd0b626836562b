"""Every service is killed while a charge is under way; a second run finishes the purchase exactly once."""

import asyncio
from typing import Any

import pytest

from tests.journeys.conftest import Returning, Street
from tests.support.waiting import wait_until

ENDS = frozenset({"paid", "declined", "failed", "denied"})


async def pay_until_settled(person: Returning, checkout: dict[str, Any]) -> dict[str, Any]:
    """What an assistant does after trouble: it calls pay again, until there is an end."""
    answer: dict[str, Any] = {}

    async def settled() -> bool:
        nonlocal answer
        answer = await person.try_call("pay", checkout_id=checkout["checkout_id"]) or {}
        return answer.get("state") in ENDS

    await wait_until(settled)
    return answer


@pytest.mark.control("UC-C.1")
@pytest.mark.parametrize("service", ["gateway", "vault", "mcp_server", "memory", "sandbox"])
async def test_a_service_killed_in_the_middle_leaves_one_charge_and_one_order(street: Street, service: str):
    async with street.returning() as person:
        first = await person.buy()
        assert first["state"] == "paid", first
        checkout = await person.checkout()
        before = len(await street.charges())
        await street.fault("timeout_after_charge")

        paying = asyncio.create_task(person.try_call("pay", checkout_id=checkout["checkout_id"]))
        await street.held()
        street.house.kill(service)
        await asyncio.to_thread(street.house.restart, service)
        await street.release()
        await paying
        settled = await pay_until_settled(person, checkout)
        again = await person.call("pay", checkout_id=checkout["checkout_id"])

    assert settled["state"] == "paid", settled
    assert settled["order"]["checkout_id"] == checkout["checkout_id"]
    assert again["order"]["order_id"] == settled["order"]["order_id"]
    assert len(await street.charges()) == before + 1


@pytest.mark.parametrize("service", ["vault", "memory", "gateway"])
async def test_while_a_service_is_away_the_answer_says_so_and_nothing_is_half_done(street: Street, service: str):
    async with street.returning() as person:
        checkout = await person.checkout()
        before = len(await street.charges())
        street.house.kill(service)
        try:
            tool = {"memory": ("recall", {"query": "anything"})}.get(
                service, ("pay", {"checkout_id": checkout["checkout_id"]})
            )
            refused = await person.result_of(tool[0], **tool[1])
        finally:
            await asyncio.to_thread(street.house.restart, service)
        paid = await pay_until_settled(person, checkout)

    assert refused.is_error
    assert paid["state"] == "paid", paid
    assert len(await street.charges()) == before + 1


async def test_a_processor_that_is_down_charges_nothing_and_the_next_try_pays_once(street: Street):
    async with street.returning() as person:
        await person.buy()
        checkout = await person.checkout()
        before = len(await street.charges())
        async with street.http.post(f"{street.processor}/_sandbox/down"):
            pass

        while_down = await person.result_of("pay", checkout_id=checkout["checkout_id"])
        async with street.http.delete(f"{street.processor}/_sandbox/down"):
            pass
        settled = await pay_until_settled(person, checkout)

    assert while_down.is_error or (while_down.structured_content or {})["state"] != "paid"
    assert settled["state"] == "paid", settled
    assert len(await street.charges()) == before + 1
