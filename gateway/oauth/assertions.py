"""Client assertions (RFC 7523, `private_key_jwt`): how a machine proves that it holds its key.

Checked with PyJWT and not with Authlib's own method, which takes whatever algorithm the header names, takes a list of
audiences, needs no `iat` and no bound on the lifetime (see compliance/decisions/0004-authorization-server.md).
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, TypeGuard

import jwt
from sqlalchemy import Connection, text

from gateway.oauth.machines import MACHINE_BY_ID, MachineClient, machine_of

ASSERTION_TYPE = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"
LIFETIME_SECONDS_MAX = 300
SKEW_SECONDS = 5
LENGTH_MAX = 4096
JTI_LENGTH_MIN = 8
JTI_LENGTH_MAX = 128
HEADER_TYPES = frozenset({None, "JWT", "client-authentication+jwt"})
"""RFC 7523 as it was and as its revision names the type; a bearer or a grant of ours is neither."""
ALGORITHMS = {("OKP", "Ed25519"): "EdDSA", ("EC", "P-256"): "ES256"}
"""One algorithm for one kind of key; the header never chooses."""
REQUIRED = ("iss", "sub", "aud", "exp", "iat", "jti")


class AssertionRefused(Exception):
    """Not told further: the client learns only that it was not authenticated."""


@dataclass(frozen=True, slots=True)
class AssertionRules:
    audiences: tuple[str, ...]
    """Our issuer, and the token endpoint that RFC 7523 first asked for. One of them, as a string."""
    now: datetime


def check_assertion(connection: Connection, compact: str, rules: AssertionRules) -> MachineClient:
    """The machine that signed this, once. Raises AssertionRefused; the `jti` is then spent only if all else held."""
    if len(compact) > LENGTH_MAX:
        raise AssertionRefused
    machine = _claimed_machine(connection, compact)
    claims = _verified(compact, machine, rules)
    if claims["iss"] != machine.client_id or claims["sub"] != machine.client_id:
        raise AssertionRefused
    expires = _in_time(claims, rules.now)
    jti = claims["jti"]
    if not _is_plain(jti) or not JTI_LENGTH_MIN <= len(jti) <= JTI_LENGTH_MAX:
        raise AssertionRefused
    _spend(connection, machine.client_id, jti, expires, rules.now)
    return machine


def algorithm_of(public_jwk: Mapping[str, str]) -> str:
    """Raises KeyError for a kind of key that machines may not have."""
    return ALGORITHMS[public_jwk.get("kty", ""), public_jwk.get("crv", "")]


def _claimed_machine(connection: Connection, compact: str) -> MachineClient:
    """Whom the assertion says it is from; nothing is believed yet."""
    try:
        claimed: dict[str, Any] = jwt.decode(compact, options={"verify_signature": False})
    except jwt.PyJWTError:
        raise AssertionRefused from None
    client_id = claimed.get("iss")
    if not _is_plain(client_id):
        raise AssertionRefused
    row = connection.execute(MACHINE_BY_ID, {"client_id": client_id}).mappings().one_or_none()
    if row is None:
        raise AssertionRefused
    return machine_of(row)


def _is_plain(value: Any) -> TypeGuard[str]:
    """What can stand in a query: no NUL, no half of a surrogate pair."""
    return isinstance(value, str) and value.isascii() and value.isprintable()


def _verified(compact: str, machine: MachineClient, rules: AssertionRules) -> dict[str, Any]:
    algorithm = algorithm_of(machine.public_jwk)
    options: Any = {"require": list(REQUIRED), "verify_aud": False, "verify_exp": False, "verify_iat": False}
    try:
        header = jwt.get_unverified_header(compact)
        if header.get("typ") not in HEADER_TYPES or header.get("alg") != algorithm:
            raise AssertionRefused
        key = jwt.PyJWK(dict(machine.public_jwk), algorithm=algorithm).key
        claims: dict[str, Any] = jwt.decode(compact, key, algorithms=[algorithm], options=options)
    except jwt.PyJWTError:
        raise AssertionRefused from None
    if claims["aud"] not in rules.audiences:
        raise AssertionRefused
    return claims


def _in_time(claims: Mapping[str, Any], now: datetime) -> datetime:
    issued, expires = claims["iat"], claims["exp"]
    if type(issued) is not int or type(expires) is not int or expires - issued > LIFETIME_SECONDS_MAX:
        raise AssertionRefused
    if not issued - SKEW_SECONDS <= now.timestamp() < expires:
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
