"""ID tokens, checked strictly: OpenID Connect Core 1.0 section 3.1.3.7 without its leniencies. Pure.

PyJWT checks one signature with one key and one algorithm that the configuration names; everything else is here, because
it would take any `typ`, duplicate claims and further audiences (facts/gateway.md).
"""

import base64
import binascii
import hashlib
import hmac
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Final

import jwt

from infra.chassis import strict_json

KEY_TYPES: Final[Mapping[str, str]] = {"RS256": "RSA", "PS256": "RSA", "ES256": "EC", "EdDSA": "OKP"}
"""Signature algorithm → `kty`. No HMAC: with it a public key becomes a secret."""
AT_HASH: Final = {"EdDSA": hashlib.sha512}
"""OpenID Connect Core 1.0 section 3.1.3.6: the algorithm's own hash; SHA-256 for all others here."""
SKEW: Final = timedelta(seconds=30)
"""How far the provider's clock may be off."""
LIFETIME_MAX: Final = timedelta(hours=24)
"""A token that is meant to last longer is no ID token of a login that just happened."""
LENGTH_MAX: Final = 16_384
SUB_LENGTH_MAX: Final = 255
"""OpenID Connect Core 1.0 section 2."""
TYPES: Final = frozenset({None, "JWT"})


class IdTokenRefused(Exception):
    """Why is for the log only; it holds no value of the token."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Expected:
    """What the token must be for: `nonce` None where the flow has none, `max_age` where the login must be fresh."""

    issuer: str
    client_id: str
    algorithm: str
    nonce: str | None
    issued_after: datetime
    max_age: timedelta | None
    access_token: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Identified:
    """Who the provider says it was. `at` is when they proved it, as far as it says, and never in the future."""

    issuer: str
    sub: str
    at: datetime
    acr: str | None
    amr: tuple[str, ...]
    email: str | None
    """Only an address whose `email_verified` is true."""
    auth_req_id: str | None


def key_id_of(compact: str, algorithm: str) -> str | None:
    """The `kid` of a token that could be one. Raises IdTokenRefused: too long, another `alg` or `typ`, `crit`."""
    if len(compact) > LENGTH_MAX or compact.count(".") != 2:  # noqa: PLR2004 - the compact form has three parts
        raise IdTokenRefused("not a compact JWS")
    header = _part(compact.partition(".")[0])
    if header.get("alg") != algorithm:
        raise IdTokenRefused("another algorithm")
    if header.get("typ") not in TYPES or "crit" in header or "b64" in header:
        raise IdTokenRefused("another type")
    kid = header.get("kid")
    if kid is not None and not isinstance(kid, str):
        raise IdTokenRefused("a key id that is no text")
    return kid


def checked(compact: str, jwk: Mapping[str, Any], expected: Expected, now: datetime) -> Identified:
    """Raises IdTokenRefused."""
    claims = _signed_claims(compact, jwk, expected.algorithm)
    _for_us(claims, expected)
    issued = _in_time(claims, expected, now)
    proven = _fresh(claims, expected, issued, now)
    _about_access_token(claims, expected)
    sub = claims.get("sub")
    if not isinstance(sub, str) or not 0 < len(sub) <= SUB_LENGTH_MAX or not sub.isascii() or not sub.isprintable():
        raise IdTokenRefused("no subject")
    verified = claims.get("email_verified") is True
    return Identified(
        issuer=expected.issuer,
        sub=sub,
        at=min(proven, now),
        acr=_text(claims.get("acr")),
        amr=_texts(claims.get("amr")),
        email=_text(claims.get("email")) if verified else None,
        auth_req_id=_text(claims.get("urn:openid:params:jwt:claim:auth_req_id")),
    )


def _signed_claims(compact: str, jwk: Mapping[str, Any], algorithm: str) -> Mapping[str, Any]:
    key_id_of(compact, algorithm)
    options: Any = {"verify_aud": False, "verify_exp": False, "verify_iat": False, "verify_nbf": False}
    try:
        key = jwt.PyJWK(dict(jwk), algorithm=algorithm)
        jwt.decode(compact, key, algorithms=[algorithm], options=options)
    except jwt.PyJWTError:
        raise IdTokenRefused("the signature does not hold") from None
    return _part(compact.split(".")[1])


def _for_us(claims: Mapping[str, Any], expected: Expected) -> None:
    if claims.get("iss") != expected.issuer:
        raise IdTokenRefused("another issuer")
    if claims.get("aud") not in (expected.client_id, [expected.client_id]):
        raise IdTokenRefused("another audience")
    if claims.get("azp", expected.client_id) != expected.client_id:
        raise IdTokenRefused("another authorized party")
    given = claims.get("nonce")
    if expected.nonce is None:
        return
    if not isinstance(given, str) or not hmac.compare_digest(given.encode(), expected.nonce.encode()):
        raise IdTokenRefused("another nonce")


def _in_time(claims: Mapping[str, Any], expected: Expected, now: datetime) -> datetime:
    issued, expires = _moment(claims.get("iat")), _moment(claims.get("exp"))
    if "nbf" in claims and _moment(claims["nbf"]) > now + SKEW:
        raise IdTokenRefused("not valid yet")
    if not (issued - SKEW <= now < expires + SKEW) or expires - issued > LIFETIME_MAX:
        raise IdTokenRefused("not in time")
    if issued < expected.issued_after - SKEW:
        raise IdTokenRefused("older than what was asked")
    return issued


def _fresh(claims: Mapping[str, Any], expected: Expected, issued: datetime, now: datetime) -> datetime:
    """When the person proved themselves. With `max_age` asked, `auth_time` is required (section 3.1.2.1)."""
    if "auth_time" not in claims:
        if expected.max_age is not None:
            raise IdTokenRefused("no time of login")
        return issued
    proven = _moment(claims["auth_time"])
    if proven > now + SKEW:
        raise IdTokenRefused("a login in the future")
    if expected.max_age is not None and now - proven > expected.max_age + SKEW:
        raise IdTokenRefused("a login too long ago")
    return proven


def _about_access_token(claims: Mapping[str, Any], expected: Expected) -> None:
    if "at_hash" not in claims:
        return
    hashed = AT_HASH.get(expected.algorithm, hashlib.sha256)((expected.access_token or "").encode()).digest()
    half = base64.urlsafe_b64encode(hashed[: len(hashed) // 2]).rstrip(b"=")
    given = claims["at_hash"]
    if not isinstance(given, str) or not hmac.compare_digest(given.encode(), half):
        raise IdTokenRefused("issued with another access token")


def _part(encoded: str) -> Mapping[str, Any]:
    """One part of the JWS, read so that it has one meaning."""
    try:
        padded = encoded + "=" * (-len(encoded) % 4)
        value = strict_json.decode(base64.b64decode(padded, altchars=b"-_", validate=True), floats=True)
    except (ValueError, binascii.Error):
        raise IdTokenRefused("not JSON with one meaning") from None
    if not isinstance(value, dict):
        raise IdTokenRefused("not an object")
    return value


def _moment(value: Any) -> datetime:
    """Seconds since 1970; JSON numbers, as RFC 7519 allows fractions."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise IdTokenRefused("a time that is no number")
    try:
        return datetime.fromtimestamp(value, UTC)
    except (ValueError, OverflowError, OSError):
        raise IdTokenRefused("a time that is none") from None


def _text(value: Any) -> str | None:
    return value if isinstance(value, str) and value else None


def _texts(value: Any) -> tuple[str, ...]:
    if not isinstance(value, Sequence) or isinstance(value, str):
        return ()
    return tuple(item for item in value if isinstance(item, str))
