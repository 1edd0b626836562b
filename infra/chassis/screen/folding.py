"""Text as the screen reads it: lower case, no accents, every script's digits as 0-9, escapes undone.

Each folded character remembers where it came from, so that what is found can be cut out of the original.
"""

import re
import unicodedata
from collections.abc import Iterator
from functools import lru_cache
from typing import Final

_ESCAPE: Final = re.compile(
    r"%(?:25){0,3}(3[0-9]|2[0bde])"  # URL: digits, and what stands between them; also escaped again
    r"|&#0{0,6}([0-9]{1,7});?"  # HTML
    r"|&#x0{0,6}([0-9a-f]{1,6});?"
    r"|\\u([0-9a-f]{4})"  # JSON, JavaScript, Python
    r"|\\u\{0{0,6}([0-9a-f]{1,6})\}"
    r"|\\x([0-9a-f]{2})"
    r"|=(3[0-9]|2[0d])(?==|\Z|[^0-9a-z])",  # quoted-printable; `=3056…` is an equals sign before a number
    re.IGNORECASE,
)
_DECIMAL_GROUP: Final = 2
_CODE_POINT_MAX: Final = 0x10FFFF
_IDEOGRAPHS: Final = dict(zip("〇一二三四五六七八九零壹贰叁肆伍陆柒捌玖", "01234567890123456789", strict=True))
_ORDINAL_MARKS: Final = frozenset("ªº°")


def fold(text: str) -> tuple[str, list[int] | None]:
    """The folded text and, unless it is as long as the original, where each of its characters began there.

    The list has one entry more than the text has characters: where the original ends.
    """
    escaped = ("%" in text or "&#" in text or "\\" in text or "=" in text) and _ESCAPE.search(text) is not None
    if text.isascii() and not escaped:
        return text.lower(), None
    characters: list[str] = []
    places: list[int] = []
    for place, character in _unescaped(text) if escaped else enumerate(text):
        folded = character.lower() if character.isascii() else _folded(character)
        characters.append(folded)
        places += [place] * len(folded)
    places.append(len(text))
    return "".join(characters), places


def _unescaped(text: str) -> Iterator[tuple[int, str]]:
    at = 0
    for match in _ESCAPE.finditer(text):
        yield from ((place, text[place]) for place in range(at, match.start()))
        number = int(match.group(match.lastindex or 0), 10 if match.lastindex == _DECIMAL_GROUP else 16)
        yield match.start(), chr(number) if number <= _CODE_POINT_MAX else " "
        at = match.end()
    yield from ((place, text[place]) for place in range(at, len(text)))


@lru_cache(maxsize=4096)
def _folded(character: str) -> str:
    """Nothing for what is not seen or only decorates; a space for what stands between."""
    digit = unicodedata.digit(character, None)
    if digit is not None:
        return str(digit)
    if character in _IDEOGRAPHS:
        return _IDEOGRAPHS[character]
    if character in _ORDINAL_MARKS:
        return "\N{DEGREE SIGN}"
    decomposed = unicodedata.normalize("NFKD", character).casefold()
    return "".join(part for part in decomposed if unicodedata.category(part) not in {"Mn", "Me", "Cf"})
