"""Who takes a secret out of its wrapper: every call of `reveal()`, by file and function."""

import ast
from collections.abc import Callable, Iterable, Iterator

from compliance.checks.tree import Source


def reveals(files: Iterable[Source]) -> set[tuple[str, str]]:
    """(path, function) of every function that calls `.reveal()` or takes the method itself along."""
    return {(file.path, where) for file in files for where in calls_by_function(file.tree, _reveals)}


def calls_by_function(node: ast.AST, wanted: Callable[[ast.AST], bool], where: str = "module") -> Iterator[str]:
    """The function (`Class.method`, `module`) of everything in `node` that is wanted."""
    for child in ast.iter_child_nodes(node):
        name = where
        if isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            name = child.name if where == "module" else f"{where}.{child.name}"
        if wanted(child):
            yield name
        yield from calls_by_function(child, wanted, name)


def _reveals(node: ast.AST) -> bool:
    return isinstance(node, ast.Attribute) and node.attr == "reveal"
