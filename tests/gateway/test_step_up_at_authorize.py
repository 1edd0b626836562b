"""An assistant whose call needs more than a login: challenged, sent to the authorize page, proven there, allowed."""

import json
import re
from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import httpx2
import pytest

from gateway.oauth.step_up import AuthenticationUnmet, wanted_level
from infra.dev.house import House
from tests.gateway.authenticator import options_of
from tests.gateway.connecting import Assistant, agree, form_number, logged_in, through
from tests.gateway.openid_world import World, new_email, open_world
from tests.gateway.passkey_people import HOME, ORIGIN, Person, browser, device
from tests.gateway.shop import CART, Talk
from tests.gateway.test_policies import Desk
from tests.support.database import DatabaseMaker
from tests.support.identity import CALLBACK, query_of

ACR = "urn:undercroft:acr:"
STRONG = {"acr_values": f"{ACR}strong", "max_age": "900"}
PREFERS = {"Prefer": "challenge=401"}
DEAR_THINGS_CONFIRMED = (
    '@id("assurance_too_low")\nforbid (principal, action == Action::"purchase", resource)\n'
    "when { resource.amount_minor > 3000 && context.level < 4 };\n"
)
"""The tenant's own rule, in all these tests."""


@pytest.fixture(scope="module")
async def ground(
    house: House, database: DatabaseMaker, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[World]:
    async with open_world(house, database, Path(tmp_path_factory.mktemp("keys")), public_url=ORIGIN) as made:
        await Desk(made.shop).activated(purchase=DEAR_THINGS_CONFIRMED)
        yield made


@pytest.fixture
def world(ground: World) -> World:
    ground.realm.faults.clear()
    return ground


def somebody(world: World, email: str | None = None) -> Person:
    return Person(world.shop, browser(world.shop), email or new_email(), device())


async def with_passkey(world: World) -> Person:
    person = somebody(world)
    await world.shop.verified_chat(person.email)
    added = await person.add_passkey()
    assert added.status_code == 303, added.text
    person.client.cookies.clear()
    return person


async def ask(talk: Talk) -> httpx2.Response:
    """What only a strong proof allows."""
    headers = {"Authorization": f"Bearer {await talk.bearer()}", **PREFERS}
    return await talk.shop.client.post("/v1/decisions", json={"action": "recall", "tier": 3}, headers=headers)


def told(answer: httpx2.Response) -> dict[str, str]:
    """What the challenge asks the authorization request to name."""
    named = dict(re.findall(r'([a-z_]+)="([^"]*)"', answer.headers["www-authenticate"]))
    return {"acr_values": named["acr_values"], "max_age": named["max_age"]}


async def use_passkey(person: Person, page: httpx2.Response, **changes: Any) -> httpx2.Response:
    credential = person.device.use(options_of(page.text), **changes)
    return await person.post(page, form=form_number(page, "/passkey"), credential=credential, answer="go")


async def kinds(world: World, talk: Talk) -> list[str]:
    query = "SELECT kind FROM evidence WHERE conversation_id = :c ORDER BY kind"
    return [row["kind"] for row in await world.shop.rows(query, c=talk.conversation_id)]


@pytest.mark.control("UC-8.9")
async def test_denied_challenged_proven_with_a_passkey_and_the_same_call_goes_through(world: World):
    person, assistant = await with_passkey(world), await Assistant.registered(world.shop)
    first = await assistant.connected(await agree(person, await logged_in(person, assistant.url())))
    denied = await ask(first)

    page = await logged_in(person, assistant.url(**told(denied)))
    consent = await through(person, await use_passkey(person, page))
    talk = await assistant.connected(await agree(person, consent))
    allowed = await ask(talk)
    world.shop.later(timedelta(minutes=15, seconds=1))
    later = await ask(await assistant.refreshed())

    assert (denied.status_code, told(denied)) == (401, STRONG)
    assert denied.json()["remedies"][0]["methods"] == ["openid_login", "passkey"]
    assert "One more step" in page.text
    assert (allowed.status_code, allowed.json()["outcome"]) == (200, "allow")
    assert await kinds(world, talk) == ["login_code", "passkey"]
    assert later.status_code == 401, "strong ends after a quarter of an hour, here as anywhere else"


@pytest.mark.control("UC-8.7")
async def test_an_approval_on_the_phone_will_do_too(world: World):
    person, assistant = somebody(world, (await world.linked())[1]), await Assistant.registered(world.shop)
    page = await logged_in(person, assistant.url(**STRONG))
    waiting = await through(person, await person.post(page, form=form_number(page, "/phone")))
    again = await through(person, await person.post(page, form=form_number(page, "/phone")))
    (asked,) = world.realm.waiting(person.email)
    world.realm.answer(asked.auth_req_id, approved=True)
    world.shop.later(timedelta(seconds=5))

    consent = await person.get(f"/step-up/{visit_of(page)}")
    talk = await assistant.connected(await agree(person, consent))

    (code,) = re.findall(r'<strong class="digits">([A-Z0-9]{4})<', waiting.text)
    assert asked.binding_message == f"Larkspur: {code}"
    assert f">{code}<" in again.text, "who presses twice is asked once"
    assert (await ask(talk)).json()["outcome"] == "allow"
    assert await kinds(world, talk) == ["login_code", "phone_approval"]


def visit_of(page: httpx2.Response) -> str:
    return page.text.split('action="/step-up/')[1].split("/", 1)[0]


async def test_a_phone_that_says_no_gives_nothing(world: World):
    person, assistant = somebody(world, (await world.linked())[1]), await Assistant.registered(world.shop)
    page = await logged_in(person, assistant.url(**STRONG))
    await person.post(page, form=form_number(page, "/phone"))
    (asked,) = world.realm.waiting(person.email)
    world.realm.answer(asked.auth_req_id, approved=False)
    world.shop.later(timedelta(seconds=5))

    after = await person.get(f"/step-up/{visit_of(page)}")
    consent = await person.get(f"/consent/{visit_of(page)}")

    assert "did not approve it" in after.text
    assert "One more step" in consent.text


@pytest.mark.control("UC-8.1")
async def test_the_step_cannot_be_left_out(world: World):
    """By opening the consent page, or by posting its form, whose secret the visit's browser can compute."""
    person, assistant = await with_passkey(world), await Assistant.registered(world.shop)
    page = await logged_in(person, assistant.url(**STRONG))
    visit, form = visit_of(page), page.text.split('name="csrf" value="')[1].split('"', 1)[0]

    looked = await person.get(f"/consent/{visit}")
    posted = await person.client.post(
        f"/consent/{visit}", data={"csrf": form, "answer": "agree", "payment_cap": "10", "day_cap": "10"}
    )

    assert "One more step" in looked.text
    assert posted.headers["location"] == f"/step-up/{visit}"
    assert await world.shop.rows("SELECT 1 FROM consents WHERE client_id = :c", c=assistant.client_id) == []


async def test_a_proof_that_got_too_old_on_the_consent_page_is_asked_for_again(world: World):
    person, assistant = await with_passkey(world), await Assistant.registered(world.shop)
    consent = await through(person, await use_passkey(person, await logged_in(person, assistant.url(**STRONG))))
    world.shop.later(timedelta(minutes=15, seconds=1))

    location = await agree(person, consent)

    assert location.startswith("/step-up/")
    assert "One more step" in (await person.get(location)).text


async def test_who_has_nothing_is_told_so_and_the_assistant_learns_that_it_was_not_reached(world: World):
    person, assistant = somebody(world), await Assistant.registered(world.shop)
    page = await logged_in(person, assistant.url(**STRONG))

    answer = await person.post(page, form=form_number(page, "/end"))
    back = query_of(answer.headers["location"])

    assert "A passkey would be enough, and you have none here yet." in page.text
    assert f'href="{HOME}"' in page.text
    assert answer.headers["location"].startswith(CALLBACK + "?")
    assert (back["error"], back["state"], back["iss"]) == ("unmet_authentication_requirements", "st-1", ORIGIN)
    assert "code" not in back
    rows = await world.shop.rows("SELECT closed_at FROM conversations WHERE client_id = :c", c=assistant.client_id)
    assert [row["closed_at"] is not None for row in rows] == [True]


async def test_a_first_passkey_can_be_added_on_the_way_with_the_login_just_made(world: World):
    person, assistant = somebody(world), await Assistant.registered(world.shop)
    page = await logged_in(person, assistant.url(**STRONG))
    keys = await person.get(HOME)
    added = await person.post(keys, credential=person.device.make(options_of(keys.text)), name="My phone")

    again = await person.get(f"/step-up/{visit_of(page)}")
    consent = await through(person, await use_passkey(person, again))
    talk = await assistant.connected(await agree(person, consent))

    assert added.status_code == 303, added.text
    assert (await ask(talk)).json()["outcome"] == "allow"


@pytest.mark.control("UC-8.6")
async def test_somebody_elses_passkey_and_somebody_elses_browser_are_of_no_use(world: World):
    person, thief, assistant = (
        await with_passkey(world),
        await with_passkey(world),
        await Assistant.registered(world.shop),
    )
    page = await logged_in(person, assistant.url(**STRONG))

    options = options_of(page.text)
    theirs = await person.post(
        page, form=form_number(page, "/passkey"), credential=thief.device.use(options), answer="go"
    )
    elsewhere = await thief.get(f"/step-up/{visit_of(page)}")
    used_twice = await use_passkey(person, page)

    assert (theirs.status_code, elsewhere.status_code, used_twice.status_code) == (422, 410, 422)
    assert "One more step" in (await person.get(f"/consent/{visit_of(page)}")).text
    assert await world.shop.rows("SELECT 1 FROM consents WHERE client_id = :c", c=assistant.client_id) == []


@pytest.mark.parametrize(
    ("named", "possible", "level"),
    [
        ("", True, "verified"),
        ("recognised", False, "verified"),
        ("strong", True, "strong"),
        ("strong", False, None),
        ("strong verified", True, "verified"),
        ("confirmed strong", True, "strong"),
        ("confirmed", True, None),
        ("anonymous", True, None),
        ("gold", True, None),
        ("gold strong", True, "strong"),
    ],
)
def test_of_the_classes_named_the_least_that_can_be_reached_is_asked_for(
    named: str, level: str | None, *, possible: bool
):
    asked = {"acr_values": " ".join(f"{ACR}{name}" for name in named.split())}

    if level is None:
        with pytest.raises(AuthenticationUnmet):
            wanted_level(asked, lambda: possible)
    else:
        assert wanted_level(asked, lambda: possible).name.lower() == level


async def entry_of(world: World, talk: Talk) -> dict[str, Any]:
    """The newest decision of this conversation."""
    rows = await world.shop.rows("SELECT canonical FROM record_entries ORDER BY entry_id DESC LIMIT 20")
    bodies = [json.loads(bytes(row["canonical"]))["body"] for row in rows]
    return next(body for body in bodies if "event" not in body and talk.conversation_id in json.dumps(body))


@pytest.mark.control("UC-8.9")
async def test_a_denied_purchase_brings_the_page_on_which_exactly_it_is_confirmed(world: World):
    """The vault behind this gateway believes another issuer, so an allowed purchase stops at its door with a 503."""
    person, assistant = await with_passkey(world), await Assistant.registered(world.shop)
    talk = await assistant.connected(await agree(person, await logged_in(person, assistant.url())))
    dear, other = await world.shop.checkout(4_000), await world.shop.checkout(4_100)

    denied = await talk.buy(dear)
    (remedy,) = denied["decision"]["remedies"]
    page = await person.get(remedy["url"])
    done = await person.use(remedy["url"])
    elsewhere = await talk.buy(other)
    changed = await talk.buy(dear, cart_sha256="cd" * 32)
    bought = await talk.post("/v1/purchases", checkout_id=dear, cart_sha256=CART)
    decided = await entry_of(world, talk)
    again = await talk.buy(dear)

    assert (denied["state"], remedy["level"], remedy["methods"]) == ("denied", "confirmed", ["passkey"])
    assert all(text in page.text for text in ("40.00 USD", "One lamp", remedy["match_code"]))
    assert done.status_code == 200, done.text
    assert [found["kind"] for found in changed["decision"]["remedies"]] == ["step_up", "new_quote"]
    assert all("url" not in found for found in changed["decision"]["remedies"]), "nothing to agree to yet"
    assert [view["state"] for view in (elsewhere, changed, again)] == ["denied"] * 3, "for this one, and once"
    assert (bought.status_code, bought.json()["code"]) == (503, "vault_unreachable")
    assert (decided["outcome"], decided["context"]["level"]) == ("allow", 4)


async def test_who_has_no_passkey_gets_no_such_page_and_who_asks_too_often_none_more(world: World):
    bare, keyed, assistant = somebody(world), await with_passkey(world), await Assistant.registered(world.shop)
    without = await assistant.connected(await agree(bare, await logged_in(bare, assistant.url())))
    talk = await assistant.connected(await agree(keyed, await logged_in(keyed, assistant.url())))
    dear = await world.shop.checkout(4_000)

    (nothing,) = (await without.buy(dear))["decision"]["remedies"]
    pages = [(await talk.buy(dear))["decision"]["remedies"][0].get("url") for _ in range(21)]

    assert nothing == {"kind": "step_up", "level": "confirmed", "methods": []}
    assert len(set(pages[:20])) == 20
    assert pages[20] is None, "and it is a recorded deny all the same"
