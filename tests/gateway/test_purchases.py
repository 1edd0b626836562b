"""Paying: what is allowed is paid once, what is not moves nothing, and money is never spent twice."""

import asyncio
from datetime import timedelta
from typing import Any

import pytest

from infra.chassis.ids import new_id
from tests.gateway.shop import (
    CART,
    DECLINED_CARD,
    LARKSPUR,
    MCP,
    OTHER_AGENT,
    SOUTH_AGENT,
    SOUTHERN,
    TSUBAKI,
    Shop,
)


def reasons(view: dict[str, Any]):
    return view["decision"]["reasons"]


def kinds(view: dict[str, Any]):
    return [remedy["kind"] for remedy in view["decision"]["remedies"]]


async def test_a_first_purchase_asks_for_a_card_and_then_pays(shop: Shop):
    talk, checkout = await shop.buyer(), await shop.checkout(4_000)

    first = await talk.buy(checkout)
    await shop.type_card(first["capture_id"])
    second = await talk.buy(checkout)

    assert (first["state"], first["decision"]["outcome"], reasons(first)) == ("needs_card", "allow", ["within_mandate"])
    assert first["card_url"] == f"{shop.issuer}/captures/{first['capture_id']}"
    assert (second["state"], second["purchase_id"]) == ("paid", first["purchase_id"])
    assert second["card"] == {"card_brand": "visa", "last4": "4242"}
    assert await shop.charged(second["purchase_id"]) == [4_000]
    assert await shop.taken(talk) == 4_000


async def test_the_same_request_before_the_card_is_typed_shows_the_same_page(shop: Shop):
    talk, checkout = await shop.buyer(), await shop.checkout()

    first, again = await talk.buy(checkout), await talk.buy(checkout)

    assert (again["state"], again["card_url"]) == ("needs_card", first["card_url"])
    assert await shop.taken(talk) == 4_000


async def test_the_second_purchase_is_paid_at_once_with_the_card_on_file(shop: Shop):
    talk = await shop.buyer()
    await shop.paid(talk, await shop.checkout(1_000))

    second = await talk.buy(await shop.checkout(2_000))

    assert second["state"] == "paid"
    assert second["card"]["last4"] == "4242"
    assert await shop.charged(second["purchase_id"]) == [2_000]


async def test_a_card_is_kept_for_the_brand_it_was_typed_for_only(shop: Shop):
    email = "both-brands@example.com"
    talk = await shop.buyer(email)
    await shop.paid(talk, await shop.checkout(1_000))
    other = await shop.verified_chat(email, agent=OTHER_AGENT, brand_id=TSUBAKI)
    await shop.mandate(other, payment_cap=5_000, day_cap=5_000, brand_id=TSUBAKI, delegates=[f"agents:{TSUBAKI}"])

    view = await other.buy(await shop.checkout(1_000, brand_id=TSUBAKI))

    assert view["state"] == "needs_card"


async def test_a_paid_checkout_asked_for_again_is_not_charged_again(shop: Shop):
    talk, checkout = await shop.buyer(), await shop.checkout()
    paid = await shop.paid(talk, checkout)

    again = await talk.buy(checkout)

    assert (again["state"], again["purchase_id"], again["paid_at"]) == ("paid", paid["purchase_id"], paid["paid_at"])
    assert await shop.charged(paid["purchase_id"]) == [4_000]


async def test_nobody_verified_cannot_buy_and_is_told_how_to_be(new_shop: Shop):
    talk, checkout = await new_shop.chat(), await new_shop.checkout()

    view = await talk.buy(checkout)

    assert (view["state"], view.get("purchase_id")) == ("denied", None)
    assert reasons(view) == ["assurance_too_low", "subject_unknown"]
    assert view["decision"]["remedies"] == [
        {
            "kind": "step_up",
            "level": "verified",
            "methods": ["email_code", "sms_code"],
        }
    ]
    assert await new_shop.rows("SELECT 1 FROM reservations") == []


async def test_over_the_cap_is_denied_with_the_amount_that_would_pass(shop: Shop):
    talk, checkout = await shop.buyer(payment_cap=5_000), await shop.checkout(5_001)

    view = await talk.buy(checkout)

    assert (view["state"], reasons(view)) == ("denied", ["over_payment_cap"])
    assert view["decision"]["remedies"][0] == {"kind": "lower_amount", "amount_minor_max": 5_000, "currency": "USD"}
    assert await shop.taken(talk) == 0


@pytest.mark.control("UC-D.3")
async def test_a_changed_cart_is_denied(shop: Shop):
    talk, checkout = await shop.buyer(), await shop.checkout()

    view = await talk.buy(checkout, cart_sha256="cd" * 32)

    assert (view["state"], reasons(view), kinds(view)) == ("denied", ["cart_changed"], ["new_quote"])


async def test_an_old_quote_is_denied(new_shop: Shop):
    talk, checkout = await new_shop.buyer(), await new_shop.checkout()
    new_shop.later(timedelta(minutes=20))
    await talk.call("GET", "/v1/mandates", conversation_id=talk.conversation_id)  # used, so not idle
    new_shop.later(timedelta(minutes=11))

    view = await talk.buy(checkout)

    assert (view["state"], reasons(view), kinds(view)) == ("denied", ["quote_expired"], ["new_quote"])


async def test_evidence_that_expired_stops_a_purchase_whose_card_was_typed(new_shop: Shop):
    talk, checkout = await new_shop.buyer(), await new_shop.checkout()
    first = await talk.buy(checkout)
    await new_shop.type_card(first["capture_id"])
    new_shop.later(timedelta(hours=13))
    await new_shop.checkout(checkout_id=checkout)

    view = await talk.buy(checkout)

    assert (view["state"], view["purchase_id"], reasons(view)) == (
        "denied",
        first["purchase_id"],
        ["assurance_too_low"],
    )
    (row,) = await new_shop.rows("SELECT state, charge_id FROM purchases")
    assert (row["state"], row["charge_id"]) == ("needs_card", None)


async def test_a_higher_price_asks_for_the_card_again_because_the_page_showed_the_lower(shop: Shop):
    talk, checkout = await shop.buyer(), await shop.checkout(1_000)
    first = await talk.buy(checkout)
    await shop.type_card(first["capture_id"])
    await shop.checkout(4_500, checkout_id=checkout)

    view = await talk.buy(checkout)

    assert (view["state"], view["amount_minor"]) == ("needs_card", 4_500)
    assert view["capture_id"] != first["capture_id"]
    assert await shop.taken(talk) == 4_500


@pytest.mark.control("UC-D.2")
async def test_a_declined_card_frees_the_money_and_the_next_try_asks_for_another(shop: Shop):
    talk, checkout = await shop.buyer(), await shop.checkout()

    declined = await shop.paid(talk, checkout, DECLINED_CARD)
    freed = await shop.taken(talk)
    again = await talk.buy(checkout)
    await shop.type_card(again["capture_id"])
    paid = await talk.buy(checkout)

    assert (declined["state"], declined["reason"], freed) == ("declined", "card_declined", 0)
    assert (again["state"], again["purchase_id"]) == ("needs_card", declined["purchase_id"])
    assert (paid["state"], paid.get("reason")) == ("paid", None)
    assert await shop.charged(paid["purchase_id"]) == [4_000]


async def test_a_declined_card_is_not_kept_on_file(shop: Shop):
    talk = await shop.buyer()
    await shop.paid(talk, await shop.checkout(), DECLINED_CARD)

    view = await talk.buy(await shop.checkout())

    assert view["state"] == "needs_card"


@pytest.mark.control("UC-D.2")
async def test_two_purchases_at_once_cannot_both_spend_the_last_cent(shop: Shop):
    talk = await shop.buyer(payment_cap=5_000, day_cap=5_000)
    checkouts = [await shop.checkout(5_000) for _ in range(2)]

    views = await asyncio.gather(*(talk.buy(checkout) for checkout in checkouts))

    assert sorted(view["state"] for view in views) == ["denied", "needs_card"]
    denied = next(view for view in views if view["state"] == "denied")
    assert reasons(denied) == ["over_day_cap"]
    assert await shop.taken(talk) == 5_000


@pytest.mark.control("UC-D.2")
async def test_thirty_purchases_at_once_never_take_more_than_the_day_allows(shop: Shop):
    talk = await shop.buyer(payment_cap=1_000, day_cap=7_500)
    checkouts = [await shop.checkout(1_000) for _ in range(30)]

    views = await asyncio.gather(*(talk.buy(checkout) for checkout in checkouts))

    assert [view["state"] for view in views].count("needs_card") == 7
    assert await shop.taken(talk) == 7_000


@pytest.mark.control("UC-C.1")
async def test_one_checkout_paid_for_by_eight_requests_at_once_is_one_purchase_and_one_charge(shop: Shop):
    talk, checkout = await shop.buyer(), await shop.checkout()
    first = await talk.buy(checkout)
    await shop.type_card(first["capture_id"])
    body = {"checkout_id": checkout, "cart_sha256": CART}

    answers = await asyncio.gather(*(talk.post("/v1/purchases", **body) for _ in range(8)))
    last = await talk.buy(checkout)

    assert {answer.status_code for answer in answers} <= {200, 409}
    assert last["state"] == "paid"
    assert await shop.charged(first["purchase_id"]) == [4_000]
    assert len(await shop.rows("SELECT 1 FROM purchases WHERE checkout_id = :c", c=checkout)) == 1
    assert await shop.taken(talk) == 4_000


async def test_eight_first_requests_at_once_make_one_purchase(shop: Shop):
    talk, checkout = await shop.buyer(), await shop.checkout()

    views = await asyncio.gather(*(talk.buy(checkout) for _ in range(8)))

    assert len({view["purchase_id"] for view in views}) == 1
    assert len({view["capture_id"] for view in views}) == 1
    assert await shop.taken(talk) == 4_000


@pytest.mark.control("UC-D.2")
async def test_denied_requests_never_move_the_budget(shop: Shop):
    talk = await shop.buyer(payment_cap=1_000, day_cap=1_000)
    for _ in range(5):
        await talk.buy(await shop.checkout(1_001))

    view = await talk.buy(await shop.checkout(1_000))

    assert view["state"] == "needs_card"


@pytest.mark.parametrize("amount_minor", [0, -1, 100_000_000, "100", 10.5, True, None])
async def test_a_quote_of_no_possible_amount_is_refused(shop: Shop, amount_minor: Any):
    quote = {
        "brand_id": LARKSPUR,
        "cart_sha256": CART,
        "amount_minor": amount_minor,
        "currency": "USD",
        "description": "One lamp",
    }

    checkout = new_id("cko")

    answer = await shop.call("PUT", f"/v1/quotes/{checkout}", await shop.bearer(MCP), quote)

    assert answer.status_code in {400, 422}
    assert await shop.rows("SELECT 1 FROM quotes WHERE checkout_id = :c", c=checkout) == []


@pytest.mark.control("UC-D.3")
async def test_a_caller_cannot_name_a_price(shop: Shop):
    talk, checkout = await shop.buyer(), await shop.checkout()

    answer = await talk.post("/v1/purchases", checkout_id=checkout, cart_sha256=CART, amount_minor=1)

    assert (answer.status_code, answer.json()["code"]) == (422, "fields_invalid")


async def test_an_assistant_pays_under_its_own_mandate(shop: Shop):
    talk = await shop.assistant("grace@example.com")
    await shop.mandate(talk, payment_cap=5_000, day_cap=5_000, delegates=[talk.agent])

    view = await shop.paid(talk, await shop.checkout())

    assert view["state"] == "paid"


async def test_a_mandate_for_one_assistant_is_none_for_another_caller(shop: Shop):
    talk = await shop.verified_chat("only-assistant@example.com")
    await shop.mandate(talk, payment_cap=5_000, day_cap=5_000, delegates=["ast_other"])

    view = await talk.buy(await shop.checkout())

    assert (view["state"], reasons(view)) == ("denied", ["caller_not_covered"])


async def test_without_the_scope_a_purchase_is_denied(shop: Shop):
    talk = await shop.assistant("noscope@example.com", scopes="catalog")

    view = await talk.buy(await shop.checkout())

    assert "scope_missing" in reasons(view)


async def test_without_the_scope_a_paid_purchase_shows_no_card_either(shop: Shop):
    talk = await shop.buyer("cardless@example.com")
    checkout = await shop.checkout()
    await shop.paid(talk, checkout)

    view = await (await shop.assistant("cardless@example.com", scopes="catalog")).buy(checkout)

    assert ("scope_missing" in reasons(view), view["state"], view.get("card")) == (True, "denied", None)


@pytest.mark.control("UC-7.3")
async def test_a_foreign_checkout_conversation_and_purchase_look_exactly_like_missing_ones(shop: Shop):
    mine, theirs = await shop.buyer(), await shop.verified_chat("eve@example.com", agent=SOUTH_AGENT, brand_id=SOUTHERN)
    other_brand = await shop.verified_chat("tea@example.com", agent=OTHER_AGENT, brand_id=TSUBAKI)
    checkout = await shop.checkout()
    body = {"cart_sha256": CART}

    answers = [
        await mine.post("/v1/purchases", checkout_id=new_id("cko"), **body),
        await theirs.post("/v1/purchases", checkout_id=checkout, **body),
        await other_brand.post("/v1/purchases", checkout_id=checkout, **body),
        await mine.post("/v1/purchases", checkout_id=checkout, **(body | {"conversation_id": new_id("cnv")})),
        await mine.post("/v1/purchases", checkout_id=checkout, **(body | {"conversation_id": theirs.conversation_id})),
        await mine.post(
            "/v1/purchases", checkout_id=checkout, **(body | {"conversation_id": other_brand.conversation_id})
        ),
    ]

    assert {answer.status_code for answer in answers} == {404}
    bodies = [answer.json() | {"request_id": None} for answer in answers]
    assert all(body == bodies[0] for body in bodies)


async def test_another_persons_checkout_cannot_be_taken_over(shop: Shop):
    ada, eve, checkout = await shop.buyer(), await shop.buyer(), await shop.checkout()
    await ada.buy(checkout)

    answer = await eve.post("/v1/purchases", checkout_id=checkout, cart_sha256=CART)

    assert answer.status_code == 404


async def test_the_paid_list_gives_each_purchase_once_in_order(new_shop: Shop):
    talk, bearer = await new_shop.buyer(day_cap=9_000), await new_shop.bearer(MCP)
    paid = [(await new_shop.paid(talk, await new_shop.checkout(1_000)))["purchase_id"] for _ in range(3)]

    first = (await new_shop.call("GET", "/v1/purchases", bearer, state="paid", brand_id=LARKSPUR)).json()
    paid.append((await new_shop.paid(talk, await new_shop.checkout(1_000)))["purchase_id"])
    after = first["next_after"]
    second = (await new_shop.call("GET", "/v1/purchases", bearer, state="paid", brand_id=LARKSPUR, after=after)).json()
    third = (
        await new_shop.call("GET", "/v1/purchases", bearer, state="paid", brand_id=LARKSPUR, after=second["next_after"])
    ).json()

    assert [view["purchase_id"] for view in first["purchases"] + second["purchases"]] == paid
    assert (third["purchases"], third["next_after"]) == ([], second["next_after"])


async def test_the_paid_list_is_for_the_brands_own_mcp_server(shop: Shop):
    agent = await shop.bearer("agt_larkspur")

    by_agent = await shop.call("GET", "/v1/purchases", agent, state="paid", brand_id=LARKSPUR)
    foreign = [
        await shop.call("GET", "/v1/purchases", await shop.bearer(MCP), state="paid", brand_id=brand_id)
        for brand_id in (SOUTHERN, "brd_missing")
    ]

    assert (by_agent.status_code, by_agent.json()["fields"]) == (422, ["state"])
    assert {answer.status_code for answer in foreign} == {404}


@pytest.mark.control("UC-10.3")
async def test_each_decision_is_in_the_record_once_with_everything_to_decide_it_again(shop: Shop):
    talk = await shop.buyer(payment_cap=1_000)
    view = await talk.buy(await shop.checkout(1_001))

    decision_id = view["decision"]["receipt"]["decision_id"]
    rows = await shop.rows("SELECT canonical FROM record_entries WHERE decision_id = :d", d=decision_id)

    assert len(rows) == 1
    for part in (b'"action":"purchase"', b'"outcome":"deny"', b'"over_payment_cap"', b'"policy_sha256"', b'"Mandate"'):
        assert part in bytes(rows[0]["canonical"])
