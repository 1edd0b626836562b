"""Passkeys over HTTP with an authenticator in software: added with care, good for one page, in one browser, once."""

import asyncio
import secrets
from collections.abc import AsyncIterator
from datetime import timedelta
from typing import Any

import httpx2
import pytest

from gateway.confirmations import confirmable
from infra.dev.house import House
from tests.gateway.authenticator import COPIED, MAY_BE_COPIED, PRESENT, decoded, encoded, options_of
from tests.gateway.passkey_people import (
    HOME,
    ORIGIN,
    Person,
    ask,
    browser,
    device,
    known_person,
    level,
    person_with_passkey,
    state,
)
from tests.gateway.shop import CART, SOUTH_AGENT, SOUTHERN, Shop, open_shop, prepare
from tests.support.database import DatabaseMaker
from tests.support.identity import form_of


@pytest.fixture(scope="module")
async def shop(house: House, database: DatabaseMaker) -> AsyncIterator[Shop]:
    async with open_shop(await prepare(house, database), public_url=ORIGIN) as opened:
        yield opened


@pytest.mark.control("UC-8.6")
async def test_a_passkey_makes_the_conversation_strong(shop: Shop):
    person, talk = await person_with_passkey(shop)
    challenge = await ask(talk)

    page = await person.use(challenge["url"])

    assert page.status_code == 200, page.text
    assert (await state(talk, challenge), await level(talk)) == ("passed", "strong")


async def test_a_passkey_alone_says_who_it_is(shop: Shop):
    person, known = await person_with_passkey(shop)
    talk = await shop.chat()

    await person.use((await ask(talk))["url"])

    rows = await shop.rows("SELECT subject_id FROM conversations WHERE conversation_id = :c", c=talk.conversation_id)
    assert (rows[0]["subject_id"], await level(talk)) == (known.subject_id, "strong")


@pytest.mark.control("UC-8.6")
@pytest.mark.parametrize(
    "changes",
    [
        {"origin": "http://evil.example"},
        {"origin": "http://localhost:7101"},
        {"rp_id": "evil.example"},
        {"flags": PRESENT},
        {"flags": 0x04},
        {"challenge": encoded(secrets.token_bytes(32))},
        {"type": "webauthn.create"},
        {"cross_origin": True},
        {"key": device().key},
        {"handle": secrets.token_bytes(32)},
    ],
    ids=["site", "port", "rp id", "unverified", "absent", "challenge", "type", "frame", "key", "handle"],
)
async def test_an_answer_that_is_for_anything_else_is_refused(shop: Shop, changes: dict[str, Any]):
    person, talk = await person_with_passkey(shop)
    challenge = await ask(talk)

    page = await person.use(challenge["url"], **changes)

    assert page.status_code == 422, page.text
    assert (await state(talk, challenge), await level(talk)) == ("pending", "verified")
    assert (await person.use(challenge["url"])).status_code == 200, "and the person may try again"


@pytest.mark.control("UC-8.6")
async def test_an_answer_is_good_once_and_for_one_page(shop: Shop):
    person, talk = await person_with_passkey(shop)
    first, second = await ask(talk), await ask(talk)
    page, other = await person.get(first["url"]), await person.get(second["url"])
    credential = person.device.use(options_of(page.text))

    swapped = await person.post(other, credential=credential, answer="go")
    used = await asyncio.gather(*(person.post(page, credential=credential, answer="go") for _ in range(3)))

    assert swapped.status_code == 422
    assert sorted(one.status_code for one in used) == [200, 410, 410]
    assert await state(talk, second) == "pending"


async def test_a_page_of_another_browser_is_refused(shop: Shop):
    person, talk = await person_with_passkey(shop)
    challenge = await ask(talk)
    page = await person.get(challenge["url"])
    thief = Person(shop, browser(shop), person.email, person.device)
    own = await thief.get(challenge["url"])
    stolen = form_of(page.text)[1]["visit"]

    without = await thief.post(page, credential=person.device.use(options_of(page.text)), answer="go")
    with_own_form = await thief.post(
        own, credential=person.device.use(options_of(page.text)), visit=stolen, answer="go"
    )

    assert (without.status_code, with_own_form.status_code) == (403, 410)
    assert await state(talk, challenge) == "pending"


async def test_another_persons_passkey_and_one_that_is_not_known_are_refused(shop: Shop):
    _, talk = await person_with_passkey(shop)
    other, _ = await person_with_passkey(shop)
    challenge = await ask(talk)

    theirs = await other.use(challenge["url"])
    unknown = device()
    unknown.handle = other.device.handle
    nobodys = await other.use(challenge["url"], unknown)

    assert (theirs.status_code, nobodys.status_code) == (409, 422)
    assert (await state(talk, challenge), await level(talk)) == ("pending", "verified")


async def test_a_passkey_of_another_tenant_is_not_known(shop: Shop):
    person, _ = await person_with_passkey(shop)
    foreign = await shop.chat(agent=SOUTH_AGENT, brand_id=SOUTHERN)

    page = await person.use((await ask(foreign))["url"])

    assert page.status_code == 422
    assert await level(foreign) == "anonymous"


@pytest.mark.control("UC-8.6")
async def test_a_counter_that_runs_backwards_stops_the_passkey(shop: Shop):
    person, talk = await known_person(shop)
    person.device.counter = 5
    await person.add_passkey()
    await person.use((await ask(talk))["url"])

    copy = await person.use((await ask(talk))["url"], counter=3)
    after = await person.use((await ask(talk))["url"])
    page = await person.get(HOME)

    assert (copy.status_code, after.status_code) == (422, 422)
    assert "there may be a copy of it" in page.text


@pytest.mark.parametrize("credential", ["", "{}", "[]", "null", '{"rawId": 1}', "x" * 20_000, '{"rawId": "AAAA"}'])
async def test_what_is_no_credential_is_refused(shop: Shop, credential: str):
    person, talk = await person_with_passkey(shop)
    page = await person.get((await ask(talk))["url"])

    refused = await person.post(page, credential=credential, answer="go")

    assert refused.status_code == 422


async def test_the_person_may_refuse(shop: Shop):
    person, talk = await person_with_passkey(shop)
    challenge = await ask(talk)

    await person.post(await person.get(challenge["url"]))

    assert await state(talk, challenge) == "refused"


@pytest.mark.control("UC-8.6")
async def test_confirming_a_payment_shows_it_and_confirms_it_and_nothing_else(shop: Shop):
    person, talk = await person_with_passkey(shop)
    checkout = await shop.checkout(4_000)
    challenge = await ask(talk, confirm={"type": "purchase", "checkout_id": checkout, "cart_sha256": CART})

    page = await person.get(challenge["url"])
    done = await person.post(page, credential=person.device.use(options_of(page.text)), answer="go")

    assert done.status_code == 200
    assert all(shown in page.text for shown in ("40.00 USD", "One lamp", "Larkspur", challenge["match_code"]))
    parameters = {"checkout_id": checkout, "cart_sha256": CART, "amount_minor": 4_000, "currency": "USD"}
    rows = await shop.rows(
        "SELECT kind, request_sha256 FROM evidence WHERE conversation_id = :c ORDER BY kind", c=talk.conversation_id
    )
    assert [(row["kind"], row["request_sha256"]) for row in rows] == [
        ("email_code", None),
        ("passkey", None),
        ("request_confirmation", confirmable("purchase", talk.conversation_id, parameters)),
    ]


async def test_a_confirmed_recall_is_decided_at_confirmed_once(shop: Shop):
    person, talk = await person_with_passkey(shop)
    challenge = await ask(talk, confirm={"type": "recall", "query": "passport", "limit": 10})
    shown = await person.get(challenge["url"])
    await person.post(shown, credential=person.device.use(options_of(shown.text)), answer="go")

    await talk.post("/v1/recalls", query="another", limit=10)
    before = await shop.rows("SELECT spent_at FROM evidence WHERE conversation_id = :c", c=talk.conversation_id)
    await talk.post("/v1/recalls", query="passport", limit=10)
    after = await shop.rows("SELECT spent_at FROM evidence WHERE conversation_id = :c", c=talk.conversation_id)

    assert "passport" in shown.text
    assert [row["spent_at"] for row in before] == [None] * 3
    assert sum(row["spent_at"] is not None for row in after) == 1


@pytest.mark.parametrize("known", [True, False])
async def test_only_what_is_ones_own_can_be_confirmed(shop: Shop, *, known: bool):
    talk = (await known_person(shop))[1] if known else await shop.chat()
    checkout = await shop.checkout() if not known else "cko_unknown"
    confirm = {"type": "purchase", "checkout_id": checkout, "cart_sha256": CART}
    path = f"/v1/conversations/{talk.conversation_id}/challenges"

    passkey = await talk.call("POST", path, {"method": "passkey", "confirm": confirm})
    code = await talk.call("POST", path, {"method": "email_code", "confirm": confirm})

    assert (passkey.status_code, code.status_code) == (404, 422)


async def test_a_login_is_needed_to_see_ones_passkeys_and_it_must_be_fresh(house: House, database: DatabaseMaker):
    async with open_shop(await prepare(house, database), public_url=ORIGIN) as shop:
        person, _ = await known_person(shop)
        before = await person.get(HOME)
        page = await person.log_in()
        shop.later(timedelta(minutes=16))
        after = await person.get(HOME)
        posted = await person.post(page, credential=person.device.make(options_of(page.text)))

        assert "Sign in with your e-mail" in before.text
        assert "You have none yet" in page.text
        assert "Sign in with your e-mail" in after.text
        assert posted.headers["location"] == HOME
        assert await shop.rows("SELECT 1 FROM passkeys") == []


@pytest.mark.control("UC-8.6")
async def test_the_mailbox_is_told_and_the_record_kept_when_a_passkey_is_added_or_removed(shop: Shop):
    person, _ = await person_with_passkey(shop)
    page = await person.get(HOME)

    removed = await person.post(page)

    async with httpx2.AsyncClient() as inbox:
        sent = await inbox.get(f"{shop.house.urls['inbox']}/messages", params={"to": person.email})
    subjects = [message["subject"] for message in sent.json()["messages"]][:2]
    assert removed.status_code == 303
    assert subjects == ["A passkey is being removed at Larkspur", "A passkey is being added at Larkspur"]


@pytest.mark.control("UC-8.6")
async def test_a_mailbox_alone_does_not_add_a_second_passkey(shop: Shop):
    person, talk = await person_with_passkey(shop)
    thief = Person(shop, browser(shop), person.email, device())
    page = await thief.log_in()
    shown = options_of(page.text)
    forged = thief.device.make({**shown, "user": {"id": encoded(secrets.token_bytes(32))}})
    direct = await thief.client.post(
        HOME, data={**form_of("<form" + page.text.split("<form")[2])[1], "credential": forged}
    )
    refused = await thief.post(await thief.get(HOME), form=1, credential=thief.device.use(shown))

    assert "user" not in shown, "it asks for one that is there, and offers none"
    assert (direct.status_code, refused.status_code) == (410, 422)
    assert len(await shop.rows("SELECT 1 FROM passkeys WHERE subject_id = :s", s=talk.subject_id)) == 1


async def test_with_one_passkey_another_is_added_and_works(shop: Shop):
    person, talk = await person_with_passkey(shop)
    page, second = await person.get(HOME), device()

    proven = await person.post(page, form=1, credential=person.device.use(options_of(page.text)))
    options = options_of(proven.text)
    added = await person.post(proven, credential=second.make(options), name="Key in the drawer")

    assert added.status_code == 303, added.text
    assert [decoded(one["id"]) for one in options["excludeCredentials"]] == [person.device.credential_id]
    assert "Key in the drawer" in (await person.get(HOME)).text
    assert (await person.use((await ask(talk))["url"], second)).status_code == 200


@pytest.mark.control("UC-8.6")
async def test_after_a_passkey_was_removed_a_new_first_one_waits_a_week(house: House, database: DatabaseMaker):
    async with open_shop(await prepare(house, database), public_url=ORIGIN) as shop:
        person, talk = await known_person(shop)
        await person.add_passkey()
        challenge = await ask(talk)
        await person.post(await person.get(HOME))
        resting = await person.get(HOME)
        used = await person.use(challenge["url"])
        shop.later(timedelta(days=7))
        rested = await person.log_in()

        assert "data-options" not in resting.text
        assert "can be added from" in resting.text
        assert used.status_code == 422, "a removed passkey proves nothing"
        assert "data-options" in rested.text


@pytest.mark.parametrize(
    "changes",
    [
        {"flags": PRESENT | MAY_BE_COPIED | COPIED},
        {"origin": "http://evil.example"},
        {"rp_id": "evil.example"},
        {"challenge": encoded(secrets.token_bytes(32))},
        {"cose": {1: 2, 3: -47, -1: 8, -2: bytes(32), -3: bytes(32)}},
        {"cose": {}},
    ],
    ids=["unverified", "site", "rp id", "challenge", "algorithm", "no key"],
)
async def test_a_registration_that_does_not_hold_adds_nothing(shop: Shop, changes: dict[str, Any]):
    person, talk = await known_person(shop)

    refused = await person.add_passkey(**changes)

    assert refused.status_code == 422
    assert await shop.rows("SELECT 1 FROM passkeys WHERE subject_id = :s", s=talk.subject_id) == []


async def test_one_credential_belongs_to_one_person(shop: Shop):
    first, _ = await person_with_passkey(shop)
    second, talk = await known_person(shop)
    second.device = first.device

    refused = await second.add_passkey()

    assert refused.status_code == 422
    assert await shop.rows("SELECT 1 FROM passkeys WHERE subject_id = :s", s=talk.subject_id) == []


async def test_somebody_elses_passkey_cannot_be_removed(shop: Shop):
    _, talk = await person_with_passkey(shop)
    other, _ = await person_with_passkey(shop)
    (row,) = await shop.rows("SELECT passkey_id FROM passkeys WHERE subject_id = :s", s=talk.subject_id)

    answer = await other.post(await other.get(HOME), passkey_id=row["passkey_id"])

    assert answer.status_code == 404
    assert (
        len(await shop.rows("SELECT 1 FROM passkeys WHERE removed_at IS NULL AND subject_id = :s", s=talk.subject_id))
        == 1
    )


async def test_at_an_address_without_a_name_there_are_no_passkeys(house: House, database: DatabaseMaker):
    async with open_shop(await prepare(house, database)) as shop:
        talk = await shop.chat()

        answer = await talk.call("POST", f"/v1/conversations/{talk.conversation_id}/challenges", {"method": "passkey"})

        assert (answer.status_code, answer.json()["code"]) == (409, "method_unavailable")
