"""A recall prepared while the person speaks: shown only by a decision on the final request, and never otherwise."""

import asyncio
import re
import statistics
import time
from collections.abc import Awaitable, Callable
from dataclasses import replace
from datetime import timedelta
from typing import Any

import httpx2
import pytest

from gateway.bearers import Bearer, CallerKind
from gateway.preparing import UNDER_WAY_MAX
from infra.chassis.ids import new_id
from memory.contract import PREPARATION_TTL_SECONDS
from tests.gateway.relay import Mode, relay_to
from tests.gateway.shop import (
    AGENT,
    ASSISTANT,
    GOOD_CARD,
    LARKSPUR,
    MCP,
    OTHER_AGENT,
    SOUTH_AGENT,
    SOUTHERN,
    Ground,
    Shop,
    Talk,
    open_shop,
)
from tests.support.waiting import wait_until

ORDER = "Asked where order 1182 is and was unhappy about the delay"
OAK = "Prefers oak over pine"
PATH = "/v1/recalls/preparations"


async def prepared(talk: Talk, query: str = "where is my") -> str:
    answer = await talk.post(PATH, query=query)
    assert answer.status_code == 201, answer.text
    await talk.shop.gateway.preparing.settled()
    return str(answer.json()["preparation_id"])


async def recalled(talk: Talk, **fields: Any) -> dict[str, Any]:
    answer = await talk.post("/v1/recalls", **fields)
    assert answer.status_code == 200, answer.text
    body: dict[str, Any] = answer.json()
    return body


async def person(shop: Shop, *said: str) -> Talk:
    talk = await shop.verified_chat()
    for text in said:
        assert (await talk.post("/v1/memories", text=text)).status_code == 200
    return talk


def carried(talk: Talk, scopes: str) -> Bearer:
    """The same assistant in the same conversation, with other scopes."""
    return Bearer(
        kind=CallerKind.ASSISTANT,
        client_id=ASSISTANT,
        audience=talk.shop.issuer,
        scopes=frozenset(scopes.split()),
        subject_id=talk.subject_id,
        tenant_id=talk.tenant_id,
        brand_id=LARKSPUR,
        conversation_id=talk.conversation_id,
        act_client_id=MCP,
    )


async def asked_of_memory(shop: Shop) -> dict[str, int]:
    """How often the memory service was asked for what, by its own count."""
    async with httpx2.AsyncClient() as client:
        counted = (await client.get(f"{shop.house.urls['memory']}/metrics")).text
    found = re.findall(r'http_requests_total\{method="POST",route="/v1/(\w+)",status="200"\} ([\d.]+)', counted)
    return {route: int(float(number)) for route, number in found}


async def new_calls(shop: Shop, act: Callable[[], Awaitable[object]]) -> dict[str, int]:
    before = await asked_of_memory(shop)
    await act()
    after = await asked_of_memory(shop)
    return {route: number - before.get(route, 0) for route, number in after.items() if number != before.get(route, 0)}


def shown(view: dict[str, Any]) -> dict[str, Any]:
    """An answer without what differs between any two decisions."""
    return {**view, "decision": {name: value for name, value in view["decision"].items() if name != "receipt"}}


@pytest.mark.control("UC-M.21")
async def test_the_released_answer_is_the_unprepared_one_and_has_a_decision_of_its_own(shop: Shop):
    talk = await person(shop, ORDER, OAK)
    plain = await recalled(talk, query="where is my order")
    preparation_id = await prepared(talk)

    calls = await new_calls(shop, lambda: recalled(talk, query="where is my order", preparation_id=preparation_id))
    preparation_id = await prepared(talk)
    view = await recalled(talk, query="where is my order", preparation_id=preparation_id)
    events = await shop.rows(
        "SELECT count(*) AS n FROM record_entries WHERE convert_from(canonical, 'UTF8') LIKE :like",
        like=f'%"event":"recall_prepared"%"preparation_id":"{preparation_id}"%',
    )

    assert shown(view) == shown(plain)
    assert [memory["text"] for memory in view["memories"]] == [ORDER]
    assert (calls, events) == ({"releases": 1}, [{"n": 1}])
    entry = await talk.call("GET", f"/v1/record/entries/{view['decision']['receipt']['decision_id']}")
    assert '"outcome":"allow"' in entry.json()["canonical"]


@pytest.mark.control("UC-M.21")
async def test_preparing_says_the_same_to_a_stranger_to_a_new_person_and_to_one_with_memories(shop: Shop):
    talks = [await shop.chat(), await shop.verified_chat(), await person(shop, ORDER)]

    answers = [(await talk.post(PATH, query="order")).json() for talk in talks]

    assert [set(answer) for answer in answers] == [{"preparation_id", "expires_at", "receipt"}] * 3
    assert all("outcome" not in str(answer) and "1182" not in str(answer) for answer in answers)


async def test_for_a_stranger_the_memory_is_not_even_asked(shop: Shop):
    stranger = await shop.chat()

    async def ask() -> None:
        await recalled(stranger, query="order", preparation_id=await prepared(stranger))

    assert await new_calls(shop, ask) == {}


@pytest.mark.control("UC-M.21")
async def test_the_answer_does_not_wait_for_the_memory(ground: Ground):
    """A memory that never answers: preparing answers all the same, so its time tells nothing of what is there."""
    async with relay_to(ground.house.urls["memory"]) as silent, open_shop(ground, memory_url=silent.url) as shop:
        silent.mode = Mode.SWALLOW
        known, stranger = await shop.verified_chat(), await shop.chat()
        took: dict[str, list[float]] = {"known": [], "stranger": []}
        for _ in range(12):
            for name, talk in (("known", known), ("stranger", stranger)):
                started = time.perf_counter()
                answer = await talk.post(PATH, query="order")
                took[name].append(time.perf_counter() - started)
                assert answer.status_code == 201

    assert max(statistics.median(times) for times in took.values()) < 1.0


async def test_a_preparation_is_used_up_by_the_next_decision_whatever_it_says(shop: Shop):
    talk = await person(shop, ORDER)
    preparation_id = await prepared(talk)

    other = await new_calls(shop, lambda: recalled(talk, query="oak"))
    late = await new_calls(shop, lambda: recalled(talk, query="order", preparation_id=preparation_id))

    assert (other, late) == ({"recalls": 1}, {"recalls": 1})


async def test_of_two_final_requests_at_once_one_gets_what_was_prepared_and_both_are_right(shop: Shop):
    talk = await person(shop, ORDER)
    preparation_id = await prepared(talk)
    views: list[dict[str, Any]] = []

    async def both() -> None:
        views.extend(
            await asyncio.gather(*[recalled(talk, query="order", preparation_id=preparation_id) for _ in range(2)])
        )

    calls = await new_calls(shop, both)

    assert calls == {"releases": 1, "recalls": 1}
    assert shown(views[0]) == shown(views[1])


@pytest.mark.control("UC-M.21")
async def test_when_the_evidence_ends_in_between_nothing_is_released_then_or_later(new_shop: Shop):
    """The gateway's clock is moved around the real one, by which the memory checks its grants."""
    new_shop.later(timedelta(hours=-12, seconds=2))
    talk = await new_shop.verified_chat()
    new_shop.later(timedelta(hours=12, seconds=-10))
    assert (await talk.post("/v1/memories", text=ORDER)).status_code == 200
    preparation_id = await prepared(talk)
    new_shop.later(timedelta(seconds=11))

    views = [await recalled(talk, preparation_id=preparation_id) for _ in range(2)]

    for view in views:
        assert (view["assurance_level"], view["tier_max"]) == ("anonymous", 0)
        assert view["memories"] == []
    assert await new_shop.rows("SELECT preparation_id FROM recall_preparations") == []


@pytest.mark.control("UC-M.21")
async def test_a_final_request_that_is_denied_uses_the_preparation_up(shop: Shop):
    talk = await shop.assistant("spoke-too-soon@example.com")
    preparation_id = await prepared(talk)
    unscoped = replace(talk, own_bearer=shop.bearers.mint(carried(talk, "catalog")))

    denied = await recalled(unscoped, preparation_id=preparation_id)
    calls = await new_calls(shop, lambda: recalled(talk, preparation_id=preparation_id))

    assert (denied["decision"]["outcome"], denied["memories"], calls) == ("deny", [], {"recalls": 1})


@pytest.mark.control("UC-M.21")
async def test_a_closed_conversation_releases_nothing(shop: Shop):
    talk = await person(shop, ORDER)
    preparation_id = await prepared(talk)
    await talk.call("DELETE", f"/v1/conversations/{talk.conversation_id}")

    calls: list[httpx2.Response] = []

    async def ask() -> None:
        calls.append(await talk.post("/v1/recalls", query="order", preparation_id=preparation_id))
        calls.append(await talk.post(PATH, query="order"))

    assert (await new_calls(shop, ask), [answer.status_code for answer in calls]) == ({}, [404, 404])


async def test_past_its_seconds_the_recall_is_done_in_full(new_shop: Shop):
    new_shop.later(timedelta(seconds=3 - PREPARATION_TTL_SECONDS))
    talk = await person(new_shop, ORDER)
    preparation_id = await prepared(talk)
    new_shop.later(timedelta(seconds=PREPARATION_TTL_SECONDS))

    calls = await new_calls(new_shop, lambda: recalled(talk, query="order", preparation_id=preparation_id))
    await prepared(talk)

    assert calls == {"recalls": 1}
    assert len(await new_shop.rows("SELECT * FROM recall_preparations")) == 1


async def test_what_was_forgotten_in_between_is_not_released(shop: Shop):
    talk = await person(shop, ORDER)
    preparation_id = await prepared(talk)
    assert (await talk.post("/v1/erasures")).json()["forgotten"]

    view = await recalled(talk, query="order", preparation_id=preparation_id)

    assert (view["decision"]["outcome"], view["memories"]) == ("allow", [])


@pytest.mark.control("UC-M.21")
async def test_another_conversations_callers_and_tenants_preparation_is_as_good_as_none(shop: Shop):
    owner = await person(shop, ORDER)
    preparation_id = await prepared(owner)
    strangers = [await shop.verified_chat(), await shop.verified_chat(agent=SOUTH_AGENT, brand_id=SOUTHERN)]

    views = [await recalled(talk, query="order", preparation_id=preparation_id) for talk in strangers]
    without = [await recalled(talk, query="order", preparation_id=new_id("prp")) for talk in strangers]
    foreign = await Talk(shop, OTHER_AGENT, owner.conversation_id).post("/v1/recalls", preparation_id=preparation_id)
    kept = await new_calls(shop, lambda: recalled(owner, query="order", preparation_id=preparation_id))

    assert [shown(view) for view in views] == [shown(view) for view in without]
    assert (foreign.status_code, kept) == (404, {"releases": 1})


async def test_without_the_memory_preparing_answers_and_the_recall_says_who_is_away(ground: Ground):
    async with open_shop(ground, memory_url="http://127.0.0.1:9") as shop:
        talk = await shop.verified_chat()
        preparation_id = await prepared(talk)

        answer = await talk.post("/v1/recalls", query="order", preparation_id=preparation_id)

    assert (answer.status_code, answer.json()["code"]) == (503, "memory_unreachable")


async def test_a_memory_that_restarted_has_nothing_prepared_and_the_recall_works(shop: Shop):
    talk = await person(shop, ORDER)
    preparation_id = await prepared(talk)
    await asyncio.to_thread(shop.house.kill, "memory")
    await asyncio.to_thread(shop.house.restart, "memory")

    view = await recalled(talk, query="order", preparation_id=preparation_id)

    assert [memory["text"] for memory in view["memories"]] == [ORDER]


async def test_a_card_number_in_what_was_heard_so_far_is_refused(shop: Shop):
    talk = await shop.verified_chat()

    answer = await talk.post(PATH, query=f"my card is {GOOD_CARD}")

    assert (answer.status_code, answer.json()["code"]) == (422, "card_number_refused")


@pytest.mark.parametrize("body", [{"query": "x" * 501}, {"tier": 4}, {"query": 1}, {"subject_id": "sub_ada"}])
async def test_what_makes_no_preparation_is_refused(shop: Shop, body: dict[str, Any]):
    talk = await shop.chat()

    answer = await talk.post(PATH, **body)

    assert answer.status_code == 422


@pytest.mark.control("UC-M.21")
async def test_nothing_that_was_prepared_is_in_a_log_or_the_gateways_database(shop: Shop):
    said = f"Prefers {new_id('wod')}"
    talk = await person(shop, said)
    heard = f"about {new_id('wod')}"
    await prepared(talk, heard)

    logged = "".join(path.read_text(errors="replace") for path in shop.house.logs.glob("*.log"))
    rows = str(await shop.rows("SELECT * FROM recall_preparations"))
    entries = str(await shop.rows("SELECT convert_from(canonical, 'UTF8') AS c FROM record_entries"))
    assert not [text for text in (said, heard) if text in logged + rows + entries]


async def test_no_more_than_a_bounded_number_is_under_way(ground: Ground):
    async with relay_to(ground.house.urls["memory"]) as silent, open_shop(ground, memory_url=silent.url) as shop:
        silent.mode = Mode.SWALLOW
        talk = await shop.verified_chat()

        answers = [await talk.post(PATH, query="order") for _ in range(UNDER_WAY_MAX + 4)]

        assert {answer.status_code for answer in answers} == {201}
        await wait_until(lambda: len(silent.tasks) == UNDER_WAY_MAX)
        assert (await shop.call("POST", PATH, await shop.bearer(AGENT), {})).status_code == 422
