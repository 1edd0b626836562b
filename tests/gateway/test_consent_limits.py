"""More limits, set on the consent page by the person: what is typed there is what denies and what asks."""

from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import httpx2
import pytest

from gateway.windows import CAP_MINOR_MAX, WINDOW_SECONDS_USUAL
from infra.chassis.ids import new_id
from tests.gateway.shop import CART, LARKSPUR, Shop, Talk
from tests.gateway.test_approvals import Browser, reasons
from tests.support.identity import CALLBACK, Pair, form_of

CAPS = {"spending": "on", "payment_cap": "50.00", "day_cap": "300.00"}
MORE = ("window_cap", "window_days", "approval_above")


@dataclass(slots=True)
class Person:
    """At the consent page for an assistant at Larkspur, and afterwards in a chat with its agent."""

    shop: Shop
    email: str
    browser: Browser

    async def at_consent(self) -> httpx2.Response:
        registered = await self.browser.client.post(
            "/oauth/register",
            json={"client_name": "Claude", "redirect_uris": [CALLBACK], "token_endpoint_auth_method": "none"},
        )
        wanted = {
            "response_type": "code",
            "client_id": registered.json()["client_id"],
            "redirect_uri": CALLBACK,
            "scope": "catalog purchase",
            "state": "st-1",
            "code_challenge": Pair().challenge,
            "code_challenge_method": "S256",
            "resource": "https://mcp.test/larkspur/mcp",
        }
        page = await self.browser.get(str(httpx2.URL("/oauth/authorize", params=wanted)))
        return await self.browser.log_in(page, self.email)

    async def agree(self, page: httpx2.Response, **fields: str) -> httpx2.Response:
        """Where the browser is sent to with the code, or the page again."""
        action, hidden = form_of(page.text)
        return await self.browser.client.post(action, data={**hidden, **CAPS, "answer": "agree", **fields})

    async def chats(self, **fields: str) -> Talk:
        """The agent is bound by what the person consented to for the assistant and it."""
        answer = await self.agree(await self.at_consent(), **fields)
        assert answer.status_code == 303, answer.text
        return await self.shop.verified_chat(self.email)


@pytest.fixture
async def ada(shop: Shop) -> AsyncIterator[Person]:
    transport = shop.client._transport  # noqa: SLF001 - the same app in this process, for another browser
    async with httpx2.AsyncClient(transport=transport, base_url=shop.issuer) as client:
        yield Person(shop, f"{new_id('per')}@example.com", Browser(shop, client))


async def mandate_of(talk: Talk) -> dict[str, Any]:
    listed = await talk.call("GET", "/v1/mandates", conversation_id=talk.conversation_id)
    (mandate,) = listed.json()["mandates"]
    return dict(mandate)


async def recorded(shop: Shop, mandate_id: str) -> str:
    rows = await shop.rows(
        "SELECT convert_from(canonical, 'UTF8') AS entry FROM record_entries"
        " WHERE convert_from(canonical, 'UTF8') LIKE '%consent_given%' AND convert_from(canonical, 'UTF8') LIKE :m",
        m=f"%{mandate_id}%",
    )
    (row,) = rows
    return str(row["entry"])


@pytest.mark.control("UC-D.2")
async def test_what_was_spent_over_several_days_counts_towards_the_limit_that_was_typed(new_shop: Shop):
    transport = new_shop.client._transport  # noqa: SLF001 - the same app in this process, for another browser
    async with httpx2.AsyncClient(transport=transport, base_url=new_shop.issuer) as client:
        ada = Person(new_shop, f"{new_id('per')}@example.com", Browser(new_shop, client))
        talk = await ada.chats(window_cap="90", window_days="7")
    assert (await talk.buy(await new_shop.checkout(5_000)))["state"] == "needs_card"

    new_shop.later(timedelta(days=6))
    over, within = await asked_whether(ada, 4_001), await asked_whether(ada, 4_000)
    new_shop.later(timedelta(days=2))
    out_of_it = await asked_whether(ada, 4_001)

    assert (over["outcome"], over["reasons"]) == ("deny", ["over_window_cap"])
    assert (within["outcome"], out_of_it["outcome"]) == ("allow", "allow")


async def asked_whether(ada: Person, amount_minor: int) -> dict[str, Any]:
    """The decision alone, on a later day: the vault keeps the real time."""
    talk = await ada.shop.verified_chat(ada.email)
    checkout = await ada.shop.checkout(amount_minor)
    answer = await talk.post("/v1/decisions", action="purchase", checkout_id=checkout, cart_sha256=CART)
    assert answer.status_code == 200, answer.text
    return dict(answer.json())


@pytest.mark.control("UC-D.2")
async def test_above_the_amount_that_was_typed_the_person_is_asked_each_time(shop: Shop, ada: Person):
    talk = await ada.chats(approval_above="20")

    unasked = await talk.buy(await shop.checkout(2_000))
    checkout = await shop.checkout(2_001)
    asked = await talk.buy(checkout)
    (remedy,) = [found for found in asked["decision"]["remedies"] if found["kind"] == "approval"]
    await ada.browser.post(await ada.browser.get(remedy["url"]), answer="approve")
    approved = await talk.buy(checkout)

    assert unasked["state"] == "needs_card"
    assert reasons(asked) == ["approval_needed"]
    assert approved["state"] == "needs_card"


async def test_without_gift_cards_a_basket_with_one_is_denied(shop: Shop, ada: Person):
    talk = await ada.chats(no_gift_cards="on")

    gift = await talk.buy(await shop.checkout(1_000, purposes=["gift_cards"]))
    both = await talk.buy(await shop.checkout(1_000, purposes=["goods", "gift_cards"]))
    lamp = await talk.buy(await shop.checkout(1_000))

    assert reasons(gift) == reasons(both) == ["purpose_not_covered"]
    assert lamp["state"] == "needs_card"


async def test_what_was_set_is_shown_among_the_mandates_and_on_the_record(shop: Shop, ada: Person):
    talk = await ada.chats(window_cap="90.50", window_days="7", approval_above="20", no_gift_cards="on")

    mandate = await mandate_of(talk)
    entry = await recorded(shop, mandate["mandate_id"])

    assert (mandate["window_cap_minor"], mandate["window_seconds"]) == (9_050, 7 * 86_400)
    assert mandate["approval_above_minor"] == 2_000
    assert mandate["purposes"] == ["donations", "goods", "services", "subscriptions", "travel"]
    assert mandate["payees"] == [LARKSPUR]
    for part in (
        '"window_cap_minor":9050',
        '"window_seconds":604800',
        '"approval_above_minor":2000',
        '"purposes":["donations","goods","services","subscriptions","travel"]',
    ):
        assert part in entry


@pytest.mark.parametrize("fields", [{}, dict.fromkeys(MORE, ""), {"window_cap": " ", "window_days": "30"}])
async def test_what_is_left_empty_limits_nothing(ada: Person, fields: dict[str, str]):
    page = await ada.at_consent()
    assert '<details class="more">' in page.text

    assert (await ada.agree(page, **fields)).status_code == 303
    mandate = await mandate_of(await ada.shop.verified_chat(ada.email))

    assert (mandate["window_cap_minor"], mandate["window_seconds"]) == (CAP_MINOR_MAX, WINDOW_SECONDS_USUAL)
    assert mandate["approval_above_minor"] == CAP_MINOR_MAX
    assert "gift_cards" in mandate["purposes"]


@pytest.mark.parametrize(
    ("fields", "flawed"),
    [
        ({"window_cap": "lots"}, ["window_cap"]),
        ({"window_cap": "0"}, ["window_cap"]),
        ({"window_cap": "-90"}, ["window_cap"]),
        ({"window_cap": "1,500"}, ["window_cap"]),
        ({"window_cap": "90.001"}, ["window_cap"]),
        ({"window_cap": "9999999"}, ["window_cap"]),
        ({"window_cap": "49.99"}, ["window_cap"]),
        ({"window_cap": "90", "window_days": ""}, ["window_days"]),
        ({"window_cap": "90", "window_days": "0"}, ["window_days"]),
        ({"window_cap": "90", "window_days": "-7"}, ["window_days"]),
        ({"window_cap": "90", "window_days": "32"}, ["window_days"]),
        ({"window_cap": "90", "window_days": "7.5"}, ["window_days"]),
        ({"window_cap": "90", "window_days": "\u0667"}, ["window_days"]),
        ({"window_cap": "90", "window_days": "9" * 5_000}, ["window_days"]),
        ({"window_days": "soon"}, ["window_days"]),
        ({"approval_above": "often"}, ["approval_above"]),
        ({"approval_above": "0"}, ["approval_above"]),
        ({"approval_above": "-1"}, ["approval_above"]),
        ({"approval_above": "9999999"}, ["approval_above"]),
        ({"approval_above": "50.00"}, ["approval_above"]),
        ({"approval_above": "50.01"}, ["approval_above"]),
        (
            {"payment_cap": "x", "window_cap": "y", "approval_above": "z"},
            ["payment_cap", "window_cap", "approval_above"],
        ),
    ],
)
async def test_more_limits_that_cannot_be_used_are_explained_where_they_are_and_grant_nothing(
    shop: Shop, ada: Person, fields: dict[str, str], flawed: list[str]
):
    days = {"window_days": "30"}
    again = await ada.agree(await ada.at_consent(), **{**days, **fields})
    (granted,) = await shop.rows(
        "SELECT count(*) AS mandates FROM mandates WHERE subject_id = :s", s=await shop.subject_of(ada.email)
    )
    corrected = await ada.agree(again, **days)

    assert again.status_code == 422
    assert '<details class="more" open>' in again.text
    assert [name for name in ("payment_cap", "day_cap", *MORE) if f'href="#{name}"' in again.text] == flawed
    assert again.text.count('aria-invalid="true"') == len(flawed)
    assert granted["mandates"] == 0
    assert corrected.status_code == 303


async def test_what_was_typed_behind_more_limits_stays_in_sight_when_something_else_is_wrong(ada: Person):
    more = {"window_cap": "90", "window_days": "7", "approval_above": '20"><b>', "no_gift_cards": "on"}

    again = await ada.agree(await ada.at_consent(), **more)

    assert '<details class="more" open>' in again.text
    for part in (
        'value="90"',
        'value="7"',
        'value="20&#34;&gt;&lt;b&gt;"',
        'name="no_gift_cards" type="checkbox" value="on" checked',
    ):
        assert part in again.text


async def test_consenting_anew_with_a_limit_over_days_counts_what_was_spent_before(shop: Shop, ada: Person):
    talk = await ada.chats()
    await talk.buy(await shop.checkout(5_000))

    talk = await ada.chats(window_cap="90", window_days="1")
    over = await talk.buy(await shop.checkout(4_001))

    assert reasons(over) == ["over_window_cap"]
