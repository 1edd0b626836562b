"""Every service is killed while a charge is under way; a second run finishes the purchase exactly once."""

import asyncio
from contextlib import suppress
from typing import Any

import pytest
from mcp.shared.exceptions import MCPError

from infra.dev.demo.story import DidNotHappen
from tests.journeys.conftest import Shopper, Street

GIVE_UP_SECONDS = 45.0


async def pay_until_settled(shopper: Shopper, checkout: dict[str, Any]) -> dict[str, Any]:
    """What an assistant does after trouble: it calls pay again, until there is an end."""
    deadline = asyncio.get_running_loop().time() + GIVE_UP_SECONDS
    answer: dict[str, Any] = {"state": "never answered"}
    while asyncio.get_running_loop().time() < deadline:
        with suppress(DidNotHappen, MCPError):
            answer = await shopper.pay(checkout)
            if answer["state"] in {"paid", "declined", "failed", "denied"}:
                return answer
        await asyncio.sleep(0.2)
    return answer


async def ours(street: Street, amount_minor: int, before: int) -> list[dict[str, Any]]:
    charges = await street.charges()
    return [charge for charge in charges[: len(charges) - before] if charge["amount_minor"] == amount_minor]


@pytest.mark.control("UC-C.1")
@pytest.mark.parametrize("service", ["gateway", "vault", "mcp_server", "memory", "sandbox"])
async def test_a_service_killed_in_the_middle_leaves_one_charge_and_one_order(street: Street, service: str):
    async with street.shopper() as shopper:
        first = await shopper.buy()
        assert first["state"] == "paid", first
        checkout = await shopper.checkout()
        before = len(await street.charges())
        await street.fault("timeout_after_charge")

        paying = asyncio.create_task(shopper.try_tool("pay", checkout_id=checkout["checkout_id"]))
        await street.held()
        street.house.kill(service)
        await street.release() if service != "sandbox" else None
        street_restarted = asyncio.to_thread(street.house.restart, service)
        await street_restarted
        with suppress(Exception):
            await asyncio.wait_for(paying, 30)
        settled = await pay_until_settled(shopper, checkout)

        assert settled["state"] == "paid", settled
        assert settled["order"]["checkout_id"] == checkout["checkout_id"]
        assert len(await ours(street, checkout["total_minor"], before)) == 1
        again = await shopper.pay(checkout)
        assert again["order"]["order_id"] == settled["order"]["order_id"]


@pytest.mark.parametrize("service", ["vault", "memory"])
async def test_while_a_service_is_away_the_answer_says_so_and_nothing_is_half_done(street: Street, service: str):
    async with street.shopper() as shopper:
        checkout = await shopper.checkout()
        before = len(await street.charges())
        street.house.kill(service)

        if service == "vault":
            refused = await shopper.try_tool("pay", checkout_id=checkout["checkout_id"])
        else:
            refused = await shopper.try_tool("recall", query="anything")
        await asyncio.to_thread(street.house.restart, service)

        assert refused.is_error
        assert len(await street.charges()) == before
        paid = await pay_until_settled(shopper, checkout)
        assert paid["state"] == "paid", paid
        assert len(await street.charges()) == before + 1


async def test_a_processor_that_is_down_charges_nothing_and_the_next_try_pays_once(street: Street):
    async with street.shopper() as shopper:
        await shopper.buy()
        checkout = await shopper.checkout()
        before = len(await street.charges())
        async with street.http.post(f"{street.processor}/_sandbox/down"):
            pass

        while_down = await shopper.try_tool("pay", checkout_id=checkout["checkout_id"])
        async with street.http.delete(f"{street.processor}/_sandbox/down"):
            pass
        settled = await pay_until_settled(shopper, checkout)

        assert while_down.is_error or (while_down.structured_content or {})["state"] != "paid"
        assert settled["state"] == "paid", settled
        assert len(await street.charges()) == before + 1
