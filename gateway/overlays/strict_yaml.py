"""YAML with one meaning, and with the line of everything, so that a mistake in a case can be found.

Refused: keys given twice, merge keys, tags of other languages, fractions, dates, more than one document, and aliases
that grow beyond what a file of cases needs. Resolved as PyYAML's SafeLoader does (YAML 1.1) and nothing constructed by
it, because its constructor takes the last of two equal keys.
"""

from dataclasses import dataclass
from typing import Any, Final

import yaml

NODES_MAX: Final = 20_000
"""After aliases are written out. Our own largest file of cases has some 700."""
DEPTH_MAX: Final = 16
BOOLEANS: Final = {"true": True, "false": False}


class YamlRefused(Exception):
    """`line` counts from 1."""

    def __init__(self, line: int, sentence: str) -> None:
        self.line = line
        super().__init__(sentence)


@dataclass(frozen=True, slots=True)
class Item:
    """A value and where it was written: a str, int, bool, None, a list of Items, or a dict from str to Item."""

    value: Any
    line: int

    @property
    def plain(self) -> Any:
        if isinstance(self.value, dict):
            return {name: item.plain for name, item in self.value.items()}
        if isinstance(self.value, list):
            return [item.plain for item in self.value]
        return self.value

    def mapping(self) -> dict[str, "Item"]:
        """Raises YamlRefused."""
        if not isinstance(self.value, dict):
            raise YamlRefused(self.line, "a mapping is needed here")
        return self.value

    def items(self) -> list["Item"]:
        """Raises YamlRefused."""
        if not isinstance(self.value, list):
            raise YamlRefused(self.line, "a list is needed here")
        return self.value

    def text(self) -> str:
        """Raises YamlRefused."""
        if not isinstance(self.value, str) or not self.value:
            raise YamlRefused(self.line, "text is needed here")
        return self.value


def read(text: str) -> Item:
    """The one document of `text`. Raises YamlRefused."""
    try:
        node = yaml.compose(text, Loader=yaml.SafeLoader)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        raise YamlRefused(mark.line + 1 if mark else 1, str(error.problem)) from None
    except (yaml.YAMLError, RecursionError) as error:
        raise YamlRefused(1, type(error).__name__) from None
    if node is None:
        raise YamlRefused(1, "the file is empty")
    return _Reader().item(node, 0)


class _Reader:
    def __init__(self) -> None:
        self._count = 0

    def item(self, node: yaml.Node, depth: int) -> Item:
        line = node.start_mark.line + 1
        self._count += 1
        if self._count > NODES_MAX or depth > DEPTH_MAX:
            raise YamlRefused(line, "too much, or nested too deep")
        if isinstance(node, yaml.MappingNode):
            return Item(self._mapping(node, depth), line)
        if isinstance(node, yaml.SequenceNode):
            return Item([self.item(inner, depth + 1) for inner in node.value], line)
        return Item(_scalar(node, line), line)

    def _mapping(self, node: yaml.MappingNode, depth: int) -> dict[str, Item]:
        found: dict[str, Item] = {}
        for key, value in node.value:
            line = key.start_mark.line + 1
            if key.tag != "tag:yaml.org,2002:str":
                raise YamlRefused(line, "a key is text")
            if key.value in found:
                raise YamlRefused(line, f"the key {key.value} is given twice")
            found[key.value] = self.item(value, depth + 1)
        return found


def _scalar(node: yaml.Node, line: int) -> str | int | bool | None:
    match node.tag.removeprefix("tag:yaml.org,2002:"):
        case "str":
            return str(node.value)
        case "null":
            return None
        case "bool" if node.value in BOOLEANS:
            return BOOLEANS[node.value]
        case "int" if node.value.removeprefix("-").isdecimal() and str(int(node.value)) == node.value:
            return int(node.value)
        case kind:
            raise YamlRefused(line, f"{node.value} is not text, a whole number, true or false (as YAML it is {kind})")
