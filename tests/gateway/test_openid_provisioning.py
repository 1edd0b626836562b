"""What a provider is provisioned as, what it may be worth, and the credentials that go with it."""

import json
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ec import SECP384R1, generate_private_key
from cryptography.hazmat.primitives.asymmetric.rsa import generate_private_key as generate_rsa_key
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from gateway.contract import AssuranceLevel
from gateway.factors.credentials import load_credentials
from gateway.factors.providers import ClientAuth, FirstLink, Provider
from gateway.provision import ManifestRefused, read_manifest
from infra.chassis.settings import SettingsIncomplete

ENTRY = {"name": "People", "issuer": "https://id.example", "client_id": "undercroft", "credential": "people"}


def manifest(**changes: Any) -> bytes:
    brand = {
        "brand_id": "brd_one",
        "name": "One",
        "slug": "one",
        "resource_url": "https://mcp.example/one",
        "currency": "USD",
        "openid": {**ENTRY, **changes},
    }
    return json.dumps({"tenants": [{"tenant_id": "tnt_one", "name": "One", "brands": [brand]}]}).encode()


def provider(**changes: Any) -> Provider:
    known = {
        "tenant_id": "tnt_one",
        "brand_id": "brd_one",
        "name": "People",
        "issuer": "https://id.example",
        "client_id": "undercroft",
        "client_auth": ClientAuth.PRIVATE_KEY_JWT,
        "credential": "people",
        "signing_alg": "RS256",
        "acr_levels": {"gold": "strong"},
        "amr_levels": {"otp": "verified"},
        "unmapped": None,
        "first_link": FirstLink.VERIFIED_CONVERSATION,
        "max_age_seconds": 900,
        "phone_approval": False,
    }
    return Provider(**{**known, **changes})


def test_a_provider_is_read_with_the_strictest_choices_where_nothing_is_said():
    (tenant,) = read_manifest(manifest()).tenants
    entry = tenant.brands[0].openid

    assert entry is not None
    assert (entry.client_auth, entry.signing_alg, entry.unmapped) == ("private_key_jwt", "RS256", None)
    assert (entry.first_link, entry.phone_approval) == ("verified_conversation", False)


@pytest.mark.control("UC-8.5")
@pytest.mark.parametrize(
    "changes",
    [
        {"acr_levels": {"gold": "confirmed"}},
        {"amr_levels": {"hwk": "confirmed"}},
        {"unmapped": "strong"},
        {"signing_alg": "HS256"},
        {"signing_alg": "none"},
        {"issuer": "https://id.example?tenant=1"},
        {"issuer": "ftp://id.example"},
        {"credential": "../record"},
        {"max_age_seconds": 86_400},
        {"first_link": "anybody"},
        {"client_secret": "in the manifest"},
    ],
)
def test_a_provider_that_would_be_trusted_too_much_is_refused(changes: dict[str, Any]):
    with pytest.raises(ManifestRefused):
        read_manifest(manifest(**changes))


@pytest.mark.control("UC-8.5")
@pytest.mark.parametrize(
    ("acr", "amr", "changes", "level"),
    [
        ("gold", [], {}, AssuranceLevel.STRONG),
        (None, ["pwd", "otp"], {}, AssuranceLevel.VERIFIED),
        ("gold", ["otp"], {}, AssuranceLevel.STRONG),
        ("silver", ["pwd"], {}, None),
        (None, [], {}, None),
        (None, [], {"unmapped": "verified"}, AssuranceLevel.VERIFIED),
        ("gold", [], {"acr_levels": {"gold": "confirmed"}}, None),
    ],
)
def test_what_a_login_is_worth_follows_from_the_mapping(
    acr: str | None, amr: list[str], changes: dict[str, Any], level: AssuranceLevel | None
):
    assert provider(**changes).level_of(acr, amr) == level


@pytest.mark.parametrize("kind", ["curve", "short", "text", "empty"])
def test_a_credential_that_cannot_be_used_is_named_at_start(tmp_path: Path, kind: str):
    contents: dict[str, tuple[str, Any]] = {
        "curve": ("a.pem", generate_private_key(SECP384R1())),
        "short": ("a.pem", generate_rsa_key(public_exponent=65_537, key_size=1024)),  # noqa: S505 - to be refused
        "text": ("a.pem", b"no key"),
        "empty": ("a.secret", b" \n"),
    }
    name, made = contents[kind]
    content = made if isinstance(made, bytes) else made.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    (tmp_path / name).write_bytes(content)

    with pytest.raises(SettingsIncomplete, match=f"openid/{name}"):
        load_credentials(tmp_path)
