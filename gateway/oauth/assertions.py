"""Client assertions (RFC 7523, `private_key_jwt`): how a machine proves that it holds its key.

Read in their one spelling (infra.chassis.compact), then checked with PyJWT, not with Authlib's own method, which takes
whatever algorithm the header names, takes a list of audiences, needs no `iat` and no bound on the lifetime (see
compliance/decisions/0004-authorization-server.md).
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final, TypeGuard

import jwt
from sqlalchemy import Connection, text

from gateway.oauth.machines import MACHINE_BY_ID, MachineClient, machine_of
from infra.chassis.compact import NotCompact, read_compact
from infra.chassis.jwk import thumbprint

ASSERTION_TYPE = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"
LIFETIME_SECONDS_MAX = 300
SKEW_SECONDS = 5
LENGTH_MAX = 4096
JTI_LENGTH_MIN = 8
JTI_LENGTH_MAX = 128
HEADER_MEMBERS: Final = frozenset({"alg", "typ", "kid"})
"""No other says anything that we act on: no key of the sender's own choice, nothing critical (RFC 7515 section 4.1)."""
HEADER_TYPES: Final = frozenset({"JWT", "client-authentication+jwt"})
"""RFC 7523 as it was, which needs no type, and as its revision names it; a bearer or a grant of ours is neither."""
ALGORITHMS = {("OKP", "Ed25519"): "EdDSA", ("EC", "P-256"): "ES256"}
"""One algorithm for one kind of key; the header never chooses."""
REQUIRED = frozenset({"iss", "sub", "aud", "exp", "iat", "jti"})
REQUIRED_OF_JWK: Final = ("crv", "kty", "x", "y")
"""RFC 7638 section 3.2, of the two kinds of key; an Ed25519 key has no `y`."""
SIGNATURE_ALONE: Final = {f"verify_{what}": False for what in ("aud", "exp", "iat", "iss", "jti", "nbf", "sub")}
"""PyJWT is asked about nothing else: it goes by the machine's clock and lets lists and unknown members pass."""


class AssertionRefused(Exception):
    """Not told further: the client learns only that it was not authenticated."""


@dataclass(frozen=True, slots=True)
class AssertionRules:
    audiences: tuple[str, ...]
    """Our issuer, and the token endpoint that RFC 7523 first asked for. One of them, as a string."""
    now: datetime


def check_assertion(connection: Connection, compact: str, rules: AssertionRules) -> MachineClient:
    """The machine that signed this, once. Raises AssertionRefused; the `jti` is then spent only if all else held."""
    try:
        header, claims = read_compact(compact, length_max=LENGTH_MAX)
    except NotCompact:
        raise AssertionRefused from None
    _check_header(header)
    machine = _claimed_machine(connection, claims)
    if not any(_signed_with(key, compact, header) for key in machine.public_jwks):
        raise AssertionRefused
    expires = _check_claims(claims, machine.client_id, rules)
    _spend(connection, machine.client_id, claims["jti"], expires, rules.now)
    return machine


def algorithm_of(public_jwk: Mapping[str, str]) -> str:
    """Raises KeyError for a kind of key that machines may not have."""
    return ALGORITHMS[public_jwk.get("kty", ""), public_jwk.get("crv", "")]


def names_of(public_jwk: Mapping[str, str]) -> frozenset[str]:
    """What a `kid` may call this key: the id it was registered with, and its thumbprint (RFC 7638)."""
    required = {name: public_jwk[name] for name in REQUIRED_OF_JWK if name in public_jwk}
    return frozenset({thumbprint(required), public_jwk.get("kid", "")}) - {""}


def _check_header(header: Mapping[str, Any]) -> None:
    if not header.keys() <= HEADER_MEMBERS or "alg" not in header:
        raise AssertionRefused
    if not all(isinstance(value, str) for value in header.values()):
        raise AssertionRefused
    if "typ" in header and header["typ"] not in HEADER_TYPES:
        raise AssertionRefused


def _claimed_machine(connection: Connection, claims: Mapping[str, Any]) -> MachineClient:
    """Whom the assertion says it is from; nothing is believed yet."""
    client_id = claims.get("iss")
    if not _is_plain(client_id):
        raise AssertionRefused
    row = connection.execute(MACHINE_BY_ID, {"client_id": client_id}).mappings().one_or_none()
    if row is None:
        raise AssertionRefused
    return machine_of(row)


def _is_plain(value: Any) -> TypeGuard[str]:
    """What can stand in a query: no NUL, no half of a surrogate pair."""
    return isinstance(value, str) and value.isascii() and value.isprintable()


def _signed_with(public_jwk: Mapping[str, str], compact: str, header: Mapping[str, Any]) -> bool:
    """By this key of the client's. A `kid` that names another one, or none of ours, is not helped along."""
    algorithm = algorithm_of(public_jwk)
    if header["alg"] != algorithm or ("kid" in header and header["kid"] not in names_of(public_jwk)):
        return False
    key = jwt.PyJWK(dict(public_jwk), algorithm=algorithm).key
    options: Any = SIGNATURE_ALONE
    try:
        jwt.decode(compact, key, algorithms=[algorithm], options=options)
    except jwt.PyJWTError:
        return False
    return True


def _check_claims(claims: Mapping[str, Any], client_id: str, rules: AssertionRules) -> datetime:
    """When it ends. Claims that we do not know are the sender's own business."""
    if not claims.keys() >= REQUIRED or claims["aud"] not in rules.audiences:
        raise AssertionRefused
    if claims["iss"] != client_id or claims["sub"] != client_id:
        raise AssertionRefused
    if not _is_plain(claims["jti"]) or not JTI_LENGTH_MIN <= len(claims["jti"]) <= JTI_LENGTH_MAX:
        raise AssertionRefused
    return _in_time(claims, rules.now)


def _in_time(claims: Mapping[str, Any], now: datetime) -> datetime:
    issued, expires, not_before = claims["iat"], claims["exp"], claims.get("nbf", claims["iat"])
    if type(issued) is not int or type(expires) is not int or type(not_before) is not int:
        raise AssertionRefused
    if expires - issued > LIFETIME_SECONDS_MAX:
        raise AssertionRefused
    if not max(issued, not_before) - SKEW_SECONDS <= now.timestamp() < expires:
        raise AssertionRefused
    return datetime.fromtimestamp(expires, UTC)


def _spend(connection: Connection, issuer: str, jti: str, expires: datetime, now: datetime) -> None:
    """Keyed by (issuer, jti) and never by the assertion's bytes: ES256 signatures can be rewritten."""
    connection.execute(_FORGET_PAST, {"now": now})
    row = {"issuer": issuer, "jti": jti, "expires_at": expires}
    if connection.execute(_SPEND, row).rowcount != 1:
        raise AssertionRefused


_FORGET_PAST = text("DELETE FROM spent_assertions WHERE expires_at < :now")
_SPEND = text(
    "INSERT INTO spent_assertions (issuer, jti, expires_at) VALUES (:issuer, :jti, :expires_at) ON CONFLICT DO NOTHING"
)
