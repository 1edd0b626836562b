"""AuthZEN's searches: what is found is allowed, page by page, and nothing of anybody else's."""

import secrets
from typing import Any

import pytest

from tests.gateway.points import Point
from tests.gateway.shop import Shop


@pytest.mark.control("UC-7.6")
async def test_whatever_a_search_finds_is_allowed_when_it_is_asked_for(shop: Shop, point: Point):
    email = f"{secrets.token_hex(6)}@example.com"
    ada, again = await shop.buyer(email, payment_cap=5_000), await shop.verified_chat(email)
    fits = {await shop.checkout(1_000) for _ in range(2)}
    dear = await shop.checkout(6_000)
    subject = {"type": "conversation", "id": ada.conversation_id}
    found: list[str] = []
    page: dict[str, Any] = {"limit": 50}

    while True:
        answer = await point.ask(
            "/access/v1/search/resource",
            subject=subject,
            action={"name": "purchase"},
            resource={"type": "checkout"},
            page=page,
        )
        found += [one["id"] for one in answer["results"]]
        if not answer["page"]["next_token"]:
            break
        page = {"limit": 50, "token": answer["page"]["next_token"]}
    whom = await point.ask(
        "/access/v1/search/subject",
        subject={"type": "conversation"},
        action={"name": "recall"},
        resource={"type": "memories", "id": f"{ada.conversation_id}:2"},
    )
    what = await point.ask("/access/v1/search/action", subject=subject, resource=subject)

    assert fits <= set(found)
    assert dear not in found
    assert again.conversation_id not in found
    assert whom["results"] == [subject]
    assert what["results"] == [{"name": "remember"}, {"name": "forget"}, {"name": "read_mandates"}]


async def test_who_may_revoke_a_mandate_are_the_persons_own_conversations(shop: Shop, point: Point):
    email = f"{secrets.token_hex(6)}@example.com"
    ada, again, eve = await shop.buyer(email), await shop.verified_chat(email), await shop.buyer()
    mandate = await shop.mandate(ada, payment_cap=1, day_cap=1)
    search = {
        "subject": {"type": "conversation"},
        "action": {"name": "revoke_mandate"},
        "resource": {"type": "mandate", "id": mandate},
    }

    first = await point.ask("/access/v1/search/subject", **search, page={"limit": 1})
    second = await point.ask(
        "/access/v1/search/subject", **search, page={"limit": 1, "token": first["page"]["next_token"]}
    )
    changed = await point.post(
        "/access/v1/search/subject",
        {**search, "action": {"name": "refund"}, "page": {"limit": 1, "token": first["page"]["next_token"]}},
    )

    assert {one["id"] for page in (first, second) for one in page["results"]} == {
        ada.conversation_id,
        again.conversation_id,
    }
    assert eve.conversation_id not in str(first) + str(second)
    assert (second["page"]["next_token"], changed.status_code) == ("", 400)


@pytest.mark.parametrize(
    "body",
    [
        {"subject": {"type": "spaceship"}, "action": {"name": "recall"}, "resource": {"type": "memories", "id": "x:1"}},
        {
            "subject": {"type": "conversation"},
            "action": {"name": "x"},
            "resource": {"type": "mandate", "id": "mnd_x"},
        },
        {
            "subject": {"type": "conversation"},
            "action": {"name": "revoke_mandate"},
            "resource": {"type": "mandate", "id": "mnd_x"},
        },
    ],
)
async def test_a_search_for_what_there_is_not_finds_nothing(point: Point, body: dict[str, Any]):
    assert (await point.ask("/access/v1/search/subject", **body))["results"] == []
