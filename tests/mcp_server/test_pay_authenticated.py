"""Paying with a card whose bank asks its holder (3-D Secure), front door to front door, over the real pages."""

from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from urllib.parse import urlsplit

import httpx2
import pytest
from mcp import Client, MCPError

from gateway.ledger import CARD_REFUSED
from infra.dev.demo.story import DidNotHappen
from infra.dev.house import House
from mcp_server.tools.payment import SAME_CARD_AGAIN
from tests.mcp_server.test_pay import answer, charges_for, checkout, pay_past_us, words
from tests.support.assistants import Person, new_person
from vault.contract import ChargeReason

Connect = Callable[..., AbstractAsyncContextManager[Client]]
ASKS, THEN_DECLINES = "4000002760003184", "4000008400001629"
"""docs.stripe.com/testing: the bank asks; the second declines afterwards."""


@dataclass(slots=True)
class Holder:
    """A person who types this card and answers their bank so, wherever the assistant sends them."""

    person: Person
    number: str = ASKS
    outcome: str = "pass"
    links: list[str] = field(default_factory=list)
    pages: list[str] = field(default_factory=list)

    async def act(self, url: str) -> str:
        self.links.append(url)
        if is_authentication(url):
            self.pages.append(await self.person.hands.confirm_with_bank(url, self.outcome))
        else:
            await self.person.hands.type_card(url, number=self.number)
        return "accept"


def is_authentication(url: str) -> bool:
    return urlsplit(url).path.startswith("/authentications/chg_")


@pytest.fixture
async def holder(house: House, endpoint: str) -> AsyncIterator[Holder]:
    async with new_person(house, endpoint) as made:
        yield Holder(made)


@pytest.mark.control("UC-C.1")
async def test_a_2026_client_is_sent_to_the_card_and_to_the_bank_and_the_retried_call_pays(
    house: House, assistant: Connect, holder: Holder
):
    async with assistant(holder.person.bearer, "2026-07-28", holder.act) as client:
        first = await checkout(client)
        paid = await answer(client, "pay", checkout_id=first)
        again = await answer(client, "pay", checkout_id=first)
        second = await checkout(client)
        on_file = await answer(client, "pay", checkout_id=second)

    assert [is_authentication(link) for link in holder.links] == [False, True, True]
    assert len(set(holder.links)) == 3
    for page in holder.pages:
        assert "Your bank confirmed it" in page
    assert (paid["state"], again["order"], on_file["state"]) == ("paid", paid["order"], "paid")
    assert [charges_for(house, one) for one in (first, second)] == [["approved"], ["approved"]]


@pytest.mark.parametrize("era", ["2026-07-28", "legacy"])
async def test_a_client_that_shows_no_links_gets_the_banks_link_in_the_answer(
    house: House, assistant: Connect, holder: Holder, era: str
):
    async with assistant(holder.person.bearer, era) as client:
        checkout_id = await checkout(client)
        await holder.act((await answer(client, "pay", checkout_id=checkout_id))["card_url"])
        asked = await answer(client, "pay", checkout_id=checkout_id)
        waiting = await answer(client, "pay", checkout_id=checkout_id)
        order = await answer(client, "get_order", checkout_id=checkout_id)
        changed = await client.call_tool("update_checkout", {"checkout_id": checkout_id})
        await holder.act(asked["authentication_url"])
        paid = await answer(client, "pay", checkout_id=checkout_id)
        with pytest.raises(DidNotHappen):
            await holder.act(asked["authentication_url"])

    assert (asked["state"], is_authentication(asked["authentication_url"])) == ("needs_authentication", True)
    assert "call pay again" in asked["message"]
    assert waiting["authentication_url"] == asked["authentication_url"]
    assert "confirm with their bank" in order["message"]
    assert changed.is_error
    for told in (order["message"], words(changed)):
        assert "let it be. Either way call pay again" in told
    assert paid["state"] == "paid"
    assert charges_for(house, checkout_id) == ["approved"]


async def test_a_2025_client_gets_error_32042_with_the_banks_link_and_then_pays(assistant: Connect, holder: Holder):
    async with assistant(holder.person.bearer, "legacy", holder.act) as client:
        checkout_id = await checkout(client)
        for to_the_bank in (False, True):
            with pytest.raises(MCPError) as asked:
                await client.call_tool("pay", {"checkout_id": checkout_id})
            (link,) = asked.value.data["elicitations"]
            assert (asked.value.code, is_authentication(link["url"])) == (-32042, to_the_bank)
            await holder.act(link["url"])
        paid = await answer(client, "pay", checkout_id=checkout_id)

    assert paid["state"] == "paid"


@pytest.mark.parametrize(
    ("number", "outcome", "reason"),
    [(ASKS, "fail", "authentication failed"), (THEN_DECLINES, "pass", "card declined")],
)
async def test_what_the_bank_does_not_confirm_is_declined_and_another_card_pays(
    house: House, assistant: Connect, holder: Holder, number: str, outcome: str, reason: str
):
    holder.number, holder.outcome = number, outcome
    async with assistant(holder.person.bearer, "2026-07-28", holder.act) as client:
        checkout_id = await checkout(client)
        declined = await answer(client, "pay", checkout_id=checkout_id)
        holder.number = "4242424242424242"
        paid = await answer(client, "pay", checkout_id=checkout_id)

    assert [is_authentication(link) for link in holder.links] == [False, True, False]
    assert (declined["state"], reason in declined["message"]) == ("declined", True)
    assert "The payment was not made" in holder.pages[0]
    assert paid["state"] == "paid"
    assert sorted(charges_for(house, checkout_id)) == ["approved", "declined"]


async def test_who_comes_back_without_having_confirmed_is_not_sent_to_the_same_page_again(
    house: House, assistant: Connect, holder: Holder
):
    async def only_the_card(url: str) -> str:
        return "accept" if is_authentication(url) else await holder.act(url)

    async with assistant(holder.person.bearer, "2026-07-28", only_the_card) as client:
        checkout_id = await checkout(client)
        waiting = await answer(client, "pay", checkout_id=checkout_id)

    assert waiting["state"] == "needs_authentication"
    assert "has not confirmed" in waiting["message"]
    assert is_authentication(waiting["authentication_url"])
    assert charges_for(house, checkout_id) == ["needs_action"]


@pytest.mark.control("UC-D.3")
async def test_what_ended_unnoticed_is_told_before_price_and_stock_are_looked_at_and_anything_begins_again(
    house: House, assistant: Connect, holder: Holder, http: httpx2.AsyncClient
):
    holder.outcome = "fail"
    async with assistant(holder.person.bearer) as client:
        checkout_id = await checkout(client)
        await holder.act((await answer(client, "pay", checkout_id=checkout_id))["card_url"])
        await holder.act((await answer(client, "pay", checkout_id=checkout_id))["authentication_url"])
        unnoticed = await pay_past_us(house, http, holder.person, checkout_id, going_on=True)
        told = await answer(client, "pay", checkout_id=checkout_id)
        changed = await client.call_tool("update_checkout", {"checkout_id": checkout_id})
        begun = await answer(client, "pay", checkout_id=checkout_id)

    assert (unnoticed, told["state"], begun["state"]) == ("declined", "declined", "needs_card")
    assert "authentication failed" in told["message"]
    assert not changed.is_error
    assert charges_for(house, checkout_id) == ["declined"]


@pytest.mark.control("UC-C.1")
async def test_who_confirms_at_the_bank_and_then_turns_its_page_away_has_paid_and_is_told_so(
    house: House, assistant: Connect, holder: Holder
):
    async def confirm_and_decline(url: str) -> str:
        accepted = await holder.act(url)
        return "decline" if is_authentication(url) else accepted

    async with assistant(holder.person.bearer, "2026-07-28", confirm_and_decline) as client:
        checkout_id = await checkout(client)
        paid = await answer(client, "pay", checkout_id=checkout_id)

    assert (paid["state"], charges_for(house, checkout_id)) == ("paid", ["approved"])


def test_pay_says_that_the_same_card_is_tried_after_just_those_reasons_after_which_it_is():
    assert frozenset(ChargeReason) - CARD_REFUSED == SAME_CARD_AGAIN


@pytest.mark.control("UC-8.4")
async def test_the_link_leads_nobody_else_anywhere(house: House, endpoint: str, assistant: Connect, holder: Holder):
    async with assistant(holder.person.bearer) as client, new_person(house, endpoint) as stranger:
        checkout_id = await checkout(client)
        await holder.act((await answer(client, "pay", checkout_id=checkout_id))["card_url"])
        asked = await answer(client, "pay", checkout_id=checkout_id)
        with pytest.raises(DidNotHappen):
            await stranger.hands.confirm_with_bank(asked["authentication_url"])
        still = await answer(client, "pay", checkout_id=checkout_id)

    assert still["state"] == "needs_authentication"
