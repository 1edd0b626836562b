"""The main job through the front doors, in both protocol eras, and what it refuses on the way."""

import asyncio

import pytest

from infra.chassis.ids import new_id
from infra.dev.demo.conversation import BRAND
from infra.dev.demo.leaks import forms, search
from infra.dev.demo.person import CARD_NUMBER
from infra.dev.demo.purchase import DEAR_LAMP
from tests.journeys.conftest import PLENTY, Street

ITEMS = [{"sku": PLENTY, "quantity": 2}]
"""A change that its owner could make: what is refused is refused for whose checkout it is."""


@pytest.mark.parametrize("mode", ["auto", "2026-07-28", "legacy"])
@pytest.mark.control("UC-C.1")
async def test_a_purchase_is_paid_once_and_there_is_one_order(street: Street, mode: str):
    async with street.shopper(mode=mode) as shopper:
        checkout = await shopper.checkout()
        before = len(await street.charges())
        if mode == "legacy":
            await shopper.person.type_card(await shopper.link_for(checkout))
        paid = await shopper.pay(checkout)
        again = await shopper.pay(checkout)

    assert paid["state"] == "paid"
    assert again["order"]["order_id"] == paid["order"]["order_id"]
    assert len(await street.charges()) == before + 1


async def test_a_card_on_file_is_not_asked_for_again(street: Street):
    async with street.shopper() as shopper:
        await shopper.buy()
        asked = len(shopper.links)

        second = await shopper.buy()

    assert second["state"] == "paid"
    assert (asked, len(shopper.links)) == (1, 1)


@pytest.mark.control("UC-C.1")
async def test_five_calls_to_pay_at_once_are_one_charge(street: Street):
    async with street.shopper() as shopper:
        await shopper.buy()
        checkout = await shopper.checkout()
        before = len(await street.charges())

        await asyncio.gather(*(shopper.try_tool("pay", checkout_id=checkout["checkout_id"]) for _ in range(5)))
        paid = await shopper.pay(checkout)

    assert paid["state"] == "paid"
    assert len(await street.charges()) == before + 1


@pytest.mark.control("UC-D.2")
async def test_over_the_cap_is_denied_with_reasons_and_a_remedy_and_moves_no_budget(street: Street):
    async with street.shopper() as shopper:
        for _ in range(3):
            denied = await shopper.buy(DEAR_LAMP)
        allowed = await shopper.buy()

    assert denied["state"] == "denied"
    assert "over_payment_cap" in denied["reasons"]
    assert denied["remedies"]
    assert allowed["state"] == "paid"


@pytest.mark.control("UC-D.2")
async def test_the_day_cap_ends_a_spree_of_small_payments(street: Street):
    async with street.shopper() as shopper:
        paid = [(await shopper.buy(quantity=5))["state"] for _ in range(2)]
        denied = await shopper.buy(quantity=5)

    assert paid == ["paid", "paid"]
    assert denied["state"] == "denied"
    assert denied["reasons"] == ["over_day_cap"]


@pytest.mark.control("UC-3.3")
async def test_a_card_number_in_chat_is_refused_not_stored_and_not_logged(street: Street):
    said = "5555 5555 5555 4444"
    async with street.shopper() as shopper:
        refusals = [
            await shopper.try_tool("remember", text=f"my card is {said}"),
            await shopper.try_tool("recall", query=said),
            await shopper.try_tool("search_catalog", query=said),
        ]
    agent = await street.agent()
    opened = await agent.post("/v1/conversations", {"brand_id": BRAND, "channel": "chat"}, expect=201)
    by_agent = await agent.post("/v1/memories", {"conversation_id": opened["conversation_id"], "text": said})

    assert all(refusal.is_error for refusal in refusals)
    assert said not in repr(refusals)
    assert (by_agent["http_status"], by_agent["code"]) == (422, "card_number_refused")
    for cluster in street.house.clusters.values():
        cluster.sql("CHECKPOINT;")
    assert search(street.house.folder, forms(said.replace(" ", ""))).found == []


@pytest.mark.control("UC-3.1")
async def test_the_card_number_typed_is_nowhere_in_the_house(street: Street):
    async with street.shopper() as shopper:
        await shopper.buy()
    for cluster in street.house.clusters.values():
        cluster.sql("CHECKPOINT;")

    assert search(street.house.folder, forms(CARD_NUMBER)).found == []


async def test_another_persons_checkout_and_order_look_like_missing_ones(street: Street):
    async with street.shopper() as ada:
        paid = await ada.buy()
        open_checkout = await ada.checkout()
        own = await ada.try_tool("update_checkout", checkout_id=open_checkout["checkout_id"], items=ITEMS)
    async with street.shopper() as eve:
        tries = {
            "checkout": await eve.try_tool("update_checkout", checkout_id=open_checkout["checkout_id"], items=ITEMS),
            "pay": await eve.try_tool("pay", checkout_id=open_checkout["checkout_id"]),
            "order": await eve.try_tool("get_order", order_id=paid["order"]["order_id"]),
        }
        missing = {
            "checkout": await eve.try_tool("update_checkout", checkout_id=new_id("chk"), items=ITEMS),
            "pay": await eve.try_tool("pay", checkout_id=new_id("chk")),
            "order": await eve.try_tool("get_order", order_id=new_id("ord")),
        }

    assert not own.is_error
    assert all(result.is_error for result in tries.values() if result is not tries["order"])
    assert {name: result.content for name, result in tries.items()} == {
        name: result.content for name, result in missing.items()
    }


async def test_an_agent_cannot_pay_for_a_checkout_of_somebody_else(street: Street):
    async with street.shopper() as ada, street.shopper() as eve:
        await ada.buy()
        dear = await eve.checkout()
        agent = await street.agent()
        claim = {"kind": "email", "value": ada.address}
        body = {"brand_id": BRAND, "channel": "chat", "contact_point": claim}
        conversation = (await agent.post("/v1/conversations", body, expect=201))["conversation_id"]
        challenge = await agent.post(f"/v1/conversations/{conversation}/challenges", {"method": "email_code"})
        code = await ada.inbox.code_for(ada.address)
        await agent.post(f"/v1/challenges/{challenge['challenge_id']}/answers", {"code": code}, expect=200)

        foreign = await agent.post(
            "/v1/purchases",
            {"checkout_id": dear["checkout_id"], "cart_sha256": "0" * 64, "conversation_id": conversation},
        )
        missing = await agent.post(
            "/v1/purchases",
            {"checkout_id": new_id("chk"), "cart_sha256": "0" * 64, "conversation_id": conversation},
        )

    assert foreign["http_status"] == 404
    assert {**foreign, "request_id": ""} == {**missing, "request_id": ""}
