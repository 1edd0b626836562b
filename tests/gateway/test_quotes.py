"""A quote belongs to the person whose assistant made the checkout: one id swapped for another's buys nothing."""

from typing import Any

from infra.chassis.ids import new_id
from tests.gateway.shop import CART, LARKSPUR, Shop, Talk


async def quote(talk: Talk, checkout_id: str, amount_minor: int = 1_000) -> Any:
    body = {
        "brand_id": LARKSPUR,
        "cart_sha256": CART,
        "amount_minor": amount_minor,
        "currency": "USD",
        "description": "One lamp",
    }
    return await talk.call("PUT", f"/v1/quotes/{checkout_id}", body)


async def test_a_persons_quote_is_paid_by_that_person_through_another_channel(shop: Shop):
    ada = await shop.assistant("ada-quotes@example.com")
    chat = await shop.buyer("ada-quotes@example.com")
    checkout_id = new_id("cko")
    assert (await quote(ada, checkout_id)).status_code == 200

    seen = await chat.call("GET", f"/v1/quotes/{checkout_id}", conversation_id=chat.conversation_id)
    bought = await chat.buy(checkout_id)

    assert (seen.status_code, seen.json()["amount_minor"]) == (200, 1_000)
    assert bought["state"] == "needs_card"


async def test_another_persons_quote_is_as_missing_as_one_that_never_was(shop: Shop):
    ada = await shop.assistant("ada-owner@example.com")
    eve = await shop.buyer("eve-other@example.com")
    theirs, nobodys = new_id("cko"), new_id("cko")
    await quote(ada, theirs)

    answers = []
    for checkout_id in (theirs, nobodys):
        read = await eve.call("GET", f"/v1/quotes/{checkout_id}", conversation_id=eve.conversation_id)
        paid = await eve.post("/v1/purchases", checkout_id=checkout_id, cart_sha256=CART)
        answers.append([{**answer.json(), "request_id": "", "status": answer.status_code} for answer in (read, paid)])

    assert answers[0] == answers[1]
    assert [answer["status"] for answer in answers[0]] == [404, 404]


async def test_another_assistant_cannot_change_what_a_person_would_pay(shop: Shop):
    ada, eve = await shop.assistant("ada-price@example.com"), await shop.assistant("eve-price@example.com")
    checkout_id = new_id("cko")
    await quote(ada, checkout_id)

    changed = await quote(eve, checkout_id, 1)

    assert changed.status_code == 404
    kept = await shop.rows("SELECT amount_minor FROM quotes WHERE checkout_id = :c", c=checkout_id)
    assert kept == [{"amount_minor": 1_000}]


async def test_a_claimed_address_reads_no_quote(shop: Shop):
    ada = await shop.assistant("ada-claimed@example.com")
    checkout_id = new_id("cko")
    await quote(ada, checkout_id)
    claimed = await shop.chat("ada-claimed@example.com")

    answer = await claimed.call("GET", f"/v1/quotes/{checkout_id}", conversation_id=claimed.conversation_id)

    assert answer.status_code == 404
