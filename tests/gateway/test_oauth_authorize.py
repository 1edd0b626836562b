from collections.abc import AsyncIterator

import pytest

from gateway.browser import visits
from tests.support.database import DatabaseMaker
from tests.support.identity import CALLBACK, ISSUER, IdentityHouse, Pair, identity_house, query_of


@pytest.fixture(scope="module")
async def ground(database: DatabaseMaker) -> AsyncIterator[IdentityHouse]:
    async with identity_house(database) as made:
        yield made


@pytest.fixture
async def house(ground: IdentityHouse) -> IdentityHouse:
    await ground.empty()
    return ground


async def test_a_sound_request_leads_to_the_login(house: IdentityHouse):
    answer = await house.client.get(house.authorize_url(await house.client_id(), Pair()))

    assert answer.status_code == 303
    assert answer.headers["location"].startswith("/login/")
    assert answer.headers["cache-control"] == "no-store"


async def test_a_posted_request_is_a_request_too(house: IdentityHouse):
    url = house.authorize_url(await house.client_id(), Pair())

    answer = await house.client.post("/oauth/authorize", data=query_of(url))

    assert answer.headers["location"].startswith("/login/")


@pytest.mark.parametrize(
    "changes",
    [
        {"client_id": "ast_unknown"},
        {"client_id": "mcp_larkspur"},
        {"client_id": None},
        {"redirect_uri": None},
        {"redirect_uri": CALLBACK + "/"},
        {"redirect_uri": CALLBACK + "?x=1"},
        {"redirect_uri": "https://evil.example/callback"},
        {"redirect_uri": 'https://evil.example/"'},
        {"redirect_uri": "https://evil.example/\u00e9"},
        {"redirect_uri": "https://assistant.example:444/callback"},
    ],
)
@pytest.mark.control("UC-8.1")
async def test_nobody_is_redirected_before_client_and_redirect_uri_are_sound(
    house: IdentityHouse, changes: dict[str, str | None]
):
    answer = await house.client.get(house.authorize_url(await house.client_id(), Pair(), **changes))

    assert answer.status_code == 400
    assert "location" not in answer.headers
    assert "This request is not valid" in answer.text
    assert "evil" not in answer.text


@pytest.mark.parametrize(
    ("changes", "error"),
    [
        ({"code_challenge": None}, "invalid_request"),
        ({"code_challenge_method": None}, "invalid_request"),
        ({"code_challenge_method": "plain"}, "invalid_request"),
        ({"code_challenge": "short"}, "invalid_request"),
        ({"resource": None}, "invalid_target"),
        ({"resource": "https://mcp.test/nobody/mcp"}, "invalid_target"),
        ({"resource": "https://mcp.test/larkspur/mcp/"}, "invalid_target"),
        ({"scope": "catalog root"}, "invalid_scope"),
        ({"scope": "refund"}, "invalid_scope"),
        ({"response_type": "token"}, "unsupported_response_type"),
        ({"response_type": None}, "unsupported_response_type"),
    ],
)
async def test_other_errors_go_to_the_client_with_state_and_issuer(
    house: IdentityHouse, changes: dict[str, str | None], error: str
):
    answer = await house.client.get(house.authorize_url(await house.client_id(), Pair(), **changes))

    assert answer.status_code == 303
    assert answer.headers["location"].startswith(CALLBACK + "?")
    told = query_of(answer.headers["location"])
    assert (told["error"], told["state"], told["iss"]) == (error, "st-1", ISSUER)
    assert "code" not in told


@pytest.mark.parametrize("name", ["client_id", "redirect_uri", "state", "resource", "code_challenge"])
async def test_a_parameter_given_twice_is_refused(house: IdentityHouse, name: str):
    url = house.authorize_url(await house.client_id(), Pair())

    answer = await house.client.get(f"{url}&{name}=again")

    assert answer.status_code == 400
    assert "location" not in answer.headers


async def test_a_native_app_may_listen_on_any_port_of_the_loopback(house: IdentityHouse):
    client_id = await house.client_id(redirect_uris=["http://127.0.0.1/callback"])

    async def status(redirect_uri: str) -> int:
        return (await house.client.get(house.authorize_url(client_id, Pair(), redirect_uri=redirect_uri))).status_code

    assert await status("http://127.0.0.1:51004/callback") == 303
    assert await status("http://127.0.0.1:51004/other") == 400
    assert await status("http://localhost:51004/callback") == 400
    assert await status("https://127.0.0.1:51004/callback") == 400


async def test_a_request_without_scope_asks_for_everything(house: IdentityHouse):
    person = house.person()

    page = await person.log_in(await person.get(house.authorize_url(await house.client_id(), Pair(), scope=None)))

    for title in ("Look around", "Buy for you", "Use what you have shared"):
        assert title in page.text


async def test_one_registration_cannot_keep_any_number_of_people_waiting(
    house: IdentityHouse, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(visits, "OPEN_PER_CLIENT_MAX", 2)
    url = house.authorize_url(await house.client_id(), Pair())

    statuses = [(await house.client.get(url)).status_code for _ in range(3)]
    house.clock.advance(visits.VISIT_TTL * 1.1)
    later = await house.client.get(url)

    assert statuses == [303, 303, 503]
    assert later.status_code == 303
