"""Login at an OpenID provider, from the link in a conversation to its evidence; and everything that must not get in."""

from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from infra.dev.house import House
from tests.gateway.openid_world import (
    STRONG_WAY,
    UNSAID_WAY,
    WEAK_WAY,
    Person,
    World,
    new_email,
    open_world,
    query_of,
)
from tests.gateway.shop import OTHER_AGENT, SOUTH_AGENT, SOUTHERN, TSUBAKI
from tests.support.database import DatabaseMaker


@pytest.fixture(scope="module")
async def ground(
    house: House, database: DatabaseMaker, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[World]:
    async with open_world(house, database, Path(tmp_path_factory.mktemp("keys"))) as made:
        yield made


@pytest.fixture
def world(ground: World) -> World:
    for realm in (ground.realm, ground.other_realm):
        realm.faults.clear()
    return ground


async def signed_in(world: World, email: str, way: str = STRONG_WAY) -> tuple[Any, dict[str, Any], Person, Any]:
    talk, person = await world.shop.chat(), world.person()
    challenge = await world.challenge(talk)
    page = await person.sign_in(challenge["url"], email, way)
    return talk, challenge, person, page


@pytest.mark.control("UC-8.5")
@pytest.mark.parametrize(("way", "level"), [(STRONG_WAY, "strong"), (WEAK_WAY, "verified")])
async def test_a_login_at_the_provider_gives_the_level_its_acr_is_mapped_to(world: World, way: str, level: str):
    talk, challenge, _, page = await signed_in(world, new_email(), way)

    assert page.status_code == 200, page.text
    assert "That worked" in page.text
    assert await world.state(talk, challenge) == "passed"
    assert await world.level(talk) == level


async def test_the_link_shows_the_code_that_the_agent_was_given_and_holds_nothing_else(world: World):
    talk = await world.shop.chat(new_email())
    challenge = await world.challenge(talk)

    page = await world.person().get(challenge["url"])

    assert challenge["match_code"] in page.text
    assert challenge["challenge_id"] not in challenge["url"]
    assert talk.conversation_id not in page.text
    assert page.headers["cache-control"] == "no-store"
    assert await world.state(talk, challenge) == "pending", "looking changes nothing"


async def test_who_signed_in_once_is_the_same_subject_in_the_next_conversation(world: World):
    email = new_email()
    first, *_ = await signed_in(world, email)
    second, *_ = await signed_in(world, email)

    assert await world.subject(first) == await world.subject(second) is not None


async def test_a_verified_address_finds_the_subject_who_has_it(world: World):
    known = await world.shop.verified_chat(email := new_email())

    talk, *_ = await signed_in(world, email)

    assert await world.subject(talk) == known.subject_id


@pytest.mark.parametrize("fault", ["unverified_email", "no_email"])
async def test_an_address_nobody_vouches_for_links_nobody(world: World, fault: str):
    await world.shop.verified_chat(email := new_email())
    world.realm.faults.append(fault)

    talk, challenge, _, page = await signed_in(world, email)

    assert page.status_code == 409
    assert await world.subject(talk) is None
    assert (await world.state(talk, challenge), await world.level(talk)) == ("pending", "anonymous")


@pytest.mark.control("UC-8.5")
async def test_another_persons_login_never_attaches_to_a_conversation(world: World):
    talk = await world.shop.verified_chat()
    challenge = await world.challenge(talk)
    before = await world.subject(talk)

    page = await world.person().sign_in(challenge["url"], (await world.linked())[1])

    assert page.status_code == 409
    assert (await world.subject(talk), await world.level(talk)) == (before, "verified")


async def test_beside_verified_evidence_the_first_login_links_and_a_second_account_does_not(world: World):
    talk = await world.shop.verified_chat()
    page = await world.person().sign_in((await world.challenge(talk))["url"], new_email())

    other = await world.person().sign_in((await world.challenge(talk))["url"], new_email())

    assert (page.status_code, other.status_code) == (200, 409)
    assert await world.level(talk) == "strong"


async def test_a_provider_whose_word_about_addresses_is_not_taken_links_only_beside_other_evidence(world: World):
    bare = await world.shop.chat(new_email(), agent=OTHER_AGENT, brand_id=TSUBAKI)
    known = await world.shop.verified_chat(email := new_email(), agent=OTHER_AGENT, brand_id=TSUBAKI)

    alone = await world.person().sign_in((await world.challenge(bare))["url"], new_email(), UNSAID_WAY)
    beside = await world.person().sign_in((await world.challenge(known))["url"], email, UNSAID_WAY)

    assert (alone.status_code, beside.status_code) == (409, 200), (alone.text, beside.text)
    assert await world.level(known) == "verified"


async def test_a_way_of_signing_in_that_is_not_mapped_is_worth_nothing(world: World):
    talk, challenge, _, page = await signed_in(world, new_email(), UNSAID_WAY)

    assert page.status_code == 422
    assert "safer way" in page.text
    assert (await world.state(talk, challenge), await world.level(talk)) == ("pending", "anonymous")


@pytest.mark.control("UC-8.5")
@pytest.mark.parametrize(
    "fault",
    [
        "wrong_nonce", "no_nonce", "alg_none", "hmac_with_public_key", "other_algorithm", "other_audience",
        "second_audience", "other_azp", "expired", "not_yet", "issued_long_ago", "other_issuer", "forged_key",
        "unknown_kid", "no_auth_time", "old_auth_time", "wrong_at_hash", "access_token_type", "no_subject",
        "duplicate_claim", "callback_other_issuer", "callback_no_issuer",
    ],
)  # fmt: skip
async def test_a_provider_that_answers_wrongly_shows_nobody(world: World, fault: str):
    world.realm.faults.append(fault)

    talk, challenge, person, page = await signed_in(world, email := new_email())

    assert page.status_code == 422, page.text
    assert world.realm.faults == []
    assert (await world.subject(talk), await world.state(talk, challenge)) == (None, "pending")
    again = await person.sign_in(challenge["url"], email)
    assert again.status_code == 200, "and nothing is lost: the person may try again"


async def test_what_the_provider_answers_is_good_once_and_in_the_browser_that_was_sent(world: World):
    talk, person, thief = await world.shop.chat(), world.person(), world.person()
    challenge = await world.challenge(talk)
    back = await person.answered(await person.at_provider(challenge["url"]), new_email())
    await thief.at_provider(challenge["url"])

    stolen = await thief.get(back)
    first = await person.get(back)
    second = await person.get(back)

    assert [stolen.status_code, first.status_code, second.status_code] == [410, 200, 410]


async def test_a_code_brought_to_another_brands_address_is_not_redeemed(world: World):
    person = world.person()
    challenge = await world.challenge(await world.shop.chat())
    back = await person.answered(await person.at_provider(challenge["url"]), new_email())

    page = await person.get(back.replace("brd_larkspur", TSUBAKI))

    assert page.status_code == 410


@pytest.mark.parametrize("change", ["state", "code", "twice", "long", "none"])
async def test_an_answer_that_was_tampered_with_is_refused(world: World, change: str):
    person = world.person()
    challenge = await world.challenge(talk := await world.shop.chat())
    back = await person.answered(await person.at_provider(challenge["url"]), new_email())
    base, _, query = back.partition("?")
    changed = {
        "state": query.replace("state=", "state=x"),
        "code": query.replace("code=", "code=x"),
        "twice": f"{query}&code=again",
        "long": query.replace("code=", "code=" + "x" * 5_000),
        "none": "",
    }

    page = await person.get(f"{base}?{changed[change]}")

    assert page.status_code in {410, 422}
    assert await world.level(talk) == "anonymous"


async def test_a_person_who_refuses_at_the_provider_or_on_our_page_has_refused(world: World):
    talk, person = await world.shop.chat(), world.person()
    here, there = await world.challenge(talk), await world.challenge(talk)

    ours = await person.press(await person.get(here["url"]), "refuse")
    back = await person.answered(await person.at_provider(there["url"]), new_email(), answer="refuse")
    theirs = await person.get(back)

    assert (ours.status_code, theirs.status_code) == (200, 200)
    assert [await world.state(talk, challenge) for challenge in (here, there)] == ["refused", "refused"]
    assert (await person.get(here["url"])).status_code == 410


async def test_a_form_of_another_browser_is_refused(world: World):
    challenge = await world.challenge(talk := await world.shop.chat())
    page = await world.person().get(challenge["url"])

    sent = await world.person().press(page, "go")

    assert sent.status_code == 403
    assert await world.state(talk, challenge) == "pending"


async def test_the_provider_being_away_is_said_and_nothing_is_lost(world: World):
    talk, person = await world.shop.chat(), world.person()
    challenge = await world.challenge(talk)
    back = await person.answered(await person.at_provider(challenge["url"]), email := new_email())
    world.realm.faults.append("unavailable")

    away = await person.get(back)

    assert away.status_code == 503
    assert await world.state(talk, challenge) == "pending"
    assert (await person.sign_in(challenge["url"], email)).status_code == 200


async def test_a_challenge_is_over_after_ten_minutes(house: House, database: DatabaseMaker, tmp_path: Path):
    async with open_world(house, database, tmp_path) as world:
        talk, person = await world.shop.chat(), world.person()
        challenge = await world.challenge(talk)
        back = await person.answered(await person.at_provider(challenge["url"]), new_email())
        world.shop.later(timedelta(minutes=10, seconds=1))

        assert (await person.get(back)).status_code == 410
        assert (await person.get(challenge["url"])).status_code == 410
        assert await world.state(talk, challenge) == "expired"


async def test_a_rotated_key_is_fetched_once_and_made_up_ones_not_more_than_once_a_minute(
    house: House, database: DatabaseMaker, tmp_path: Path
):
    async with open_world(house, database, tmp_path) as world:
        await signed_in(world, email := new_email())
        world.realm.signer.rotate()
        rotated = (await signed_in(world, email))[-1]
        world.realm.signer.rotate()
        too_soon = (await signed_in(world, email))[-1]
        world.shop.later(timedelta(seconds=61))
        later = (await signed_in(world, email))[-1]

        assert [page.status_code for page in (rotated, too_soon, later)] == [200, 422, 200]


async def test_a_provider_that_names_another_issuer_in_its_metadata_is_not_used(
    house: House, database: DatabaseMaker, tmp_path: Path
):
    async with open_world(house, database, tmp_path) as world:
        world.realm.faults.append("discovery_other_issuer")
        challenge = await world.challenge(await world.shop.chat())
        person = world.person()

        refused = await person.press(await person.get(challenge["url"]), "go")

        assert refused.status_code == 503
        assert (await person.sign_in(challenge["url"], new_email())).status_code == 200


async def test_a_brand_without_a_provider_offers_no_login(world: World):
    talk = await world.shop.chat(agent=SOUTH_AGENT, brand_id=SOUTHERN)

    answer = await world.ask(talk, "openid_login")

    assert (answer.status_code, answer.json()["code"]) == (409, "method_unavailable")


async def test_another_agents_challenge_is_not_there(world: World):
    challenge = await world.challenge(await world.shop.chat())
    other = await world.shop.chat(agent=OTHER_AGENT, brand_id=TSUBAKI)

    answer = await other.call("GET", f"/v1/challenges/{challenge['challenge_id']}")
    missing = await other.call("GET", "/v1/challenges/chl_missing")

    assert (
        (answer.status_code, answer.json()["code"])
        == (missing.status_code, missing.json()["code"])
        == (404, "not_found")
    )


async def test_a_conversation_cannot_ask_without_end(world: World):
    talk = await world.shop.chat()

    answers = [(await world.ask(talk, "openid_login")).status_code for _ in range(21)]

    assert answers == [201] * 20 + [429]


async def test_what_is_sent_to_the_provider_asks_for_no_more_than_is_needed(world: World):
    person = world.person()
    challenge = await world.challenge(await world.shop.chat())

    asked = query_of(await person.at_provider(challenge["url"]))

    assert asked["scope"] == "openid email"
    assert (asked["code_challenge_method"], asked["max_age"]) == ("S256", "900")
    assert {"code_verifier", "client_secret", "login_hint"}.isdisjoint(asked)


@pytest.mark.control("UC-8.5")
async def test_logs_hold_nothing_that_could_be_used_or_that_says_who_it_was(
    world: World, capfd: pytest.CaptureFixture[str]
):
    person, email = world.person(), new_email()
    challenge = await world.challenge(await world.shop.chat())
    world.realm.faults.append("forged_key")
    back = await person.answered(location := await person.at_provider(challenge["url"]), email)
    await person.get(back)
    again = await person.answered(await person.at_provider(challenge["url"]), email)
    await person.get(again)

    logged = "".join(capfd.readouterr())
    secrets = [query_of(url)[name] for url in (back, again) for name in ("code", "state")]
    secrets += [query_of(location)["nonce"], challenge["url"].rpartition("/")[2], email, world.realm.sub_of(email)]
    assert "login_refused" in logged, "and it does say what happened"
    assert [secret for secret in secrets if secret in logged] == []
