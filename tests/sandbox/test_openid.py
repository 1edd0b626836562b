"""The sandbox's OpenID provider is as strict as a real one: what a sloppy client sends does not work here either."""

import json
import secrets
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import httpx2
import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, EllipticCurvePrivateKey, generate_private_key
from jwt.algorithms import ECAlgorithm
from litestar import Litestar

from infra.sandbox.openid.realm import CIBA_GRANT, Realm, realm_of
from infra.sandbox.openid.registered import ASSERTION_TYPE, Client, ClientsUnusable, read_clients
from infra.sandbox.openid.routes import openid_routes

URL, BACK, VERIFIER = "http://127.0.0.1:7401", "http://127.0.0.1:7100/back", "v" * 43
CHALLENGE = "7w_YNF9DSfIdPf_pRjSq646_kPr-2-o9NAl16JGghdM"


class Clocked:
    def __init__(self) -> None:
        self.seconds = 1_800_000_000.0

    def __call__(self) -> float:
        return self.seconds


@pytest.fixture
def clock() -> Clocked:
    return Clocked()


@pytest.fixture
def key() -> EllipticCurvePrivateKey:
    return generate_private_key(SECP256R1())


@pytest.fixture
def realm(clock: Clocked, key: EllipticCurvePrivateKey) -> Realm:
    jwk = json.loads(ECAlgorithm.to_jwk(key.public_key()))
    client = Client(client_id="us", redirect_uris=[BACK], public_jwk=jwk, id_token_signed_response_alg="ES256")
    return realm_of("people", [client], URL, clock)


@pytest.fixture
def browser(realm: Realm) -> httpx2.AsyncClient:
    app: Any = Litestar(openid_routes({"people": realm}), openapi_config=None, logging_config=None)
    return httpx2.AsyncClient(transport=httpx2.ASGITransport(app=app), base_url=f"{URL}/openid/people")


def asked(**changes: str) -> dict[str, str]:
    plain = {
        "response_type": "code",
        "client_id": "us",
        "redirect_uri": BACK,
        "scope": "openid email",
        "state": "s",
        "nonce": "n",
        "code_challenge": CHALLENGE,
        "code_challenge_method": "S256",
    }
    return {**plain, **changes}


def proof(realm: Realm, key: EllipticCurvePrivateKey, **changes: Any) -> dict[str, str]:
    now = int(realm.now())
    claims = {"iss": "us", "sub": "us", "aud": realm.issuer, "iat": now, "exp": now + 60, "jti": secrets.token_hex(8)}
    assertion = jwt.encode({**claims, **changes}, key, algorithm="ES256")
    return {"client_assertion_type": ASSERTION_TYPE, "client_assertion": assertion}


async def code_from(browser: httpx2.AsyncClient) -> str:
    answer = {**asked(), "email": "ada@example.com", "way": "two_factors", "answer": "sign_in"}
    done = await browser.post("/authorize", data=answer)
    assert done.status_code == 303, done.text
    return dict(parse_qsl(urlsplit(done.headers["location"]).query))["code"]


def redemption(code: str) -> dict[str, str]:
    return {"grant_type": "authorization_code", "code": code, "redirect_uri": BACK, "code_verifier": VERIFIER}


async def test_its_metadata_names_itself_and_what_it_can(browser: httpx2.AsyncClient, realm: Realm):
    document = (await browser.get("/.well-known/openid-configuration")).json()

    assert document["issuer"] == realm.issuer == f"{URL}/openid/people"
    assert document["authorization_response_iss_parameter_supported"] is True
    assert document["backchannel_token_delivery_modes_supported"] == ["poll"]
    assert [one["alg"] for one in (await browser.get("/jwks")).json()["keys"]] == ["ES256", "RS256"]


async def test_a_code_becomes_an_id_token_once(
    browser: httpx2.AsyncClient, realm: Realm, key: EllipticCurvePrivateKey, clock: Clocked
):
    code = await code_from(browser)

    first = await browser.post("/token", data={**redemption(code), **proof(realm, key)})
    second = await browser.post("/token", data={**redemption(code), **proof(realm, key)})

    claims = jwt.decode(first.json()["id_token"], options={"verify_signature": False})
    assert (claims["iss"], claims["aud"], claims["nonce"]) == (realm.issuer, "us", "n")
    assert (claims["acr"], claims["email"], claims["auth_time"]) == (
        "urn:sandbox:two-factors",
        "ada@example.com",
        int(clock()),
    )
    assert (second.status_code, second.json()) == (400, {"error": "invalid_grant"})


@pytest.mark.parametrize("changes", [{"code_verifier": "w" * 43}, {"redirect_uri": f"{BACK}/"}, {"code": "made-up"}])
async def test_a_code_without_its_own_verifier_and_address_is_worth_nothing(
    browser: httpx2.AsyncClient, realm: Realm, key: EllipticCurvePrivateKey, changes: dict[str, str]
):
    form = {**redemption(await code_from(browser)), **changes, **proof(realm, key)}

    assert (await browser.post("/token", data=form)).json() == {"error": "invalid_grant"}


async def test_a_client_proves_itself_with_its_key_and_each_proof_once(
    browser: httpx2.AsyncClient, realm: Realm, key: EllipticCurvePrivateKey
):
    good = proof(realm, key)
    bad = [
        {},
        proof(realm, generate_private_key(SECP256R1())),
        proof(realm, key, aud="https://other.example"),
        proof(realm, key, exp=int(realm.now()) - 1),
        proof(realm, key, sub="them"),
    ]

    spent = [(await browser.post("/token", data={"grant_type": CIBA_GRANT, **good})).status_code for _ in range(2)]
    refused = [(await browser.post("/token", data={"grant_type": CIBA_GRANT, **one})).status_code for one in bad]

    assert spent == [400, 401]
    assert refused == [401] * 5


@pytest.mark.parametrize(
    ("changes", "error"),
    [({"scope": "email"}, "invalid_scope"), ({"code_challenge": ""}, "invalid_request"),
     ({"code_challenge_method": "plain"}, "invalid_request")],
)  # fmt: skip
async def test_a_request_without_openid_or_without_pkce_is_sent_back(
    browser: httpx2.AsyncClient, changes: dict[str, str], error: str
):
    answer = await browser.get("/authorize", params=asked(**changes))

    assert dict(parse_qsl(urlsplit(answer.headers["location"]).query))["error"] == error


@pytest.mark.parametrize("changes", [{"redirect_uri": "http://127.0.0.1:7100/other"}, {"client_id": "them"}])
async def test_nobody_is_sent_to_an_address_that_was_not_registered(
    browser: httpx2.AsyncClient, changes: dict[str, str]
):
    answer = await browser.get("/authorize", params=asked(**changes))

    assert (answer.status_code, "location" in answer.headers) == (400, False)


async def test_the_telephone_asks_and_polling_too_fast_is_told_to_slow_down(
    browser: httpx2.AsyncClient, realm: Realm, key: EllipticCurvePrivateKey, clock: Clocked
):
    form = {"scope": "openid", "login_hint": "ada@example.com", "binding_message": "One: 7K4M"}
    out = (await browser.post("/bc-authorize", data={**form, **proof(realm, key)})).json()
    poll = {"grant_type": CIBA_GRANT, "auth_req_id": out["auth_req_id"]}

    async def polled(seconds: float) -> str:
        clock.seconds += seconds
        answer = await browser.post("/token", data={**poll, **proof(realm, key)})
        return str(answer.json().get("error"))

    before = [await polled(5), await polled(1), await polled(5), await polled(10)]
    shown = await browser.get("/telephone", params={"email": "ada@example.com"})
    await browser.post("/telephone", data={"auth_req_id": out["auth_req_id"], "answer": "approve"})
    after = [await polled(20), await polled(20)]

    assert before == ["authorization_pending", "slow_down", "slow_down", "slow_down"]
    assert "One: 7K4M" in shown.text
    assert after == ["None", "invalid_grant"]


async def test_an_unknown_person_or_a_fault_nobody_knows_is_refused(
    browser: httpx2.AsyncClient, realm: Realm, key: EllipticCurvePrivateKey
):
    form = {"scope": "openid", "login_hint": "nobody", **proof(realm, key)}

    person = await browser.post("/bc-authorize", data=form)
    fault = await browser.post("/_sandbox/faults", json={"fault": "made_up"})
    rotated = await browser.post("/_sandbox/rotations")

    assert person.json() == {"error": "unknown_user_id"}
    assert fault.status_code == 400
    assert rotated.json() == (await browser.get("/jwks")).json()


@pytest.mark.parametrize("content", ["", "[]", '{"people": [{"client_id": "us", "redirect_uris": []}]}', '{"A B": []}'])
def test_a_file_of_clients_that_is_none_is_refused(tmp_path: Any, content: str):
    path = tmp_path / "clients.json"
    path.write_text(content, encoding="utf-8")

    with pytest.raises(ClientsUnusable):
        read_clients(path)
