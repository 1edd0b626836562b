import asyncio
import logging
from collections.abc import AsyncIterator
from datetime import timedelta

import jwt
import pytest
from sqlalchemy import text

from infra.chassis.engine import create_engine
from infra.chassis.secret import Secret
from tests.support.database import DatabaseMaker
from tests.support.identity import (
    BRAND,
    EMAIL,
    ISSUER,
    NORTH,
    RESOURCE,
    SOUTH_RESOURCE,
    IdentityHouse,
    Pair,
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


@pytest.mark.control("UC-8.1")
async def test_an_assistant_gets_a_bearer_for_the_brands_endpoint_and_no_other(house: IdentityHouse):
    client_id, pair = await house.client_id(), Pair()

    came_back = await house.consented(client_id, pair)
    answer = await house.redeem(client_id, came_back["code"], pair)

    assert (came_back["state"], came_back["iss"]) == ("st-1", ISSUER)
    assert answer.status_code == 200
    assert answer.headers["cache-control"] == "no-store"
    given = answer.json()
    assert (given["token_type"], given["expires_in"], given["scope"]) == ("Bearer", 600, "catalog memory purchase")
    claims = claims_of(given["access_token"])
    assert (claims["iss"], claims["aud"], claims["kind"]) == (ISSUER, RESOURCE, "assistant")
    assert (claims["tenant"], claims["brand"], claims["client_id"]) == (NORTH, BRAND, client_id)
    assert claims["sub"].startswith("sub_")
    assert claims["cnv"].startswith("cnv_")


async def test_the_login_opens_a_conversation_with_evidence_as_old_as_the_code(house: IdentityHouse):
    client_id, pair = await house.client_id(), Pair()
    person = house.person()
    page = await person.log_in(await person.get(house.authorize_url(client_id, pair)))
    proven_at = house.clock.now()
    house.clock.advance(timedelta(minutes=5))

    await person.post(page, answer="agree", spending="on", payment_cap="150.00", day_cap="300.00")

    (row,) = await house.rows(
        "SELECT channel, client_id, c.subject_id, kind, obtained_at FROM conversations c JOIN evidence e"
        " USING (tenant_id, conversation_id)"
    )
    assert (row["channel"], row["client_id"], row["kind"]) == ("assistant", client_id, "login_code")
    assert row["obtained_at"] == proven_at


async def test_the_same_address_is_the_same_subject_and_another_is_another(house: IdentityHouse):
    _, first = await house.connected(email=EMAIL)
    _, again = await house.connected(email=EMAIL.upper())
    _, other = await house.connected(email="grace@example.com")

    subjects = [claims_of(given["access_token"])["sub"] for given in (first, again, other)]
    assert subjects[0] == subjects[1] != subjects[2]


@pytest.mark.control("UC-8.1")
async def test_a_code_used_twice_ends_everything_it_gave(house: IdentityHouse):
    client_id, pair = await house.client_id(), Pair()
    code = (await house.consented(client_id, pair))["code"]
    given = (await house.redeem(client_id, code, pair)).json()

    second = await house.redeem(client_id, code, pair)

    assert (second.status_code, second.json()["error"]) == (400, "invalid_grant")
    assert (await house.refresh(client_id, given["refresh_token"])).json()["error"] == "invalid_grant"
    assert (await house.exchange(given["access_token"])).status_code == 400


@pytest.mark.control("UC-8.1")
async def test_of_many_redemptions_at_once_one_at_most_succeeds(house: IdentityHouse):
    client_id, pair = await house.client_id(), Pair()
    code = (await house.consented(client_id, pair))["code"]

    answers = await asyncio.gather(*(house.redeem(client_id, code, pair) for _ in range(6)))

    assert sorted(answer.status_code for answer in answers) == [200] + [400] * 5


@pytest.mark.control("UC-8.1")
async def test_a_code_is_good_for_a_minute(house: IdentityHouse):
    client_id, pair = await house.client_id(), Pair()
    code = (await house.consented(client_id, pair))["code"]
    house.clock.advance(timedelta(seconds=61))

    answer = await house.redeem(client_id, code, pair)

    assert answer.json()["error"] == "invalid_grant"


@pytest.mark.parametrize(
    ("changes", "error"),
    [
        ({"code_verifier": "x" * 43}, "invalid_grant"),
        ({"code_verifier": ""}, "invalid_request"),
        ({"code_verifier": "short"}, "invalid_request"),
        ({"redirect_uri": "https://assistant.example/other"}, "invalid_grant"),
        ({"redirect_uri": ""}, "invalid_grant"),
        ({"resource": SOUTH_RESOURCE}, "invalid_target"),
        ({"code": "tnt_north." + "A" * 43}, "invalid_grant"),
        ({"code": "nonsense"}, "invalid_grant"),
        ({"grant_type": "password"}, "unsupported_grant_type"),
        ({"grant_type": "implicit"}, "unsupported_grant_type"),
        ({"grant_type": ""}, "unsupported_grant_type"),
        ({"client_id": "ast_unknown"}, "invalid_client"),
        ({"client_id": "agt_chat"}, "invalid_client"),
        ({"client_secret": "anything"}, "invalid_client"),
    ],
)
@pytest.mark.control("UC-8.1")
async def test_a_redemption_that_differs_in_anything_is_refused(
    house: IdentityHouse, changes: dict[str, str], error: str
):
    client_id, pair = await house.client_id(), Pair()
    code = (await house.consented(client_id, pair))["code"]

    answer = await house.redeem(client_id, code, pair, **changes)

    assert (answer.status_code, answer.json()["error"]) == (400, error)
    assert answer.headers["cache-control"] == "no-store"
    assert "access_token" not in answer.json()


async def test_a_code_is_of_no_use_to_another_client_or_another_tenant(house: IdentityHouse):
    client_id, pair = await house.client_id(), Pair()
    code = (await house.consented(client_id, pair))["code"]

    other = await house.redeem(await house.client_id(), code, pair)
    elsewhere = await house.redeem(client_id, code.replace("tnt_north", "tnt_south"), pair)
    right = await house.redeem(client_id, code, pair)

    assert other.json()["error"] == elsewhere.json()["error"] == "invalid_grant"
    assert right.status_code == 200


async def test_a_refresh_gives_a_new_pair_for_the_same_consent(house: IdentityHouse):
    client_id, given = await house.connected()
    house.clock.advance(timedelta(minutes=11))

    answer = await house.refresh(client_id, given["refresh_token"], resource=RESOURCE)

    assert answer.status_code == 200
    renewed = answer.json()
    assert renewed["refresh_token"] != given["refresh_token"]
    before, after = claims_of(given["access_token"]), claims_of(renewed["access_token"])
    assert {name: after[name] for name in ("sub", "cnv", "aud", "scope")} == {
        name: before[name] for name in ("sub", "cnv", "aud", "scope")
    }
    assert after["exp"] > before["exp"]


@pytest.mark.control("UC-8.1")
async def test_a_refresh_bearer_used_twice_ends_the_family(house: IdentityHouse):
    client_id, given = await house.connected()
    renewed = (await house.refresh(client_id, given["refresh_token"])).json()

    replayed = await house.refresh(client_id, given["refresh_token"])

    assert replayed.json()["error"] == "invalid_grant"
    assert (await house.refresh(client_id, renewed["refresh_token"])).json()["error"] == "invalid_grant"
    (consent,) = await house.rows("SELECT revoked_because FROM consents")
    assert consent["revoked_because"] == "used_twice"


async def test_a_refresh_can_narrow_the_scope_and_never_widen_it(house: IdentityHouse):
    client_id, given = await house.connected(scope="catalog memory")

    wider = await house.refresh(client_id, given["refresh_token"], scope="catalog purchase")
    narrower = await house.refresh(client_id, given["refresh_token"], scope="catalog")

    assert wider.json()["error"] == "invalid_scope"
    assert narrower.json()["scope"] == "catalog"


@pytest.mark.parametrize(
    ("later", "changes"),
    [
        (timedelta(days=31), {}),
        (timedelta(0), {"client_id": "ast_unknown"}),
        (timedelta(0), {"refresh_token": "tnt_north." + "A" * 43}),
        (timedelta(0), {"resource": SOUTH_RESOURCE}),
    ],
)
async def test_a_refresh_that_is_late_or_not_its_owners_is_refused(
    house: IdentityHouse, later: timedelta, changes: dict[str, str]
):
    client_id, given = await house.connected()
    house.clock.advance(later)

    answer = await house.refresh(client_id, given["refresh_token"], **changes)

    assert answer.status_code == 400
    assert "access_token" not in answer.json()


async def test_a_consent_ends_after_ninety_days_however_often_it_is_refreshed(house: IdentityHouse):
    client_id, given = await house.connected()
    refresh_token = given["refresh_token"]
    for _ in range(3):
        house.clock.advance(timedelta(days=29))
        refresh_token = (await house.refresh(client_id, refresh_token)).json()["refresh_token"]

    house.clock.advance(timedelta(days=4))
    answer = await house.refresh(client_id, refresh_token)

    assert answer.json()["error"] == "invalid_grant"


@pytest.mark.parametrize("which", ["refresh_token", "access_token"])
async def test_revoking_either_half_ends_the_consent(house: IdentityHouse, which: str):
    client_id, given = await house.connected()

    answer = await house.client.post("/oauth/revoke", data={"client_id": client_id, "token": given[which]})

    assert answer.status_code == 200
    assert answer.headers["cache-control"] == "no-store"
    assert (await house.refresh(client_id, given["refresh_token"])).json()["error"] == "invalid_grant"
    assert (await house.exchange(given["access_token"])).status_code == 400


@pytest.mark.control("UC-8.1")
async def test_a_consent_that_ended_leaves_exchanged_bearers_nobody_to_speak_for(house: IdentityHouse):
    revoked, stolen = await house.connected(), await house.connected(email="eve@example.com")

    await house.client.post("/oauth/revoke", data={"client_id": revoked[0], "token": revoked[1]["refresh_token"]})
    for _ in range(2):
        await house.refresh(stolen[0], stolen[1]["refresh_token"])

    closed = await house.rows("SELECT closed_at FROM conversations")
    assert [row["closed_at"] for row in closed] == [house.clock.now()] * 2


async def test_revoking_what_is_unknown_changes_nothing_and_tells_nothing(house: IdentityHouse):
    client_id, given = await house.connected()

    unknown = await house.client.post("/oauth/revoke", data={"client_id": client_id, "token": "nonsense"})
    other = await house.client.post(
        "/oauth/revoke", data={"client_id": await house.client_id(), "token": given["refresh_token"]}
    )

    forged = jwt.encode({"aud": "https://mcp.test/\0"}, "x" * 32)
    odd = await house.client.post("/oauth/revoke", data={"client_id": client_id, "token": forged})

    assert unknown.status_code == odd.status_code == 200
    assert other.status_code == 400
    assert (await house.refresh(client_id, given["refresh_token"])).status_code == 200


async def test_what_is_not_a_form_is_refused(house: IdentityHouse):
    as_json = await house.client.post("/oauth/token", json={"grant_type": "refresh_token"})
    twice = await house.client.post(
        "/oauth/token",
        content="grant_type=refresh_token&grant_type=refresh_token",
        headers={"content-type": "application/x-www-form-urlencoded"},
    )

    assert as_json.json()["error"] == twice.json()["error"] == "invalid_request"
    assert as_json.headers["cache-control"] == twice.headers["cache-control"] == "no-store"


@pytest.mark.control("UC-8.1")
async def test_codes_bearers_and_cookies_are_stored_only_as_hashes(house: IdentityHouse):
    client_id, pair, person = await house.client_id(), Pair(), house.person()
    code = (await house.consented(client_id, pair, person=person))["code"]
    given = (await house.redeem(client_id, code, pair)).json()
    secrets = [code, given["access_token"], given["refresh_token"], *person.client.cookies.values()]

    engine = create_engine(Secret(house.owner_dsn), pool_size=1)
    async with engine.begin() as tx:
        await tx.execute(text("SELECT set_config('undercroft.tenant', :t, true)"), {"t": NORTH})
        tables = (await tx.execute(text("SELECT tablename FROM pg_tables WHERE schemaname = 'public'"))).scalars().all()
        stored = ""
        for table in tables:
            rows = await tx.execute(text(f"SELECT json_agg(t) FROM {table} t"))  # noqa: S608 - the catalogue's names
            stored += str(rows.scalar_one())
    await engine.dispose()

    assert client_id in stored
    assert not [secret for secret in secrets if secret in stored or secret.rpartition(".")[2] in stored]


@pytest.mark.control("UC-L.1")
async def test_codes_and_bearers_are_never_logged(
    house: IdentityHouse, caplog: pytest.LogCaptureFixture, capsys: pytest.CaptureFixture[str]
):
    caplog.set_level(logging.DEBUG)
    client_id, pair = await house.client_id(), Pair()
    code = (await house.consented(client_id, pair))["code"]
    given = (await house.redeem(client_id, code, pair)).json()
    renewed = (await house.refresh(client_id, given["refresh_token"])).json()

    logged = caplog.text + "".join(capsys.readouterr())
    assert not [
        value for value in (code, *given.values(), *renewed.values()) if len(str(value)) > 40 and value in logged
    ]
