"""Every trap of compact JWSs at the gateway's doors: bearers, bearers to be exchanged or revoked, client assertions."""

import json
import secrets
import time
from collections.abc import AsyncIterator
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from jwt.algorithms import ECAlgorithm

from gateway.bearers import public_jwk, thumbprint
from gateway.provision import provision
from infra.chassis.secret import Secret
from tests.support.database import DatabaseMaker
from tests.support.forging import CLAIMS, SPELLINGS, TAKEN_BY_PYJWT, TRAPS, Genuine, other_half
from tests.support.identity import BRAND, ISSUER, NORTH, IdentityHouse, claims_of, identity_house, manifest

ELLIPTIC = "agt_elliptic"
"""An agent whose key is P-256."""


@pytest.fixture(scope="module")
def elliptic_key() -> ec.EllipticCurvePrivateKey:
    return ec.generate_private_key(ec.SECP256R1())


@pytest.fixture(scope="module")
async def house(database: DatabaseMaker, elliptic_key: ec.EllipticCurvePrivateKey) -> AsyncIterator[IdentityHouse]:
    async with identity_house(database) as made:
        described = manifest(made.keys)
        jwk = json.loads(ECAlgorithm.to_jwk(elliptic_key.public_key()))
        agent = {"client_id": ELLIPTIC, "name": ELLIPTIC, "brand_ids": [BRAND], "scopes": ["memory"], "public_jwk": jwk}
        described["tenants"][0]["agents"].append(agent)
        await provision(Secret(made.owner_dsn), json.dumps(described).encode(), made.clock)
        yield made


@pytest.fixture
def bearer(house: IdentityHouse) -> Genuine:
    """An agent's own."""
    now = int(house.clock.now().timestamp())
    claims = {"iss": ISSUER, "aud": ISSUER, "iat": now, "exp": now + 60, "jti": secrets.token_hex(8)}
    claims |= {"sub": "agt_chat", "client_id": "agt_chat", "scope": "memory", "kind": "agent", "tenant": NORTH}
    return Genuine(house.bearer_key, _header(house), claims)


@pytest.fixture(scope="module")
async def subject_bearer(house: IdentityHouse) -> Genuine:
    """An assistant's, with a consent that stands."""
    _, given = await house.connected()
    return Genuine(house.bearer_key, _header(house), claims_of(given["access_token"]))


@pytest.fixture
def assertion(house: IdentityHouse) -> Genuine:
    key, now = house.keys["agt_chat"], int(house.clock.now().timestamp())
    claims = {"iss": "agt_chat", "sub": "agt_chat", "aud": ISSUER, "iat": now, "exp": now + 60}
    header = {"typ": "JWT", "alg": "EdDSA", "kid": thumbprint(public_jwk(key))}
    return Genuine(key, header, {**claims, "jti": secrets.token_hex(8)})


def _header(house: IdentityHouse) -> dict[str, str]:
    return {"typ": "at+jwt", "alg": "EdDSA", "kid": thumbprint(public_jwk(house.bearer_key))}


async def test_what_the_traps_are_made_from_opens_every_door(
    house: IdentityHouse, bearer: Genuine, subject_bearer: Genuine, assertion: Genuine
):
    answers = [
        await house.whoami(bearer.compact),
        await house.exchange(subject_bearer.compact),
        await house.machine("agt_chat", assertion.compact),
        await house.machine("agt_chat", assertion.headed(typ=None, kid=None)),
    ]

    assert [answer.status_code for answer in answers] == [200, 200, 200, 400], "the last one was used before"


@pytest.mark.parametrize("trap", TAKEN_BY_PYJWT)
def test_these_traps_are_real_because_pyjwt_alone_sees_nothing_wrong(trap: str):
    now, key = int(time.time()), Ed25519PrivateKey.generate()
    claims = {"iss": ISSUER, "aud": ISSUER, "iat": now, "exp": now + 60, "jti": "j", "sub": "s"}
    genuine = Genuine(key, {"alg": "EdDSA", "typ": "at+jwt", "kid": "k"}, claims)

    taken = jwt.decode(TRAPS[trap](genuine), key.public_key(), algorithms=["EdDSA"], audience=ISSUER, issuer=ISSUER)

    assert (taken["iss"], taken["sub"]) == (ISSUER, "s")


@pytest.mark.parametrize("trap", TRAPS)
@pytest.mark.control("UC-8.2")
async def test_a_forged_bearer_is_answered_like_every_other(house: IdentityHouse, bearer: Genuine, trap: str):
    answer = await house.whoami(TRAPS[trap](bearer))

    assert (answer.status_code, answer.json()["code"]) == (401, "bearer_refused")
    assert answer.headers["www-authenticate"] == 'Bearer error="invalid_token"'
    assert answer.json()["detail"] == "A valid bearer is needed."


@pytest.mark.parametrize("trap", [*SPELLINGS, *(name for name in CLAIMS if name.startswith("aud"))])
@pytest.mark.control("UC-8.2")
async def test_a_forged_bearer_is_not_exchanged(house: IdentityHouse, subject_bearer: Genuine, trap: str):
    answer = await house.exchange(TRAPS[trap](subject_bearer))

    refused = {"error": "invalid_request", "error_description": "The 'subject_token' cannot be exchanged."}
    assert (answer.status_code, answer.json()) in [(400, refused), (400, UNREADABLE)]


UNREADABLE = {
    "error": "invalid_request",
    "error_description": "A parameter has characters or a length that are not allowed.",
}
"""RFC 6749 appendix A: a form's value is printable ASCII."""


@pytest.mark.parametrize("trap", TRAPS)
@pytest.mark.control("UC-8.2")
async def test_a_forged_assertion_authenticates_nobody_and_is_not_remembered(
    house: IdentityHouse, assertion: Genuine, trap: str
):
    forged = await house.machine("agt_chat", TRAPS[trap](assertion))
    genuine = await house.machine("agt_chat", assertion.compact)

    refused = {"error": "invalid_client", "error_description": "The client was not authenticated."}
    assert (forged.status_code, forged.json()) in [(400, refused), (400, UNREADABLE)]
    assert genuine.status_code == 200, "its jti was not spent by the forgery"


async def test_a_forged_bearer_revokes_nothing(house: IdentityHouse):
    client_id, given = await house.connected(email="grace@example.com")
    genuine = Genuine(house.bearer_key, _header(house), claims_of(given["access_token"]))

    for forge in TRAPS.values():
        await house.client.post("/oauth/revoke", data={"client_id": client_id, "token": forge(genuine)})

    assert (await house.refresh(client_id, given["refresh_token"])).status_code == 200


@pytest.mark.parametrize(
    "changes",
    [
        {"admin": True},
        {"kind": "root"},
        {"kind": "assistant"},
        {"client_id": "mcp_larkspur"},
        {"client_id": 7},
        {"tenant": 7},
        {"scope": ["memory"]},
        {"act": "mcp_larkspur"},
        {"act": {"sub": ""}},
        {"act": {"sub": "mcp_larkspur", "act": {"sub": "x"}}},
    ],
    ids=str,
)
async def test_a_bearer_of_our_own_key_that_is_not_shaped_like_ours_is_refused(
    house: IdentityHouse, bearer: Genuine, changes: dict[str, Any]
):
    """Whoever got one signature out of us (or our key) still has to know what a bearer is."""
    answer = await house.whoami(bearer.but(**changes))

    assert (answer.status_code, answer.json()["code"]) == (401, "bearer_refused")


def elliptic(house: IdentityHouse, key: ec.EllipticCurvePrivateKey, header: dict[str, Any] | None = None) -> str:
    return house.assertion(ELLIPTIC, key=key, algorithm="ES256", header=header)


@pytest.mark.parametrize("twin_first", [False, True])
@pytest.mark.control("UC-8.2")
async def test_the_twin_of_an_es256_signature_is_the_same_assertion_and_so_used(
    house: IdentityHouse, elliptic_key: ec.EllipticCurvePrivateKey, *, twin_first: bool
):
    """(r, n - s) verifies like (r, s): a cache of used assertions by their bytes would take both."""
    first = elliptic(house, elliptic_key)
    second = other_half(first)
    assert jwt.decode(second, elliptic_key.public_key(), algorithms=["ES256"], options=_SIGNATURE_ALONE)

    answers = [
        await house.machine(ELLIPTIC, compact) for compact in ((second, first) if twin_first else (first, second))
    ]

    assert [answer.status_code for answer in answers] == [200, 400]


_SIGNATURE_ALONE: Any = {"verify_aud": False, "verify_exp": False, "verify_iat": False}


@pytest.mark.control("UC-8.2")
async def test_an_elliptic_clients_public_key_is_no_shared_secret_and_no_other_kind_of_key(
    house: IdentityHouse, elliptic_key: ec.EllipticCurvePrivateKey
):
    genuine = elliptic(house, elliptic_key)
    forged = [
        house.assertion(ELLIPTIC, key=json.dumps(ECAlgorithm.to_jwk(elliptic_key.public_key())), algorithm="HS256"),
        house.assertion(ELLIPTIC, key=house.keys["agt_chat"]),
        elliptic(house, elliptic_key, {"kid": "another"}),
        f"{genuine.rpartition('.')[0]}.{'A' * 86}",
        elliptic(house, ec.generate_private_key(ec.SECP256R1())),
    ]

    answers = [await house.machine(ELLIPTIC, compact) for compact in forged]

    assert {(answer.status_code, answer.json()["error"]) for answer in answers} == {(400, "invalid_client")}
    assert (await house.machine(ELLIPTIC, genuine)).status_code == 200


async def test_a_kid_is_the_registered_id_or_the_thumbprint(
    house: IdentityHouse, elliptic_key: ec.EllipticCurvePrivateKey
):
    x, y = (json.loads(ECAlgorithm.to_jwk(elliptic_key.public_key()))[name] for name in ("x", "y"))
    kid = thumbprint({"kty": "EC", "crv": "P-256", "x": x, "y": y})

    answer = await house.machine(ELLIPTIC, elliptic(house, elliptic_key, {"kid": kid}))

    assert answer.status_code == 200


async def test_nbf_goes_by_the_gateways_clock(house: IdentityHouse):
    now = int(house.clock.now().timestamp())

    answers = [
        await house.machine("agt_chat", house.assertion("agt_chat", nbf=now + later)) for later in (-60, 0, 5, 6)
    ]

    assert [answer.status_code for answer in answers] == [200, 200, 200, 400]
