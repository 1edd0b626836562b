"""Asking first: the same answer as the act would give, from looked-up facts, recorded, and without any effect."""

from datetime import timedelta
from typing import Any

import pytest

from infra.chassis.ids import new_id
from tests.gateway.shop import (
    AGENT,
    CART,
    GOOD_CARD,
    LARKSPUR,
    MCP,
    OTHER_AGENT,
    SOUTH_AGENT,
    SOUTHERN,
    TSUBAKI,
    Shop,
    Talk,
)

ACTIONS = ("purchase", "refund", "recall", "remember", "forget", "read_mandates", "revoke_mandate")


async def asked(talk: Talk, action: str, **fields: Any) -> dict[str, Any]:
    answer = await talk.post("/v1/decisions", action=action, **fields)
    assert answer.status_code == 200, answer.text
    body: dict[str, Any] = answer.json()
    return body


def judged(view: dict[str, Any]) -> tuple[Any, ...]:
    return view["outcome"], view["reasons"], view.get("remedies", [])


async def effects(shop: Shop) -> list[dict[str, Any]]:
    """Everything an act would have changed."""
    return await shop.rows(
        "SELECT (SELECT count(*) FROM purchases) AS purchases, (SELECT count(*) FROM reservations) AS reservations,"
        " (SELECT count(*) FROM captures) AS captures, (SELECT count(*) FROM refunds) AS refunds,"
        " (SELECT count(*) FROM mandates WHERE revoked_at IS NULL) AS mandates"
    )


@pytest.mark.parametrize(("amount", "outcome"), [(4_000, "allow"), (6_000, "deny")])
@pytest.mark.control("UC-D.21")
async def test_the_answer_is_the_one_the_purchase_itself_gets_and_nothing_is_held(
    shop: Shop, amount: int, outcome: str
):
    talk = await shop.buyer()
    checkout_id = await shop.checkout(amount)
    before = await effects(shop)

    view = await asked(talk, "purchase", checkout_id=checkout_id, cart_sha256=CART)

    assert (view["outcome"], await effects(shop), await shop.taken(talk)) == (outcome, before, 0)
    assert judged((await talk.buy(checkout_id))["decision"]) == judged(view)


async def test_an_allow_is_a_forecast_and_the_act_is_decided_again(shop: Shop):
    talk = await shop.buyer()
    first, second = await shop.checkout(5_000), await shop.checkout(5_000)

    views = [await asked(talk, "purchase", checkout_id=name, cart_sha256=CART) for name in (first, second)]
    bought = [await talk.buy(name) for name in (first, second)]

    assert [view["outcome"] for view in views] == ["allow", "allow"]
    assert [purchase["state"] for purchase in bought] == ["needs_card", "denied"]
    assert bought[1]["decision"]["reasons"] == ["over_day_cap"]


async def test_a_refund_is_judged_by_what_was_paid_and_nothing_goes_back(shop: Shop):
    talk = await shop.buyer()
    paid = await shop.paid(talk, await shop.checkout(4_000))
    before = await effects(shop)

    views = [
        await asked(talk, "refund", purchase_id=paid["purchase_id"], amount_minor=amount) for amount in (4_000, 4_001)
    ]

    assert [(view["outcome"], view["reasons"]) for view in views] == [
        ("allow", ["caller_may"]),
        ("deny", ["over_refundable"]),
    ]
    assert await effects(shop) == before


@pytest.mark.parametrize(("tier", "outcome", "remedies"), [(2, "allow", []), (3, "deny", ["strong"])])
async def test_a_tier_is_judged_by_how_sure_we_are(shop: Shop, tier: int, outcome: str, remedies: list[str]):
    talk = await shop.verified_chat()

    view = await asked(talk, "recall", tier=tier)

    assert (view["outcome"], [remedy["level"] for remedy in view.get("remedies", [])]) == (outcome, remedies)


@pytest.mark.parametrize("action", ["remember", "forget", "read_mandates"])
async def test_what_needs_the_person_verified_says_so_before_it_is_tried(shop: Shop, action: str):
    known, stranger = await shop.verified_chat(), await shop.chat()

    assert (await asked(known, action))["outcome"] == "allow"
    denied = await asked(stranger, action)
    assert (denied["outcome"], denied["remedies"][0]["level"]) == ("deny", "verified")


async def test_asking_about_a_revocation_revokes_nothing_and_another_persons_mandate_is_not_found(shop: Shop):
    talk, other = await shop.verified_chat(), await shop.verified_chat()
    own, foreign = [await shop.mandate(one, payment_cap=1, day_cap=1) for one in (talk, other)]
    before = await effects(shop)

    view = await asked(talk, "revoke_mandate", mandate_id=own)
    answers = [
        await talk.post("/v1/decisions", action="revoke_mandate", mandate_id=named)
        for named in (foreign, new_id("mnd"))
    ]

    assert (view["outcome"], await effects(shop)) == ("allow", before)
    assert [answer.status_code for answer in answers] == [404, 404]


async def test_it_is_recorded_with_the_facts_it_was_made_from_and_the_receipt_names_it(shop: Shop):
    talk = await shop.buyer()
    checkout_id = await shop.checkout(4_000)

    view = await asked(talk, "purchase", checkout_id=checkout_id, cart_sha256=CART)
    entry = await talk.call("GET", f"/v1/record/entries/{view['receipt']['decision_id']}")

    written = entry.json()["canonical"]
    assert entry.json()["leaf_sha256"] == view["receipt"]["leaf_sha256"]
    assert all(part in written for part in (checkout_id, '"amount_minor":4000', '"action":"purchase"'))


@pytest.mark.control("UC-D.21")
async def test_foreign_and_unknown_ids_get_the_bytes_of_missing_ones_and_leave_no_entry(shop: Shop):
    owner, stranger, south = (
        await shop.buyer(),
        await shop.buyer(),
        await shop.verified_chat(agent=SOUTH_AGENT, brand_id=SOUTHERN),
    )
    bought = await shop.checkout(4_000)
    purchase = await shop.paid(owner, bought)
    other_brand = Talk(shop, OTHER_AGENT, owner.conversation_id)
    entries = "SELECT count(*) AS n FROM record_entries"
    before = [await shop.rows(entries, tenant) for tenant in ("tnt_north", "tnt_south")]

    def pay(checkout_id: str) -> dict[str, Any]:
        return {"action": "purchase", "checkout_id": checkout_id, "cart_sha256": CART}

    def give_back(purchase_id: str) -> dict[str, Any]:
        return {"action": "refund", "purchase_id": purchase_id, "amount_minor": 1}

    tried = [
        (stranger, pay(bought)),
        (south, pay(bought)),
        (other_brand, pay(bought)),
        (owner, pay(new_id("cko"))),
        (stranger, give_back(purchase["purchase_id"])),
        (south, give_back(purchase["purchase_id"])),
        (owner, give_back(new_id("pur"))),
        (other_brand, {"action": "recall"}),
        (Talk(shop, AGENT, new_id("cnv")), {"action": "recall"}),
    ]
    answers = [await talk.post("/v1/decisions", **body) for talk, body in tried]

    bodies = [{name: value for name, value in answer.json().items() if name != "request_id"} for answer in answers]
    assert [answer.status_code for answer in answers] == [404] * len(tried)
    assert all(body == bodies[0] for body in bodies)
    assert [await shop.rows(entries, tenant) for tenant in ("tnt_north", "tnt_south")] == before


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"action": "purchase"},
        {"action": "own_everything"},
        {"action": "recall", "tier": 5},
        {"action": "recall", "tier": True},
        {"action": "recall", "tier": "2"},
        {"action": "recall", "level": 4},
        {"action": "refund", "purchase_id": "pur_some", "amount_minor": 0},
        {"action": "refund", "purchase_id": "pur_some", "amount_minor": -1},
        {"action": "purchase", "checkout_id": "cko_some", "cart_sha256": CART, "amount_minor": 1},
        {"action": "purchase", "checkout_id": "cko_some", "cart_sha256": CART, "mandate_id": "mnd_mine"},
        {"action": ["recall"]},
        [{"action": "recall"}],
    ],
)
async def test_what_is_no_question_of_ours_is_refused(shop: Shop, body: Any):
    talk = await shop.chat()
    sent = body | {"conversation_id": talk.conversation_id} if isinstance(body, dict) else body

    answer = await talk.call("POST", "/v1/decisions", sent)

    assert (answer.status_code, answer.json()["code"]) == (422, "fields_invalid")


async def test_an_mcp_server_has_nothing_to_ask_and_an_agent_must_name_its_conversation(shop: Shop):
    bearer = await shop.bearer(MCP)
    served = await shop.call("POST", "/v1/decisions", bearer, {"action": "recall"})
    nameless = await shop.call("POST", "/v1/decisions", await shop.bearer(AGENT), {"action": "recall"})
    unknown = await shop.client.post("/v1/decisions", json={"action": "recall"})

    assert [answer.status_code for answer in (served, nameless, unknown)] == [404, 422, 401]


async def test_an_assistant_asks_in_the_conversation_of_its_bearer_and_may_not_refund(shop: Shop):
    assistant = await shop.assistant("asks-first@example.com")
    purchase = await shop.paid(await shop.buyer(), await shop.checkout(1_000))

    view = await assistant.call("POST", "/v1/decisions", {"action": "recall", "tier": 2})
    refund = await assistant.post("/v1/decisions", action="refund", purchase_id=purchase["purchase_id"], amount_minor=1)

    assert (view.json()["outcome"], refund.status_code) == ("allow", 404)


async def test_in_a_closed_conversation_nothing_can_be_asked(shop: Shop):
    talk = await shop.verified_chat()
    await talk.call("DELETE", f"/v1/conversations/{talk.conversation_id}")

    answers = [await talk.post("/v1/decisions", action=action) for action in ("recall", "read_mandates")]

    assert [answer.status_code for answer in answers] == [404, 404]


async def test_evidence_that_ended_counts_for_nothing_here_too(new_shop: Shop):
    talk = await new_shop.verified_chat()

    before = await asked(talk, "recall", tier=2)
    new_shop.later(timedelta(hours=12))
    after = await asked(talk, "recall", tier=2)

    assert (before["outcome"], after["outcome"]) == ("allow", "deny")


@pytest.mark.parametrize("action", ACTIONS)
async def test_every_action_of_the_schema_can_be_asked_about(shop: Shop, action: str):
    described = (await shop.client.get("/schema/openapi.json")).json()["components"]["schemas"]

    tags = [part["properties"]["action"] for name, part in described.items() if "Enquiry" in name]
    assert action in str(tags)
    assert len(tags) == len(ACTIONS)


async def test_a_card_number_is_no_id(shop: Shop):
    talk = await shop.chat()

    answer = await talk.post("/v1/decisions", action="purchase", checkout_id=GOOD_CARD, cart_sha256=CART)

    assert (answer.status_code, GOOD_CARD in answer.text) == (422, False)


async def test_another_brands_checkout_is_not_found_in_this_conversation(shop: Shop):
    talk = await shop.buyer()
    elsewhere = await shop.checkout(1_000, brand_id=TSUBAKI)
    here = await shop.checkout(1_000, brand_id=LARKSPUR)

    answers = [
        await talk.post("/v1/decisions", action="purchase", checkout_id=name, cart_sha256=CART)
        for name in (elsewhere, here)
    ]

    assert [answer.status_code for answer in answers] == [404, 200]
