"""Bearers: what proves a caller. JWTs in the shape of RFC 9068, signed with Ed25519 keys, EdDSA and nothing else.

Minted at `/oauth/token`, checked on every route. The keys rotate (infra.chassis.ring): a bearer that the retiring key
signed stays good until it ends. A bearer names one audience: the gateway itself for machines and for
exchanged bearers, a brand's MCP endpoint for an assistant.
"""

import hashlib
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any, Final

import jwt

from infra.chassis.clock import Clock
from infra.chassis.compact import NotCompact, read_compact
from infra.chassis.ids import new_id
from infra.chassis.jwk import ALGORITHM, public_jwk, signing_key, thumbprint
from infra.chassis.problems import Problem
from infra.chassis.ring import Signing, SigningRing

__all__ = ["Bearer", "BearerRefused", "Bearers", "CallerKind", "public_jwk", "signing_key", "thumbprint"]

TYPE = "at+jwt"
TTL_SECONDS = 600
"""Ten minutes: a withdrawn caller is out after that at the latest, and a client asks six times an hour."""
EXCHANGED_TTL_SECONDS = 300
SKEW_SECONDS = 5
LENGTH_MAX = 4096
"""Ours are about 700 characters."""
CHECKED_KEPT_MAX: Final = 5_000
"""Of one process; about a kilobyte each."""
HEADER_MEMBERS = frozenset({"typ", "alg", "kid"})
TEXTS = frozenset({"iss", "aud", "jti", "sub", "client_id", "scope", "kind"})
REQUIRED = TEXTS | {"exp", "iat"}
OPTIONAL_TEXTS = frozenset({"tenant", "brand", "cnv"})
MEMBERS = REQUIRED | OPTIONAL_TEXTS | {"act"}
"""Whatever has others was not minted here."""


class CallerKind(StrEnum):
    AGENT = "agent"
    MCP_SERVER = "mcp_server"
    ASSISTANT = "assistant"
    ENFORCEMENT_POINT = "enforcement_point"
    """Asks on the AuthZEN listener about others; opens no route of the API."""


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


@dataclass(frozen=True, slots=True)
class _Checked:
    """What exactly these bytes say for this audience, and the keys under which that was found."""

    claims: Mapping[str, Any]
    signing: Signing


class Bearers:
    """Mints and checks with the gateway's keys. `issuer` is the gateway's public URL, byte for byte."""

    def __init__(self, *, key: SigningRing, issuer: str, clock: Clock) -> None:
        self._ring = key
        self._issuer = issuer
        self._clock = clock
        self._checked: OrderedDict[bytes, _Checked] = OrderedDict()

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
            "jti": new_id("jti"),
            "sub": bearer.subject_id or bearer.client_id,
            "client_id": bearer.client_id,
            "scope": " ".join(sorted(bearer.scopes)),
            "kind": bearer.kind.value,
        }
        optional = {"tenant": bearer.tenant_id, "brand": bearer.brand_id, "cnv": bearer.conversation_id}
        claims |= {name: value for name, value in optional.items() if value}
        if bearer.act_client_id:
            claims["act"] = {"sub": bearer.act_client_id}
        signing = self._ring.now()
        return jwt.encode(claims, signing.key, algorithm=ALGORITHM, headers={"typ": TYPE, "kid": signing.key_id})

    def check(self, compact: str, *, audience: str) -> Bearer:
        """The claims, if we signed them, for this audience, and they are in time. Raises BearerRefused."""
        claims = self._checked_claims(compact, audience)
        expires = self._in_time(claims)
        try:
            kind = CallerKind(claims["kind"])
        except ValueError:
            raise BearerRefused from None
        return Bearer(
            kind=kind,
            client_id=claims["client_id"],
            audience=audience,
            scopes=frozenset(claims["scope"].split()),
            subject_id=claims["sub"] if kind is CallerKind.ASSISTANT else None,
            tenant_id=claims.get("tenant"),
            brand_id=claims.get("brand"),
            conversation_id=claims.get("cnv"),
            act_client_id=_actor(claims),
            expires_at=expires,
        )

    def jwks(self) -> dict[str, list[dict[str, Any]]]:
        """RFC 7517: the public halves, for those who check our bearers."""
        return self._ring.now().jwks(self._clock.now())

    def _checked_claims(self, compact: str, audience: str) -> Mapping[str, Any]:
        """The signature is checked once for the same bytes, as long as the current key is the one that made it.

        Time is checked by the caller each time. What a retiring key signed is not kept: that key ends by itself.
        """
        signing, name = self._ring.now(), hashlib.sha256(f"{audience}\n{compact}".encode()).digest()
        kept = self._checked.get(name)
        if kept is not None and kept.signing is signing:
            self._checked.move_to_end(name)
            return kept.claims
        key_id, claims = self._claims(compact, audience, signing)
        if key_id == signing.key_id:
            self._checked[name] = _Checked(claims, signing)
            while len(self._checked) > CHECKED_KEPT_MAX:
                self._checked.popitem(last=False)
        return claims

    def _claims(self, compact: str, audience: str, signing: Signing) -> tuple[str, Mapping[str, Any]]:
        """As read in their one spelling; PyJWT is asked about signature, audience and issuer."""
        options: Any = {"strict_aud": True, **{f"verify_{what}": False for what in ("exp", "iat", "jti", "nbf", "sub")}}
        try:
            header, claims = read_compact(compact, length_max=LENGTH_MAX)
            if header.keys() != HEADER_MEMBERS or (header["typ"], header["alg"]) != (TYPE, ALGORITHM):
                raise BearerRefused
            key_id = str(header["kid"])
            key = signing.public(key_id, self._clock.now())
            if key is None or not REQUIRED <= claims.keys() <= MEMBERS:
                raise BearerRefused
            jwt.decode(compact, key, algorithms=[ALGORITHM], audience=audience, issuer=self._issuer, options=options)
        except (jwt.PyJWTError, NotCompact):
            raise BearerRefused from None
        if not all(isinstance(claims[name], str) for name in claims.keys() & (TEXTS | OPTIONAL_TEXTS)):
            raise BearerRefused
        return key_id, claims

    def _in_time(self, claims: Mapping[str, Any]) -> datetime:
        """When it ends. One that would live longer than ours do is not ours, whoever signed it."""
        issued, expires = claims["iat"], claims["exp"]
        if type(issued) is not int or type(expires) is not int or expires - issued > TTL_SECONDS:
            raise BearerRefused
        if not issued - SKEW_SECONDS <= self._clock.now().timestamp() < expires:
            raise BearerRefused
        return datetime.fromtimestamp(expires, UTC)


def _actor(claims: Mapping[str, Any]) -> str | None:
    """RFC 8693 section 4.1, one deep: who acts for the subject. Raises BearerRefused for any other shape."""
    if "act" not in claims:
        return None
    actor = claims["act"]
    if not isinstance(actor, dict) or actor.keys() != {"sub"} or not isinstance(actor["sub"], str) or not actor["sub"]:
        raise BearerRefused
    return str(actor["sub"])
