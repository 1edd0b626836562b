r"""What a contract's pattern lets through: msgspec searches, so a pattern that is not anchored holds nothing.

In Python's `re`, `$` also matches before a line break at the end: `^[A-Z]{3}$` takes "USD\n". The end is written `\Z`.
"""

import ast
import re
from collections.abc import Iterator

from compliance.checks.tree import Finding, Source

_STARTS = ("^", r"\A")
_END = r"\Z"
_QUOTED = re.compile(r"\\.|\[\^?\]?(?:\\.|[^\]\\])*\]", re.DOTALL)
"""An escaped character, or a class: what stands in them is no anchor and no alternative."""


def open_patterns(file: Source) -> Iterator[Finding]:
    """A `Meta(pattern=…)` that takes more than it spells out, or one this rule cannot read."""
    for node, pattern in patterns(file):
        if pattern is None:
            yield file.found(node, "a pattern that is neither a literal nor a constant of this module")
        elif (flaw := _flaw(pattern)) is not None:
            yield file.found(node, f"{flaw}: {pattern}")


def patterns(file: Source) -> Iterator[tuple[ast.expr, str | None]]:
    """Each `Meta(pattern=…)`, with its text where it can be read: a literal, or a constant of the same module."""
    constants = {name: value for node in file.tree.body for name, value in _assigned(node)}
    for node in ast.walk(file.tree):
        if not (isinstance(node, ast.Call) and ast.unparse(node.func).rpartition(".")[2] == "Meta"):
            continue
        for argument in node.keywords:
            if argument.arg in {"pattern", None}:
                value = argument.value
                named = constants.get(value.id) if isinstance(value, ast.Name) else value
                yield value, _text(named)


def _assigned(node: ast.stmt) -> Iterator[tuple[str, ast.expr]]:
    targets = node.targets if isinstance(node, ast.Assign) else [node.target] if isinstance(node, ast.AnnAssign) else []
    value = node.value if isinstance(node, ast.Assign | ast.AnnAssign) else None
    for target in targets:
        if isinstance(target, ast.Name) and value is not None:
            yield target.id, value


def _text(value: ast.expr | None) -> str | None:
    return value.value if isinstance(value, ast.Constant) and isinstance(value.value, str) else None


def _flaw(pattern: str) -> str | None:
    if not pattern.startswith(_STARTS) or not pattern.endswith(_END):
        return r"begins not with ^ or ends not with \Z"
    bare = _QUOTED.sub("", pattern)
    if "$" in bare:
        return "`$` takes a line break after it"
    depth = 0
    for character in bare:
        depth += {"(": 1, ")": -1}.get(character, 0)
        if character == "|" and depth == 0:
            return "an alternative that is not anchored"
    return None
