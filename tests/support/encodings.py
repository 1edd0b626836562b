"""Twelve ways in which a card number can lie somewhere, each with what to look for and samples of how it gets there.

Needles and samples are made apart, by different means, so that a mistake in one shows: a needle is computed from the
number, a sample is what a library writes that is handed the number among other things.
"""

import base64
import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final
from urllib.parse import quote, quote_plus

AMEX_LENGTH: Final = 15
FULL_WIDTH: Final = str.maketrans({digit: chr(0xFF10 + int(digit)) for digit in "0123456789"})
SPOKEN: Final = {
    "English": "zero one two three four five six seven eight nine",
    "Spanish": "cero uno dos tres cuatro cinco seis siete ocho nueve",
    "French": "zéro un deux trois quatre cinq six sept huit neuf",
    "German": "null eins zwei drei vier fünf sechs sieben acht neun",
}
"""The languages of the card screen. Only digit by digit: there is no end of ways to say a number in pairs."""

Written = Callable[[str], tuple[bytes, ...]]


@dataclass(frozen=True, slots=True)
class Encoding:
    """`needles(number)`: any of them in a content means that the number is there. `samples(number)`: contents."""

    name: str
    needles: Written
    samples: Written


def groups(number: str) -> list[str]:
    """As embossed: 4-6-5 for the fifteen digits of an Amex, else fours."""
    if len(number) == AMEX_LENGTH:
        return [number[:4], number[4:10], number[10:]]
    return [number[place : place + 4] for place in range(0, len(number), 4)]


def spaced(number: str) -> str:
    return " ".join(groups(number))


def spoken(number: str, language: str = "English") -> str:
    words = SPOKEN[language].split()
    return " ".join(words[int(digit)] for digit in number)


def wide(number: str) -> str:
    """In the digits that East Asian keyboards write (U+FF10 to U+FF19)."""
    return number.translate(FULL_WIDTH)


def _base64_core(plain: bytes) -> tuple[bytes, ...]:
    """The characters that depend on `plain` alone, for each of the three places at which it can begin."""
    cores = []
    for before in range(3):
        encoded = base64.b64encode(b"\0" * before + plain + b"\0\0")
        cores.append(encoded[4 if before else 0 : (before + len(plain)) // 3 * 4])
    return tuple(cores)


def _base64_needles(number: str) -> tuple[bytes, ...]:
    return (*_base64_core(number.encode()), *_base64_core(spaced(number).encode()))


def _base64_samples(encode: Callable[[bytes], bytes]) -> Written:
    def samples(number: str) -> tuple[bytes, ...]:
        texts = (number, spaced(number))
        return tuple(
            encode(b"\xfb\xff\xfe"[:before] + text.encode() + b"\xff\xfe") for before in range(3) for text in texts
        )

    return samples


def _url_safe(plain: bytes) -> bytes:
    return base64.urlsafe_b64encode(plain).rstrip(b"=")


def _core(text: str, encoding: str, width: int) -> bytes:
    """Without the zero bytes before and after, which depend on the byte order: one needle for both."""
    return text.encode(encoding)[: -(width - 1)]


def _every_character(form: str, text: str) -> bytes:
    return "".join(form.format(ord(character)) for character in text).encode()


def _wide_escaped(number: str) -> bytes:
    return _every_character("\\u{:04x}", wide(number))


ENCODINGS: Final = (
    Encoding(
        "plain",
        lambda number: (number.encode(),),
        lambda number: (f"number={number}&x=1".encode(), json.dumps({"number": int(number)}).encode()),
    ),
    Encoding(
        "spaced",
        lambda number: (spaced(number).encode(),),
        lambda number: (f"my card is {spaced(number)}, thanks".encode(),),
    ),
    Encoding(
        "dashed",
        lambda number: ("-".join(groups(number)).encode(),),
        lambda number: (json.dumps(["-".join(groups(number))]).encode(),),
    ),
    Encoding(
        "full-width",
        lambda number: (wide(number).encode(), wide(number).encode("utf-16-le"), wide(number).encode("utf-16-be")),
        lambda number: (f"カード {wide(number)}".encode(), f"カード {wide(number)}".encode("utf-16")),
    ),
    Encoding("base64", _base64_needles, _base64_samples(base64.b64encode)),
    Encoding("base64url", _base64_needles, _base64_samples(_url_safe)),
    Encoding(
        "hex",
        lambda number: (number.encode().hex().encode(), spaced(number).encode().hex().encode()),
        lambda number: (
            b"\\x" + number.encode().hex().encode(),
            f"card {spaced(number)}".encode().hex().upper().encode(),
        ),
    ),
    Encoding(
        "url-encoded",
        lambda number: (
            _every_character("%{:02X}", number),
            quote(spaced(number)).encode(),
            quote_plus(spaced(number)).encode(),
        ),
        lambda number: (
            b"number=" + b"".join(b"%%%02X" % digit for digit in number.encode()),
            f"/search?q={spaced(number).replace(' ', '%20')}".encode(),
            f"q={spaced(number).replace(' ', '+')}&x=1".encode(),
        ),
    ),
    Encoding(
        "reversed",
        lambda number: (number[::-1].encode(),),
        lambda number: (b"x" + bytes(reversed(number.encode())) + b"y",),
    ),
    Encoding(
        "UTF-16",
        lambda number: (_core(number, "utf-16-le", 2), _core(number, "utf-32-le", 4)),
        lambda number: tuple(
            f"«{number}»".encode(name) for name in ("utf-16-le", "utf-16-be", "utf-32-le", "utf-32-be")
        ),
    ),
    Encoding(
        "JSON \\u",
        lambda number: (_every_character("\\u{:04x}", number), _wide_escaped(number)),
        lambda number: (
            b'{"n":"' + b"".join(b"\\u00%02x" % digit for digit in number.encode()) + b'"}',
            json.dumps({"n": wide(number)}).encode(),
        ),
    ),
    Encoding(
        "spoken",
        lambda number: tuple(spoken(number, language).encode() for language in SPOKEN),
        lambda number: tuple(f"it is {spoken(number, language)}.".encode() for language in SPOKEN),
    ),
)
"""`UTF-16` has UTF-32 with it: both are how Python itself keeps a text in which there is one character of the kind.

base64url differs from base64 in two characters that no run of digits can give, so both look for the same.
"""
