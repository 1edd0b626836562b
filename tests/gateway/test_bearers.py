import base64
import json
from datetime import timedelta
from pathlib import Path
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat

from gateway.bearers import Bearer, BearerRefused, Bearers, CallerKind, public_jwk, signing_key, thumbprint
from infra.chassis.clock import FixedClock
from infra.chassis.ring import SigningRing
from infra.chassis.secret import Secret
from tests.support.grants import ring_of
from tests.support.identity import BRAND, ISSUER, NORTH, RESOURCE, START

KEY = Ed25519PrivateKey.generate()
KEY_ID = thumbprint(public_jwk(KEY))
HEADER = {"typ": "at+jwt", "kid": KEY_ID}
ASSISTANT = Bearer(
    kind=CallerKind.ASSISTANT,
    client_id="ast_x",
    audience=RESOURCE,
    scopes=frozenset({"catalog", "memory"}),
    subject_id="sub_x",
    tenant_id=NORTH,
    brand_id=BRAND,
    conversation_id="cnv_x",
)


@pytest.fixture
def clock() -> FixedClock:
    return FixedClock(START)


@pytest.fixture
def bearers(clock: FixedClock) -> Bearers:
    return Bearers(key=ring_of(KEY), issuer=ISSUER, clock=clock)


def signed(key: Any = KEY, algorithm: str = "EdDSA", header: dict[str, Any] | None = None, **changes: Any) -> str:
    now = int(START.timestamp())
    claims = {"iss": ISSUER, "aud": RESOURCE, "iat": now, "exp": now + 60, "jti": "j", "sub": "sub_x"}
    claims |= {"client_id": "ast_x", "scope": "catalog", "kind": "assistant", **changes}
    kept = {name: value for name, value in claims.items() if value is not None}
    return jwt.encode(kept, key, algorithm=algorithm, headers=header or HEADER)


def test_what_was_minted_is_read_back(bearers: Bearers):
    checked = bearers.check(bearers.mint(ASSISTANT), audience=RESOURCE)

    assert checked.expires_at == START + timedelta(seconds=600)
    assert (checked.kind, checked.subject_id, checked.scopes) == (CallerKind.ASSISTANT, "sub_x", ASSISTANT.scopes)
    assert (checked.tenant_id, checked.brand_id, checked.conversation_id) == (NORTH, BRAND, "cnv_x")


def test_two_bearers_minted_in_one_second_differ(bearers: Bearers):
    assert bearers.mint(ASSISTANT) != bearers.mint(ASSISTANT)


def test_the_helper_of_these_tests_makes_a_good_bearer(bearers: Bearers):
    assert bearers.check(signed(), audience=RESOURCE).client_id == "ast_x"


@pytest.mark.parametrize(
    "changes",
    [
        {"iss": "https://other.test"},
        {"iss": ISSUER + "/"},
        {"iss": None},
        {"aud": ISSUER},
        {"aud": [RESOURCE]},
        {"aud": [RESOURCE, ISSUER]},
        {"aud": None},
        {"exp": None},
        {"exp": int(START.timestamp())},
        {"exp": START.timestamp() + 60.5},
        {"iat": None},
        {"iat": int(START.timestamp()) + 6},
        {"jti": None},
        {"sub": None},
        {"client_id": None},
        {"scope": None},
        {"kind": None},
        {"kind": "root"},
        {"nbf": int(START.timestamp()) + 10**9},
    ],
)
@pytest.mark.control("UC-8.2")
def test_a_claim_that_is_missing_or_wrong_refuses(bearers: Bearers, changes: dict[str, Any]):
    with pytest.raises(BearerRefused):
        bearers.check(signed(**changes), audience=RESOURCE)


@pytest.mark.parametrize(
    "header",
    [
        {"typ": "JWT", "kid": KEY_ID},
        {"typ": "undercroft-grant+jwt", "kid": KEY_ID},
        {"typ": None, "kid": KEY_ID},
        {"typ": "at+jwt"},
        {"typ": "at+jwt", "kid": "other"},
    ],
)
def test_another_type_or_key_id_refuses(bearers: Bearers, header: dict[str, Any]):
    with pytest.raises(BearerRefused):
        bearers.check(signed(header=header), audience=RESOURCE)


@pytest.mark.control("UC-8.2")
def test_the_header_does_not_choose_the_algorithm(bearers: Bearers):
    raw = KEY.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw)
    confused = signed(key=raw * 2, algorithm="HS256")
    unsigned = signed(key=None, algorithm="none")
    other_family = signed(key=ec.generate_private_key(ec.SECP256R1()), algorithm="ES256")

    for forged in (confused, unsigned, other_family, signed(key=Ed25519PrivateKey.generate())):
        with pytest.raises(BearerRefused):
            bearers.check(forged, audience=RESOURCE)


@pytest.mark.parametrize("text", ["", ".", "..", "a.b.c", "é.é.é", "x" * 5000, "null", "e30.e30."])
def test_what_is_no_bearer_at_all_refuses(bearers: Bearers, text: str):
    with pytest.raises(BearerRefused):
        bearers.check(text, audience=RESOURCE)


def test_a_changed_claim_refuses(bearers: Bearers):
    header, body, signature = bearers.mint(ASSISTANT).split(".")
    claims = json.loads(base64.urlsafe_b64decode(body + "=="))
    claims["scope"] = "catalog memory purchase"
    changed = base64.urlsafe_b64encode(json.dumps(claims).encode()).rstrip(b"=").decode()

    with pytest.raises(BearerRefused):
        bearers.check(f"{header}.{changed}.{signature}", audience=RESOURCE)


@pytest.mark.control("UC-8.2")
def test_a_bearer_ends_to_the_second(bearers: Bearers, clock: FixedClock):
    compact = bearers.mint(ASSISTANT, ttl_seconds=60)

    clock.advance(timedelta(seconds=59))
    bearers.check(compact, audience=RESOURCE)
    clock.advance(timedelta(seconds=1))

    with pytest.raises(BearerRefused):
        bearers.check(compact, audience=RESOURCE)


def test_a_bearer_that_was_good_a_moment_ago_is_checked_again_in_time_audience_and_key(
    clock: FixedClock, tmp_path: Path
):
    (tmp_path / "bearer.pem").write_bytes(pem_of(KEY))
    bearers = Bearers(key=SigningRing.open(tmp_path, "bearer"), issuer=ISSUER, clock=clock)
    compact = bearers.mint(ASSISTANT)
    assert bearers.check(compact, audience=RESOURCE) == bearers.check(compact, audience=RESOURCE)

    for changed, audience in ((compact, ISSUER), (compact[:-1], RESOURCE), (f"{compact}=", RESOURCE)):
        with pytest.raises(BearerRefused):
            bearers.check(changed, audience=audience)
    (tmp_path / "bearer.pem").write_bytes(pem_of(Ed25519PrivateKey.generate()))
    with pytest.raises(BearerRefused):
        bearers.check(compact, audience=RESOURCE)
    (tmp_path / "bearer.pem").write_bytes(pem_of(KEY))
    assert bearers.check(compact, audience=RESOURCE).subject_id == "sub_x"
    clock.advance(timedelta(seconds=600))
    with pytest.raises(BearerRefused):
        bearers.check(compact, audience=RESOURCE)


def pem_of(key: Ed25519PrivateKey) -> bytes:
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())


def test_only_an_ed25519_key_can_sign():
    def pem(key: Any) -> Secret[bytes]:
        return Secret(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))

    signing_key(pem(KEY))
    with pytest.raises(ValueError, match="Ed25519"):
        signing_key(pem(ec.generate_private_key(ec.SECP256R1())))
