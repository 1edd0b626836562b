"""The ways in which a text may say something: as it stands, and with each usual encoding undone, also twice.

Who has card data in an answer by accident has it as a log line, a base64 dump or a form within JSON. Somebody who hides
it on purpose has the card already, and no search finds what he ciphers.
"""

import base64
import binascii
import html
import re
from collections import deque
from collections.abc import Iterator
from typing import Final
from urllib.parse import unquote_plus

from infra.chassis.screen.folding import fold

DEPTH_MAX: Final = 3
"""Encodings within encodings."""
CHARACTERS_MAX: Final = 400_000
"""Over all views of all texts of one answer: six times as much as an answer may be. Some tenths of a second."""
PLAIN_SHARE: Final = 0.9
"""Of printable characters: less is noise, which base64 makes of any word."""
_DIGITS: Final = re.compile(r"[0-9](?:[\x00\s.-]?[0-9]){4}")
"""Five in a row, with at most one character between: noise of the size of an answer hardly ever has them."""
_BASE64: Final = re.compile(r"[A-Za-z0-9+/_-]{4,}")
_BASE32: Final = re.compile(r"[A-Za-z2-7]{8,}")
_HEX: Final = re.compile(r"(?:[0-9A-Fa-f]{2}[\s:,;-]{0,2}(?:\\x|0x)?){3,}")
_NOT_HEX: Final = re.compile(r"0x|[^0-9A-Fa-f]")
_CODES: Final = re.compile(r"(?:(?:4[89]|5[0-7])[\s,;]*){3,}")
"""Digits by their numbers in ASCII, in decimal."""
_BITS: Final = re.compile(r"(?:0011[01]{4}[\s,;]*){3,}")
_NUMBERS: Final = re.compile(r"[0-9]{2}")
_BYTES: Final = re.compile(r"[01]{8}")
_PLAIN: Final = re.compile(r"[\x20-\x7e]")
_INVISIBLE: Final = re.compile("[\x00\u00ad\u200b-\u200f\u2028-\u202e\u2060-\u2064\ufe00-\ufe0f\ufeff]")


class TooManyViews(Exception):
    """The answer says too much in too many ways to be searched."""


class Views:
    """The views of the texts of one answer, which share one bound."""

    def __init__(self) -> None:
        self._left = CHARACTERS_MAX

    def of(self, text: str) -> Iterator[str]:
        """`text`, and what is in it when encodings are undone; each once. Raises TooManyViews."""
        seen: set[str] = set()
        waiting = deque([(text, 0)])
        while waiting:
            view, depth = waiting.popleft()
            if view in seen:
                continue
            seen.add(view)
            self._left -= len(view)
            if self._left < 0:
                raise TooManyViews
            yield view
            if depth < DEPTH_MAX:
                waiting.extend((undone, depth + 1) for undone in _undone(view))


def _undone(text: str) -> Iterator[str]:
    folded = fold(text)[0]
    if folded != text.lower():
        yield folded
    yield _INVISIBLE.sub("", text)
    if "%" in text or "+" in text:
        yield unquote_plus(text, errors="replace")
    if "&" in text:
        yield html.unescape(text)
    for encoded in (_hexadecimal, _base64, _base32):
        for undone in encoded(text):
            if _says_something(undone):
                yield undone
    for match in _CODES.finditer(text):
        yield "".join(chr(int(number)) for number in _NUMBERS.findall(match.group()))
    for match in _BITS.finditer(text):
        yield "".join(chr(int(byte, 2)) for byte in _BYTES.findall(match.group()))


def _hexadecimal(text: str) -> Iterator[str]:
    for match in _HEX.finditer(text):
        digits = _NOT_HEX.sub("", match.group())
        for start in (0, 1):
            even = digits[start:]
            yield bytes.fromhex(even[: len(even) // 2 * 2]).decode("latin-1")


def _base64(text: str) -> Iterator[str]:
    """At each of the four places at which it may have begun."""
    for match in _BASE64.finditer(text):
        body = match.group().replace("-", "+").replace("_", "/")
        for start in range(4):
            part = body[start:]
            part = part[:-1] if len(part) % 4 == 1 else part
            try:
                yield base64.b64decode(part + "=" * (-len(part) % 4)).decode("latin-1")
            except (binascii.Error, ValueError):
                continue


def _base32(text: str) -> Iterator[str]:
    for match in _BASE32.finditer(text):
        for start in range(8):
            part = match.group().upper()[start:]
            part = part[: len(part) // 8 * 8] or part
            try:
                yield base64.b32decode(part + "=" * (-len(part) % 8)).decode("latin-1")
            except (binascii.Error, ValueError):
                continue


def _says_something(text: str) -> bool:
    if not text:
        return False
    if _DIGITS.search(text) is not None:
        return True
    return len(_PLAIN.sub("", text)) <= (1 - PLAIN_SHARE) * len(text)
