"""What is told about a person depends on how sure we are, and on nothing that a model wrote."""

from dataclasses import replace
from typing import Any

import pytest

from infra.chassis.ids import new_id
from tests.gateway.shop import GOOD_CARD, OTHER_AGENT, SOUTH_AGENT, SOUTHERN, TSUBAKI, Ground, Shop, Talk, open_shop

ORDER = "Asked where order 1182 is and was unhappy about the delay"
HEALTH = "Has diabetes and needs insulin kept cool"
NOWHERE = "http://127.0.0.1:9"


async def remembered(talk: Talk, text: str, **changes: Any):
    answer = await talk.post("/v1/memories", text=text, **changes)
    assert answer.status_code == 200, answer.text
    return answer.json()


async def recalled(talk: Talk, **changes: Any):
    answer = await talk.post("/v1/recalls", **changes)
    assert answer.status_code == 200, answer.text
    return answer.json()


def texts(view: dict[str, Any]):
    return [memory["text"] for memory in view["memories"]]


async def test_a_verified_person_is_remembered_and_recalled(shop: Shop):
    talk = await shop.verified_chat()

    kept = await remembered(talk, ORDER)
    view = await recalled(talk, query="where is my order")

    assert (kept["decision"]["outcome"], kept["tier"]) == ("allow", 2)
    assert (view["assurance_level"], view["tier_max"], texts(view)) == ("verified", 2, [ORDER])


@pytest.mark.control("UC-M.1")
async def test_an_unverified_caller_is_told_nothing_and_how_to_learn_more(shop: Shop):
    known = await shop.verified_chat("remembered@example.com")
    await remembered(known, ORDER)
    stranger = await shop.chat("remembered@example.com")

    view = await recalled(stranger, query="order")

    assert (view["assurance_level"], view["tier_max"], view["memories"]) == ("anonymous", 0, [])
    assert view["decision"]["reasons"] == ["subject_unknown"]
    assert [remedy["level"] for remedy in view["decision"]["remedies"]] == [
        "recognised",
        "verified",
        "strong",
        "confirmed",
    ]


@pytest.mark.control("UC-M.1")
async def test_a_sensitive_memory_stays_unseen_and_its_absence_looks_the_same(shop: Shop):
    with_secret, without = await shop.verified_chat(), await shop.verified_chat()
    kept = await remembered(with_secret, HEALTH)

    views = [await recalled(talk, query="diabetes") for talk in (with_secret, without)]

    assert kept["tier"] >= 3
    for view in views:
        view["decision"].pop("receipt")
    assert views[0] == views[1]
    assert [remedy["level"] for remedy in views[0]["decision"]["remedies"]] == ["strong", "confirmed"]


async def test_remembering_needs_the_person_verified(shop: Shop):
    stranger = await shop.chat()

    view = await remembered(stranger, ORDER)

    assert (view["decision"]["outcome"], view.get("memory_id")) == ("deny", None)
    assert view["decision"]["remedies"][0]["level"] == "verified"


@pytest.mark.parametrize(
    ("path", "field"), [("/v1/memories", "text"), ("/v1/recalls", "query")], ids=["remember", "recall"]
)
@pytest.mark.parametrize("written", [GOOD_CARD, "4242 4242-4242 4242", "NDI0MjQyNDI0MjQyNDI0Mg=="])
@pytest.mark.control("UC-3.3")
async def test_a_card_number_in_a_chat_field_is_refused_and_kept_nowhere(
    shop: Shop, path: str, field: str, written: str
):
    talk = await shop.verified_chat()
    entries = await shop.rows("SELECT count(*) AS n FROM record_entries")

    answer = await talk.post(path, **{field: f"my card is {written} ok"})

    assert (answer.status_code, answer.json()["code"]) == (422, "card_number_refused")
    assert written not in answer.text
    assert await shop.rows("SELECT count(*) AS n FROM record_entries") == entries
    assert texts(await recalled(talk)) == []


@pytest.mark.control("UC-3.3")
async def test_a_card_number_said_over_several_turns_is_refused_with_its_last_part(shop: Shop):
    talk, other = await shop.verified_chat(), await shop.verified_chat()
    said = [("/v1/recalls", "query", "my number starts 4012"), ("/v1/memories", "text", "eighty-eight eighty-eight")]
    said += [("/v1/recalls", "query", "then 8888"), ("/v1/memories", "text", "dieciocho ochenta y uno")]

    answers = [await talk.post(path, **{field: text}) for path, field, text in said]
    elsewhere = await other.post("/v1/memories", text=said[-1][2])

    assert [answer.status_code for answer in answers] == [200, 200, 200, 422]
    assert answers[-1].json()["code"] == "card_number_refused"
    assert elsewhere.status_code == 200


@pytest.mark.control("UC-3.3")
async def test_a_number_split_over_two_workers_is_caught_where_it_would_be_kept(shop: Shop):
    """Another gateway process has seen no earlier turn; the memory has."""
    talk = await shop.verified_chat()
    for part in ("4012", "8888", "8888"):
        await remembered(talk, part)

    async with open_shop(shop.ground) as second:
        answer = await replace(talk, shop=second).post("/v1/memories", text="1881")

    assert (answer.status_code, answer.json()["code"]) == (422, "card_number_refused")


async def test_a_password_is_refused_by_the_memory_and_the_gateway_says_so(shop: Shop):
    talk = await shop.verified_chat()

    answer = await talk.post("/v1/memories", text="My password is hunter2")

    assert (answer.status_code, answer.json()["code"]) == (422, "memory_refused")
    assert "hunter2" not in answer.text


async def test_provenance_is_what_the_gateway_knows(shop: Shop):
    talk = await shop.verified_chat()
    await remembered(talk, "Prefers the evening delivery")
    await remembered(talk, "Prefers oak over pine", said_by_subject=True)

    by_text = {memory["text"]: memory for memory in (await recalled(talk))["memories"]}

    agents, hearsay = by_text["Prefers the evening delivery"], by_text["Prefers oak over pine"]
    assert (agents["source"], agents["channel"]) == ("agent", "chat")
    assert hearsay["source"] == "subject"
    assert hearsay["confidence_percent"] < agents["confidence_percent"]


async def test_an_assistant_is_named_as_the_source(shop: Shop):
    talk = await shop.assistant("source@example.com")
    await remembered(talk, "Looks for a reading lamp")

    (memory,) = (await recalled(talk))["memories"]

    assert (memory["source"], memory["channel"]) == ("assistant", "assistant")


@pytest.mark.parametrize(
    "forged", ["source", "tier", "tier_max", "subject_id", "confidence_percent", "channel", "level"]
)
@pytest.mark.control("UC-D.3")
async def test_a_caller_cannot_state_what_the_gateway_finds_out(shop: Shop, forged: str):
    talk = await shop.verified_chat()

    answers = [
        await talk.post("/v1/memories", text=ORDER, **{forged: 1}),
        await talk.post("/v1/recalls", **{forged: 1}),
    ]

    assert {(answer.status_code, answer.json()["code"]) for answer in answers} == {(422, "fields_invalid")}


@pytest.mark.control("UC-M.2")
async def test_forgetting_one_leaves_the_others_and_forgetting_all_leaves_none(shop: Shop):
    talk = await shop.verified_chat()
    first = await remembered(talk, "Likes brass handles")
    await remembered(talk, "Likes linen shades")

    one = (await talk.post("/v1/erasures", memory_id=first["memory_id"])).json()
    left = texts(await recalled(talk))
    everything = (await talk.post("/v1/erasures")).json()

    assert (one["forgotten"], left) == (True, ["Likes linen shades"])
    assert (everything["forgotten"], texts(await recalled(talk))) == (True, [])


async def test_forgetting_needs_the_person_verified(shop: Shop):
    view = (await (await shop.chat()).post("/v1/erasures")).json()

    assert (view["forgotten"], view["decision"]["outcome"]) == (False, "deny")


async def test_nobody_sees_or_forgets_anothers_memories(shop: Shop):
    ada = await shop.verified_chat("ada-one@example.com")
    kept = await remembered(ada, ORDER)
    eve = await shop.verified_chat()
    south = await shop.verified_chat("ada-one@example.com", agent=SOUTH_AGENT, brand_id=SOUTHERN)

    for other in (eve, south):
        await other.post("/v1/erasures", memory_id=kept["memory_id"])
        assert texts(await recalled(other, query="order")) == []

    assert texts(await recalled(ada)) == [ORDER]


async def test_another_agents_conversation_cannot_be_used(shop: Shop):
    ada = await shop.verified_chat()
    await remembered(ada, ORDER)
    thief = await shop.verified_chat(agent=OTHER_AGENT, brand_id=TSUBAKI)

    answers = [
        await thief.post("/v1/recalls", conversation_id=ada.conversation_id),
        await thief.post("/v1/recalls", conversation_id=new_id("cnv")),
    ]

    bodies = [answer.json() | {"request_id": None} for answer in answers]
    assert answers[0].status_code == 404
    assert bodies[0] == bodies[1]


async def test_an_agent_must_name_its_conversation(shop: Shop):
    talk = await shop.verified_chat()

    answer = await talk.call("POST", "/v1/recalls", {})

    assert (answer.status_code, answer.json()["code"]) == (422, "conversation_missing")


@pytest.mark.control("UC-10.3")
async def test_each_request_leaves_exactly_one_entry_in_the_record(new_shop: Shop):
    talk = await new_shop.verified_chat()
    await remembered(talk, ORDER)
    await recalled(talk)
    await talk.post("/v1/erasures")

    rows = await new_shop.rows("SELECT canonical FROM record_entries ORDER BY recorded_at")

    actions = [bytes(row["canonical"]).split(b'"action":"')[1].split(b'"')[0] for row in rows]
    assert actions == [b"remember", b"recall", b"forget"]
    assert not any(b"order 1182" in bytes(row["canonical"]) for row in rows), "the record holds no memories"


async def test_without_the_memory_the_answer_says_so_and_the_decision_stands(ground: Ground):
    async with open_shop(ground, memory_url=NOWHERE) as shop:
        talk = await shop.verified_chat()

        answer = await talk.post("/v1/recalls")

        assert (answer.status_code, answer.json()["code"]) == (503, "memory_unreachable")
        assert len(await shop.rows("SELECT 1 FROM record_entries")) == 1
