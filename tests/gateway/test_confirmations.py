"""Confirmed is about one request, and for one decision."""

import asyncio
from datetime import timedelta
from typing import Any

import pytest

from gateway.assurance import EvidenceKind
from gateway.confirmations import confirmable
from infra.chassis.engine import tenant_transaction
from tests.gateway.shop import NORTH, Shop, Talk

QUERY = {"query": "passport", "limit": 10}


async def add(shop: Shop, talk: Talk, kind: EvidenceKind, **changes: Any) -> None:
    assert talk.subject_id is not None
    row = {"tenant_id": NORTH, "conversation_id": talk.conversation_id, "subject_id": talk.subject_id, **changes}
    async with tenant_transaction(shop.gateway.engine, NORTH) as tx:
        await shop.conversations.add_evidence(tx, kind=kind, now=shop.now, **row)


async def confirmed(shop: Shop, action: str = "recall", parameters: dict[str, Any] | None = None) -> Talk:
    """A person who used a passkey and confirmed one recall."""
    talk = await shop.verified_chat()
    await add(shop, talk, EvidenceKind.PASSKEY)
    request = confirmable(action, talk.conversation_id, QUERY if parameters is None else parameters)
    await add(shop, talk, EvidenceKind.REQUEST_CONFIRMATION, request_sha256=request)
    return talk


async def recalled(talk: Talk, **changes: Any) -> tuple[str, int]:
    answer = await talk.post("/v1/recalls", **{**QUERY, **changes})
    assert answer.status_code == 200, answer.text
    return answer.json()["assurance_level"], answer.json()["tier_max"]


async def test_a_confirmed_recall_reaches_the_restricted_tier_once(shop: Shop):
    talk = await confirmed(shop)

    assert [await recalled(talk) for _ in range(2)] == [("confirmed", 4), ("strong", 3)]


@pytest.mark.control("UC-8.9")
async def test_of_equal_recalls_at_once_one_is_confirmed(shop: Shop):
    talk = await confirmed(shop)

    answers = await asyncio.gather(*(recalled(talk) for _ in range(6)))

    assert sorted(answers) == [("confirmed", 4), *[("strong", 3)] * 5]


@pytest.mark.parametrize("changes", [{"query": "passports"}, {"limit": 11}], ids=["other words", "more of it"])
async def test_another_request_than_the_confirmed_one_is_not_confirmed(shop: Shop, changes: dict[str, Any]):
    talk = await confirmed(shop)

    assert await recalled(talk, **changes) == ("strong", 3)
    assert await recalled(talk) == ("confirmed", 4), "and it spends nothing"


async def test_a_confirmation_of_another_action_or_conversation_is_of_no_use(shop: Shop):
    forgetting = await confirmed(shop, action="forget")
    foreign = await confirmed(shop)
    request = confirmable("recall", forgetting.conversation_id, QUERY)
    await add(shop, foreign, EvidenceKind.REQUEST_CONFIRMATION, request_sha256=request)

    assert await recalled(forgetting) == ("strong", 3)


async def test_a_question_about_a_request_does_not_spend_its_confirmation(shop: Shop):
    talk = await confirmed(shop)

    asked = await talk.post("/v1/decisions", action="recall", tier=4)

    assert asked.json()["outcome"] == "deny", "a forecast is about no request that anybody confirmed"
    assert await recalled(talk) == ("confirmed", 4)


async def test_a_confirmation_runs_out_after_five_minutes(new_shop: Shop):
    talk = await confirmed(new_shop)
    new_shop.later(timedelta(minutes=5))

    answer = await talk.post("/v1/decisions", action="recall", tier=3)

    assert answer.json()["outcome"] == "allow"
    stored = await new_shop.rows("SELECT kind FROM evidence WHERE expires_at <= :now", now=new_shop.now)
    assert [row["kind"] for row in stored] == ["request_confirmation"]


async def test_a_confirmed_purchase_is_bound_to_its_price(shop: Shop):
    talk, checkout = await shop.buyer(), await shop.checkout(amount_minor=4_000)
    await add(shop, talk, EvidenceKind.PASSKEY)
    for amount_minor in (4_000, 3_999):
        shown = {"checkout_id": checkout, "cart_sha256": "ab" * 32, "amount_minor": amount_minor, "currency": "USD"}
        request = confirmable("purchase", talk.conversation_id, shown)
        await add(shop, talk, EvidenceKind.REQUEST_CONFIRMATION, request_sha256=request)

    bought = await talk.buy(checkout)

    spent = await shop.rows(
        "SELECT request_sha256 FROM evidence WHERE conversation_id = :c AND spent_at IS NOT NULL",
        c=talk.conversation_id,
    )
    shown = {"checkout_id": checkout, "cart_sha256": "ab" * 32, "amount_minor": 4_000, "currency": "USD"}
    assert bought["state"] == "needs_card"
    assert [row["request_sha256"] for row in spent] == [confirmable("purchase", talk.conversation_id, shown)]
