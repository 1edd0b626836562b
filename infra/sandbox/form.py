"""Stripe's form encoding (`card[number]=…&expand[]=…`), read strictly: what no operation reads is unknown."""

import re
from collections.abc import Iterable
from urllib.parse import parse_qsl

from infra.sandbox.errors import BadParameter
from infra.sandbox.luhn import find_card_number

PAIRS_MAX = 200  # Stripe's largest call here needs about 90 (50 metadata keys)
_DEPTH_MAX = 5
_KEY = re.compile(r"([^\[\]]+)((?:\[[^\[\]]*\])*)")
_METADATA_KEYS_MAX = 50  # https://docs.stripe.com/api/metadata
_METADATA_KEY_LENGTH_MAX = 40
_METADATA_VALUE_LENGTH_MAX = 500
_TEXT_LENGTH_MAX = 5_000
_WHOLE_DIGITS_MAX = 12
_ECHOED_DIGITS_MAX = 8

Pair = tuple[str, str]
Tree = dict[str, "str | Tree"]


def read_pairs(encoded: bytes) -> tuple[Pair, ...]:
    """Split a body or query string; refuses what is not UTF-8, has too many pairs or a repeated key."""
    try:
        pairs = parse_qsl(
            encoded.decode("utf-8"), keep_blank_values=True, max_num_fields=PAIRS_MAX, errors="strict", separator="&"
        )
    except ValueError:
        raise BadParameter("The request could not be read as form-encoded text.") from None
    singles = [name for name, _ in pairs if not name.endswith("[]")]
    if len(singles) != len(set(singles)):
        raise BadParameter("A parameter was sent more than once.")
    return tuple(pairs)


class Parameters:
    """The parameters of one call. Every getter marks what it read; `finish` refuses the rest."""

    def __init__(self, tree: Tree, path: str = "") -> None:
        self._tree = dict(tree)
        self._path = path
        self._children: list[Parameters] = []

    @classmethod
    def of(cls, pairs: Iterable[Pair]) -> "Parameters":
        tree: Tree = {}
        for name, value in pairs:
            _plant(tree, name, value)
        return cls(tree)

    def name(self, key: str) -> str:
        return f"{self._path}[{key}]" if self._path else key

    def has(self, key: str) -> bool:
        return key in self._tree

    def keys(self) -> tuple[str, ...]:
        """The names that nobody read yet."""
        return tuple(self._tree)

    def text(self, key: str, *, longest: int = _TEXT_LENGTH_MAX) -> str | None:
        """An empty string means "not set", as it does at Stripe."""
        value = self._tree.pop(key, None)
        if value is None or not value:
            return None
        if not isinstance(value, str):
            raise BadParameter(f"Invalid string: {self.name(key)}", param=self.name(key))
        if len(value) > longest:
            raise BadParameter(
                f"Invalid string: {self.name(key)} must be at most {longest} characters",
                code="parameter_invalid_string_length",
                param=self.name(key),
            )
        return value

    def plain_text(self, key: str, *, longest: int = _TEXT_LENGTH_MAX) -> str | None:
        """Text that is stored as it came, so a card number inside it is refused (Stripe would store it)."""
        value = self.text(key, longest=longest)
        if value is not None and find_card_number(value):
            raise BadParameter("A card number is only taken in `card[number]`.", param=self.name(key))
        return value

    def required_text(self, key: str) -> str:
        value = self.text(key)
        if value is None:
            raise self._missing(key)
        return value

    def whole(self, key: str) -> int | None:
        value = self.text(key)
        if value is None:
            return None
        digits = value.removeprefix("-")
        if not (digits.isascii() and digits.isdigit()) or len(digits) > _WHOLE_DIGITS_MAX:
            raise BadParameter(
                f"Invalid integer: {self.name(key)}", code="parameter_invalid_integer", param=self.name(key)
            )
        return int(value)

    def required_whole(self, key: str) -> int:
        value = self.whole(key)
        if value is None:
            raise self._missing(key)
        return value

    def flag(self, key: str) -> bool | None:
        value = self.text(key)
        if value is None:
            return None
        if value not in {"true", "false"}:
            raise BadParameter(f"Invalid boolean: {self.name(key)}", param=self.name(key))
        return value == "true"

    def choice(self, key: str, choices: tuple[str, ...]) -> str | None:
        value = self.text(key)
        if value is not None and value not in choices:
            listed = ", ".join(choices)
            raise BadParameter(f"Invalid {self.name(key)}: must be one of {listed}", param=self.name(key))
        return value

    def child(self, key: str) -> "Parameters":
        value = self._tree.pop(key, None)
        if isinstance(value, str) and value:
            raise BadParameter("Invalid object", param=self.name(key))
        child = Parameters(value if isinstance(value, dict) else {}, self.name(key))
        self._children.append(child)
        return child

    def texts(self, key: str) -> tuple[str, ...]:
        """A list: `key[]=a&key[]=b` or `key[0]=a&key[1]=b`."""
        value = self._tree.pop(key, None)
        if value is None or not value:
            return ()
        if isinstance(value, str) or not all(place.isdigit() for place in value):
            raise BadParameter("Invalid array", param=self.name(key))
        entries = [value[place] for place in sorted(value, key=int)]
        listed = tuple(entry for entry in entries if isinstance(entry, str))
        if len(listed) != len(entries):
            raise BadParameter("Invalid array", param=self.name(key))
        return listed

    def metadata(self) -> dict[str, str]:
        child = self.child("metadata")
        keys = child.keys()
        if len(keys) > _METADATA_KEYS_MAX:
            raise BadParameter(f"Metadata can have at most {_METADATA_KEYS_MAX} keys.", param="metadata")
        found: dict[str, str] = {}
        for key in keys:
            if len(key) > _METADATA_KEY_LENGTH_MAX or find_card_number(key):
                raise BadParameter("Metadata keys can have at most 40 characters.", param="metadata")
            value = child.plain_text(key, longest=_METADATA_VALUE_LENGTH_MAX)
            if value is not None:
                found[key] = value
        return found

    def skip(self, *keys: str) -> None:
        """Accept and forget parameters that change nothing here."""
        for key in keys:
            self._tree.pop(key, None)

    def finish(self) -> None:
        """Refuse what nobody read. Every operation calls this before it does anything."""
        for key in self._tree:
            raise BadParameter(
                f"Received unknown parameter: {_shown(self.name(key))}",
                code="parameter_unknown",
                param=_shown(self.name(key)),
            )
        for child in self._children:
            child.finish()

    def _missing(self, key: str) -> BadParameter:
        return BadParameter(
            f"Missing required param: {self.name(key)}.", code="parameter_missing", param=self.name(key)
        )


def _plant(tree: Tree, name: str, value: str) -> None:
    match = _KEY.fullmatch(name)
    if match is None:
        raise BadParameter("A parameter's name could not be read.")
    steps = [match[1], *re.findall(r"\[([^\[\]]*)\]", match[2])]
    if len(steps) > _DEPTH_MAX:
        raise BadParameter("A parameter is nested too deeply.")
    place = tree
    for step in steps[:-1]:
        below = place.setdefault(step, {})
        if isinstance(below, str):
            raise BadParameter("A parameter is both a value and an object.")
        place = below
    leaf = steps[-1] or str(len(place))
    if leaf in place:
        raise BadParameter("A parameter is both a value and an object.")
    place[leaf] = value


def _shown(name: str) -> str:
    """A name as it may be echoed: one with many digits may hide a card number."""
    digits = sum(character.isdigit() for character in name)
    return "(withheld)" if digits > _ECHOED_DIGITS_MAX else name[:100]
