"""ID tokens of the provider, right ones and, on order, wrong ones: OpenID Connect Core 1.0 sections 2 and 3.1.3.6."""

import base64
import hashlib
import json
import secrets
from dataclasses import dataclass, field
from typing import Any

import jwt
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

Key = rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey
LIFETIME_SECONDS = 300
ALGORITHMS = ("ES256", "RS256")
TOKEN_FAULTS = frozenset({
    "wrong_nonce", "no_nonce", "alg_none", "hmac_with_public_key", "other_algorithm", "other_audience",
    "second_audience", "other_azp", "expired", "not_yet", "issued_long_ago", "other_issuer", "forged_key",
    "unknown_kid", "no_auth_time", "old_auth_time", "wrong_at_hash", "access_token_type", "no_subject",
    "other_subject", "unverified_email", "no_email", "duplicate_claim",
})  # fmt: skip
"""One-shot faults of the next ID token."""


@dataclass(slots=True)
class Signer:
    """The provider's keys, one for each algorithm. After a rotation the old ones are gone from the JWKS."""

    keys: dict[str, tuple[str, Key]] = field(default_factory=dict)

    def rotate(self) -> None:
        self.keys.clear()

    def key(self, algorithm: str) -> tuple[str, Key]:
        if algorithm not in self.keys:
            made: Key = (
                ec.generate_private_key(ec.SECP256R1())
                if algorithm == "ES256"
                else rsa.generate_private_key(public_exponent=65_537, key_size=2048)
            )
            self.keys[algorithm] = (secrets.token_hex(8), made)
        return self.keys[algorithm]

    def jwks(self) -> dict[str, Any]:
        return {"keys": [self._public(name) for name in ALGORITHMS]}

    def _public(self, algorithm: str) -> dict[str, Any]:
        kid, key = self.key(algorithm)
        public: Any = key.public_key()
        maker: Any = jwt.get_algorithm_by_name(algorithm)
        return {**json.loads(maker.to_jwk(public)), "kid": kid, "use": "sig", "alg": algorithm}

    def id_token(self, claims: dict[str, Any], algorithm: str, fault: str | None) -> str:
        kid, key = self.key(algorithm)
        header = {"kid": kid} | ({"typ": "at+jwt"} if fault == "access_token_type" else {})
        match fault:
            case "alg_none":
                return f"{_part({**header, 'alg': 'none'})}.{_part(claims)}."
            case "hmac_with_public_key":
                return _hmac_token(claims, header, key)
            case "duplicate_claim":
                return _signed(json.dumps(claims)[:-1] + f', "sub": {json.dumps(claims["sub"])}}}', key, algorithm, kid)
            case "other_algorithm":
                algorithm = next(name for name in ALGORITHMS if name != algorithm)
                header["kid"], key = self.key(algorithm)
            case "forged_key":
                _, key = Signer().key(algorithm)
            case "unknown_kid":
                header["kid"] = secrets.token_hex(8)
        return jwt.encode(claims, key, algorithm=algorithm, headers=header)


def half_hash(value: str) -> str:
    """`at_hash` of a SHA-256 algorithm: the left half, base64url."""
    return _base64url(hashlib.sha256(value.encode()).digest()[:16])


def spoiled(claims: dict[str, Any], fault: str | None) -> dict[str, Any]:
    """The claims with the fault, where the fault is one of claims."""
    now = claims["iat"]
    changes: dict[str, dict[str, Any]] = {
        "wrong_nonce": {"nonce": secrets.token_urlsafe(16)},
        "no_nonce": {"nonce": None},
        "other_audience": {"aud": "somebody-else"},
        "second_audience": {"aud": [claims["aud"], "somebody-else"], "azp": claims["aud"]},
        "other_azp": {"azp": "somebody-else"},
        "expired": {"iat": now - 900, "exp": now - 600},
        "not_yet": {"iat": now + 600, "exp": now + 900},
        "issued_long_ago": {"iat": now - 86_400},
        "other_issuer": {"iss": "https://evil.example"},
        "no_auth_time": {"auth_time": None},
        "old_auth_time": {"auth_time": now - 86_400},
        "wrong_at_hash": {"at_hash": half_hash("another")},
        "no_subject": {"sub": None},
        "other_subject": {"sub": f"other-{secrets.token_hex(8)}"},
        "unverified_email": {"email_verified": False},
        "no_email": {"email": None, "email_verified": None},
    }
    merged = {**claims, **changes.get(fault or "", {})}
    return {name: value for name, value in merged.items() if value is not None}


def _hmac_token(claims: dict[str, Any], header: dict[str, Any], key: Key) -> str:
    """The classic confusion: the public key taken for a shared secret. PyJWT would refuse to make it."""
    secret = key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    signed = f"{_part({'alg': 'HS256', 'typ': 'JWT', **header})}.{_part(claims)}"
    return f"{signed}.{_base64url(jwt.get_algorithm_by_name('HS256').sign(signed.encode(), secret))}"


def _signed(payload: str, key: Key, algorithm: str, kid: str) -> str:
    signed = f"{_part({'alg': algorithm, 'kid': kid})}.{_base64url(payload.encode())}"
    maker: Any = jwt.get_algorithm_by_name(algorithm)
    return f"{signed}.{_base64url(maker.sign(signed.encode(), key))}"


def _part(value: dict[str, Any]) -> str:
    return _base64url(json.dumps(value).encode())


def _base64url(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()
