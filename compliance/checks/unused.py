"""What nothing uses: modules that no product code imports, and names that stand in the product only once."""

import ast
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence

from compliance.checks.tree import PRODUCT, Finding, Source, Text

STARTED_BY_NAME = ("__main__", "__init__")
LOADED_BY_PATH = "/migrations/versions/"
_WORD = re.compile(r"[A-Za-z_]\w*")


CALLERS = (*PRODUCT, "tests/repo/test_")
"""The rules are product too; they are called from the tests in tests/repo."""


def unused_modules(files: Sequence[Source], started: frozenset[str] = frozenset()) -> Iterator[Finding]:
    """`started` are modules run by name (`python -m …`) or loaded by path."""
    imported = {name for file in files if _calls(file) for name in _imports(file)}
    for file in files:
        if file.top not in PRODUCT or file.module in started or LOADED_BY_PATH in file.path:
            continue
        if file.name.removesuffix(".py") in STARTED_BY_NAME or file.module in imported:
            continue
        yield Finding(file.path, 1, f"no product code imports {file.module}")


def unused_names(files: Sequence[Source], others: Iterable[Text] = ()) -> Iterator[Finding]:
    """Top-level functions, classes and constants, and methods, whose name occurs nowhere else, tests not counted.

    `others` are texts that name Python things too: templates, configuration.
    """
    callers = [file for file in files if _calls(file)]
    counted = Counter(word for file in (*callers, *others) for word in _WORD.findall(file.text))
    for file in callers:
        if LOADED_BY_PATH in file.path or file.top == "tests":
            continue
        for node, name in _offered(file.tree):
            if counted[name] == 1 and not name.startswith("__"):
                yield file.found(node, f"`{name}` is used by no product code")


def _calls(file: Source) -> bool:
    return file.path.startswith(CALLERS)


def _imports(file: Source) -> Iterator[str]:
    for node in ast.walk(file.tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield node.module
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def _offered(tree: ast.Module) -> Iterator[tuple[ast.stmt, str]]:
    for node in tree.body:
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and not node.decorator_list:
            yield node, node.name
        elif isinstance(node, ast.ClassDef):
            yield node, node.name
            for inner in node.body:
                if isinstance(inner, ast.FunctionDef | ast.AsyncFunctionDef) and not node.bases:
                    yield inner, inner.name
        elif isinstance(node, ast.Assign | ast.AnnAssign):
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            yield from ((node, target.id) for target in targets if isinstance(target, ast.Name))
