"""Rules about the shape of the code: lengths, names of files, unfinished work, suppressions, output."""

import ast
import io
import re
import tokenize
from collections.abc import Iterable, Iterator

from compliance.checks.tree import SERVICES, Finding, Source, Text, functions

FUNCTION_LINES_MAX = 60
FILE_LINES_MAX = 400
"""Both from the style page; the median function of comparable code has 5 to 14 lines."""
FILE_NAMES_NOT_USED = frozenset({"utils", "util", "helpers", "helper", "common", "misc", "service", "models", "base"})
CLASS_ENDINGS_NOT_USED = ("Manager", "Base", "Impl", "Helper", "Util", "Utils")
README_HEADINGS = ("Does", "May be called by", "Calls", "Holds", "If it is stolen")
FRAMEWORKS = frozenset({
    "aiohttp", "alembic", "asyncpg", "authlib", "cedarpy", "granian", "httpx2", "jinja2", "litestar", "mcp", "pydantic",
    "sqlalchemy", "sqlmodel", "starlette", "stripe",
})  # fmt: skip
TOP_LEVEL = frozenset({
    "pyproject.toml", "README.md", "LICENSE",
    "gateway", "vault", "memory", "mcp_server", "infra", "compliance", "tests",
})  # fmt: skip
# The brackets keep this pattern from finding itself.
_UNFINISHED = re.compile(r"\b(T[O]DO|FI[X]ME|X[X]X|HA[C]K|NotImplemented[E]rror|place[h]older)\b|for n[o]w\b")
_SUPPRESSION = re.compile(r"#\s*(?:ruff:\s*)?(noqa|type:\s*ignore|pragma|pylint:|fmt:\s*off|nosec)(?P<rest>.*)")
_REASONED = {
    "noqa": re.compile(r": [A-Z]+\d+(, ?[A-Z]+\d+)*\s+[-#]\s*\S.*"),
    "type": re.compile(r"\[[a-z-]+(, ?[a-z-]+)*\]\s+#\s*\S.*"),
    "pragma": re.compile(r": no (cover|branch)\s+[-#]\s*\S.*"),
}


def long_functions(file: Source) -> Iterator[Finding]:
    for function in functions(file.tree):
        lines = (function.end_lineno or function.lineno) - function.lineno + 1
        if lines > FUNCTION_LINES_MAX:
            yield file.found(function, f"{function.name} has {lines} lines, more than {FUNCTION_LINES_MAX}")


def long_files(file: Text) -> Iterator[Finding]:
    lines = len(file.text.splitlines())
    if lines > FILE_LINES_MAX:
        yield Finding(file.path, lines, f"{lines} lines, more than {FILE_LINES_MAX}")


def vague_names(file: Source) -> Iterator[Finding]:
    stem = file.name.removesuffix(".py")
    if stem in FILE_NAMES_NOT_USED or any(part in FILE_NAMES_NOT_USED for part in file.path.split("/")[:-1]):
        yield Finding(file.path, 1, f"{file.path}: a name that says nothing")
    for node in ast.walk(file.tree):
        if isinstance(node, ast.ClassDef) and node.name.endswith(CLASS_ENDINGS_NOT_USED):
            yield file.found(node, f"class {node.name}: the ending says nothing")


def printing(file: Source) -> Iterator[Finding]:
    for node in ast.walk(file.tree):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in {"print", "breakpoint"}:
            yield file.found(node, f"{node.func.id}(): the command line writes to sys.stdout, services log")


def unfinished(file: Text) -> Iterator[Finding]:
    for number, line in file.lines():
        if mark := _UNFINISHED.search(line):
            yield Finding(file.path, number, f"unfinished by its own words: {mark.group()}")


def bare_suppressions(file: Source) -> Iterator[Finding]:
    """A `noqa`, `type: ignore` or `pragma` without a code, or without its reason on the same line."""
    for token in tokenize.generate_tokens(io.StringIO(file.text).readline):
        if token.type != tokenize.COMMENT or (found := _SUPPRESSION.search(token.string)) is None:
            continue
        kind = found.group(1).partition(":")[0]
        reasoned = _REASONED.get(kind)
        if reasoned is None or reasoned.match(found.group("rest")) is None:
            yield Finding(file.path, token.start[0], f"needs a code and a reason: {token.string[:80]}")


def skipped_tests(file: Source) -> Iterator[Finding]:
    """Tests that do not run: `skip`, `skipif`, `xfail`, `importorskip`."""
    for node in ast.walk(file.tree):
        if isinstance(node, ast.Attribute) and node.attr in {"skip", "skipif", "xfail", "importorskip"}:
            owner = ast.unparse(node.value)
            if owner in {"pytest", "pytest.mark", "unittest"}:
                yield file.found(node, f"{owner}.{node.attr}: a test that does not run proves nothing")


def own_settings_of_cases(file: Source) -> Iterator[Finding]:
    """A property test with hypothesis' own settings: it would draw other cases each time, and judge by the clock."""
    for node in ast.walk(file.tree):
        if not isinstance(node, ast.ImportFrom) or node.module != "hypothesis":
            continue
        if "settings" in {alias.name for alias in node.names}:
            yield file.found(node, "cases and their number come from tests/support/cases.py")


def contract_frameworks(file: Source) -> Iterator[Finding]:
    """A contract (module or package) is read by others: it brings no framework and no other room than contracts."""
    for node in ast.walk(file.tree):
        for name in _imported(node):
            first = name.partition(".")[0]
            if first in FRAMEWORKS:
                yield Finding(file.path, getattr(node, "lineno", 1), f"a contract imports the framework {first}")
            elif first in SERVICES and name.split(".")[1:2] != ["contract"]:
                yield Finding(file.path, getattr(node, "lineno", 1), f"a contract imports {name}")


def readme_headings(file: Text) -> Iterator[Finding]:
    """The five things a service's README answers: as headings, in a table, or in bold at the start of a line."""
    for heading in README_HEADINGS:
        if re.search(rf"^[-#|* ]+{re.escape(heading)}\b", file.text, re.MULTILINE) is None:
            yield Finding(file.path, 1, f"does not say: {heading}")


def stray_top_level(files: Iterable[Text]) -> Iterator[Finding]:
    for top in sorted({file.top for file in files}):
        if top not in TOP_LEVEL and not top.startswith("."):
            yield Finding(top, 1, "is outside the house plan")


def _imported(node: ast.AST) -> list[str]:
    if isinstance(node, ast.Import):
        return [alias.name for alias in node.names]
    if isinstance(node, ast.ImportFrom) and node.module:
        return [node.module]
    return []
