"""Ids are drawn in one place, from letters only: an id with digits may by chance hold a number that passes for a card.

What may hold digits and is drawn elsewhere is a secret, and stands in no row, log or answer as it is.
"""

import ast
from collections.abc import Iterable

from compliance.checks.secrecy import calls_by_function
from compliance.checks.tree import Source

DRAWS = frozenset({"token_hex", "token_urlsafe", "uuid1", "uuid3", "uuid4", "uuid5", "uuid6", "uuid7", "uuid8"})
"""What gives text with digits in it."""


def drawings(files: Iterable[Source]) -> set[tuple[str, str]]:
    """(path, function) of every function that draws such a text."""
    return {(file.path, where) for file in files for where in calls_by_function(file.tree, _draws)}


def _draws(node: ast.AST) -> bool:
    named = node.attr if isinstance(node, ast.Attribute) else node.id if isinstance(node, ast.Name) else ""
    return named in DRAWS
