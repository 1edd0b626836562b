"""JSON as our APIs accept it: one meaning only.

`json`, msgspec and pydantic all take the last of two equal keys; an attacker uses that to show one value to the
check and another to the work. Refused here, before any of them sees it: duplicate keys, NaN and infinities, a byte
order mark, integers beyond 64 bits, deep nesting, half a surrogate pair, the character NUL and (unless asked for)
floating point.
"""

import json
from typing import Any, NoReturn

DEPTH_MAX = 32
"""Our deepest body has five levels; JSON-RPC with `_meta` eight."""
INTEGER_MAX = 2**63 - 1


class NotStrictJson(ValueError):
    """The message says which rule was broken and never repeats the input."""


def decode(body: bytes, *, floats: bool = False) -> Any:
    """Plain Python values of `body`; raises `NotStrictJson`."""
    if body.count(b"[") + body.count(b"{") > DEPTH_MAX:  # no other body can be deep, and counting costs next to nothing
        _refuse_depth(body)
    try:
        text = body.decode("utf-8")
    except UnicodeDecodeError:
        raise NotStrictJson("the body is not UTF-8") from None
    if text.startswith("\ufeff"):
        raise NotStrictJson("the body starts with a byte order mark")
    try:
        value = json.loads(
            text,
            object_pairs_hook=_object_without_duplicates,
            parse_constant=_refuse_constant,
            parse_int=_bounded_integer,
            parse_float=_bounded_float if floats else _refuse_float,
        )
    except NotStrictJson:
        raise
    except (ValueError, RecursionError):
        raise NotStrictJson("the body is not JSON") from None
    if "\\u" in text:
        _refuse_no_text(value)
    return value


def _refuse_no_text(value: Any) -> None:
    """Only an escape can bring them in: what UTF-8 cannot write and what PostgreSQL does not keep."""
    if isinstance(value, str):
        if "\0" in value or any("\ud800" <= character <= "\udfff" for character in value):
            raise NotStrictJson("a string holds a character that is not text")
    elif isinstance(value, dict):
        for name, item in value.items():
            _refuse_no_text(name)
            _refuse_no_text(item)
    elif isinstance(value, list):
        for item in value:
            _refuse_no_text(item)


def _refuse_depth(body: bytes) -> None:
    """Before parsing, because the parser recurses. Brackets inside strings are skipped."""
    depth = 0
    in_string = escaped = False
    for byte in body:
        if in_string:
            if escaped:
                escaped = False
            elif byte == 0x5C:  # noqa: PLR2004 - a backslash
                escaped = True
            elif byte == 0x22:  # noqa: PLR2004 - a quotation mark
                in_string = False
        elif byte == 0x22:  # noqa: PLR2004 - a quotation mark
            in_string = True
        elif byte in b"[{":
            depth += 1
            if depth > DEPTH_MAX:
                raise NotStrictJson(f"the body nests deeper than {DEPTH_MAX} levels")
        elif byte in b"]}":
            depth -= 1


def _object_without_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    result = dict(pairs)
    if len(result) != len(pairs):
        raise NotStrictJson("an object has the same key twice")
    return result


def _refuse_constant(_name: str) -> NoReturn:
    raise NotStrictJson("NaN and infinities are not JSON")


def _refuse_float(_text: str) -> NoReturn:
    raise NotStrictJson("numbers are whole; this API has no fractions and no exponents")


def _bounded_float(text: str) -> float:
    value = float(text)
    if value in {float("inf"), float("-inf")}:
        raise NotStrictJson("a number is too large")
    return value


def _bounded_integer(text: str) -> int:
    if len(text) > 20:  # noqa: PLR2004 - the sign and 19 digits of a 64-bit integer
        raise NotStrictJson("a number is too large")
    value = int(text)
    if not -INTEGER_MAX - 1 <= value <= INTEGER_MAX:
        raise NotStrictJson("a number is too large")
    return value
