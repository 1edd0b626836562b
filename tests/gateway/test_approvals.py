"""Above a threshold the person is asked: about exactly one payment, answered once, good for one purchase."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import httpx2
import pytest

from gateway import approvals
from gateway.mandates import MoreLimits
from infra.chassis.ids import new_id
from tests.gateway.shop import CART, LARKSPUR, NORTH, Shop, Talk
from tests.support.identity import form_of

ASK_ABOVE = MoreLimits(approval_above_minor=1_000)


@dataclass(slots=True)
class Browser:
    """A person's browser at the gateway."""

    shop: Shop
    client: httpx2.AsyncClient

    async def get(self, url: str) -> httpx2.Response:
        return await self._follow(await self.client.get(url))

    async def post(self, page: httpx2.Response, **fields: str) -> httpx2.Response:
        action, hidden = form_of(page.text)
        return await self._follow(await self.client.post(action, data={**hidden, **fields}))

    async def log_in(self, page: httpx2.Response, email: str) -> httpx2.Response:
        code_page = await self.post(page, email=email)
        return await self.post(code_page, code=await self.shop.code_sent_to(email))

    async def _follow(self, response: httpx2.Response) -> httpx2.Response:
        while response.status_code == 303:
            response = await self.client.get(response.headers["location"])
        return response


@dataclass(slots=True)
class Person:
    """Who wants to be asked above 10.00, in a chat and with a browser."""

    email: str
    talk: Talk
    browser: Browser

    async def asked(self, checkout: str) -> dict[str, Any]:
        """The remedy that says where the person is asked."""
        view = await self.talk.buy(checkout)
        assert view["state"] == "denied", view
        (remedy,) = [found for found in view["decision"]["remedies"] if found["kind"] == "approval"]
        return dict(remedy)

    async def page(self, remedy: dict[str, Any]) -> httpx2.Response:
        page = await self.browser.get(remedy["url"])
        return await self.browser.log_in(page, self.email) if "/login/" in str(page.url) else page

    async def answer(self, remedy: dict[str, Any], answer: str) -> httpx2.Response:
        return await self.browser.post(await self.page(remedy), answer=answer)


async def someone(shop: Shop, **changes: Any) -> Person:
    email = f"{new_id('per')}@example.com"
    talk = await shop.verified_chat(email)
    await shop.mandate(talk, **{"payment_cap": 5_000, "day_cap": 9_000, "more": ASK_ABOVE, **changes})
    transport = shop.client._transport  # noqa: SLF001 - the same app in this process, for another browser
    return Person(email, talk, Browser(shop, httpx2.AsyncClient(transport=transport, base_url=shop.issuer)))


@pytest.fixture
async def ada(new_shop: Shop) -> AsyncIterator[Person]:
    person = await someone(new_shop)
    yield person
    await person.browser.client.aclose()


def reasons(view: dict[str, Any]) -> list[str]:
    return list(view["decision"]["reasons"])


@pytest.mark.control("UC-D.2")
async def test_a_person_sees_exactly_what_is_asked_approves_it_and_it_is_paid(new_shop: Shop, ada: Person):
    checkout = await new_shop.checkout(4_000)

    denied = await ada.talk.buy(checkout)
    page = await ada.page(await ada.asked(checkout))
    answered = await ada.browser.post(page, answer="approve")
    paid = await new_shop.paid(ada.talk, checkout)

    assert reasons(denied) == ["approval_needed"]
    for part in ("Larkspur", "40.00 USD", "One lamp", "own agent", "Approve", "Refuse"):
        assert part in page.text
    assert "Approved" in answered.text
    assert paid["state"] == "paid"
    assert await new_shop.charged(paid["purchase_id"]) == [4_000]


async def test_up_to_the_threshold_nobody_is_asked(new_shop: Shop, ada: Person):
    view = await ada.talk.buy(await new_shop.checkout(1_000))

    assert view["state"] == "needs_card"
    assert await new_shop.rows("SELECT 1 FROM approvals") == []


async def test_asking_again_while_the_question_is_open_is_the_same_question(new_shop: Shop, ada: Person):
    checkout = await new_shop.checkout(4_000)

    answers = await asyncio.gather(*(ada.asked(checkout) for _ in range(4)))

    assert len({answer["approval_id"] for answer in answers}) == 1
    assert len(await new_shop.rows("SELECT 1 FROM approvals")) == 1


@pytest.mark.control("UC-D.2")
async def test_a_refusal_holds_for_exactly_this_and_is_final(new_shop: Shop, ada: Person):
    checkout = await new_shop.checkout(4_000)
    remedy = await ada.asked(checkout)

    page = await ada.page(remedy)
    refused = await ada.browser.post(page, answer="refuse")
    changed_mind = await ada.browser.post(page, answer="approve")
    view = await ada.talk.buy(checkout)

    assert "You refused" in refused.text
    assert "You refused" in changed_mind.text
    assert reasons(view) == ["approval_needed", "approval_refused"]
    assert "approval" not in [found["kind"] for found in view["decision"]["remedies"]]
    assert await new_shop.taken(ada.talk) == 0


@pytest.mark.control("UC-D.2")
async def test_of_approve_and_refuse_at_once_one_holds_and_both_are_told_which(new_shop: Shop, ada: Person):
    page = await ada.page(await ada.asked(await new_shop.checkout(4_000)))

    answers = await asyncio.gather(
        *(ada.browser.post(page, answer=answer) for answer in ("approve", "refuse", "approve", "refuse"))
    )

    (row,) = await new_shop.rows("SELECT state FROM approvals")
    said = "You approved" if row["state"] == "approved" else "You refused"
    events = await new_shop.rows(
        "SELECT 1 FROM record_entries WHERE convert_from(canonical, 'UTF8') LIKE '%approval_answered%'"
    )
    assert all(said in answer.text for answer in answers)
    assert len(events) == 1


@pytest.mark.parametrize("change", [{"amount_minor": 4_001}, {"amount_minor": 3_999}, {"cart_sha256": "cd" * 32}])
@pytest.mark.control("UC-D.2")
async def test_a_changed_amount_or_cart_needs_another_approval(new_shop: Shop, ada: Person, change: dict[str, Any]):
    checkout = await new_shop.checkout(4_000)
    first = await ada.asked(checkout)
    await ada.answer(first, "approve")

    await new_shop.checkout(**{"amount_minor": 4_000, "checkout_id": checkout, **change})
    view = await ada.talk.buy(checkout, cart_sha256=change.get("cart_sha256", CART))

    assert reasons(view) == ["approval_needed"]
    (second,) = [found for found in view["decision"]["remedies"] if found["kind"] == "approval"]
    assert second["approval_id"] != first["approval_id"]
    assert await new_shop.taken(ada.talk) == 0


@pytest.mark.control("UC-D.2")
async def test_an_approval_pays_for_one_checkout_only_and_one_charge(new_shop: Shop, ada: Person):
    checkout, other = await new_shop.checkout(4_000), await new_shop.checkout(4_000)
    await ada.answer(await ada.asked(checkout), "approve")

    paid = await new_shop.paid(ada.talk, checkout)
    again = await ada.talk.buy(checkout)
    elsewhere = await ada.talk.buy(other)

    assert (again["state"], again["purchase_id"]) == ("paid", paid["purchase_id"])
    assert reasons(elsewhere) == ["approval_needed"]
    assert await new_shop.charged(paid["purchase_id"]) == [4_000]


async def test_an_approved_purchase_asked_for_eight_times_at_once_is_one_purchase(new_shop: Shop, ada: Person):
    checkout = await new_shop.checkout(4_000)
    await ada.answer(await ada.asked(checkout), "approve")

    views = await asyncio.gather(*(ada.talk.buy(checkout) for _ in range(8)))

    assert {view["state"] for view in views} == {"needs_card"}
    assert len({view["purchase_id"] for view in views}) == 1
    assert await new_shop.taken(ada.talk) == 4_000


async def test_after_a_quarter_of_an_hour_a_question_cannot_be_answered_and_is_asked_anew(new_shop: Shop, ada: Person):
    checkout = await new_shop.checkout(4_000)
    remedy = await ada.asked(checkout)
    page = await ada.page(remedy)
    new_shop.later(approvals.ANSWER_TTL + timedelta(seconds=1))

    late = await ada.browser.post(page, answer="approve")
    anew = await ada.asked(checkout)

    assert late.status_code == 410
    assert anew["approval_id"] != remedy["approval_id"]


async def test_an_approval_not_used_in_time_has_run_out(new_shop: Shop, ada: Person):
    checkout = await new_shop.checkout(4_000)
    await ada.answer(await ada.asked(checkout), "approve")
    new_shop.later(approvals.ANSWER_TTL + timedelta(seconds=1))

    view = await ada.talk.buy(checkout)

    assert reasons(view) == ["approval_needed"]


@pytest.mark.control("UC-D.2")
async def test_an_approval_is_of_no_use_once_its_mandate_is_revoked_or_replaced(new_shop: Shop, ada: Person):
    checkout = await new_shop.checkout(4_000)
    (mandate,) = (await ada.talk.call("GET", "/v1/mandates", conversation_id=ada.talk.conversation_id)).json()[
        "mandates"
    ]
    remedy = await ada.asked(checkout)
    await ada.answer(remedy, "approve")

    await ada.talk.post(f"/v1/mandates/{mandate['mandate_id']}/revocations")
    revoked = await ada.talk.buy(checkout)
    await new_shop.mandate(ada.talk, payment_cap=5_000, day_cap=9_000, more=ASK_ABOVE)
    replaced = await ada.talk.buy(checkout)

    assert "mandate_revoked" in reasons(revoked)
    assert reasons(replaced) == ["approval_needed"]


async def test_what_waits_for_an_answer_cannot_be_approved_once_the_mandate_is_revoked(new_shop: Shop, ada: Person):
    remedy = await ada.asked(await new_shop.checkout(4_000))
    page = await ada.page(remedy)
    (mandate,) = await new_shop.rows("SELECT mandate_id FROM mandates")
    await ada.talk.post(f"/v1/mandates/{mandate['mandate_id']}/revocations")

    late = await ada.browser.post(page, answer="approve")

    assert late.status_code == 410
    assert await new_shop.rows("SELECT state FROM approvals") == [{"state": "open"}]


@pytest.mark.control("UC-D.2")
async def test_another_persons_question_and_an_unknown_one_are_the_same_page(new_shop: Shop, ada: Person):
    remedy = await ada.asked(await new_shop.checkout(4_000))
    eve = await someone(new_shop)
    await eve.page(await eve.asked(await new_shop.checkout(4_000)))

    foreign = await eve.browser.get(remedy["url"])
    unknown = await eve.browser.get(f"/approvals/{new_id('apr')}")
    odd = await eve.browser.get("/approvals/x")
    await eve.browser.client.aclose()

    assert {answer.status_code for answer in (foreign, unknown, odd)} == {404}
    assert foreign.content == unknown.content == odd.content


async def test_a_form_without_the_secret_of_its_own_page_or_without_an_answer_answers_nothing(
    new_shop: Shop, ada: Person
):
    page = await ada.page(await ada.asked(await new_shop.checkout(4_000)))
    action, hidden = form_of(page.text)

    answers = [
        await ada.browser.client.post(action, data={"answer": "approve"}),
        await ada.browser.client.post(action, data={"answer": "approve", "csrf": "0" * 64}),
        await ada.browser.client.post(action, data={"answer": "yes", **hidden}),
        await ada.browser.client.post(action, data=hidden),
        await ada.browser.client.post(
            action, data={"answer": "approve", **hidden}, headers={"Origin": "https://evil.example"}
        ),
    ]

    assert [answer.status_code for answer in answers] == [403] * 5
    assert await new_shop.rows("SELECT state FROM approvals") == [{"state": "open"}]


async def test_nobody_is_asked_for_a_caller_who_has_yet_to_step_up(new_shop: Shop, ada: Person):
    checkout = await new_shop.checkout(4_000)
    new_shop.later(timedelta(hours=13))
    await new_shop.checkout(4_000, checkout_id=checkout)

    view = await ada.talk.buy(checkout)

    assert view["decision"]["remedies"][0]["kind"] == "step_up"
    assert await new_shop.rows("SELECT 1 FROM approvals") == []


async def test_only_asking_whether_it_would_be_allowed_asks_nobody(new_shop: Shop, ada: Person):
    checkout = await new_shop.checkout(4_000)

    answer = await ada.talk.post("/v1/decisions", action="purchase", checkout_id=checkout, cart_sha256=CART)

    assert answer.json()["reasons"] == ["approval_needed"]
    assert await new_shop.rows("SELECT 1 FROM approvals") == []


async def test_a_person_is_asked_twenty_times_an_hour_at_most(new_shop: Shop, ada: Person):
    for _ in range(approvals.ASKED_PER_HOUR_MAX):
        await ada.asked(await new_shop.checkout(4_000))

    unasked = await ada.asked(await new_shop.checkout(4_000))

    assert "url" not in unasked
    (row,) = await new_shop.rows("SELECT count(*) AS asked FROM approvals")
    assert row["asked"] == approvals.ASKED_PER_HOUR_MAX


async def test_a_declined_card_does_not_use_the_approval_up(new_shop: Shop, ada: Person):
    checkout = await new_shop.checkout(4_000)
    await ada.answer(await ada.asked(checkout), "approve")

    declined = await new_shop.paid(ada.talk, checkout, "4000000000000002")
    paid = await new_shop.paid(ada.talk, checkout)

    assert (declined["state"], paid["state"]) == ("declined", "paid")


async def test_another_caller_cannot_use_what_was_approved_for_one(new_shop: Shop):
    email = f"{new_id('per')}@example.com"
    assistant = await new_shop.assistant(email)
    await new_shop.mandate(
        assistant, payment_cap=5_000, day_cap=9_000, more=ASK_ABOVE, delegates=[assistant.agent, f"agents:{LARKSPUR}"]
    )
    checkout = await new_shop.checkout(4_000)
    view = await assistant.buy(checkout)
    (remedy,) = [found for found in view["decision"]["remedies"] if found["kind"] == "approval"]
    async with httpx2.AsyncClient(transport=new_shop.client._transport, base_url=new_shop.issuer) as client:  # noqa: SLF001 - the same app in this process, for another browser
        browser = Browser(new_shop, client)
        page = await browser.log_in(await browser.get(remedy["url"]), email)
        await browser.post(page, answer="approve")

    by_agent = await (await new_shop.verified_chat(email)).buy(checkout)
    by_assistant = await assistant.buy(checkout)

    assert reasons(by_agent) == ["approval_needed"]
    assert by_assistant["state"] == "needs_card"
    assert assistant.tenant_id == NORTH
