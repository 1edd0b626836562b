"""Compact JWSs (RFC 7515) in their one spelling: what a signature covers must not be readable in two ways.

PyJWT takes padding, spare base64 bits, duplicate members and unknown header members. So this reads, and where the
reader has compared every member himself, it checks the signature as well: what was read is not read a second time.
"""

import base64
import binascii
from typing import Any

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from infra.chassis.jwk import base64url
from infra.chassis.strict_json import NotStrictJson, decode

SEGMENTS = 3


class NotCompact(ValueError):
    """Not the one spelling of a JWS of ours. Says nothing of what was given."""


def read_compact(compact: str, *, length_max: int) -> tuple[dict[str, Any], dict[str, Any]]:
    """Header and claims; nothing is verified yet. Raises NotCompact."""
    segments = compact.split(".") if len(compact) <= length_max else []
    if len(segments) != SEGMENTS:
        raise NotCompact
    header, claims, _signature = (_canonical(segment) for segment in segments)
    return _object(header), _object(claims)


def is_signed_by(key: Ed25519PublicKey, compact: str) -> bool:
    """EdDSA over Ed25519 (RFC 8037, 3.1) of what `read_compact` took; that its header says so the caller checks."""
    signed, _, signature = compact.rpartition(".")
    try:
        key.verify(_canonical(signature), signed.encode("ascii"))
    except (InvalidSignature, NotCompact, UnicodeEncodeError):
        return False
    return True


def _canonical(segment: str) -> bytes:
    try:
        raw = base64.urlsafe_b64decode(segment.encode("ascii") + b"=" * (-len(segment) % 4))
    except (ValueError, binascii.Error):
        raise NotCompact from None
    if base64url(raw) != segment:
        raise NotCompact
    return raw


def _object(content: bytes) -> dict[str, Any]:
    try:
        value = decode(content)
    except NotStrictJson:
        raise NotCompact from None
    if not isinstance(value, dict):
        raise NotCompact
    return value
