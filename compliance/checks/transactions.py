"""Inside a transaction only the transaction is awaited.

Whoever waits for another company, another service or a key service while holding a transaction holds its locks and its
connection as long as they please. The rule is textual and strict: inside `async with …transaction(…) as tx:`, and in
every coroutine that is handed a `tx`, each `await` is of a method of `tx`, or of a function that is handed `tx` and so
is under the same rule.
"""

import ast
from collections.abc import Iterator

from compliance.checks.tree import Finding, Source, functions

OPENERS = ("transaction", "begin")
"""Last part of the name of what opens a transaction."""
HANDED = "tx"
"""The name a transaction travels under."""


def awaits_elsewhere(file: Source) -> Iterator[Finding]:
    for function in functions(file.tree):
        if isinstance(function, ast.AsyncFunctionDef) and _takes(function, HANDED):
            yield from _judge(file, function.body, HANDED)
        for node in ast.walk(function):
            if isinstance(node, ast.AsyncWith) and (name := _opened(node)) is not None:
                yield from _judge(file, node.body, name)


def _judge(file: Source, body: list[ast.stmt], name: str) -> Iterator[Finding]:
    for node in _within(body):
        if isinstance(node, ast.Await) and not _of_transaction(node.value, name):
            yield file.found(node, f"awaited inside a transaction: {ast.unparse(node)[:90]}")
        elif isinstance(node, ast.AsyncWith) and not any(
            _of_transaction(item.context_expr, name) for item in node.items
        ):
            yield file.found(node, f"entered inside a transaction: {ast.unparse(node.items[0])[:90]}")


def _within(body: list[ast.stmt]) -> Iterator[ast.AST]:
    """Every node of the statements, without going into functions that are only defined there."""
    waiting: list[ast.AST] = list(body)
    while waiting:
        node = waiting.pop()
        yield node
        if not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda):
            waiting.extend(ast.iter_child_nodes(node))


def _opened(node: ast.AsyncWith) -> str | None:
    for item in node.items:
        call = item.context_expr
        if not isinstance(call, ast.Call):
            continue
        name = call.func.attr if isinstance(call.func, ast.Attribute) else ast.unparse(call.func)
        if name.endswith(OPENERS):
            return item.optional_vars.id if isinstance(item.optional_vars, ast.Name) else _root(call.func)
    return None


def _of_transaction(call: ast.expr, name: str) -> bool:
    if not isinstance(call, ast.Call):
        return False
    if _root(call.func) == name:
        return True
    return any(isinstance(given, ast.Name) and given.id == name for given in _arguments(call))


def _arguments(call: ast.Call) -> list[ast.expr]:
    return [*call.args, *(keyword.value for keyword in call.keywords)]


def _root(node: ast.expr) -> str:
    """The leftmost name of `tx.execute(…).scalars`."""
    while isinstance(node, ast.Attribute | ast.Call):
        node = node.value if isinstance(node, ast.Attribute) else node.func
    return node.id if isinstance(node, ast.Name) else ""


def _takes(function: ast.AsyncFunctionDef, name: str) -> bool:
    arguments = function.args
    return any(given.arg == name for given in (*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs))
