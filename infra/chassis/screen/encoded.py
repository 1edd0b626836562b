"""Card numbers in base64 and hexadecimal: what is written so is undone and read like any text."""

import base64
import binascii
import re
from collections.abc import Iterator
from typing import Final

from infra.chassis.screen.networks import LENGTH_MIN

_HEX: Final = re.compile(r"(?:[0-9a-f]{2}(?:[\s:,-]|\\x|0x)?){13,}", re.IGNORECASE)
_BASE64: Final = re.compile(r"[A-Za-z0-9+/_-]{18,}")
_NOT_HEX: Final = re.compile(r"[^0-9a-f]|0x", re.IGNORECASE)


def decoded(text: str) -> Iterator[tuple[int, int, str]]:
    """From, to, and what stands there when decoded; only what then holds as many digits as the shortest card."""
    for match in _HEX.finditer(text):
        plain = _digits_in(bytes.fromhex(_even(_NOT_HEX.sub("", match.group()))))
        if plain is not None:
            yield (*match.span(), plain)
    for match in _BASE64.finditer(text):
        if match.group().isdecimal():
            continue
        body = match.group().replace("-", "+").replace("_", "/")
        for offset in range(4):
            plain = _digits_in(_from_base64(body[offset:]))
            if plain is not None:
                yield (*match.span(), plain)


def _even(digits: str) -> str:
    return digits[: len(digits) // 2 * 2]


def _from_base64(body: str) -> bytes:
    body = body[:-1] if len(body) % 4 == 1 else body
    try:
        return base64.b64decode(body + "=" * (-len(body) % 4))
    except (binascii.Error, ValueError):
        return b""


def _digits_in(plain: bytes) -> str | None:
    if len(plain) - len(plain.translate(None, b"0123456789")) < LENGTH_MIN:
        return None
    return plain.decode("latin-1").lower()
