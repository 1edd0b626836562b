"""Compact JWSs (RFC 7515) in their one spelling: what a signature covers must not be readable in two ways.

PyJWT takes padding, spare base64 bits, duplicate members and unknown header members. Read with this first, then give
the same text to PyJWT, which checks the signature.
"""

import base64
import binascii
from typing import Any

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
