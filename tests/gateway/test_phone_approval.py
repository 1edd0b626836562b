"""Approval on the phone: asked, answered, polled no faster than the provider allows, and never for somebody else."""

import asyncio
from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import text

from infra.chassis.engine import tenant_transaction
from infra.dev.house import House
from tests.gateway.openid_world import World, new_email, open_world
from tests.gateway.shop import OTHER_AGENT, TSUBAKI, Talk, open_shop
from tests.support.database import DatabaseMaker

INTERVAL = timedelta(seconds=5)


@pytest.fixture(scope="module")
async def ground(
    house: House, database: DatabaseMaker, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[World]:
    async with open_world(house, database, Path(tmp_path_factory.mktemp("keys"))) as made:
        yield made


@pytest.fixture
def world(ground: World) -> World:
    ground.realm.faults.clear()
    return ground


async def asked(world: World) -> tuple[Talk, dict[str, Any], str]:
    """Somebody whom the provider knows, verified by e-mail in this conversation, and asked on the phone."""
    _, email = await world.linked()
    talk = await world.shop.verified_chat(email)
    return talk, await world.challenge(talk, "phone_approval"), email


def press(world: World, email: str, *, approve: bool = True) -> str:
    """On the newest request of this person's phone; what it showed."""
    (newest, *_) = world.realm.waiting(email)
    assert world.realm.answer(newest.auth_req_id, approved=approve)
    return newest.binding_message


@pytest.mark.control("UC-8.7")
async def test_an_approval_on_the_phone_is_strong(world: World):
    talk, challenge, email = await asked(world)
    shown = press(world, email)
    before = await world.state(talk, challenge)
    world.shop.later(INTERVAL)

    after = await world.state(talk, challenge)

    assert (before, after) == ("pending", "passed")
    assert await world.level(talk) == "strong"
    assert shown == f"Larkspur: {challenge['match_code']}"
    assert challenge["poll_after_seconds"] == 5
    assert "url" not in challenge


async def test_what_was_refused_on_the_phone_leaves_no_evidence(world: World):
    talk, challenge, email = await asked(world)
    press(world, email, approve=False)
    world.shop.later(INTERVAL)

    assert await world.state(talk, challenge) == "refused"
    world.shop.later(INTERVAL)
    assert await world.state(talk, challenge) == "refused"
    assert await world.level(talk) == "verified"


@pytest.mark.control("UC-8.7")
async def test_the_provider_is_polled_no_faster_than_it_allows_however_often_and_by_however_many_one_asks(world: World):
    talk, challenge, email = await asked(world)
    before = world.realm.polls
    world.shop.later(INTERVAL)

    async with open_shop(world.shop.ground, keys_folder=world.keys_folder) as other:
        path = f"/v1/challenges/{challenge['challenge_id']}"
        bearer = await talk.bearer()
        await asyncio.gather(*(shop.call("GET", path, bearer) for shop in (world.shop, other) for _ in range(5)))
    polled = world.realm.polls - before
    press(world, email)
    world.shop.later(INTERVAL)

    assert polled == 1
    assert await world.state(talk, challenge) == "passed"


async def test_a_provider_that_says_slow_down_is_asked_later(world: World):
    talk, challenge, email = await asked(world)
    press(world, email)
    world.realm.faults.append("slow_down")
    world.shop.later(INTERVAL)
    first = await world.state(talk, challenge)
    polls = world.realm.polls
    world.shop.later(INTERVAL)
    second = await world.state(talk, challenge)

    assert (first, second, world.realm.polls) == ("pending", "pending", polls)
    world.shop.later(INTERVAL)
    assert await world.state(talk, challenge) == "passed"


async def test_what_is_out_survives_a_restart(world: World):
    talk, challenge, email = await asked(world)
    press(world, email)
    world.shop.later(INTERVAL)
    bearer = await talk.bearer()

    async with open_shop(world.shop.ground, keys_folder=world.keys_folder) as restarted:
        answer = await restarted.call("GET", f"/v1/challenges/{challenge['challenge_id']}", bearer)

    assert answer.json()["state"] == "passed"


@pytest.mark.control("UC-8.7")
@pytest.mark.parametrize(
    "fault",
    [
        "other_subject", "other_audience", "expired", "forged_key", "alg_none", "issued_long_ago", "wrong_at_hash",
        "other_issuer",
    ],
)  # fmt: skip
async def test_a_wrong_answer_of_the_provider_leaves_no_evidence(world: World, fault: str):
    talk, challenge, email = await asked(world)
    press(world, email)
    world.realm.faults.append(fault)
    world.shop.later(INTERVAL)

    assert await world.state(talk, challenge) == "failed"
    assert world.realm.faults == []
    assert await world.level(talk) == "verified"


async def test_a_request_that_nobody_answers_expires(world: World):
    talk, challenge, _ = await asked(world)
    world.shop.later(timedelta(seconds=121))

    assert await world.state(talk, challenge) == "expired"
    assert await world.level(talk) == "verified"


async def test_an_approval_after_our_own_limit_comes_too_late_whatever_the_provider_promised(world: World):
    _, email = await world.linked()
    talk = await world.shop.verified_chat(email)
    world.realm.faults.append("long_expiry")
    challenge = await world.challenge(talk, "phone_approval")
    world.shop.later(timedelta(minutes=5, seconds=1))
    press(world, email)

    assert await world.state(talk, challenge) == "expired"
    assert await world.level(talk) == "verified"


async def test_a_request_id_that_was_given_before_is_not_used_again(world: World):
    talk, first, email = await asked(world)
    press(world, email)
    world.realm.faults.append("replayed_auth_req_id")

    second = await world.challenge(talk, "phone_approval")
    world.shop.later(INTERVAL)

    assert await world.state(talk, second) == "failed"
    assert await world.state(talk, first) != "passed", "the provider's own request was overwritten by the replay"
    assert await world.level(talk) == "verified"


async def test_while_the_provider_is_away_the_answer_is_503_and_the_approval_is_not_lost(world: World):
    talk, challenge, email = await asked(world)
    press(world, email)
    world.realm.faults.append("unavailable")
    world.shop.later(INTERVAL)

    away = await talk.call("GET", f"/v1/challenges/{challenge['challenge_id']}")
    world.shop.later(INTERVAL)

    assert (away.status_code, away.json()["code"]) == (503, "provider_unreachable")
    assert "retry-after" in away.headers
    assert await world.state(talk, challenge) == "passed"


async def test_asking_while_the_provider_is_away_is_503(world: World):
    _, email = await world.linked()
    talk = await world.shop.verified_chat(email)
    world.realm.faults.extend(["unavailable"] * 6)

    answers = [await world.ask(talk, "phone_approval") for _ in range(6)]
    back = await world.ask(talk, "phone_approval")

    assert {(answer.status_code, answer.json()["code"]) for answer in answers} == {(503, "provider_unreachable")}
    assert back.status_code == 201, "what never reached the phone does not count against its limit"


async def test_nobody_is_asked_whom_the_conversation_does_not_know_or_the_provider_does_not(world: World):
    claimed = await world.shop.chat((await world.linked())[1])
    unlinked = await world.shop.verified_chat(new_email())
    elsewhere = await world.shop.verified_chat(agent=OTHER_AGENT, brand_id=TSUBAKI)

    answers = [await world.ask(talk, "phone_approval") for talk in (claimed, unlinked, elsewhere)]

    assert [answer.status_code for answer in answers] == [409, 409, 409]
    assert len({answer.json()["detail"] for answer in answers}) == 1, "and the three are not told apart"


@pytest.mark.control("UC-8.7")
async def test_a_person_is_not_asked_until_they_press_approve(world: World):
    _, email = await world.linked()
    talks = [await world.shop.verified_chat(email) for _ in range(2)]

    answers = await asyncio.gather(*(world.ask(talk, "phone_approval") for talk in talks * 4))

    assert sorted(answer.status_code for answer in answers) == [201] * 5 + [429] * 3
    assert len(world.realm.waiting(email)) == 5


async def test_an_approval_for_a_conversation_that_was_closed_meanwhile_attaches_nothing(world: World):
    talk, challenge, email = await asked(world)
    press(world, email)
    await talk.call("DELETE", f"/v1/conversations/{talk.conversation_id}")
    world.shop.later(INTERVAL)

    answer = await talk.call("GET", f"/v1/challenges/{challenge['challenge_id']}")
    rows = await world.shop.rows("SELECT kind FROM evidence WHERE conversation_id = :c", c=talk.conversation_id)

    assert answer.status_code == 404
    assert [row["kind"] for row in rows] == ["email_code"]


async def test_a_phone_cannot_be_given_another_contact_point(world: World):
    _, email = await world.linked()
    talk = await world.shop.verified_chat(email)

    answer = await world.ask(talk, "phone_approval", contact_point={"kind": "email", "value": new_email()})

    assert answer.status_code == 422
    assert world.realm.waiting(email) == []


async def test_a_process_that_died_before_it_heard_from_the_provider_leaves_a_request_that_ends(world: World):
    """As it is stored before the phone is asked: pending, with nothing to poll with."""
    talk, challenge, email = await asked(world)
    press(world, email)
    async with tenant_transaction(world.shop.gateway.engine, talk.tenant_id) as tx:
        key = {"c": challenge["challenge_id"]}
        await tx.execute(text("UPDATE factor_challenges SET auth_req_id = NULL WHERE challenge_id = :c"), key)
    world.shop.later(INTERVAL)
    waiting = await world.state(talk, challenge)
    world.shop.later(timedelta(minutes=5))

    assert (waiting, await world.state(talk, challenge)) == ("pending", "expired")
    assert await world.level(talk) == "verified"
