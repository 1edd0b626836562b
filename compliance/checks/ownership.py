"""Whose an object is comes from the store. A request names objects; it never says whose they are.

Three places could let a caller say so: a field of a request type, a parameter of a route, and a verb that reads such a
field from the request it was handed.
"""

import ast
from collections.abc import Iterator

from compliance.checks.tree import Finding, Source, functions

OWNERS = frozenset({"tenant_id", "brand_id", "subject_id", "client_id", "owner_id", "buyer_id", "payee_id"})
REQUEST = "Request"
"""How the types of bodies end. Litestar's and Authlib's own type of that very name is something else."""
FROM_CALLER = ("FromQuery", "FromPath", "FromHeader", "FromCookie", "QueryParameter", "Parameter")


def owner_fields(file: Source) -> Iterator[Finding]:
    """Fields of request types that name an owner."""
    for node in ast.walk(file.tree):
        if isinstance(node, ast.ClassDef) and node.name.endswith(REQUEST):
            for item in node.body:
                if isinstance(item, ast.AnnAssign) and isinstance(item.target, ast.Name) and item.target.id in OWNERS:
                    yield file.found(item, f"a request says whose it is: `{node.name}.{item.target.id}`")


def owner_parameters(file: Source) -> Iterator[Finding]:
    """Parameters of routes that name an owner."""
    for function in functions(file.tree):
        for given in (*function.args.args, *function.args.kwonlyargs):
            kind = "" if given.annotation is None else ast.unparse(given.annotation)
            if given.arg in OWNERS and any(f"{name}[" in kind or f"{name}(" in kind for name in FROM_CALLER):
                yield file.found(given, f"a route is told whose it is: `{function.name}.{given.arg}`")


def owners_from_requests(file: Source) -> Iterator[Finding]:
    """Reads of an owner from what is annotated as a request."""
    for function in functions(file.tree):
        bodies = {
            given.arg: kind
            for given in (*function.args.args, *function.args.kwonlyargs)
            if given.annotation is not None and (kind := _request_type(given.annotation)) is not None
        }
        for node in ast.walk(function):
            if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.attr in OWNERS:
                kind = bodies.get(node.value.id)
                if kind is not None:
                    yield file.found(node, f"an owner is taken from a request: `{kind}.{node.attr}` in {function.name}")


def _request_type(annotation: ast.expr) -> str | None:
    """The name of a body's type, also inside `JSONBody[…]`."""
    for node in ast.walk(annotation):
        if isinstance(node, ast.Name) and node.id.endswith(REQUEST) and node.id != REQUEST:
            return node.id
    return None
