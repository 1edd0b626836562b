import asyncio
import re
from collections.abc import AsyncIterator
from datetime import timedelta

import httpx2
import pytest

from gateway.browser import visits
from tests.support.database import DatabaseMaker
from tests.support.identity import (
    BRAND,
    CALLBACK,
    EMAIL,
    ISSUER,
    NORTH,
    START,
    YEN_RESOURCE,
    IdentityHouse,
    Pair,
    Person,
    form_of,
    identity_house,
    query_of,
)

CAPS = {"spending": "on", "payment_cap": "150.00", "day_cap": "300.00"}


@pytest.fixture(scope="module")
async def ground(database: DatabaseMaker) -> AsyncIterator[IdentityHouse]:
    async with identity_house(database) as made:
        yield made


@pytest.fixture
async def house(ground: IdentityHouse) -> IdentityHouse:
    await ground.empty()
    return ground


async def at_login(
    house: IdentityHouse, person: Person, client_name: str = "Claude", **changes: str
) -> httpx2.Response:
    client_id = await house.client_id(client_name=client_name)
    return await person.get(house.authorize_url(client_id, Pair(), **changes))


async def at_consent(
    house: IdentityHouse, person: Person, client_name: str = "Claude", **changes: str
) -> httpx2.Response:
    return await person.log_in(await at_login(house, person, client_name, **changes))


async def test_the_page_says_who_asks_where_the_answer_goes_for_what_and_within_which_limits(house: IdentityHouse):
    page = await at_consent(house, house.person())

    assert page.status_code == 200
    for part in (
        "<q>Claude</q>",
        "not checked by us",
        "<strong>assistant.example</strong>",
        "Larkspur &amp; Vale",
        "a•••@example.com",
        "Search the catalogue",
        'value="150.00"',
        'value="300.00"',
        "18 February 2027",
        "own agents work within",
    ):
        assert part in page.text


async def test_agreeing_grants_the_mandate_as_typed_to_this_assistant_and_the_brands_agents(house: IdentityHouse):
    person = house.person()
    page = await at_consent(house, person)

    answer = await person.post(page, answer="agree", spending="on", payment_cap="20", day_cap="45.50")

    assert answer.status_code == 303
    (mandate,) = await house.rows("SELECT * FROM mandates")
    assert (mandate["payment_cap_minor"], mandate["day_cap_minor"], mandate["currency"]) == (2000, 4550, "USD")
    (consent,) = await house.rows("SELECT * FROM consents")
    assert mandate["delegates"] == [consent["client_id"], f"agents:{BRAND}"]
    assert mandate["expires_at"] == consent["expires_at"] == START + timedelta(days=90)
    assert (consent["mandate_id"], consent["conversation_id"]) == (mandate["mandate_id"], mandate["granted_in"])


async def test_a_consent_goes_on_the_record(house: IdentityHouse):
    client_id, _ = await house.connected()

    entries = await house.rows("SELECT convert_from(canonical, 'UTF8') AS entry FROM record_entries")

    (mine,) = [row["entry"] for row in entries if client_id in row["entry"]]
    assert '"event":"consent_given"' in mine


async def test_spending_switched_off_ends_the_mandate_of_an_earlier_consent(house: IdentityHouse):
    client_id, person = await house.client_id(), house.person()
    await house.consented(client_id, Pair(), person=person)

    page = await person.log_in(await person.get(house.authorize_url(client_id, Pair())))
    answer = await person.post(page, answer="agree", payment_cap="", day_cap="")

    assert answer.status_code == 303
    assert await house.rows("SELECT mandate_id FROM mandates WHERE revoked_at IS NULL") == []


async def test_with_spending_switched_off_there_is_no_mandate(house: IdentityHouse):
    person = house.person()
    page = await at_consent(house, person)

    answer = await person.post(page, answer="agree", payment_cap="150.00", day_cap="300.00")

    assert "code" in query_of(answer.headers["location"])
    assert await house.rows("SELECT * FROM mandates") == []


async def test_who_does_not_ask_to_buy_is_given_no_mandate(house: IdentityHouse):
    person = house.person()
    page = await at_consent(house, person, scope="catalog memory")

    assert "spending limits" not in page.text
    answer = await person.post(page, answer="agree", **CAPS)

    assert "code" in query_of(answer.headers["location"])
    assert await house.rows("SELECT * FROM mandates") == []


async def test_a_currency_without_decimals_is_asked_for_in_whole_units(house: IdentityHouse):
    person = house.person()
    page = await at_consent(house, person, resource=YEN_RESOURCE)

    await person.post(page, answer="agree", spending="on", payment_cap="15000", day_cap="30000")

    assert 'value="15000"' in page.text
    (mandate,) = await house.rows("SELECT * FROM mandates")
    assert (mandate["payment_cap_minor"], mandate["currency"]) == (15000, "JPY")


async def test_refusing_takes_one_click_and_leaves_nothing(house: IdentityHouse):
    person = house.person()
    page = await at_consent(house, person)

    answer = await person.post(page, answer="refuse", **CAPS)

    told = query_of(answer.headers["location"])
    assert answer.headers["location"].startswith(CALLBACK)
    assert (told["error"], told["state"], told["iss"]) == ("access_denied", "st-1", ISSUER)
    assert await house.rows("SELECT 1 FROM consents UNION ALL SELECT 1 FROM mandates") == []
    assert len(re.findall(r'<button type="submit" name="answer"', page.text)) == 2


@pytest.mark.parametrize("answer", [None, "", "AGREE", "yes"])
async def test_anything_but_agree_is_a_refusal(house: IdentityHouse, answer: str | None):
    person = house.person()
    page = await at_consent(house, person)

    came_back = await person.post(page, **CAPS, **({} if answer is None else {"answer": answer}))

    assert query_of(came_back.headers["location"])["error"] == "access_denied"


@pytest.mark.parametrize(
    ("payment_cap", "day_cap", "flawed"),
    [
        ("", "300.00", ["payment_cap"]),
        ("0", "300.00", ["payment_cap"]),
        ("-5", "300.00", ["payment_cap"]),
        ("1e3", "300.00", ["payment_cap"]),
        ("1,500", "3000", ["payment_cap"]),
        ("\u0661\u0665\u0660", "300.00", ["payment_cap"]),
        ("150.001", "300.00", ["payment_cap"]),
        ("9999999", "300.00", ["payment_cap"]),
        ("150", "lots", ["day_cap"]),
        ("150", "149.99", ["day_cap"]),
        ("a", "b", ["payment_cap", "day_cap"]),
    ],
)
async def test_limits_that_cannot_be_used_are_explained_and_can_be_corrected(
    house: IdentityHouse, payment_cap: str, day_cap: str, flawed: list[str]
):
    person = house.person()
    page = await at_consent(house, person)

    again = await person.post(page, answer="agree", spending="on", payment_cap=payment_cap, day_cap=day_cap)
    corrected = await person.post(again, answer="agree", **CAPS)

    assert again.status_code == 422
    assert [name for name in ("payment_cap", "day_cap") if f'href="#{name}"' in again.text] == flawed
    assert "code" in query_of(corrected.headers["location"])


async def test_a_name_that_is_markup_is_shown_as_text(house: IdentityHouse):
    page = await at_consent(house, house.person(), client_name="<img src=x onerror=1>")

    assert "<img" not in page.text
    assert "&lt;img src=x onerror=1&gt;" in page.text


async def test_an_assistant_without_a_name_is_said_to_have_none(house: IdentityHouse):
    page = await at_consent(house, house.person(), client_name="\u200b")

    assert "It gives no name" in page.text


async def test_the_pages_allow_no_script_no_frame_and_no_foreign_form(house: IdentityHouse):
    person = house.person()
    login = await at_login(house, person)
    consent = await person.log_in(login)

    for page in (login, consent):
        policy = page.headers["content-security-policy"]
        assert "default-src 'none'" in policy
        assert "script-src 'none'" in policy
        assert "frame-ancestors 'none'" in policy
        assert "<script" not in page.text
        assert page.headers["cache-control"] == "no-store"
        assert page.headers["x-frame-options"] == "DENY"
    assert "form-action 'self';" in login.headers["content-security-policy"]
    assert "form-action 'self' https:;" in consent.headers["content-security-policy"]


async def test_cookies_are_out_of_reach_of_scripts_and_other_hosts(house: IdentityHouse):
    client_id = await house.client_id()
    answer = await house.client.get(house.authorize_url(client_id, Pair()))

    cookie = answer.headers["set-cookie"]
    assert cookie.startswith("__Host-undercroft_browser=")
    for attribute in ("HttpOnly", "Secure", "SameSite=lax", "Path=/"):
        assert attribute.lower() in cookie.lower()
    assert "domain" not in cookie.lower()


async def test_a_form_without_this_browsers_secret_does_nothing(house: IdentityHouse):
    person = house.person()
    page = await at_consent(house, person)
    action, hidden = form_of(page.text)

    missing = await person.client.post(action, data={"answer": "agree", **CAPS})
    wrong = await person.client.post(action, data={"csrf": "0" * 64, "answer": "agree", **CAPS})
    elsewhere = await person.client.post(
        action, data={**hidden, "answer": "agree", **CAPS}, headers={"Origin": "https://evil.example"}
    )
    unknown = await person.client.post(action, data={**hidden, "answer": "agree", **CAPS, "subject": "sub_x"})
    twice = await person.client.post(
        action,
        content=f"csrf={hidden['csrf']}&answer=refuse&answer=agree",
        headers={"content-type": "application/x-www-form-urlencoded"},
    )

    assert [answer.status_code for answer in (missing, wrong, elsewhere, unknown, twice)] == [403] * 5
    assert await house.rows("SELECT 1 FROM consents") == []


async def test_another_browser_cannot_answer_or_even_see_the_page(house: IdentityHouse):
    person, other = house.person(), house.person()
    page = await at_consent(house, person)
    await at_login(house, other)
    action, hidden = form_of(page.text)

    seen = await other.get(action)
    posted = await other.client.post(action, data={**hidden, "answer": "agree", **CAPS})

    assert (seen.status_code, posted.status_code) == (410, 403)


async def test_a_browser_value_planted_before_the_login_is_worth_nothing_after_it(house: IdentityHouse):
    attacker, victim = house.person(), house.person()
    login = await at_login(house, attacker)
    victim.client.cookies = httpx2.Cookies(attacker.client.cookies)

    page = await victim.log_in(login)

    action, _ = form_of(page.text)
    assert page.status_code == 200
    assert (await attacker.get(action)).status_code == 410


async def test_nobody_reaches_the_consent_without_logging_in(house: IdentityHouse):
    person = house.person()
    login = await at_login(house, person)
    action, _ = form_of(login.text)

    answer = await person.get(action.replace("/login/", "/consent/"))

    assert answer.status_code == 410


async def test_a_second_click_agrees_to_nothing_more(house: IdentityHouse):
    person = house.person()
    page = await at_consent(house, person)

    answers = await asyncio.gather(*(person.post(page, answer="agree", **CAPS) for _ in range(3)))

    assert sorted(answer.status_code for answer in answers) == [303, 410, 410]
    assert len(await house.rows("SELECT 1 FROM consents")) == 1


async def test_a_visit_is_over_after_a_while(house: IdentityHouse):
    person = house.person()
    page = await at_consent(house, person)
    house.clock.advance(visits.VISIT_TTL + timedelta(seconds=1))

    late = await person.post(page, answer="agree", **CAPS)

    assert late.status_code == 410
    assert "Please start again" in late.text


@pytest.mark.parametrize("path", ["/login/x", "/login/tnt_north.x", "/consent/tnt_north." + "A" * 43, "/consent/%00"])
async def test_made_up_visits_lead_nowhere(house: IdentityHouse, path: str):
    person = house.person()
    await at_login(house, person)

    assert (await person.get(path)).status_code in {404, 410}


async def test_a_request_whose_client_was_forgotten_in_between_is_over(house: IdentityHouse):
    person = house.person()
    page = await at_consent(house, person)
    await house.rows("DELETE FROM assistant_clients RETURNING 1")

    answer = await person.post(page, answer="agree", **CAPS)

    assert answer.status_code == 410
    assert await house.rows("SELECT 1 FROM consents") == []


async def test_an_address_that_several_people_share_tells_nobody_apart_and_says_so(house: IdentityHouse):
    await house.connected(email=EMAIL)
    await house.rows(
        "INSERT INTO subjects (tenant_id, subject_id, created_at) VALUES (:t, 'sub_b', now()) RETURNING 1", t=NORTH
    )
    await house.rows(
        "INSERT INTO contact_points (tenant_id, contact_id, subject_id, kind, blind_index, sealed_value, verified_at)"
        " SELECT tenant_id, 'cpt_b', 'sub_b', kind, blind_index, sealed_value, verified_at FROM contact_points"
        " RETURNING 1"
    )

    page = await at_consent(house, house.person())

    assert page.status_code == 409
    assert page.headers["content-type"].startswith("text/html")
    assert "cannot tell people apart" in page.text
