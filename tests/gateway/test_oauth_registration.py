from collections.abc import AsyncIterator
from datetime import timedelta

import pytest

from gateway.oauth import registration
from tests.support.database import DatabaseMaker
from tests.support.identity import CALLBACK, ISSUER, IdentityHouse, Pair, identity_house


@pytest.fixture(scope="module")
async def ground(database: DatabaseMaker) -> AsyncIterator[IdentityHouse]:
    async with identity_house(database) as made:
        yield made


@pytest.fixture
async def house(ground: IdentityHouse) -> IdentityHouse:
    await ground.empty()
    return ground


async def test_the_metadata_names_the_issuer_and_only_endpoints_that_are_there(house: IdentityHouse):
    document = (await house.client.get("/.well-known/oauth-authorization-server")).json()

    assert document["issuer"] == ISSUER
    assert document["code_challenge_methods_supported"] == ["S256"]
    assert "none" in document["token_endpoint_auth_methods_supported"]
    assert document["authorization_response_iss_parameter_supported"] is True
    for name in ("authorization_endpoint", "jwks_uri"):
        assert (await house.client.get(document[name])).status_code != 404
    for name in ("token_endpoint", "registration_endpoint", "revocation_endpoint"):
        assert (await house.client.post(document[name])).status_code != 404


async def test_an_issuer_with_a_path_is_found_with_and_without_it(database: DatabaseMaker):
    async with identity_house(database, public_url="https://host.example/gateway") as house:
        for path in ("/.well-known/oauth-authorization-server/gateway", "/.well-known/oauth-authorization-server"):
            document = (await house.client.get(f"https://host.example{path}")).json()

            assert document["issuer"] == "https://host.example/gateway"


@pytest.mark.control("UC-8.2")
async def test_the_key_set_holds_one_public_key_and_nothing_private(house: IdentityHouse):
    keys = (await house.client.get("/oauth/jwks")).json()["keys"]

    assert [set(key) for key in keys] == [{"kty", "crv", "x", "kid", "alg", "use"}]


async def test_a_public_client_registers(house: IdentityHouse):
    answer = await house.register()

    assert answer.status_code == 201
    assert answer.headers["cache-control"] == "no-store"
    registered = answer.json()
    assert registered["client_id"].startswith("ast_")
    assert registered["redirect_uris"] == [CALLBACK]
    assert registered["token_endpoint_auth_method"] == "none"
    assert "client_secret" not in registered


async def test_a_client_that_asks_for_a_secret_is_told_that_it_is_public(house: IdentityHouse):
    answer = await house.register(token_endpoint_auth_method="client_secret_basic", software_id="x", contacts=["a@b.c"])

    assert answer.status_code == 201
    assert answer.json()["token_endpoint_auth_method"] == "none"
    assert "client_secret" not in answer.json()


@pytest.mark.parametrize(
    "uri",
    [
        "https://assistant.example/callback?x=1",
        "http://127.0.0.1:9999/callback",
        "http://localhost/callback",
        "http://[::1]:1/callback",
        "com.example.app:/callback",
    ],
)
async def test_safe_redirect_uris_may_be_registered(house: IdentityHouse, uri: str):
    answer = await house.register(redirect_uris=[uri])

    assert answer.status_code == 201


@pytest.mark.parametrize(
    "uri",
    [
        "http://assistant.example/callback",
        "http://127.0.0.1.evil.example/callback",
        "https://user:secret@assistant.example/callback",
        "https://assistant.example/callback#fragment",
        "https://assistant.example:0/callback",
        "https://assistant.example:99999/callback",
        "https:///callback",
        "javascript:alert(1)",
        "data:text/html,x",
        "file:///etc/passwd",
        "https://assistant.example/call back",
        "https://assistant.example/\u202ecallback",
        "/callback",
        "",
        "https://assistant.example/" + "a" * 600,
    ],
)
@pytest.mark.control("UC-8.1")
async def test_unsafe_redirect_uris_are_refused(house: IdentityHouse, uri: str):
    answer = await house.register(redirect_uris=[uri])

    assert answer.status_code == 400
    assert answer.json()["error"] == "invalid_redirect_uri"
    assert answer.headers["cache-control"] == "no-store"


@pytest.mark.parametrize(
    "changes",
    [
        {"redirect_uris": []},
        {"redirect_uris": [f"https://a.example/{n}" for n in range(6)]},
        {"redirect_uris": "https://a.example/"},
        {"redirect_uris": [1]},
        {"client_name": 7},
        {"client_name": "n" * 501},
        {"client_name": "call 4242 4242 4242 4242"},
        {"grant_types": ["implicit"]},
        {"grant_types": ["client_credentials"]},
        {"response_types": ["token"]},
        {"response_types": ["code", "token"]},
    ],
)
async def test_metadata_that_cannot_be_served_is_refused(house: IdentityHouse, changes: dict[str, object]):
    answer = await house.register(**changes)

    assert answer.status_code == 400
    assert answer.json()["error"] == "invalid_client_metadata"


async def test_a_registration_with_a_key_twice_is_refused(house: IdentityHouse):
    body = b'{"redirect_uris": ["https://a.example/"], "redirect_uris": ["https://b.example/"]}'

    answer = await house.client.post("/oauth/register", content=body, headers={"content-type": "application/json"})

    assert answer.status_code == 400


async def test_invisible_and_direction_turning_characters_leave_the_name(house: IdentityHouse):
    answer = await house.register(client_name="Clau\u200bde\u202e\n  by\tBank " + "x" * 100)

    assert answer.json()["client_name"] == ("Clau de by Bank " + "x" * 100)[: registration.NAME_LENGTH_MAX]


async def test_a_registration_that_nobody_used_is_forgotten_after_a_day(house: IdentityHouse):
    forgotten, used, pair = await house.client_id(), await house.client_id(), Pair()
    await house.consented(used, pair)

    house.clock.advance(registration.UNUSED_TTL + timedelta(seconds=1))
    await house.register()

    assert (await house.client.get(house.authorize_url(forgotten, pair))).status_code == 400
    assert (await house.client.get(house.authorize_url(used, pair))).status_code == 303


async def test_registrations_are_limited_by_the_hour(house: IdentityHouse, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(registration, "UNUSED_PER_HOUR_MAX", 2)
    await house.register()
    await house.register()

    refused = await house.register()
    house.clock.advance(timedelta(hours=1, seconds=1))
    later = await house.register()

    assert (refused.status_code, refused.json()["error"]) == (429, "temporarily_unavailable")
    assert later.status_code == 201
