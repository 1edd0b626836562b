from collections.abc import AsyncIterator
from datetime import timedelta
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from sqlalchemy import text

from gateway.oauth import machines
from infra.chassis.engine import create_engine
from infra.chassis.secret import Secret
from tests.support.database import DatabaseMaker
from tests.support.identity import (
    BRAND,
    ISSUER,
    NORTH,
    YEN_BRAND,
    YEN_RESOURCE,
    IdentityHouse,
    claims_of,
    identity_house,
)


@pytest.fixture(scope="module")
async def ground(database: DatabaseMaker) -> AsyncIterator[IdentityHouse]:
    async with identity_house(database) as made:
        yield made


@pytest.fixture
async def house(ground: IdentityHouse) -> IdentityHouse:
    await ground.empty()
    return ground


@pytest.fixture
async def lone_house(database: DatabaseMaker) -> AsyncIterator[IdentityHouse]:
    """For those who withdraw clients, which is remembered for a while."""
    async with identity_house(database) as made:
        yield made


async def withdraw(house: IdentityHouse, client_id: str) -> None:
    engine = create_engine(Secret(house.owner_dsn), pool_size=1)
    async with engine.begin() as tx:
        await tx.execute(
            text("UPDATE client_directory SET withdrawn_at = now() WHERE client_id = :c"), {"c": client_id}
        )
    await engine.dispose()


async def test_an_agent_gets_a_bearer_with_its_key_and_is_who_it_is(house: IdentityHouse):
    answer = await house.machine("agt_chat")
    caller = await house.whoami(answer.json()["access_token"])

    assert answer.headers["cache-control"] == "no-store"
    assert "refresh_token" not in answer.json()
    assert claims_of(answer.json()["access_token"])["aud"] == ISSUER
    assert caller.json() == {
        "kind": "agent",
        "client_id": "agt_chat",
        "tenant_id": NORTH,
        "brand_ids": [BRAND],
        "scopes": ["conversation", "memory", "purchase", "refund"],
        "subject_id": None,
        "conversation_id": None,
        "act_client_id": None,
    }


async def test_an_mcp_server_has_brands_and_no_tenant(house: IdentityHouse):
    answer = await house.machine("mcp_larkspur")
    caller = (await house.whoami(answer.json()["access_token"])).json()

    assert (caller["kind"], caller["tenant_id"], caller["brand_ids"]) == ("mcp_server", "", [BRAND, YEN_BRAND])
    assert caller["scopes"] == ["exchange", "purchase.read", "quote"]


async def test_the_token_endpoint_is_an_accepted_audience_too(house: IdentityHouse):
    answer = await house.machine("agt_chat", house.assertion("agt_chat", aud=f"{ISSUER}/oauth/token"))

    assert answer.status_code == 200


async def test_a_machine_may_ask_for_less_and_not_for_more(house: IdentityHouse):
    less = await house.machine("agt_chat", scope="refund")
    more = await house.machine("agt_chat", scope="refund quote")

    assert less.json()["scope"] == "refund"
    assert more.json()["error"] == "invalid_scope"


@pytest.mark.parametrize(
    "changes",
    [
        {"iss": "mcp_larkspur"},
        {"sub": "mcp_larkspur"},
        {"sub": None},
        {"iss": None},
        {"aud": [ISSUER]},
        {"aud": "https://other.test"},
        {"aud": None},
        {"jti": None},
        {"jti": "short"},
        {"jti": "j" * 129},
        {"exp": None},
        {"exp": 1},
        {"exp": 2**40},
        {"iat": None},
        {"iat": 2**40},
        {"iat": "now"},
    ],
)
@pytest.mark.control("UC-8.2")
async def test_an_assertion_with_a_missing_or_wrong_claim_is_refused(house: IdentityHouse, changes: dict[str, Any]):
    answer = await house.machine("agt_chat", house.assertion("agt_chat", **changes))

    assert (answer.status_code, answer.json()["error"]) == (400, "invalid_client")


@pytest.mark.control("UC-8.2")
async def test_an_assertion_by_another_key_or_of_another_type_is_refused(house: IdentityHouse):
    other_key = house.assertion("agt_chat", key=Ed25519PrivateKey.generate())
    bearer_type = house.assertion("agt_chat", header={"typ": "at+jwt"})
    grant_type = house.assertion("agt_chat", header={"typ": "undercroft-grant+jwt"})
    unknown = house.assertion("agt_nobody", key=house.keys["agt_chat"])
    elliptic = jwt.encode({"iss": "agt_chat"}, ec.generate_private_key(ec.SECP256R1()), algorithm="ES256")

    for forged in (other_key, bearer_type, grant_type, unknown, elliptic, "nonsense", "x" * 4090):
        assert (await house.machine("agt_chat", forged)).json()["error"] == "invalid_client"


@pytest.mark.control("UC-8.2")
@pytest.mark.parametrize("nobody", ["agt\0chat", "agt_\ud800", "agt_ch\u0430t"])
async def test_an_assertion_from_what_no_database_can_look_for_is_refused_like_any_other(
    house: IdentityHouse, nobody: str
):
    answer = await house.machine("agt_chat", house.assertion("agt_chat", iss=nobody, sub=nobody))

    assert (answer.status_code, answer.json()["error"]) == (400, "invalid_client")


async def test_an_assertion_works_once(house: IdentityHouse):
    assertion = house.assertion("agt_chat")

    first = await house.machine("agt_chat", assertion)
    second = await house.machine("agt_chat", assertion)

    assert (first.status_code, second.status_code) == (200, 400)


async def test_two_clients_may_choose_the_same_jti(house: IdentityHouse):
    chat = await house.machine("agt_chat", house.assertion("agt_chat", jti="same-for-both"))
    server = await house.machine("mcp_larkspur", house.assertion("mcp_larkspur", jti="same-for-both"))

    assert (chat.status_code, server.status_code) == (200, 200)


async def test_a_named_client_must_be_the_one_that_signed(house: IdentityHouse):
    answer = await house.machine("agt_chat", client_id="mcp_larkspur")

    assert answer.json()["error"] == "invalid_client"


async def test_a_machine_is_never_let_in_without_its_key(house: IdentityHouse):
    answer = await house.client.post("/oauth/token", data={"grant_type": "client_credentials", "client_id": "agt_chat"})

    assert answer.json()["error"] == "invalid_client"


async def test_no_bearer_and_a_bad_bearer_are_told_apart_as_the_standard_says(house: IdentityHouse):
    missing = await house.client.get("/whoami")
    basic = await house.client.get("/whoami", headers={"Authorization": "Basic eDp5"})
    bad = await house.whoami("nonsense")

    assert [answer.status_code for answer in (missing, basic, bad)] == [401, 401, 401]
    assert missing.headers["www-authenticate"] == basic.headers["www-authenticate"] == "Bearer"
    assert bad.headers["www-authenticate"] == 'Bearer error="invalid_token"'
    assert bad.headers["content-type"] == "application/problem+json"
    assert bad.json()["code"] == "bearer_refused"


async def test_a_missing_scope_names_every_scope_of_the_operation(house: IdentityHouse):
    bearer = (await house.machine("agt_chat", scope="purchase")).json()["access_token"]

    answer = await house.client.get("/refunds-only", headers={"Authorization": f"Bearer {bearer}"})

    assert (answer.status_code, answer.json()["code"]) == (403, "scope_missing")
    assert answer.headers["www-authenticate"] == 'Bearer error="insufficient_scope", scope="purchase refund"'


@pytest.mark.control("UC-8.2")
async def test_a_withdrawn_client_is_out_before_its_bearer_ends(lone_house: IdentityHouse):
    bearer = (await lone_house.machine("agt_chat")).json()["access_token"]
    assert (await lone_house.whoami(bearer)).status_code == 200

    await withdraw(lone_house, "agt_chat")
    lone_house.clock.advance(timedelta(seconds=machines.FRESH_SECONDS + 1))

    assert (await lone_house.whoami(bearer)).status_code == 401
    assert (await lone_house.machine("agt_chat")).json()["error"] == "invalid_client"


@pytest.mark.control("UC-8.1")
async def test_an_assistants_bearer_is_for_the_brands_endpoint_and_not_for_the_gateway(house: IdentityHouse):
    _, given = await house.connected()

    assert (await house.whoami(given["access_token"])).status_code == 401


async def test_an_mcp_server_exchanges_an_assistants_bearer(house: IdentityHouse):
    client_id, given = await house.connected()

    answer = await house.exchange(given["access_token"])

    assert answer.status_code == 200
    exchanged = answer.json()
    assert exchanged["issued_token_type"] == "urn:ietf:params:oauth:token-type:access_token"
    assert exchanged["expires_in"] == 300
    assert "refresh_token" not in exchanged
    before, claims = claims_of(given["access_token"]), claims_of(exchanged["access_token"])
    assert (claims["aud"], claims["act"]) == (ISSUER, {"sub": "mcp_larkspur"})
    assert {name: claims[name] for name in ("sub", "cnv", "brand", "tenant", "scope")} == {
        name: before[name] for name in ("sub", "cnv", "brand", "tenant", "scope")
    }
    caller = (await house.whoami(exchanged["access_token"])).json()
    assert (caller["kind"], caller["client_id"], caller["act_client_id"]) == ("assistant", client_id, "mcp_larkspur")
    assert (caller["subject_id"], caller["brand_ids"]) == (before["sub"], [BRAND])


async def test_an_exchanged_bearer_never_outlives_the_one_it_came_from(house: IdentityHouse):
    _, given = await house.connected()
    house.clock.advance(timedelta(seconds=590))

    exchanged = (await house.exchange(given["access_token"])).json()

    assert exchanged["expires_in"] == 10
    assert claims_of(exchanged["access_token"])["exp"] == claims_of(given["access_token"])["exp"]


@pytest.mark.control("UC-8.1")
async def test_an_exchange_narrows_and_never_widens(house: IdentityHouse):
    _, given = await house.connected(scope="catalog memory")

    narrower = await house.exchange(given["access_token"], scope="catalog")
    wider = await house.exchange(given["access_token"], scope="catalog purchase")

    assert narrower.json()["scope"] == "catalog"
    assert wider.json()["error"] == "invalid_scope"


@pytest.mark.parametrize(
    ("server", "changes", "error"),
    [
        ("mcp_south", {}, "invalid_request"),
        ("agt_chat", {}, "unauthorized_client"),
        ("mcp_larkspur", {"subject_token": ""}, "invalid_request"),
        ("mcp_larkspur", {"subject_token": "nonsense"}, "invalid_request"),
        ("mcp_larkspur", {"subject_token_type": "urn:ietf:params:oauth:token-type:jwt"}, "invalid_request"),
        ("mcp_larkspur", {"requested_token_type": "urn:ietf:params:oauth:token-type:id_token"}, "invalid_request"),
        ("mcp_larkspur", {"actor_token": "x"}, "invalid_request"),
        ("mcp_larkspur", {"audience": "https://other.test"}, "invalid_target"),
    ],
)
async def test_other_exchanges_are_refused(house: IdentityHouse, server: str, changes: dict[str, str], error: str):
    _, given = await house.connected()

    answer = await house.exchange(given["access_token"], server, **changes)

    assert (answer.status_code, answer.json()["error"]) == (400, error)


async def test_an_exchanged_bearer_cannot_be_exchanged_again(house: IdentityHouse):
    _, given = await house.connected()
    exchanged = (await house.exchange(given["access_token"])).json()["access_token"]

    assert (await house.exchange(exchanged)).json()["error"] == "invalid_request"


async def test_an_expired_bearer_cannot_be_exchanged(house: IdentityHouse):
    _, given = await house.connected()
    house.clock.advance(timedelta(seconds=601))

    assert (await house.exchange(given["access_token"])).json()["error"] == "invalid_request"


async def test_one_mcp_server_may_serve_several_brands(house: IdentityHouse):
    _, given = await house.connected(resource=YEN_RESOURCE)

    exchanged = (await house.exchange(given["access_token"])).json()["access_token"]

    assert (await house.whoami(exchanged)).json()["brand_ids"] == [YEN_BRAND]


async def test_an_assistant_is_out_when_its_carrier_is_withdrawn(lone_house: IdentityHouse):
    _, given = await lone_house.connected()
    exchanged = (await lone_house.exchange(given["access_token"])).json()["access_token"]

    await withdraw(lone_house, "mcp_larkspur")
    lone_house.clock.advance(timedelta(seconds=machines.FRESH_SECONDS + 1))

    assert (await lone_house.whoami(exchanged)).status_code == 401
