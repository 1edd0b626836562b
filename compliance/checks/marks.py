"""Which test is evidence for which control: the `control` marks, read from the text, so no test need be imported."""

import ast
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from compliance.checks.tree import Source


@dataclass(frozen=True, slots=True, order=True)
class Evidence:
    """One marked test. `test` is pytest's id without parameters, e.g. `tests/vault/test_x.py::test_y`."""

    control: str
    test: str


def evidence_in(files: Iterable[Source]) -> Iterator[Evidence]:
    """Every `@pytest.mark.control("id", …)` on a test or a class of tests; one mark may name several controls."""
    for file in files:
        if file.top == "tests" and file.name.startswith("test_"):
            yield from _under(file.tree.body, file.path, ())


def _under(body: list[ast.stmt], place: str, inherited: tuple[str, ...]) -> Iterator[Evidence]:
    for node in body:
        if not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            continue
        controls = (*inherited, *(name for mark in node.decorator_list for name in _named(mark)))
        if isinstance(node, ast.ClassDef):
            yield from _under(node.body, f"{place}::{node.name}", controls)
        else:
            yield from (Evidence(control, f"{place}::{node.name}") for control in controls)


def _named(mark: ast.expr) -> list[str]:
    if not isinstance(mark, ast.Call) or ast.unparse(mark.func) != "pytest.mark.control":
        return []
    return [str(given.value) for given in mark.args if isinstance(given, ast.Constant)]
