"""The card screen: finds card numbers in text that people and models write.

Deterministic and cheap, in front of every chat field, memory and log value. At first light it knows numbers written
plain, spaced, dashed, dotted or split by other punctuation, in full-width and other Unicode digits, in base64 and in
hexadecimal, and spoken in English words ("four two four two", "double four", "oh"). Candidates are 13 to 19 digits that
start like a card and pass Luhn.
"""

import base64
import binascii
import re
import unicodedata
from typing import Final

LENGTH_MIN: Final = 13
GAP_MAX: Final = 3
"""Characters that are not digits allowed between two digits of one number, as in `4242 - 4242`."""

_WORDS: Final = {
    "zero": "0", "oh": "0", "o": "0", "nought": "0", "one": "1", "two": "2", "three": "3", "four": "4", "five": "5",
    "six": "6", "seven": "7", "eight": "8", "nine": "9",
}  # fmt: skip
_TEENS: Final = {
    "ten": "10", "eleven": "11", "twelve": "12", "thirteen": "13", "fourteen": "14", "fifteen": "15",
    "sixteen": "16", "seventeen": "17", "eighteen": "18", "nineteen": "19",
}  # fmt: skip
_TENS: Final = {
    "twenty": "2", "thirty": "3", "forty": "4", "fifty": "5", "sixty": "6", "seventy": "7", "eighty": "8",
    "ninety": "9",
}  # fmt: skip
_REPEATS: Final = {"double": 2, "triple": 3}
_TOKEN: Final = re.compile(r"[^\W\d_]+|\d|[^\w]+|_", re.UNICODE)
_LENGTHS: Final = {
    "2": (16,),
    "3": (14, 15, 16),
    "4": (13, 16, 19),
    "5": tuple(range(13, 20)),
    "6": tuple(range(13, 20)),
}
"""By first digit: 2 Mastercard, 3 Amex/Diners/JCB, 4 Visa, 5 Mastercard and Maestro, 6 Discover/UnionPay/Maestro."""
_BASE64: Final = re.compile(r"[A-Za-z0-9+/_-]{18,}={0,2}")
_HEX: Final = re.compile(r"(?:3[0-9][\s:]?){13,19}", re.IGNORECASE)


def luhn(digits: str) -> bool:
    """ISO/IEC 7812-1 annex B check over ASCII digits."""
    total = 0
    for place, digit in enumerate(reversed(digits)):
        value = ord(digit) - 48
        if place % 2:
            value = value * 2 - 9 if value > 4 else value * 2  # noqa: PLR2004 - two digits are summed from 5 on
        total += value
    return total % 10 == 0


def find_card_number(text: str) -> tuple[int, int] | None:
    """Where the first thing that looks like a card number stands (start, end), or None. Never returns the digits."""
    normal = unicodedata.normalize("NFKC", text)
    if not _worth_reading(normal):
        return None
    found = _find_in_runs(normal)
    if found is not None:
        return found
    return _find_encoded(normal)


def _worth_reading(text: str) -> bool:
    return len(text) >= LENGTH_MIN


def _find_in_runs(text: str) -> tuple[int, int] | None:
    digits: list[str] = []
    places: list[int] = []
    repeat = 1
    last_end = 0
    pending_tens: str | None = None
    for match in _TOKEN.finditer(text):
        token = match.group()
        lower = token.lower()
        if token.isdigit():
            found = str(unicodedata.digit(token, 0))
        elif lower in _REPEATS:
            repeat = _REPEATS[lower]
            last_end = match.end()
            continue
        else:
            found = _WORDS.get(lower) or _TEENS.get(lower) or _TENS.get(lower, "")
        if not found:
            if token.isalpha() or match.end() - last_end > GAP_MAX:
                hit = _check(digits, places)
                if hit is not None:
                    return hit
                digits, places, repeat, pending_tens = [], [], 1, None
            continue
        if pending_tens is not None and (lower in _TENS or lower in _TEENS or token.isdigit()):
            digits.append("0")
            places.append(match.start())
        pending_tens = found if lower in _TENS else None
        for digit in found * repeat:
            digits.append(digit)
            places.append(match.start())
        repeat = 1
        last_end = match.end()
    if pending_tens is not None:
        digits.append("0")
        places.append(len(text))
    return _check(digits, places)


def _check(digits: list[str], places: list[int]) -> tuple[int, int] | None:
    joined = "".join(digits)
    if len(joined) < LENGTH_MIN:
        return None
    sums = _running_sums(joined)
    for start in range(len(joined) - LENGTH_MIN + 1):
        for length in _LENGTHS.get(joined[start], ()):
            end = start + length
            if end > len(joined):
                break
            of_end = sums[end % 2]
            if (of_end[end] - of_end[start]) % 10 == 0 and len(set(joined[start:end])) > 1:
                return places[start], places[end - 1] + 1
    return None


def _running_sums(digits: str) -> tuple[list[int], list[int]]:
    """What `luhn` adds up, from the first digit on: for numbers that end after an even place, and after an odd one.

    So each of the many candidates in a long run of digits costs one subtraction; a run may fill a whole body.
    """
    even, odd = [0], [0]
    for place, digit in enumerate(digits):
        plain = ord(digit) - 48
        doubled = plain * 2 - 9 if plain > 4 else plain * 2  # noqa: PLR2004 - as in luhn
        even.append(even[-1] + (plain if place % 2 else doubled))
        odd.append(odd[-1] + (doubled if place % 2 else plain))
    return even, odd


def _find_encoded(text: str) -> tuple[int, int] | None:
    for match in _HEX.finditer(text):
        digits = "".join(chr(byte) for byte in bytes.fromhex(re.sub(r"[\s:]", "", match.group())))
        if _check(list(digits), list(range(len(digits)))) is not None:
            return match.span()
    for match in _BASE64.finditer(text):
        for offset in range(4):
            if _hides_digits(match.group()[offset:]):
                return match.span()
    return None


def _hides_digits(encoded: str) -> bool:
    body = encoded.rstrip("=").replace("-", "+").replace("_", "/")
    body = body[: len(body) - len(body) % 4] if len(body) % 4 == 1 else body + "=" * (-len(body) % 4)
    try:
        plain = base64.b64decode(body).decode("ascii", "replace")
    except (binascii.Error, ValueError):
        return False
    return sum(character.isdigit() for character in plain) >= LENGTH_MIN and _find_in_runs(plain) is not None
