"""Who is calling, and in whose name we ask the gateway.

The assistant's bearer proves its caller to us and goes no further: it is exchanged (RFC 8693) for one that the gateway
made for us, and only that one is sent on. Our own requests carry our own bearer.
"""

import hashlib
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, Self
from urllib.parse import urlencode

import jwt
import msgspec
from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, EllipticCurvePrivateKey
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from infra.chassis import logs
from infra.chassis.client import PeerClient
from infra.chassis.clock import Clock
from infra.chassis.compact import NotCompact, read_compact
from infra.chassis.ids import new_id
from infra.chassis.jwk import ALGORITHM, stamp
from infra.chassis.secret import Secret
from mcp_server.errors import SignInEnded, Unavailable
from mcp_server.signing_keys import SigningKeys

TYPE = "at+jwt"
KIND = "assistant"
TEXTS = frozenset({"iss", "aud", "jti", "sub", "client_id", "scope", "kind", "tenant", "brand", "cnv"})
MEMBERS = TEXTS | {"exp", "iat"}
"""Of an assistant's bearer, as the gateway mints it; whatever has others, or fewer, is none."""
BEARER_SECONDS_MAX = 600
"""As long as the gateway lets one live."""
BEARER_LENGTH_MAX = 4096
SKEW_SECONDS = 5
ASSERTION_SECONDS = 30
EARLY = timedelta(seconds=30)
"""A kept bearer is given up this long before it expires, so that it does not run out on its way."""
KEPT_MAX = 10_000
TOKEN_PATH = "/oauth/token"  # noqa: S105 - a path
ACCESS_TOKEN_TYPE = "urn:ietf:params:oauth:token-type:access_token"  # noqa: S105 - a name from RFC 8693
SUBJECT_REFUSED = 400
"""RFC 8693 section 2.2.2. A 401 would be about ourselves (RFC 6749 section 5.2)."""
EXCHANGE = "urn:ietf:params:oauth:grant-type:token-exchange"
ASSERTION_TYPE = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"
log = logs.get_logger()


class BearerNotValid(Exception):
    """One exception for every defect of an assistant's bearer; the log says nothing of its content either."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Caller:
    """An assistant, speaking for a subject to one brand. `bearer` is only ever handed to `Exchange`."""

    client_id: str
    subject_id: str
    tenant_id: str
    brand_id: str
    conversation_id: str
    scopes: frozenset[str]
    bearer: Secret[str]

    @property
    def principal(self) -> str:
        """What a sealed value is bound to: the same person through the same assistant at the same brand."""
        return f"{self.tenant_id}\n{self.brand_id}\n{self.client_id}\n{self.subject_id}"


class BearerCheck:
    def __init__(self, keys: SigningKeys, *, issuer: str, clock: Clock) -> None:
        self._keys = keys
        self._issuer = issuer
        self._clock = clock

    async def caller(self, compact: str, *, audience: str, tenant_id: str, brand_id: str) -> Caller:
        """Whom this bearer proves, if the gateway made it for an assistant at exactly this endpoint.

        Raises BearerNotValid; KeysUnavailable when that cannot be known at the moment.
        """
        claims = await self._claims(compact, audience)
        if (claims["kind"], claims["tenant"], claims["brand"]) != (KIND, tenant_id, brand_id):
            raise BearerNotValid
        return Caller(
            client_id=claims["client_id"],
            subject_id=claims["sub"],
            tenant_id=tenant_id,
            brand_id=brand_id,
            conversation_id=claims["cnv"],
            scopes=frozenset(claims["scope"].split()),
            bearer=Secret(compact),
        )

    async def _claims(self, compact: str, audience: str) -> Mapping[str, Any]:
        """As read in their one spelling; PyJWT is asked about signature, audience and issuer."""
        options: Any = {"strict_aud": True, **{f"verify_{what}": False for what in ("exp", "iat", "jti", "nbf", "sub")}}
        try:
            header, claims = read_compact(compact, length_max=BEARER_LENGTH_MAX)
            if header.keys() != {"typ", "alg", "kid"} or (header["typ"], header["alg"]) != (TYPE, ALGORITHM):
                raise BearerNotValid
            if claims.keys() != MEMBERS or not isinstance(header["kid"], str):
                raise BearerNotValid
            key = await self._keys.find(header["kid"])
            if key is None:
                raise BearerNotValid
            jwt.decode(compact, key, algorithms=[ALGORITHM], audience=audience, issuer=self._issuer, options=options)
        except (jwt.PyJWTError, NotCompact):
            raise BearerNotValid from None
        self._check_values(claims)
        return claims

    def _check_values(self, claims: Mapping[str, Any]) -> None:
        if not all(isinstance(claims[name], str) and (claims[name] or name == "scope") for name in TEXTS):
            raise BearerNotValid
        issued, expires = claims["iat"], claims["exp"]
        if type(issued) is not int or type(expires) is not int or expires - issued > BEARER_SECONDS_MAX:
            raise BearerNotValid
        if not issued - SKEW_SECONDS <= self._clock.now().timestamp() < expires:
            raise BearerNotValid


@dataclass(frozen=True, slots=True)
class _Signing:
    key: Ed25519PrivateKey | EllipticCurvePrivateKey
    algorithm: str

    @classmethod
    def read(cls, path: Path) -> Self:
        """Raises OSError, ValueError."""
        key = load_pem_private_key(path.read_bytes(), password=None)
        if isinstance(key, Ed25519PrivateKey):
            return cls(key, "EdDSA")
        if isinstance(key, EllipticCurvePrivateKey) and isinstance(key.curve, SECP256R1):
            return cls(key, "ES256")
        msg = "the client key must be Ed25519 or P-256"
        raise ValueError(msg)


class ClientKey:
    """Our private key, and the assertions (RFC 7523) it signs to prove us to the gateway.

    The file is looked at with each assertion and read again when it changed: the key is exchanged without a restart,
    once the gateway knows the next one (`next_jwk` in its manifest). While the file cannot be read, the former key
    signs; the log says so.
    """

    def __init__(self, path: Path, *, client_id: str, issuer: str, clock: Clock) -> None:
        self._path = path
        self._stamp = stamp(path)
        self._signing = _Signing.read(path)
        self._client_id = client_id
        self._issuer = issuer
        self._clock = clock

    def fields(self) -> dict[str, str]:
        """Form fields that authenticate one request to the token endpoint; each assertion is used once."""
        now = int(self._clock.now().timestamp())
        claims = {
            "iss": self._client_id,
            "sub": self._client_id,
            "aud": self._issuer,
            "iat": now,
            "exp": now + ASSERTION_SECONDS,
            "jti": new_id("jti"),
        }
        signing = self._now()
        assertion = jwt.encode(claims, signing.key, algorithm=signing.algorithm)
        return {
            "client_id": self._client_id,
            "client_assertion_type": ASSERTION_TYPE,
            "client_assertion": assertion,
        }

    def _now(self) -> _Signing:
        seen = stamp(self._path)
        if seen != self._stamp:
            self._stamp = seen
            try:
                self._signing = _Signing.read(self._path)
                log.info("client_key_read")
            except (OSError, ValueError) as error:
                log.warning("client_key_unreadable", error=type(error).__name__)
        return self._signing


class Issued(msgspec.Struct, frozen=True):
    """RFC 6749 section 5.1."""

    access_token: str
    expires_in: int


@dataclass(frozen=True, slots=True)
class _Kept:
    bearer: Secret[str]
    until: datetime


class Exchange:
    """Bearers for the gateway: one for each assistant's bearer, and our own. Kept until shortly before they expire."""

    def __init__(self, gateway: PeerClient, key: ClientKey, *, issuer: str, clock: Clock) -> None:
        self._gateway = gateway
        self._key = key
        self._issuer = issuer
        self._clock = clock
        self._kept: OrderedDict[str, _Kept] = OrderedDict()

    async def for_caller(self, caller: Caller) -> Secret[str]:
        """Raises SignInEnded when the gateway no longer takes the assistant's bearer, Unavailable when it is silent."""
        compact = caller.bearer.reveal()
        fields = {
            "grant_type": EXCHANGE,
            "subject_token": compact,
            "subject_token_type": ACCESS_TOKEN_TYPE,
            "requested_token_type": ACCESS_TOKEN_TYPE,
            "audience": self._issuer,
        }
        return await self._bearer(hashlib.sha256(compact.encode()).hexdigest(), fields)

    async def for_ourselves(self) -> Secret[str]:
        return await self._bearer("ourselves", {"grant_type": "client_credentials"})

    def forget(self, bearer: Secret[str]) -> None:
        """The gateway refused it: the next request gets a new one."""
        for name in [name for name, kept in self._kept.items() if kept.bearer is bearer]:
            del self._kept[name]

    async def _bearer(self, name: str, fields: Mapping[str, str]) -> Secret[str]:
        kept = self._kept.get(name)
        if kept is not None and kept.until > self._clock.now():
            return kept.bearer
        issued = await self._ask(fields)
        bearer = Secret(issued.access_token)
        self._kept[name] = _Kept(bearer, self._clock.now() + timedelta(seconds=issued.expires_in) - EARLY)
        self._kept.move_to_end(name)
        while len(self._kept) > KEPT_MAX:
            self._kept.popitem(last=False)
        return bearer

    async def _ask(self, fields: Mapping[str, str]) -> Issued:
        answer = await self._gateway.request(
            "POST",
            TOKEN_PATH,
            content=urlencode({**fields, **self._key.fields()}).encode(),
            content_type="application/x-www-form-urlencoded",
        )
        if answer.status != 200:  # noqa: PLR2004 - RFC 6749: any other status is a refusal
            log.warning("bearer_not_issued", status=answer.status, grant_type=fields["grant_type"])
            raise SignInEnded if answer.status == SUBJECT_REFUSED and "subject_token" in fields else Unavailable
        try:
            return msgspec.json.decode(answer.body, type=Issued)
        except msgspec.DecodeError:
            raise Unavailable from None
