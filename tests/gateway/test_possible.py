"""Remedies name what can work: for this brand, and for this person once they have proven who they are; never before."""

import json
from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from gateway.cedar import Cedar
from gateway.contract import AssuranceLevel, LevelName
from gateway.possible import Setup, methods_for
from gateway.replay import decide_again, entry_of
from infra.chassis.canonical import canonical_json
from infra.dev.house import House
from tests.gateway.openid_world import World, new_email, open_world
from tests.gateway.passkey_people import HOME, ORIGIN, Person, browser, device
from tests.gateway.shop import OTHER_AGENT, TSUBAKI, Shop, Talk
from tests.support.database import DatabaseMaker

LOGIN, PHONE, PASSKEY = "openid_login", "phone_approval", "passkey"
STALE = timedelta(hours=13)


@pytest.fixture(scope="module")
async def world(
    house: House, database: DatabaseMaker, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[World]:
    async with open_world(house, database, Path(tmp_path_factory.mktemp("keys")), public_url=ORIGIN) as made:
        yield made


async def remedies(talk: Talk, tier: int = 3) -> list[dict[str, Any]]:
    answer = await talk.post("/v1/decisions", action="recall", tier=tier)
    assert answer.json()["outcome"] == "deny", answer.text
    found: list[dict[str, Any]] = answer.json()["remedies"]
    return found


async def methods(talk: Talk, tier: int = 3) -> list[str]:
    (remedy,) = await remedies(talk, tier)
    named: list[str] = remedy["methods"]
    return named


async def with_passkey(shop: Shop, email: str) -> Person:
    await shop.verified_chat(email)
    person = Person(shop, browser(shop), email, device())
    added = await person.add_passkey()
    assert added.status_code == 303, added.text
    return person


async def test_a_verified_person_is_told_what_they_have_and_each_of_it_can_be_asked_for(world: World):
    nothing, key_only, linked_only = new_email(), new_email(), (await world.linked())[1]
    await with_passkey(world.shop, key_only)
    talks = [await world.shop.verified_chat(email) for email in (nothing, key_only, linked_only)]

    strong = [await methods(talk) for talk in talks]
    confirmed = [await methods(talk, 4) for talk in talks]

    assert strong == [[LOGIN], [LOGIN, PASSKEY], [LOGIN, PHONE]]
    assert confirmed == [[], [PASSKEY], []]
    for talk, named in zip(talks, strong, strict=True):
        asked = [await world.ask(talk, method) for method in named]
        assert {answer.status_code for answer in asked} == {201}
    assert (await world.ask(talks[0], PHONE)).status_code == 409, "which is why it was not named"


async def test_a_passkey_that_was_removed_is_not_named(world: World):
    email = new_email()
    person = await with_passkey(world.shop, email)
    talk = await world.shop.verified_chat(email)
    before = await methods(talk)

    removed = await person.post(await person.get(HOME), form=0)
    after = await methods(await world.shop.verified_chat(email))

    assert removed.status_code == 303, removed.text
    assert (before, after) == ([LOGIN, PASSKEY], [LOGIN])


@pytest.mark.control("UC-8.9")
async def test_nobody_learns_from_a_deny_what_somebody_else_has(world: World):
    """Claimed at the beginning, and known but with a proof that has ended: a person with everything, one with nothing,
    and one who does not exist get the same remedies to the byte."""
    nothing, everything = new_email(), (await world.linked())[1]
    await with_passkey(world.shop, everything)
    known = [await world.shop.verified_chat(email) for email in (nothing, everything)]
    proven = [await methods(talk) for talk in known]
    world.shop.later(STALE)
    claimed = [await world.shop.chat(email) for email in (nothing, everything, new_email())]

    strangers = [await remedies(talk) for talk in claimed]
    past = [await remedies(talk) for talk in known]

    assert proven == [[LOGIN], [LOGIN, PHONE, PASSKEY]], "they do differ"
    assert strangers[0] == strangers[1] == strangers[2]
    assert strangers[0] == [{"kind": "step_up", "level": "strong", "methods": [LOGIN, PASSKEY]}]
    assert past[0] == past[1]
    assert past[0] == [{"kind": "step_up", "level": "strong", "methods": [LOGIN, PHONE, PASSKEY]}]


async def test_a_brand_whose_provider_is_worth_less_names_it_for_less(world: World):
    talk = await world.shop.verified_chat(agent=OTHER_AGENT, brand_id=TSUBAKI)
    nobody = await world.shop.chat(agent=OTHER_AGENT, brand_id=TSUBAKI)

    assert await methods(talk) == []
    assert await methods(nobody, 2) == ["email_code", "sms_code", LOGIN, PASSKEY]
    assert await methods(nobody, 3) == [PASSKEY]


@pytest.mark.control("UC-D.14")
async def test_what_was_possible_is_on_record_and_the_decision_comes_out_the_same_again(world: World):
    email = new_email()
    await with_passkey(world.shop, email)
    talk = await world.shop.verified_chat(email)
    asked = (await talk.post("/v1/decisions", action="recall", tier=3)).json()

    query = "SELECT canonical FROM record_entries WHERE decision_id = :d"
    (row,) = await world.shop.rows(query, d=asked["receipt"]["decision_id"])
    entry = entry_of(bytes(row["canonical"]))

    assert entry.body["methods"] == {"strong": [LOGIN, PASSKEY]}
    assert asked["remedies"] == entry.body["remedies"]
    again = decide_again(Cedar.load(), entry).body(entry.decision_id)
    assert canonical_json(again) == canonical_json(entry.body)
    older = json.loads(json.dumps({**entry.body, "methods": None}))
    del older["methods"]
    every = decide_again(Cedar.load(), entry_of(_with_body(bytes(row["canonical"]), older)))
    assert [remedy.methods for remedy in every.remedies] == [[LOGIN, PHONE, PASSKEY]], "as older releases say"


def _with_body(canonical: bytes, body: dict[str, Any]) -> bytes:
    return canonical_json({**json.loads(canonical), "body": body})


@pytest.mark.parametrize(
    ("changes", "strong", "confirmed"),
    [
        ({}, [], []),
        ({"passkeys": True}, [PASSKEY], [PASSKEY]),
        ({"passkeys": True, "has_passkey": False}, [], []),
        ({"phone": True}, [], []),
        ({"phone": True, "somebody": True}, [PHONE], []),
        ({"phone": True, "somebody": True, "linked": False}, [], []),
        ({"provider_levels": frozenset({AssuranceLevel.VERIFIED})}, [], []),
        ({"provider_levels": frozenset({AssuranceLevel.STRONG})}, [LOGIN], []),
    ],
)
def test_each_fact_decides_about_its_own_method(changes: dict[str, Any], strong: list[str], confirmed: list[str]):
    bare: dict[str, Any] = {"passkeys": False, "provider_levels": frozenset(), "phone": False, "somebody": False}

    found = methods_for(Setup(**{**bare, **changes}))

    assert (found[LevelName.STRONG], found[LevelName.CONFIRMED]) == (strong, confirmed)
