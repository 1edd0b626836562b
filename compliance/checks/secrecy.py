"""Who takes a secret out of its wrapper: every call of `reveal()`, by file and function."""

import ast
from collections.abc import Iterable, Iterator

from compliance.checks.tree import Source


def reveals(files: Iterable[Source]) -> set[tuple[str, str]]:
    """(path, function) of every function that calls `.reveal()` or takes the method itself along."""
    return {(file.path, where) for file in files for where in _revealing(file.tree, "module")}


def _revealing(node: ast.AST, where: str) -> Iterator[str]:
    for child in ast.iter_child_nodes(node):
        name = where
        if isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            name = child.name if where == "module" else f"{where}.{child.name}"
        if isinstance(child, ast.Attribute) and child.attr == "reveal":
            yield name
        yield from _revealing(child, name)
