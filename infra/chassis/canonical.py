"""One byte string for one value (RFC 8785), so that it can be hashed and signed."""

import hashlib
from collections.abc import Mapping
from typing import Any

import msgspec
import rfc8785


def canonical_json(value: Mapping[str, Any] | msgspec.Struct) -> bytes:
    """RFC 8785 bytes of a mapping of JSON values, or of a struct as it goes over the wire.

    Raises `rfc8785.CanonicalizationError` for what JSON cannot say exactly (NaN, integers above 2**53).
    """
    plain: Any = msgspec.to_builtins(value)
    return rfc8785.dumps(plain)


def parameters_sha256(value: Mapping[str, Any] | msgspec.Struct) -> str:
    """Lower-case hex SHA-256 of the canonical form: what a grant is bound to."""
    return hashlib.sha256(canonical_json(value)).hexdigest()
