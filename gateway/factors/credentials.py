"""How we prove ourselves to providers: one file each, a private key for private_key_jwt or a client secret."""

import base64
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Final
from urllib.parse import quote_plus

import jwt
from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, EllipticCurvePrivateKey
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from gateway.errors import ProviderUnusable
from gateway.factors.providers import ClientAuth, Provider
from gateway.oauth.assertions import ASSERTION_TYPE
from infra.chassis import regular
from infra.chassis.ids import new_id
from infra.chassis.secret import Secret
from infra.chassis.settings import SettingsIncomplete

LIFETIME_SECONDS: Final = 60
RSA_BITS_MIN: Final = 2048
SigningKey = Ed25519PrivateKey | EllipticCurvePrivateKey | RSAPrivateKey


@dataclass(frozen=True, slots=True)
class Proof:
    """What goes with a request to the provider: form fields, headers."""

    fields: Mapping[str, str]
    headers: Mapping[str, str]


class Credentials:
    """`<name>.pem`: a private key (Ed25519, P-256 or RSA of 2048 bits and more); `<name>.secret`: a client secret."""

    def __init__(self, keys: Mapping[str, SigningKey], shared: Mapping[str, Secret[str]]) -> None:
        self._keys = keys
        self._shared = shared

    def proof(self, provider: Provider, audience: str, now: datetime) -> Proof:
        """For one request. `audience` is the provider's issuer. Raises ProviderUnusable."""
        if provider.client_auth is ClientAuth.PRIVATE_KEY_JWT and provider.credential in self._keys:
            assertion = _assertion(self._keys[provider.credential], provider.client_id, audience, now)
            return Proof({"client_assertion_type": ASSERTION_TYPE, "client_assertion": assertion}, {})
        if provider.client_auth is ClientAuth.CLIENT_SECRET_BASIC and provider.credential in self._shared:
            return Proof({}, {"Authorization": self._basic(provider)})
        raise ProviderUnusable

    def _basic(self, provider: Provider) -> str:
        """RFC 6749 section 2.3.1: both halves form-encoded first."""
        secret = self._shared[provider.credential].reveal()
        pair = f"{quote_plus(provider.client_id)}:{quote_plus(secret)}"
        return "Basic " + base64.b64encode(pair.encode()).decode()


def load_credentials(folder: Path) -> Credentials:
    """Every credential of the folder; none without a folder: providers that need one are then unusable, and say so.

    Raises SettingsIncomplete naming the files at fault.
    """
    keys: dict[str, SigningKey] = {}
    shared: dict[str, Secret[str]] = {}
    wrong: list[str] = []
    for path in sorted(folder.iterdir()) if folder.is_dir() else ():
        try:
            if path.suffix == ".pem":
                keys[path.stem] = _key(regular.read(path))
            elif path.suffix == ".secret":
                shared[path.stem] = _secret(path)
        except (OSError, ValueError) as error:
            wrong.append(f"{path.name} cannot be used ({type(error).__name__})")
    if wrong:
        raise SettingsIncomplete("; ".join(f"UNDERCROFT_GATEWAY_KEYS_FOLDER: openid/{one}" for one in wrong))
    return Credentials(keys, shared)


def _key(pem: bytes) -> SigningKey:
    key = load_pem_private_key(pem, password=None)
    if isinstance(key, Ed25519PrivateKey):
        return key
    if isinstance(key, EllipticCurvePrivateKey) and isinstance(key.curve, SECP256R1):
        return key
    if isinstance(key, RSAPrivateKey) and key.key_size >= RSA_BITS_MIN:
        return key
    raise ValueError


def _secret(path: Path) -> Secret[str]:
    value = regular.read(path).decode().strip()
    if not value:
        raise ValueError
    return Secret(value)


def _assertion(key: SigningKey, client_id: str, audience: str, now: datetime) -> str:
    """RFC 7523; one algorithm for one kind of key."""
    issued = int(now.timestamp())
    claims = {
        "iss": client_id,
        "sub": client_id,
        "aud": audience,
        "iat": issued,
        "exp": issued + LIFETIME_SECONDS,
        "jti": new_id("jti"),
    }
    algorithm = "RS256"
    if not isinstance(key, RSAPrivateKey):
        algorithm = "EdDSA" if isinstance(key, Ed25519PrivateKey) else "ES256"
    return jwt.encode(claims, key, algorithm=algorithm)
