"""The body of a forward: a template from outside, and the card put into it.

The template is read into values first, and a slot is a whole value of its own. Then the parts of the card take
the places of the slots, and what comes out is written anew. What is put in is never read again: a holder who is
called `{{card.number}}` is sent under that name, and a quotation mark in a name ends no string.
"""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import parse_qsl, urlencode

from infra.chassis import strict_json
from infra.chassis.problems import CardNumberRefused
from infra.chassis.screen import find_card_number
from vault.errors import TemplateRefused
from vault.forwarding.destinations import BodyKind, Part

SLOT: Final = re.compile(r"\{\{card\.([a-z_]+)\}\}")
MARKED: Final = ("{{", "}}")
"""Anything else with these in it is a slot that somebody got wrong, and no body."""
FORM_FIELDS_MAX: Final = 200


@dataclass(frozen=True, slots=True)
class Place:
    """A slot, read. Nothing that writes JSON or forms knows what to do with one that was left."""

    part: Part


@dataclass(frozen=True, slots=True)
class Template:
    """A body without its card: a JSON value or the pairs of a form, with a Place wherever a part goes."""

    kind: BodyKind
    value: Any
    parts: frozenset[Part]


def read_template(text: str, kind: BodyKind, fields: Mapping[str, Part]) -> Template:
    """Raises TemplateRefused, and CardNumberRefused when a number is written out in it."""
    try:
        plain = _json(text) if kind is BodyKind.JSON else _form(text)
    except (strict_json.NotStrictJson, ValueError):
        raise TemplateRefused(detail=f"The template is no {kind.value} as this vault reads it.") from None
    if not isinstance(plain, dict):
        raise TemplateRefused(detail="The template is no object of named fields.")
    parts: set[Part] = set()
    value = _placed(plain, "", fields, parts)
    if not parts:
        raise TemplateRefused(detail="The template has no place for any part of a card.")
    return Template(kind, value, frozenset(parts))


def fill(template: Template, card: Mapping[Part, str]) -> bytes:
    """The body as it is sent. Raises KeyError when a part is missing."""
    filled = _filled(template.value, card)
    if template.kind is BodyKind.FORM:
        return urlencode(list(filled.items())).encode("ascii")
    return json.dumps(filled, separators=(",", ":")).encode("ascii")


def _json(text: str) -> Any:
    return strict_json.decode(text.encode(), floats=True)


def _form(text: str) -> dict[str, str]:
    pairs = parse_qsl(
        text, keep_blank_values=True, strict_parsing=True, errors="strict", max_num_fields=FORM_FIELDS_MAX
    )
    if len(dict(pairs)) != len(pairs):
        raise ValueError("a field is there twice")
    return dict(pairs)


def _placed(value: Any, pointer: str, fields: Mapping[str, Part], parts: set[Part]) -> Any:
    if isinstance(value, dict):
        for name in value:
            _refuse_card_or_mark(name)
        return {name: _placed(item, f"{pointer}/{_escaped(name)}", fields, parts) for name, item in value.items()}
    if isinstance(value, list):
        return [_placed(item, f"{pointer}/{place}", fields, parts) for place, item in enumerate(value)]
    found = SLOT.fullmatch(value) if isinstance(value, str) else None
    if found is not None:
        return _place(found.group(1), pointer, fields, parts)
    if isinstance(value, str):
        _refuse_card_or_mark(value)
    elif any(find_card_number(said) is not None for said in _written(value)):
        raise CardNumberRefused
    return value


def _written(value: Any) -> tuple[str, ...]:
    """A number as it will be sent, and without the fraction or exponent that would hide its digits.

    A whole number never as a float, which rounds from seventeen digits on, and cards have up to nineteen.
    """
    return (str(value), f"{value:.0f}") if isinstance(value, float) else (str(value),)


def _place(name: str, pointer: str, fields: Mapping[str, Part], parts: set[Part]) -> Place:
    if name not in Part.__members__.values() or fields.get(pointer) is not Part(name):
        raise TemplateRefused(detail="A slot stands where this destination does not take that part of a card.")
    parts.add(Part(name))
    return Place(Part(name))


def _refuse_card_or_mark(text: str) -> None:
    if any(mark in text for mark in MARKED):
        raise TemplateRefused(detail="A slot must be a whole value and one of the known ones.")
    if find_card_number(text) is not None:
        raise CardNumberRefused


def _filled(value: Any, card: Mapping[Part, str]) -> Any:
    if isinstance(value, Place):
        return card[value.part]
    if isinstance(value, dict):
        return {name: _filled(item, card) for name, item in value.items()}
    if isinstance(value, list):
        return [_filled(item, card) for item in value]
    return value


def _escaped(name: str) -> str:
    """RFC 6901 section 3."""
    return name.replace("~", "~0").replace("/", "~1")
