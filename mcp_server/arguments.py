"""A tool's arguments, taken strictly: nothing unknown, nothing coerced, nothing hidden, no card number, no echo."""

import re
import unicodedata
from collections.abc import Iterator
from typing import Any, TypeVar

import msgspec

from infra.chassis.screen import find_card_number
from mcp_server.brands.plain_text import is_unseen
from mcp_server.contract import Arguments
from mcp_server.errors import ArgumentsInvalid, CardNumberInText, HiddenCharacters

A = TypeVar("A", bound=Arguments)
EMOJI_GLUE = frozenset("\u200d\ufe0f")
"""Joiner and presentation selector: allowed right after a symbol, where they make one emoji of several."""
BETWEEN = "\n\n"
_WHERE = re.compile(r"(?P<what>.*?)(?: - at `\$(?P<where>[^`]*)`)?\Z", re.DOTALL)
_UNKNOWN_FIELD = re.compile(r"unknown field")


def take(kind: type[A], raw: dict[str, Any]) -> A:
    """Raises HiddenCharacters, CardNumberInText or ArgumentsInvalid, which names our own field and never the value."""
    strings = list(_strings(raw))
    if any(_hides(string) for string in strings):
        raise HiddenCharacters
    # Apart, and with its parts spread over several arguments; a blank line keeps whole numbers from running together.
    if any(find_card_number(string) is not None for string in (*strings, BETWEEN.join(strings))):
        raise CardNumberInText
    try:
        return msgspec.convert(raw, kind, strict=True)
    except msgspec.ValidationError as error:
        raise ArgumentsInvalid(_sentence(str(error))) from None


def schema_of(kind: type[msgspec.Struct]) -> dict[str, Any]:
    """JSON Schema of the struct, without references: several hosts do not follow them."""
    document = msgspec.json.schema(kind)
    definitions = document["$defs"]
    schema: dict[str, Any] = _inlined(document["$ref"], definitions)
    schema.pop("title", None)
    schema.pop("description", None)
    return schema


def _inlined(value: Any, definitions: dict[str, Any]) -> Any:
    if isinstance(value, str) and value.startswith("#/$defs/"):
        return _inlined(definitions[value.removeprefix("#/$defs/")], definitions)
    if isinstance(value, list):
        return [_inlined(item, definitions) for item in value]
    if not isinstance(value, dict):
        return value
    if "$ref" in value:
        rest = {name: item for name, item in value.items() if name != "$ref"}
        return {**_inlined(value["$ref"], definitions), **_inlined(rest, definitions)}
    named = {
        name: _inlined(item, definitions)
        for name, item in value.items()
        if not (name == "title" and isinstance(item, str))  # the struct's name; a property called title is an object
    }
    if isinstance(named.get("pattern"), str):
        named["pattern"] = named["pattern"].replace(r"\Z", "$")  # ECMA-262, which JSON Schema speaks, has no \Z
    return named


def _strings(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        for name, item in value.items():
            yield name
            yield from _strings(item)
    elif isinstance(value, list):
        for item in value:
            yield from _strings(item)


def _hides(text: str) -> bool:
    before = ""
    for character in text:
        glued = character in EMOJI_GLUE and before in {"So", "Sk"}
        if character != "\n" and not glued and is_unseen(character):
            return True
        if not glued:
            before = unicodedata.category(character)
    return False


def _sentence(message: str) -> str:
    """Msgspec writes "Expected `int`, got `str` - at `$.items[0].quantity`"; unknown names are the caller's text."""
    parts = _WHERE.match(message)
    what, where = (parts["what"], (parts["where"] or "").lstrip(".")) if parts else (message, "")
    if _UNKNOWN_FIELD.search(what):
        return f"{where or 'The arguments'} must not hold anything the input schema does not name."
    return f"{where or 'The arguments'}: {what.lower()}."
