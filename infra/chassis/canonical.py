"""One byte string for one value (RFC 8785), so that it can be hashed and signed."""

import hashlib
from collections.abc import Mapping
from typing import Any, Final

import msgspec
import rfc8785

INTEGER_MAX: Final = 2**53 - 1
"""RFC 8785 section 3.2.2.3: beyond it a number is not exact in JSON."""
_sorted = msgspec.json.Encoder(order="sorted")


def canonical_json(value: Mapping[str, Any] | msgspec.Struct) -> bytes:
    """RFC 8785 bytes of a mapping of JSON values, or of a struct as it goes over the wire.

    Raises `rfc8785.CanonicalizationError` for what JSON cannot say exactly (NaN, integers above 2**53).
    """
    plain: Any = msgspec.to_builtins(value)
    if _is_simple(plain):
        return _sorted.encode(plain)
    return rfc8785.dumps(plain)


def _is_simple(value: Any) -> bool:
    """Whether the fast encoder gives the same bytes as RFC 8785 asks for.

    The two differ in numbers with a fraction, in integers beyond 2**53, in keys that UTF-16 orders otherwise than code
    points do, and in what is no text; there the library has the word. A record's entry is a tenth of a millisecond so.
    """
    kind = type(value)
    if kind is dict:
        return all(type(key) is str and key.isascii() and _is_simple(item) for key, item in value.items())
    if kind is list or kind is tuple:
        return all(map(_is_simple, value))
    if kind is str:
        return bool(value.isascii())
    if kind is int:
        return bool(-INTEGER_MAX <= value <= INTEGER_MAX)
    return kind is bool or value is None


def parameters_sha256(value: Mapping[str, Any] | msgspec.Struct) -> str:
    """Lower-case hex SHA-256 of the canonical form: what a grant is bound to."""
    return hashlib.sha256(canonical_json(value)).hexdigest()
