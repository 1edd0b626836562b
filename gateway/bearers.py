"""Bearers: what proves a caller. JWTs in the shape of RFC 9068, signed with one Ed25519 key, EdDSA and nothing else.

Minted at `/oauth/token`, checked on every route. A bearer names one audience: the gateway itself for machines and for
exchanged bearers, a brand's MCP endpoint for an assistant.
"""

import base64
import hashlib
import json
import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from typing import Any

import jwt
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_pem_private_key

from infra.chassis.clock import Clock
from infra.chassis.problems import Problem
from infra.chassis.secret import Secret

TYPE = "at+jwt"
ALGORITHM = "EdDSA"
TTL_SECONDS = 600
"""Ten minutes: a withdrawn caller is out after that at the latest, and a client asks six times an hour."""
EXCHANGED_TTL_SECONDS = 300
SKEW_SECONDS = 5
LENGTH_MAX = 4096
"""Ours are about 700 characters."""
REQUIRED = ("iss", "aud", "exp", "iat", "jti", "sub", "client_id", "scope", "kind")


class CallerKind(StrEnum):
    AGENT = "agent"
    MCP_SERVER = "mcp_server"
    ASSISTANT = "assistant"


class BearerRefused(Problem):
    """RFC 6750 section 3.1. One sentence for every defect: whoever forges learns nothing from the answer."""

    status = 401
    code = "bearer_refused"
    detail = "A valid bearer is needed."

    def __init__(self, *, presented: bool = True) -> None:
        challenge = 'Bearer error="invalid_token"' if presented else "Bearer"
        super().__init__(headers={"WWW-Authenticate": challenge})


@dataclass(frozen=True, slots=True, kw_only=True)
class Bearer:
    """The claims of a bearer of ours: to be minted, or already checked."""

    kind: CallerKind
    client_id: str
    audience: str
    scopes: frozenset[str]
    subject_id: str | None = None
    tenant_id: str | None = None
    brand_id: str | None = None
    conversation_id: str | None = None
    act_client_id: str | None = None
    expires_at: datetime | None = None
    """Set on a checked bearer."""


class Bearers:
    """Mints and checks with the gateway's key. `issuer` is the gateway's public URL, byte for byte."""

    def __init__(self, *, key: Ed25519PrivateKey, issuer: str, clock: Clock) -> None:
        self._key = key
        self._public = key.public_key()
        self._key_id = thumbprint(public_jwk(key))
        self._issuer = issuer
        self._clock = clock

    @property
    def issuer(self) -> str:
        return self._issuer

    def mint(self, bearer: Bearer, *, ttl_seconds: int = TTL_SECONDS) -> str:
        now = int(self._clock.now().timestamp())
        claims: dict[str, Any] = {
            "iss": self._issuer,
            "aud": bearer.audience,
            "iat": now,
            "exp": now + ttl_seconds,
            "jti": secrets.token_urlsafe(16),
            "sub": bearer.subject_id or bearer.client_id,
            "client_id": bearer.client_id,
            "scope": " ".join(sorted(bearer.scopes)),
            "kind": bearer.kind.value,
        }
        optional = {"tenant": bearer.tenant_id, "brand": bearer.brand_id, "cnv": bearer.conversation_id}
        claims |= {name: value for name, value in optional.items() if value}
        if bearer.act_client_id:
            claims["act"] = {"sub": bearer.act_client_id}
        return jwt.encode(claims, self._key, algorithm=ALGORITHM, headers={"typ": TYPE, "kid": self._key_id})

    def check(self, compact: str, *, audience: str) -> Bearer:
        """The claims, if we signed them, for this audience, and they are in time. Raises BearerRefused."""
        claims = self._claims(compact, audience)
        expires = self._in_time(claims)
        actor = claims.get("act")
        try:
            kind = CallerKind(claims["kind"])
        except ValueError:
            raise BearerRefused from None
        return Bearer(
            kind=kind,
            client_id=str(claims["client_id"]),
            audience=audience,
            scopes=frozenset(str(claims["scope"]).split()),
            subject_id=str(claims["sub"]) if kind is CallerKind.ASSISTANT else None,
            tenant_id=_text(claims, "tenant"),
            brand_id=_text(claims, "brand"),
            conversation_id=_text(claims, "cnv"),
            act_client_id=_text(actor, "sub") if isinstance(actor, dict) else None,
            expires_at=expires,
        )

    def jwks(self) -> dict[str, list[dict[str, str]]]:
        """RFC 7517: the public half, for those who check our bearers."""
        return {"keys": [{**public_jwk(self._key), "kid": self._key_id, "alg": ALGORITHM, "use": "sig"}]}

    def _claims(self, compact: str, audience: str) -> dict[str, Any]:
        if len(compact) > LENGTH_MAX:
            raise BearerRefused
        try:
            header = jwt.get_unverified_header(compact)
            if (header.get("typ"), header.get("alg"), header.get("kid")) != (TYPE, ALGORITHM, self._key_id):
                raise BearerRefused
            claims: dict[str, Any] = jwt.decode(
                compact,
                self._public,
                algorithms=[ALGORITHM],
                audience=audience,
                issuer=self._issuer,
                options={"require": list(REQUIRED), "strict_aud": True, "verify_exp": False, "verify_iat": False},
            )
        except jwt.PyJWTError:
            raise BearerRefused from None
        return claims

    def _in_time(self, claims: Mapping[str, Any]) -> datetime:
        issued, expires = claims["iat"], claims["exp"]
        if type(issued) is not int or type(expires) is not int:
            raise BearerRefused
        end = datetime.fromtimestamp(expires, UTC)
        now = self._clock.now()
        if not datetime.fromtimestamp(issued, UTC) - timedelta(seconds=SKEW_SECONDS) <= now < end:
            raise BearerRefused
        return end


def signing_key(pem: Secret[bytes]) -> Ed25519PrivateKey:
    """An Ed25519 key from PKCS #8 PEM. Raises ValueError for any other kind of key."""
    key = load_pem_private_key(pem.reveal(), password=None)
    if not isinstance(key, Ed25519PrivateKey):
        msg = "the bearer key must be Ed25519"
        raise ValueError(msg)  # noqa: TRY004 - the file's content is wrong, not a type in our code
    return key


def public_jwk(key: Ed25519PrivateKey) -> dict[str, str]:
    """RFC 8037 members of the public half, no others."""
    raw = key.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw)
    return {"kty": "OKP", "crv": "Ed25519", "x": _base64url(raw)}


def thumbprint(jwk: Mapping[str, str]) -> str:
    """RFC 7638 SHA-256 thumbprint of a JWK that has only its required members; used as the key id."""
    canonical = json.dumps(dict(jwk), separators=(",", ":"), sort_keys=True)
    return _base64url(hashlib.sha256(canonical.encode()).digest())


def _base64url(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def _text(claims: Mapping[str, Any], name: str) -> str | None:
    value = claims.get(name)
    return value if isinstance(value, str) and value else None
