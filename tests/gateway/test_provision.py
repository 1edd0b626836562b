import base64
import copy
import json
from collections.abc import AsyncIterator
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from sqlalchemy import text
from sqlalchemy.exc import ProgrammingError

from gateway.bearers import public_jwk
from gateway.provision import ManifestRefused, Provisioned, provision, read_manifest
from infra.chassis.clock import FixedClock
from infra.chassis.engine import create_engine
from infra.chassis.secret import Secret
from tests.support.database import DatabaseMaker
from tests.support.identity import BRAND, NORTH, SOUTH, SOUTH_BRAND, START, IdentityHouse, identity_house, manifest


@pytest.fixture
async def house(database: DatabaseMaker) -> AsyncIterator[IdentityHouse]:
    async with identity_house(database) as made:
        yield made


@pytest.fixture
def described(house: IdentityHouse) -> dict[str, Any]:
    """The manifest that the house was made with."""
    return copy.deepcopy(manifest(house.keys))


async def again(house: IdentityHouse, content: dict[str, Any]) -> Provisioned:
    return await provision(Secret(house.owner_dsn), json.dumps(content).encode(), FixedClock(START))


async def directory(house: IdentityHouse) -> list[dict[str, Any]]:
    return await house.rows(
        "SELECT d.*, array_agg(b.brand_id ORDER BY b.brand_id) AS brands FROM client_directory d"
        " JOIN client_brands b USING (client_id) GROUP BY d.client_id ORDER BY d.client_id"
    )


async def test_repeating_a_manifest_changes_nothing(house: IdentityHouse, described: dict[str, Any]):
    before = await directory(house), await house.rows("SELECT * FROM brands ORDER BY brand_id")

    done = await again(house, described)

    assert done == Provisioned(tenants=2, brands=3, clients=3)
    assert (await directory(house), await house.rows("SELECT * FROM brands ORDER BY brand_id")) == before


async def test_what_changed_in_the_manifest_changes(house: IdentityHouse, described: dict[str, Any]):
    described["tenants"][0]["brands"][0]["name"] = "Larkspur"
    described["tenants"][0]["agents"][0]["scopes"] = ["memory"]
    described["mcp_servers"][0]["brand_ids"] = [BRAND, SOUTH_BRAND]

    await again(house, described)

    agent, server, _ = await directory(house)
    assert agent["scopes"] == ["memory"]
    assert server["brands"] == [BRAND, SOUTH_BRAND]
    (row,) = await house.rows("SELECT name FROM brand_directory WHERE brand_id = :b", b=BRAND)
    assert row["name"] == "Larkspur"


async def test_a_withdrawn_client_gets_no_bearer_and_can_come_back(house: IdentityHouse, described: dict[str, Any]):
    described["tenants"][0]["agents"][0]["withdrawn"] = True
    await again(house, described)
    refused = await house.machine("agt_chat")

    described["tenants"][0]["agents"][0]["withdrawn"] = False
    await again(house, described)
    back = await house.machine("agt_chat")

    assert (refused.status_code, back.status_code) == (400, 200)


async def test_a_machine_may_have_an_elliptic_key_and_signs_with_its_algorithm_only(
    house: IdentityHouse, described: dict[str, Any]
):
    key = ec.generate_private_key(ec.SECP256R1())
    numbers = key.public_key().public_numbers()
    x, y = (base64.urlsafe_b64encode(n.to_bytes(32)).rstrip(b"=").decode() for n in (numbers.x, numbers.y))
    described["tenants"][0]["agents"][0]["public_jwk"] = {"kty": "EC", "crv": "P-256", "x": x, "y": y}
    await again(house, described)

    good = await house.machine("agt_chat", house.assertion("agt_chat", key=key, algorithm="ES256"))
    old_key = await house.machine("agt_chat", house.assertion("agt_chat"))

    assert (good.status_code, old_key.status_code) == (200, 400)


@pytest.mark.control("UC-G.3")
async def test_a_client_that_changes_its_key_is_proven_by_either_until_one_is_taken_away(
    house: IdentityHouse, described: dict[str, Any]
):
    entry, following = described["tenants"][0]["agents"][0], Ed25519PrivateKey.generate()
    both = [lambda: house.assertion("agt_chat"), lambda: house.assertion("agt_chat", key=following)]

    async def let_in() -> list[int]:
        return [(await house.machine("agt_chat", made())).status_code for made in both]

    before = await let_in()
    entry["next_jwk"] = public_jwk(following)
    await again(house, described)
    during = await let_in()
    entry["public_jwk"] = entry.pop("next_jwk")
    await again(house, described)
    after = await let_in()

    assert (before, during, after) == ([200, 400], [200, 200], [400, 200])


async def test_a_brand_or_client_of_another_tenant_is_refused_and_nothing_is_written(
    house: IdentityHouse, described: dict[str, Any]
):
    north, south = described["tenants"]
    stolen_brand = {"tenants": [{**south, "brands": [{**north["brands"][0], "resource_url": "https://x.test/mcp"}]}]}
    stolen_client = {"tenants": [{**south, "agents": [{**north["agents"][0], "brand_ids": [SOUTH_BRAND]}]}]}
    foreign_brand = {"tenants": [{**north, "agents": [{**north["agents"][0], "brand_ids": [SOUTH_BRAND]}]}]}
    missing_brand = {"mcp_servers": [{**described["mcp_servers"][0], "brand_ids": ["brd_nowhere"]}]}
    before = await directory(house)

    for content in (stolen_brand, stolen_client, foreign_brand, missing_brand):
        with pytest.raises(ManifestRefused):
            await again(house, content)

    assert await directory(house) == before


def private_jwk() -> dict[str, str]:
    raw = Ed25519PrivateKey.generate().private_bytes_raw()
    return {"kty": "OKP", "crv": "Ed25519", "x": "x", "d": base64.urlsafe_b64encode(raw).decode()}


@pytest.mark.parametrize(
    "agent",
    [
        {"public_jwk": private_jwk()},
        {"next_jwk": private_jwk()},
        {"next_jwk": {"kty": "oct", "k": "AAAA"}},
        {"public_jwk": {"kty": "oct", "k": "AAAA"}},
        {"public_jwk": {"kty": "RSA", "n": "x", "e": "AQAB"}},
        {"public_jwk": {"kty": "OKP", "crv": "X25519", "x": "x"}},
        {"scopes": ["quote"]},
        {"scopes": ["exchange"]},
        {"client_id": "a"},
        {"unknown": 1},
    ],
)
def test_a_manifest_with_a_private_key_or_an_odd_client_is_refused(agent: dict[str, Any]):
    keys = {name: Ed25519PrivateKey.generate() for name in ("agt_chat", "mcp_larkspur", "mcp_south")}
    content = manifest(keys)
    content["tenants"][0]["agents"][0].update(agent)

    with pytest.raises(ManifestRefused):
        read_manifest(json.dumps(content).encode())


@pytest.mark.control("UC-7.2")
async def test_the_application_can_read_the_client_directory_and_not_write_it(house: IdentityHouse):
    for statement in (
        "UPDATE client_directory SET scopes = '{refund}'",
        "INSERT INTO client_brands VALUES ('agt_chat', 'brd_south')",
        "DELETE FROM client_directory",
    ):
        with pytest.raises(ProgrammingError, match="permission denied"):
            await house.rows(statement)


async def test_logins_consents_codes_and_refresh_bearers_of_another_tenant_are_not_there(house: IdentityHouse):
    await house.connected()
    tables = ("visits", "browser_logins", "consents", "authorization_codes", "refresh_bearers")

    everything = [f"SELECT 1 FROM {table} WHERE true OR tenant_id = '{NORTH}'" for table in tables]  # noqa: S608 - ours

    engine = create_engine(Secret(house.app_dsn), pool_size=1)
    async with engine.begin() as tx:
        untold = [len((await tx.execute(text(query))).all()) for query in everything]
    await engine.dispose()
    north = [len(await house.rows(query, NORTH)) for query in everything]
    south = [len(await house.rows(query, SOUTH)) for query in everything]

    assert untold == south == [0] * 5
    assert north == [0, 1, 1, 1, 1]
