"""Who is on the other side: claims prove nothing, codes prove once, evidence runs out."""

import asyncio
from datetime import timedelta

import pytest

from gateway.challenges import CODES_PER_CONTACT
from infra.chassis.ids import new_id
from tests.gateway.evidence import level_in, share, use
from tests.gateway.shop import (
    AGENT,
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


async def challenged(talk: Talk):
    answer = await talk.call("POST", f"/v1/conversations/{talk.conversation_id}/challenges", {"method": "email_code"})
    assert answer.status_code == 201, answer.text
    return answer.json()


async def answered(talk: Talk, challenge_id: str, code: str):
    return await talk.call("POST", f"/v1/challenges/{challenge_id}/answers", {"code": code})


def wrong(code: str):
    return f"{(int(code) + 1) % 1_000_000:06d}"


async def test_a_right_code_verifies_until_half_an_hour_passes_unused(new_shop: Shop):
    talk = await new_shop.verified_chat()
    path = f"/v1/conversations/{talk.conversation_id}"

    now = (await talk.call("GET", path)).json()
    new_shop.later(timedelta(minutes=30))
    after = (await talk.call("GET", path)).json()

    assert now["assurance_level"] == "verified"
    assert after == {
        "conversation_id": talk.conversation_id,
        "assurance_level": "anonymous",
        "level_expires_at": None,
    }


@pytest.mark.control("UC-8.3")
async def test_a_claim_says_nothing_about_whether_anybody_is_known(shop: Shop):
    known = await shop.verified_chat("known@example.com")

    first = await shop.chat("known@example.com")
    second = await shop.chat("never-seen@example.com")
    views = [(await talk.call("GET", f"/v1/conversations/{talk.conversation_id}")).json() for talk in (first, second)]
    sent = [await challenged(talk) for talk in (first, second)]

    assert known.subject_id is not None
    assert views[0] | {"conversation_id": ""} == views[1] | {"conversation_id": ""}
    assert sent[0].keys() == sent[1].keys()
    assert sent[0]["sent_to"] == "k•••@example.com"


@pytest.mark.control("UC-8.3")
async def test_a_wrong_code_costs_a_try_and_five_use_the_challenge_up(shop: Shop):
    talk = await shop.chat("guessed@example.com")
    challenge = await challenged(talk)
    code = await shop.code_sent_to("guessed@example.com")

    refused = [await answered(talk, challenge["challenge_id"], wrong(code)) for _ in range(5)]
    right_too_late = await answered(talk, challenge["challenge_id"], code)

    assert {answer.status_code for answer in [*refused, right_too_late]} == {422}
    assert right_too_late.json()["code"] == "code_refused"


@pytest.mark.control("UC-8.3")
async def test_a_code_is_good_once(shop: Shop):
    talk = await shop.chat("once@example.com")
    challenge = await challenged(talk)
    code = await shop.code_sent_to("once@example.com")

    answers = await asyncio.gather(*(answered(talk, challenge["challenge_id"], code) for _ in range(4)))

    assert sorted(answer.status_code for answer in answers) == [200, 422, 422, 422]


@pytest.mark.control("UC-8.3")
async def test_a_code_runs_out_after_ten_minutes(new_shop: Shop):
    talk = await new_shop.chat("late@example.com")
    challenge = await challenged(talk)
    code = await new_shop.code_sent_to("late@example.com")
    new_shop.later(timedelta(minutes=10))

    assert (await answered(talk, challenge["challenge_id"], code)).status_code == 422


async def test_unknown_foreign_and_wrong_codes_get_the_same_answer(shop: Shop):
    mine = await shop.chat("mine@example.com")
    same_agent = await shop.chat("sibling@example.com")
    other_brand = await shop.chat("tea@example.com", agent=OTHER_AGENT, brand_id=TSUBAKI)
    south = await shop.chat("mine@example.com", agent=SOUTH_AGENT, brand_id=SOUTHERN)
    challenge = await challenged(mine)
    code = await shop.code_sent_to("mine@example.com")

    answers = [
        await answered(mine, challenge["challenge_id"], wrong(code)),
        await answered(mine, new_id("chl"), code),
        await answered(other_brand, challenge["challenge_id"], code),
        await answered(south, challenge["challenge_id"], code),
    ]

    bodies = [answer.json() | {"request_id": None} for answer in answers]
    assert all(body == bodies[0] for body in bodies)
    assert (await answered(same_agent, challenge["challenge_id"], code)).status_code == 200
    seen = await same_agent.call("GET", f"/v1/conversations/{same_agent.conversation_id}")
    assert seen.json()["assurance_level"] == "anonymous", "the code verifies the conversation it was sent for"


async def test_others_guesses_do_not_use_up_a_persons_tries(shop: Shop):
    mine = await shop.chat("victim@example.com")
    other = await shop.chat("x@example.com", agent=OTHER_AGENT, brand_id=TSUBAKI)
    challenge = await challenged(mine)
    code = await shop.code_sent_to("victim@example.com")
    for _ in range(6):
        await answered(other, challenge["challenge_id"], wrong(code))

    assert (await answered(mine, challenge["challenge_id"], code)).status_code == 200


@pytest.mark.control("UC-8.3")
async def test_codes_are_not_sent_to_one_address_without_end_even_all_at_once(shop: Shop):
    talks = [await shop.chat("flooded@example.com") for _ in range(CODES_PER_CONTACT + 3)]
    path = "/v1/conversations/{}/challenges"

    answers = await asyncio.gather(
        *(talk.call("POST", path.format(talk.conversation_id), {"method": "email_code"}) for talk in talks)
    )

    statuses = sorted(answer.status_code for answer in answers)
    assert statuses == [201] * CODES_PER_CONTACT + [429] * 3
    assert all("retry-after" in answer.headers for answer in answers if answer.status_code == 429)


async def test_two_first_verifications_at_once_make_one_subject(shop: Shop):
    talks = [await shop.chat("twice@example.com") for _ in range(2)]
    codes = []
    for talk in talks:
        challenge = await challenged(talk)
        codes.append((talk, challenge["challenge_id"], await shop.code_sent_to("twice@example.com")))

    answers = await asyncio.gather(*(answered(*code) for code in codes))

    assert {answer.status_code for answer in answers} == {200}
    assert await shop.subject_of("twice@example.com") is not None


async def test_the_same_address_in_another_tenant_is_another_person(shop: Shop):
    north = await shop.verified_chat("everywhere@example.com")
    south = await shop.verified_chat("everywhere@example.com", agent=SOUTH_AGENT, brand_id=SOUTHERN)

    assert north.subject_id != south.subject_id


@pytest.mark.control("UC-8.3")
async def test_stored_contact_points_and_codes_cannot_be_read(shop: Shop):
    await shop.verified_chat("sealed-person@example.com")
    code = await shop.code_sent_to("sealed-person@example.com")

    rows = await shop.rows(
        "SELECT to_jsonb(c)::text AS row FROM contact_points c UNION ALL SELECT to_jsonb(h)::text FROM challenges h"
        " UNION ALL SELECT to_jsonb(v)::text FROM conversations v"
    )

    stored = " ".join(row["row"] for row in rows)
    assert "sealed-person" not in stored
    assert b"sealed-person".hex() not in stored
    assert f'"{code}"' not in stored


async def test_a_closed_conversation_is_not_there_any_more(shop: Shop):
    talk = await shop.verified_chat()
    path = f"/v1/conversations/{talk.conversation_id}"

    closed = await talk.call("DELETE", path)
    after = [
        await talk.call("GET", path),
        await talk.call("DELETE", path),
        await talk.call("POST", f"{path}/challenges", {"method": "email_code"}),
        await talk.post("/v1/recalls"),
    ]

    assert closed.status_code == 204
    assert {answer.status_code for answer in after} == {404}


@pytest.mark.control("UC-7.3")
async def test_another_agents_conversation_looks_like_a_missing_one(shop: Shop):
    talk = await shop.verified_chat()
    paths = [f"/v1/conversations/{talk.conversation_id}", f"/v1/conversations/{new_id('cnv')}"]

    answers = [
        await shop.call("GET", path, await shop.bearer(agent))
        for path in paths
        for agent in (OTHER_AGENT, SOUTH_AGENT, MCP)
    ]

    bodies = [answer.json() | {"request_id": None} for answer in answers]
    assert {answer.status_code for answer in answers} == {404}
    assert all(body == bodies[0] for body in bodies)


@pytest.mark.parametrize(
    ("opening", "status", "code"),
    [
        ({"brand_id": TSUBAKI, "channel": "chat"}, 404, "not_found"),
        ({"brand_id": LARKSPUR, "channel": "assistant"}, 422, "fields_invalid"),
        ({"brand_id": LARKSPUR, "channel": "telepathy"}, 422, "fields_invalid"),
        ({"brand_id": LARKSPUR, "channel": "chat", "assurance_level": "strong"}, 422, "fields_invalid"),
        ({"brand_id": LARKSPUR, "channel": "chat", "subject_id": "sub_ada"}, 422, "fields_invalid"),
    ],
)
async def test_what_cannot_be_opened(shop: Shop, opening: dict[str, str], status: int, code: str):
    answer = await shop.call("POST", "/v1/conversations", await shop.bearer(AGENT), opening)

    assert (answer.status_code, answer.json()["code"]) == (status, code)


@pytest.mark.parametrize(
    ("kind", "value", "code"),
    [
        ("email", "not an address", "contact_point_invalid"),
        ("email", "ada@localhost", "contact_point_invalid"),
        ("email", "ada\u200b@example.com", "contact_point_invalid"),
        ("email", f"{GOOD_CARD}@example.com", "card_number_refused"),
        ("phone", "555-1234", "contact_point_invalid"),
        ("phone", GOOD_CARD, "card_number_refused"),
    ],
)
async def test_an_unusable_contact_point_is_refused_without_being_repeated(
    shop: Shop, kind: str, value: str, code: str
):
    opening = {"brand_id": LARKSPUR, "channel": "chat", "contact_point": {"kind": kind, "value": value}}

    answer = await shop.call("POST", "/v1/conversations", await shop.bearer(AGENT), opening)

    assert (answer.status_code, answer.json()["code"]) == (422, code)
    assert value not in answer.text


async def test_without_an_address_there_is_nobody_to_challenge(shop: Shop):
    nobody = await shop.chat(None)

    answer = await nobody.call(
        "POST", f"/v1/conversations/{nobody.conversation_id}/challenges", {"method": "email_code"}
    )

    assert (answer.status_code, answer.json()["code"]) == (409, "challenge_impossible")


async def test_evidence_that_ran_out_is_renewed_by_a_code_to_the_same_person(new_shop: Shop):
    talk = await new_shop.verified_chat("again@example.com")
    new_shop.later(timedelta(hours=13))
    challenge = await challenged(talk)
    code = await new_shop.code_sent_to("again@example.com")

    answer = await answered(talk, challenge["challenge_id"], code)

    assert answer.json()["assurance_level"] == "verified"


async def test_an_assistant_steps_up_again_by_a_code_to_its_person(new_shop: Shop):
    talk = await new_shop.assistant("assisted@example.com")
    new_shop.later(timedelta(minutes=1))
    challenge = await challenged(talk)
    code = await new_shop.code_sent_to("assisted@example.com")

    answer = await answered(talk, challenge["challenge_id"], code)

    assert (challenge["sent_to"], answer.status_code) == ("a•••@example.com", 200)


async def test_evidence_that_is_used_does_not_idle_away_and_looking_is_not_using(new_shop: Shop):
    used, watched = await new_shop.verified_chat(), await new_shop.verified_chat()
    for _ in range(3):
        new_shop.later(timedelta(minutes=20))
        await use(used)
        await level_in(watched)

    assert [await level_in(talk) for talk in (used, watched)] == ["verified", "anonymous"]


@pytest.mark.control("UC-8.9")
async def test_what_has_idled_away_is_not_woken_by_asking_again(new_shop: Shop):
    talk = await new_shop.verified_chat()
    new_shop.later(timedelta(minutes=30))

    assert [await use(talk) for _ in range(2)] == [False, False]
    assert await level_in(talk) == "anonymous"


@pytest.mark.control("UC-8.9")
async def test_a_code_stops_counting_when_its_address_becomes_another_persons_too(shop: Shop):
    talk, other = await shop.verified_chat("soon-shared@example.com"), await shop.verified_chat()
    before = await level_in(talk)

    await share(shop, "email", "soon-shared@example.com", other)

    assert (before, await level_in(talk)) == ("verified", "anonymous")
