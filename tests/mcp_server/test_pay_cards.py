"""Whose card is remembered, and another card, through an assistant: from the tool's call to what the vault refuses."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager
from typing import Any

import pytest
from mcp import Client

from infra.dev.house import House
from tests.mcp_server.test_pay import answer, checkout
from tests.support.assistants import Person, new_person

Connect = Callable[..., AbstractAsyncContextManager[Client]]
MASTERCARD = "5555555555554444"
ON_FILE = """
    INSERT INTO cards (tenant_id, subject_id, brand_id, token_id, card_brand, last4, kept_at)
    SELECT tenant_id, subject_id, brand_id, token_id, card_brand, card_last4, paid_at FROM purchases
    WHERE checkout_id = '{checkout}';
    UPDATE mandates SET remembers_card = true WHERE subject_id =
        (SELECT subject_id FROM purchases WHERE checkout_id = '{checkout}')
"""


@pytest.fixture
async def forgetful(house: House, endpoint: str) -> AsyncIterator[Person]:
    """Who left the box unticked."""
    async with new_person(house, endpoint, remember_card="") as made:
        yield made


@pytest.mark.control("UC-T.5")
async def test_an_assistant_that_pays_twice_with_a_card_for_one_payment_is_told_to_ask_for_another(
    house: House, assistant: Connect, forgetful: Person
):
    async with assistant(forgetful.bearer, "2026-07-28", forgetful.type_card) as client:
        first, second = await checkout(client), await checkout(client)
        paid = await answer(client, "pay", checkout_id=first)
        asked_again = await answer(client, "pay", checkout_id=second)
        edited, third = ON_FILE.format(checkout=first), await checkout(client)
        await asyncio.to_thread(house.clusters["house"].sql, edited, database=house.databases["gateway"].name)

        refused = await answer(client, "pay", checkout_id=third)
        nothing = await answer(client, "get_order", checkout_id=third)
        mended = await answer(client, "pay", checkout_id=third)

    assert [view["state"] for view in (paid, asked_again, refused, mended)] == ["paid", "paid", "failed", "paid"]
    assert len(forgetful.links) == 3, "one card page for each, and none for the attempt that the vault refused"
    assert "(token spent)" in refused["message"]
    assert refused["message"].endswith("Calling pay again asks for a card.")
    assert "order" not in nothing


@pytest.mark.control("UC-T.6")
async def test_a_person_who_wants_another_card_gets_a_page_in_their_language_and_it_pays_from_then_on(
    house: House, assistant: Connect, person: Person
):
    pages: list[str] = []

    async def type_mastercard(url: str) -> str:
        number = MASTERCARD if pages else "4242424242424242"
        pages.append(await person.hands.type_card(url, number=number))
        return "accept"

    async with assistant(person.bearer, "2026-07-28", type_mastercard) as client:
        await answer(client, "pay", checkout_id=await checkout(client))
        wanted: dict[str, Any] = {"checkout_id": await checkout(client), "new_card": True, "language": "de-AT"}
        replaced = await answer(client, "pay", **wanted)
        later = await checkout(client)
        paid = await answer(client, "pay", checkout_id=later)
        flawed = await client.call_tool("pay", {"checkout_id": later, "language": "deutsch bitte"})

    query = f"SELECT card_last4 FROM purchases WHERE checkout_id = '{later}'"  # noqa: S608 - an id of our own
    last4 = await asyncio.to_thread(house.clusters["house"].sql, query, database=house.databases["gateway"].name)
    assert (replaced["state"], paid["state"], len(pages), last4.strip()) == ("paid", "paid", 2, "4444")
    assert "Karte" in pages[1]
    assert "Karte" not in pages[0]
    assert flawed.is_error
