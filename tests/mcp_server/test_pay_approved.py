"""Paying what the person wanted to be asked about, front door to front door: denied, a link, approved there, paid."""

from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager
from typing import Any
from urllib.parse import urlsplit

import pytest
from mcp import Client, MCPError
from mcp_types import InputRequiredResult

from infra.dev.house import House
from tests.mcp_server.test_pay import answer, charges_for, checkout, retry
from tests.support.assistants import Person, new_person

Connect = Callable[..., AbstractAsyncContextManager[Client]]


@pytest.fixture
async def careful(house: House, endpoint: str) -> AsyncIterator[Person]:
    """Who wrote on the consent page that every payment above 1.00 is to be asked about."""
    async with new_person(house, endpoint, approval_above="1.00") as made:
        yield made


def approves(person: Person) -> Callable[[str], Any]:
    """Goes wherever the assistant sends the person: to approve, and to type a card."""

    async def act(url: str) -> str:
        if is_approval(url):
            return await person.approve(url)
        return await person.type_card(url)

    return act


def is_approval(url: str) -> bool:
    return urlsplit(url).path.startswith("/approvals/apr_")


@pytest.mark.control("UC-D.2")
async def test_a_2026_client_is_asked_to_approve_by_link_and_the_retried_call_goes_on(
    house: House, assistant: Connect, careful: Person
):
    async with assistant(careful.bearer, "2026-07-28", approves(careful)) as client:
        checkout_id = await checkout(client)
        paid = await answer(client, "pay", checkout_id=checkout_id)
        again = await answer(client, "pay", checkout_id=checkout_id)

    assert [is_approval(link) for link in careful.links] == [True, False]
    assert (paid["state"], again["order"]) == ("paid", paid["order"])
    assert charges_for(house, checkout_id) == ["approved"]


async def test_with_a_card_on_file_the_approval_alone_is_asked_for_each_time(assistant: Connect, careful: Person):
    async with assistant(careful.bearer, "2026-07-28", approves(careful)) as client:
        first = await answer(client, "pay", checkout_id=await checkout(client))
        second = await answer(client, "pay", checkout_id=await checkout(client))

    assert [is_approval(link) for link in careful.links] == [True, False, True]
    assert (first["state"], second["state"], len(set(careful.links))) == ("paid", "paid", 3)


async def test_a_2025_client_gets_error_32042_with_the_approval_link_and_then_pays(assistant: Connect, careful: Person):
    async with assistant(careful.bearer, "legacy", careful.type_card) as client:
        checkout_id = await checkout(client)
        for is_approved in (True, False):
            with pytest.raises(MCPError) as asked:
                await client.call_tool("pay", {"checkout_id": checkout_id})
            (link,) = asked.value.data["elicitations"]
            assert (asked.value.code, link["mode"], is_approval(link["url"])) == (-32042, "url", is_approved)
            await approves(careful)(link["url"])
        paid = await answer(client, "pay", checkout_id=checkout_id)

    assert paid["state"] == "paid"


@pytest.mark.parametrize("era", ["2026-07-28", "legacy"])
async def test_a_client_that_shows_no_links_gets_the_approval_link_in_the_answer(
    house: House, assistant: Connect, careful: Person, era: str
):
    async with assistant(careful.bearer, era) as client:
        checkout_id = await checkout(client)
        asked = await answer(client, "pay", checkout_id=checkout_id)
        unanswered = await answer(client, "pay", checkout_id=checkout_id)
        nothing = charges_for(house, checkout_id)
        await careful.approve(asked["approval_url"])
        needs_card = await answer(client, "pay", checkout_id=checkout_id)
        await careful.type_card(needs_card["card_url"])
        paid = await answer(client, "pay", checkout_id=checkout_id)

    assert (asked["state"], is_approval(asked["approval_url"])) == ("needs_approval", True)
    assert "call pay again" in asked["message"]
    assert asked["approval_url"] in asked["message"]
    assert unanswered["approval_url"] == asked["approval_url"]
    assert nothing == []
    assert (needs_card["state"], paid["state"]) == ("needs_card", "paid")


@pytest.mark.control("UC-D.2")
async def test_a_refused_payment_is_denied_without_another_link(house: House, assistant: Connect, careful: Person):
    async def refuse(url: str) -> str:
        careful.links.append(url)
        await careful.hands.answer_approval(url, "refuse")
        return "accept"

    async with assistant(careful.bearer, "2026-07-28", refuse) as client:
        checkout_id = await checkout(client)
        refused = await answer(client, "pay", checkout_id=checkout_id)
        again = await answer(client, "pay", checkout_id=checkout_id)

    assert len(careful.links) == 1
    for view in (refused, again):
        assert (view["state"], "approval_refused" in view["reasons"]) == ("denied", True)
        assert "approval_url" not in view
        assert "nothing was charged" in view["message"]
    assert charges_for(house, checkout_id) == []


async def test_who_comes_back_without_an_answer_is_not_sent_to_the_same_page_again(assistant: Connect, careful: Person):
    async with assistant(careful.bearer, "2026-07-28", careful.approve) as client:
        checkout_id = await checkout(client)
        asked = await client.session.call_tool("pay", {"checkout_id": checkout_id}, allow_input_required=True)
        assert isinstance(asked, InputRequiredResult)
        still_open = (await retry(client, checkout_id, asked.request_state)).structured_content

    assert still_open["state"] == "needs_approval"
    assert "has not answered yet" in still_open["message"]
    assert is_approval(still_open["approval_url"])


async def test_a_person_who_turns_the_approval_page_away_is_charged_nothing(
    house: House, assistant: Connect, careful: Person
):
    async def decline(_url: str) -> str:
        return "decline"

    async with assistant(careful.bearer, "2026-07-28", decline) as client:
        checkout_id = await checkout(client)
        turned_away = await answer(client, "pay", checkout_id=checkout_id)

    assert turned_away["state"] == "needs_approval"
    assert "nothing was charged" in turned_away["message"]
    assert charges_for(house, checkout_id) == []


@pytest.mark.control("UC-D.2")
async def test_a_basket_changed_after_it_was_approved_is_asked_about_again(assistant: Connect, careful: Person):
    async with assistant(careful.bearer) as client:
        checkout_id = await checkout(client)
        asked = await answer(client, "pay", checkout_id=checkout_id)
        await careful.approve(asked["approval_url"])
        await answer(client, "update_checkout", checkout_id=checkout_id, shipping_code="express")
        changed = await answer(client, "pay", checkout_id=checkout_id)

    assert changed["state"] == "needs_approval"
    assert changed["approval_url"] != asked["approval_url"]
