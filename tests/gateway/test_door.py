from collections.abc import AsyncIterator
from datetime import timedelta

import pytest

from gateway.browser import cookies, render
from tests.support.database import DatabaseMaker
from tests.support.identity import (
    BRAND,
    EMAIL,
    ISSUER,
    NORTH,
    SOUTH,
    VAULT_PAGE,
    IdentityHouse,
    Pair,
    Person,
    claims_of,
    form_of,
    identity_house,
)

OTHER = "eve@example.com"


@pytest.fixture(scope="module")
async def ground(database: DatabaseMaker) -> AsyncIterator[IdentityHouse]:
    async with identity_house(database) as made:
        yield made


@pytest.fixture
async def house(ground: IdentityHouse) -> IdentityHouse:
    await ground.empty()
    return ground


async def logged_in(house: IdentityHouse, email: str = EMAIL) -> Person:
    """Somebody who just connected an assistant in this browser."""
    person = house.person()
    await house.consented(await house.client_id(), Pair(), person=person, email=email)
    return person


async def test_the_person_who_connected_sees_brand_and_amount_and_goes_on_with_one_click(house: IdentityHouse):
    person = await logged_in(house)
    capture_id = await house.capture()

    door = await person.get(f"/captures/{capture_id}")
    entry = await person.post(door)

    assert door.status_code == 200
    assert "Larkspur &amp; Vale" in door.text
    assert "79.98 USD" in door.text
    action, hidden = form_of(entry.text)
    assert action == f"{VAULT_PAGE}/captures/{capture_id}/open"
    assert set(hidden) == {"grant"}


@pytest.mark.control("UC-8.4")
async def test_the_grant_is_for_this_capture_and_person_for_seconds_and_in_no_url(house: IdentityHouse):
    person = await logged_in(house)
    capture_id = await house.capture()
    subject_id = (await house.rows("SELECT subject_id FROM captures"))[0]["subject_id"]

    entry = await person.post(await person.get(f"/captures/{capture_id}"))

    action, hidden = form_of(entry.text)
    claims = claims_of(hidden["grant"])
    assert (claims["iss"], claims["aud"], claims["action"]) == (ISSUER, "vault", "open_capture")
    assert (claims["sub"], claims["tenant"], claims["brand"], claims["act"]) == (
        subject_id,
        NORTH,
        BRAND,
        {"sub": "door"},
    )
    assert claims["exp"] - claims["iat"] <= 30
    assert "?" not in action
    assert entry.headers["cache-control"] == "no-store"


async def test_looking_mints_nothing_and_each_click_mints_afresh(house: IdentityHouse):
    person = await logged_in(house)
    door = await person.get(f"/captures/{await house.capture()}")

    first, second = await person.post(door), await person.post(door)

    assert 'name="grant"' not in door.text
    assert claims_of(form_of(first.text)[1]["grant"])["jti"] != claims_of(form_of(second.text)[1]["grant"])["jti"]


async def test_the_entry_page_posts_to_the_vault_only_and_names_its_origin(house: IdentityHouse):
    person = await logged_in(house)

    entry = await person.post(await person.get(f"/captures/{await house.capture()}"))

    policy = entry.headers["content-security-policy"]
    assert f"form-action {VAULT_PAGE};" in policy
    assert "script-src 'sha256-" in policy
    assert f"<script>{render.ENTER_SCRIPT}</script>" in entry.text
    assert entry.headers["referrer-policy"] == "strict-origin"


async def test_in_a_fresh_browser_the_person_logs_in_at_the_door(house: IdentityHouse):
    person, capture_id = house.person(), await house.capture()

    login = await person.get(f"/captures/{capture_id}")
    door = await person.log_in(login)

    assert "Sign in with your e-mail" in login.text
    assert "Add a card to pay" in door.text


async def test_logging_in_at_a_door_with_another_address_leads_to_the_same_page_as_an_unknown_capture(
    house: IdentityHouse,
):
    person, capture_id = house.person(), await house.capture()
    unknown = await person.get("/captures/cap_unknown")

    refused = await person.log_in(await person.get(f"/captures/{capture_id}"), OTHER)
    again = await person.get(f"/captures/{capture_id}")

    assert (refused.status_code, refused.text) == (unknown.status_code, unknown.text)
    assert refused.status_code == 404
    assert "Sign in with your e-mail" in again.text


async def test_nobody_is_made_at_a_door(house: IdentityHouse):
    person, capture_id = house.person(), await house.capture()
    before = await house.rows("SELECT count(*) AS subjects FROM subjects")

    await person.log_in(await person.get(f"/captures/{capture_id}"), OTHER)

    assert await house.rows("SELECT count(*) AS subjects FROM subjects") == before


@pytest.mark.control("UC-8.4")
async def test_somebody_elses_browser_gets_the_same_answer_as_for_an_unknown_capture(house: IdentityHouse):
    other, capture_id = await logged_in(house, OTHER), await house.capture()
    owner_page = await (await logged_in(house)).get(f"/captures/{capture_id}")
    _, owners_form = form_of(owner_page.text)

    theirs = await other.get(f"/captures/{capture_id}")
    unknown = await other.get("/captures/cap_unknown")
    posted = await other.client.post(f"/captures/{capture_id}", data=owners_form)

    assert (theirs.status_code, theirs.text) == (unknown.status_code, unknown.text) == (404, unknown.text)
    assert posted.status_code == 403


@pytest.mark.parametrize("nonsense", ["cap_%00", "cap_%ED%A0%80", "cap_x%0A", "CAP_X", "cap_%EF%BC%91"])
async def test_what_is_no_capture_id_gets_the_page_of_an_unknown_capture(house: IdentityHouse, nonsense: str):
    unknown, answer = [await house.client.get(f"/captures/{name}") for name in ("cap_unknown", nonsense)]

    assert (answer.status_code, answer.text) == (404, unknown.text)


@pytest.mark.control("UC-8.4")
async def test_a_login_for_one_tenant_opens_no_door_of_another(house: IdentityHouse):
    person = await logged_in(house)
    capture_id = await house.capture(tenant_id=SOUTH)

    answer = await person.get(f"/captures/{capture_id}")

    assert "Sign in with your e-mail" in answer.text


async def test_signing_out_forgets_the_login(house: IdentityHouse):
    person = await logged_in(house)
    capture_id = await house.capture()
    login = dict(person.client.cookies)

    await person.client.post("/logout")
    person.client.cookies.update(login)

    assert "Sign in with your e-mail" in (await person.get(f"/captures/{capture_id}")).text


async def test_a_login_ends_after_twelve_hours(house: IdentityHouse):
    person = await logged_in(house)
    capture_id = await house.capture()
    door = await person.get(f"/captures/{capture_id}")
    house.clock.advance(timedelta(seconds=cookies.LOGIN_SECONDS + 1))

    clicked = await person.post(door)

    assert "Sign in with your e-mail" in clicked.text
    assert 'name="grant"' not in clicked.text


@pytest.mark.parametrize(
    ("state", "status", "sentence"),
    [("completed", 200, "Your card is saved"), ("expired", 410, "This link no longer works")],
)
async def test_a_capture_that_is_over_says_so_and_gives_no_grant(
    house: IdentityHouse, state: str, status: int, sentence: str
):
    person = await logged_in(house)
    capture_id = await house.capture()
    door = await person.get(f"/captures/{capture_id}")
    await house.rows("UPDATE captures SET state = :state RETURNING 1", state=state)

    shown, clicked = await person.get(f"/captures/{capture_id}"), await person.post(door)

    for answer in (shown, clicked):
        assert answer.status_code == status
        assert sentence in answer.text
        assert 'name="grant"' not in answer.text


async def test_a_click_from_another_site_is_refused(house: IdentityHouse):
    person = await logged_in(house)
    capture_id = await house.capture()
    _, hidden = form_of((await person.get(f"/captures/{capture_id}")).text)

    without = await person.client.post(f"/captures/{capture_id}")
    elsewhere = await person.client.post(
        f"/captures/{capture_id}", data=hidden, headers={"Origin": "https://evil.example"}
    )
    nowhere = await person.client.post(f"/captures/{capture_id}", data=hidden, headers={"Origin": "null"})

    assert [answer.status_code for answer in (without, elsewhere, nowhere)] == [403, 403, 403]


@pytest.mark.control("UC-8.4")
async def test_the_form_of_one_capture_does_not_open_another(house: IdentityHouse):
    person = await logged_in(house)
    first, second = await house.capture(), await house.capture()
    _, hidden = form_of((await person.get(f"/captures/{first}")).text)

    answer = await person.client.post(f"/captures/{second}", data=hidden)

    assert answer.status_code == 403
