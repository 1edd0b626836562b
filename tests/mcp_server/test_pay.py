"""Paying, front door to front door: the official client, the whole running house, a person who types the card."""

import asyncio
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from typing import Any

import httpx2
import pytest
from mcp import Client, MCPError
from mcp_types import InputRequiredResult

from infra.chassis.clock import SystemClock
from infra.dev.demo.person import CARD_FIELDS, FormSender
from infra.dev.house import House
from infra.dev.settings import MCP_CLIENT_ID
from mcp_server.identity import ACCESS_TOKEN_TYPE, EXCHANGE, ClientKey
from tests.support.assistants import Person, new_person
from tests.support.waiting import wait_until

Connect = Callable[..., AbstractAsyncContextManager[Client]]
ADDRESS = {
    "name": "Ada",
    "line1": "1 Main St",
    "city": "Austin",
    "state": "TX",
    "postal_code": "78701",
    "country": "US",
}
LAMP = "LL-LAMP-DUSK"


async def checkout(client: Client, quantity: int = 1) -> str:
    items = [{"sku": LAMP, "quantity": quantity}]
    made = await client.call_tool("create_checkout", {"items": items, "ship_to": ADDRESS})
    assert not made.is_error, made.content
    return str(made.structured_content["checkout_id"])


def words(result: Any) -> str:
    return str(result.content[0].text)


async def answer(client: Client, tool: str, **arguments: Any) -> dict[str, Any]:
    result = await client.call_tool(tool, arguments)
    assert not result.is_error, result.content
    return dict(result.structured_content)


async def test_a_2026_client_is_asked_for_a_card_by_link_and_the_retried_call_pays(assistant: Connect, person: Person):
    async with assistant(person.bearer, "2026-07-28", person.type_card) as client:
        checkout_id = await checkout(client)
        paid = await answer(client, "pay", checkout_id=checkout_id)
        again = await answer(client, "pay", checkout_id=checkout_id)
        order = await answer(client, "get_order", checkout_id=checkout_id)
        newest = await answer(client, "get_order")
        late = await client.call_tool("update_checkout", {"checkout_id": checkout_id})
    assert len(person.links) == 1
    assert "ada" not in person.links[0]
    assert (paid["state"], paid["order"]["checkout_id"]) == ("paid", checkout_id)
    assert again["order"] == paid["order"] == order["order"] == newest["order"]
    assert words(late).endswith("(checkout_paid)")


async def test_a_2025_client_gets_error_32042_with_the_link_and_then_pays(assistant: Connect, person: Person):
    async with assistant(person.bearer, "legacy", person.type_card) as client:
        checkout_id = await checkout(client)
        with pytest.raises(MCPError) as asked:
            await client.call_tool("pay", {"checkout_id": checkout_id})
        (link,) = asked.value.data["elicitations"]
        await person.hands.type_card(link["url"])
        paid = await answer(client, "pay", checkout_id=checkout_id)
    assert (asked.value.code, link["mode"]) == (-32042, "url")
    assert link["elicitationId"]
    assert paid["state"] == "paid"


@pytest.mark.parametrize("era", ["2026-07-28", "legacy"])
async def test_a_client_that_shows_no_links_gets_one_in_the_answer(assistant: Connect, person: Person, era: str):
    async with assistant(person.bearer, era) as client:
        checkout_id = await checkout(client)
        asked = await answer(client, "pay", checkout_id=checkout_id)
        waiting = await answer(client, "get_order", checkout_id=checkout_id)
        await person.hands.type_card(asked["card_url"])
        paid = await answer(client, "pay", checkout_id=checkout_id)
    assert asked["state"] == "needs_card"
    assert "call pay again" in asked["message"]
    assert "order" not in waiting
    assert paid["state"] == "paid"


async def test_a_card_on_file_pays_the_next_checkout_without_a_page(assistant: Connect, person: Person):
    async with assistant(person.bearer, "2026-07-28", person.type_card) as client:
        first = await answer(client, "pay", checkout_id=await checkout(client))
        second = await answer(client, "pay", checkout_id=await checkout(client))
    assert (first["state"], second["state"], len(person.links)) == ("paid", "paid", 1)
    assert first["order"]["order_id"] != second["order"]["order_id"]


async def test_a_request_state_is_used_up_by_its_first_use_and_bound_to_its_call(
    house: House, endpoint: str, assistant: Connect, person: Person
):
    async with (
        assistant(person.bearer, "2026-07-28", person.type_card) as client,
        new_person(house, endpoint) as stranger,
        assistant(stranger.bearer, "2026-07-28", stranger.type_card) as other,
    ):
        mine, another = await checkout(client), await checkout(client)
        asked = await client.session.call_tool("pay", {"checkout_id": mine}, allow_input_required=True)
        assert isinstance(asked, InputRequiredResult)
        state = asked.request_state
        for caller, checkout_id in ((client, another), (other, mine)):
            with pytest.raises(MCPError, match="Invalid or expired requestState"):
                await retry(caller, checkout_id, state)
        still_open = await retry(client, mine, state)
        with pytest.raises(MCPError, match="Invalid or expired requestState"):
            await retry(client, mine, state)
    assert still_open.structured_content["state"] == "needs_card"
    assert "not finished" in still_open.structured_content["message"]


async def retry(client: Client, checkout_id: str, state: str | None) -> Any:
    return await client.session.call_tool(
        "pay", {"checkout_id": checkout_id}, request_state=state, allow_input_required=True
    )


async def test_a_person_who_turns_the_page_away_is_charged_nothing(assistant: Connect, person: Person):
    async def decline(_url: str) -> str:
        return "decline"

    async with assistant(person.bearer, "2026-07-28", decline) as client:
        checkout_id = await checkout(client)
        turned_away = await answer(client, "pay", checkout_id=checkout_id)
        order = await answer(client, "get_order", checkout_id=checkout_id)
    assert turned_away["state"] == "needs_card"
    assert "nothing was charged" in turned_away["message"]
    assert "order" not in order


async def test_a_purchase_over_the_cap_is_denied_with_its_reason_and_the_way_out(assistant: Connect, person: Person):
    async with assistant(person.bearer, "2026-07-28", person.type_card) as client:
        checkout_id = await checkout(client, quantity=10)
        denied = await answer(client, "pay", checkout_id=checkout_id)
        await answer(client, "update_checkout", checkout_id=checkout_id, items=[{"sku": LAMP}])
        paid = await answer(client, "pay", checkout_id=checkout_id)
    assert (denied["state"], "over_payment_cap" in denied["reasons"]) == ("denied", True)
    assert {"lower_amount", "new_mandate"} & {remedy["kind"] for remedy in denied["remedies"]}
    assert "nothing was charged" in denied["message"]
    assert paid["state"] == "paid"


@pytest.mark.control("UC-C.1")
async def test_after_a_declined_card_another_one_may_be_typed(assistant: Connect, person: Person):
    async with assistant(person.bearer) as client:
        checkout_id = await checkout(client)
        asked = await answer(client, "pay", checkout_id=checkout_id)
        await type_card_that_declines(person.hands, asked["card_url"])
        declined = await answer(client, "pay", checkout_id=checkout_id)
        nothing = await answer(client, "get_order", checkout_id=checkout_id)
        asked_again = await answer(client, "pay", checkout_id=checkout_id)
        await person.hands.type_card(asked_again["card_url"])
        paid = await answer(client, "pay", checkout_id=checkout_id)
    assert declined["state"] == "declined"
    assert "(card declined)" in declined["message"]
    assert "order" not in nothing
    assert asked_again["card_url"] != asked["card_url"]
    assert paid["state"] == "paid"


@pytest.mark.control("UC-C.1")
async def test_a_card_on_file_that_was_edited_in_the_vault_is_said_to_be_unreadable_and_another_one_pays(
    assistant: Connect, person: Person, house: House
):
    newest = "(SELECT token_id FROM cards ORDER BY created_at DESC LIMIT 1)"
    edit = f"UPDATE cards SET terms = replace(terms, brand_id, 'brd_x') WHERE token_id = {newest}"  # noqa: S608 - a test's
    async with assistant(person.bearer, "2026-07-28", person.type_card) as client:
        await answer(client, "pay", checkout_id=await checkout(client))
        await asyncio.to_thread(house.clusters["vault"].sql, edit, database="vault")
        checkout_id = await checkout(client)

        failed = await answer(client, "pay", checkout_id=checkout_id)
        nothing = await answer(client, "get_order", checkout_id=checkout_id)
        paid = await answer(client, "pay", checkout_id=checkout_id)

    assert failed["state"] == "failed"
    assert "(card unreadable)" in failed["message"]
    assert failed["message"].endswith("Calling pay again asks for a card.")
    assert "order" not in nothing
    assert (paid["state"], len(person.links)) == ("paid", 2)


async def type_card_that_declines(hands: FormSender, url: str) -> None:
    await hands._get(url)  # noqa: SLF001 - the same person, with another card
    for fields in ({}, {}, {**CARD_FIELDS, "number": "4000000000000002"}):
        await hands._submit(fields)  # noqa: SLF001 - as above


async def test_an_unknown_outcome_is_said_and_becomes_an_order_when_it_is_known(
    house: House, assistant: Connect, person: Person, http: httpx2.AsyncClient
):
    async with assistant(person.bearer, "2026-07-28", person.type_card) as client:
        await answer(client, "pay", checkout_id=await checkout(client))
        checkout_id = await checkout(client)
        await http.post(
            f"{house.urls['processor']}/_sandbox/faults", json={"fault": "timeout_after_charge", "times": 1}
        )
        unknown = await answer(client, "pay", checkout_id=checkout_id)
        changed = await client.call_tool("update_checkout", {"checkout_id": checkout_id, "shipping_code": "express"})

        async def ordered() -> bool:
            return "order" in await answer(client, "get_order", checkout_id=checkout_id)

        await wait_until(ordered)
    assert unknown["state"] == "in_progress"
    assert words(changed).endswith("(payment_under_way)")


@pytest.mark.control("UC-C.1")
async def test_ten_calls_at_once_pay_once(house: House, assistant: Connect, person: Person):
    async with assistant(person.bearer) as client:
        checkout_id = await checkout(client)
        asked = await answer(client, "pay", checkout_id=checkout_id)
        await person.hands.type_card(asked["card_url"])
        results = await asyncio.gather(*(client.call_tool("pay", {"checkout_id": checkout_id}) for _ in range(10)))

        async def ordered() -> bool:
            return "order" in await answer(client, "get_order", checkout_id=checkout_id)

        await wait_until(ordered)
        order = (await answer(client, "get_order", checkout_id=checkout_id))["order"]
    views = [result.structured_content for result in results if not result.is_error]
    assert {view["state"] for view in views} <= {"paid", "in_progress"}
    assert {view["order"]["order_id"] for view in views if "order" in view} <= {order["order_id"]}
    assert charges_for(house, checkout_id) == ["approved"]


def charges_for(house: House, checkout_id: str) -> list[str]:
    """What the vault was made to do for this checkout, in all."""
    query = f"SELECT purchase_id FROM purchases WHERE checkout_id = '{checkout_id}'"  # noqa: S608 - an id of ours
    purchase_id = house.clusters["house"].sql(query, database=house.databases["gateway"].name).strip()
    charges = f"SELECT state FROM charges WHERE purchase_id = '{purchase_id}'"  # noqa: S608 - as above
    return house.clusters["vault"].sql(charges, database=house.databases["vault"].name).split()


async def test_what_is_remembered_is_recalled_and_a_secret_is_not_kept(assistant: Connect, person: Person):
    async with assistant(person.bearer) as client:
        kept = await answer(
            client, "remember", text="Prefers linen in warm grey for the bedroom.", said_by_subject=True
        )
        found = await answer(client, "recall", query="bedroom colours")
        refused = await client.call_tool("remember", {"text": "The password is correct horse battery staple"})
    assert kept["remembered"]
    assert [memory["text"] for memory in found["memories"]] == ["Prefers linen in warm grey for the bedroom."]
    assert found["memories"][0]["source"] == "subject"
    assert refused.is_error
    assert words(refused).endswith("(memory_refused)")


@pytest.mark.control("UC-C.1")
async def test_a_payment_whose_order_was_lost_in_a_crash_gets_its_order_later(
    house: House, assistant: Connect, person: Person, http: httpx2.AsyncClient
):
    async with assistant(person.bearer, "2026-07-28", person.type_card) as client:
        await answer(client, "pay", checkout_id=await checkout(client))
        checkout_id = await checkout(client)
    await asyncio.to_thread(house.kill, "mcp_server")
    try:
        assert (await pay_past_us(house, http, person, checkout_id)) == "paid"
    finally:
        await asyncio.to_thread(house.restart, "mcp_server")

    async def ordered() -> bool:
        async with assistant(person.bearer) as client:
            return "order" in await answer(client, "get_order", checkout_id=checkout_id)

    await wait_until(ordered)


async def pay_past_us(house: House, http: httpx2.AsyncClient, person: Person, checkout_id: str, **more: object) -> str:
    """What mcp_server would have sent just before it died, with its own key and the cart's hash from its database."""
    key, clock, issuer = house.keyring.path("mcp_server/client.pem"), SystemClock(), house.urls["gateway"]
    fields = ClientKey(key, client_id=MCP_CLIENT_ID, issuer=issuer, clock=clock).fields()
    fields |= {"grant_type": EXCHANGE, "subject_token": person.bearer, "subject_token_type": ACCESS_TOKEN_TYPE}
    exchanged = (await http.post(f"{issuer}/oauth/token", data=fields)).json()["access_token"]
    query = f"SELECT cart_sha256 FROM checkouts WHERE checkout_id = '{checkout_id}'"  # noqa: S608 - an id of ours
    cart_sha256 = house.clusters["house"].sql(query, database=house.databases["mcp_server"].name).strip()
    body = {"checkout_id": checkout_id, "cart_sha256": cart_sha256, **more}
    headers = {"Authorization": f"Bearer {exchanged}"}
    return str((await http.post(f"{issuer}/v1/purchases", json=body, headers=headers)).json()["state"])


async def test_with_the_gateway_down_nothing_is_half_done(house: House, assistant: Connect, person: Person):
    async with assistant(person.bearer, "2026-07-28", person.type_card) as client:
        checkout_id = await checkout(client)
        await asyncio.to_thread(house.kill, "gateway")
        try:
            refused = [
                await client.call_tool("pay", {"checkout_id": checkout_id}),
                await client.call_tool("create_checkout", {"items": [{"sku": LAMP}], "ship_to": ADDRESS}),
                await client.call_tool("recall", {}),
            ]
        finally:
            await asyncio.to_thread(house.restart, "gateway")
        paid = await answer(client, "pay", checkout_id=checkout_id)
    assert [words(result).rpartition(" ")[2] for result in refused] == ["(unavailable)"] * 3
    assert paid["state"] == "paid"
