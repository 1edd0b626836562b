"""The tree as the checks see it: every text file that is ours, Python ones parsed. Needs no git: a tarball will do."""

import ast
import os
from collections.abc import Iterator
from dataclasses import dataclass
from fnmatch import fnmatch
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
SERVICES = ("gateway", "vault", "memory", "mcp_server")
PRODUCT = (*SERVICES, "infra", "compliance")


@dataclass(frozen=True, slots=True, order=True)
class Finding:
    """One thing a rule objects to. Prints as `path:line: what`."""

    path: str
    line: int
    what: str

    def __str__(self) -> str:
        return f"{self.path}:{self.line}: {self.what}"


@dataclass(frozen=True, slots=True)
class Text:
    """A text file; `path` is relative to the top, with slashes."""

    path: str
    text: str

    @property
    def top(self) -> str:
        return self.path.partition("/")[0]

    @property
    def name(self) -> str:
        return self.path.rpartition("/")[2]

    def lines(self) -> Iterator[tuple[int, str]]:
        return enumerate(self.text.splitlines(), start=1)


@dataclass(frozen=True, slots=True)
class Source(Text):
    """A Python file with its syntax tree."""

    tree: ast.Module

    @property
    def module(self) -> str:
        return self.path.removesuffix(".py").removesuffix("/__init__").replace("/", ".")

    def imports(self) -> Iterator[str]:
        """The modules this file names in imports, as written: `from a.b import c` is `a.b`."""
        for node in ast.walk(self.tree):
            if isinstance(node, ast.Import):
                yield from (alias.name for alias in node.names)
            elif isinstance(node, ast.ImportFrom) and node.module:
                yield node.module

    def found(self, node: ast.expr | ast.stmt | ast.arg, what: str) -> Finding:
        return Finding(self.path, node.lineno, what)


def source(path: str, text: str) -> Source:
    """Raises SyntaxError."""
    return Source(path, text, ast.parse(text, path))


def read_tree(root: Path = ROOT) -> list[Text]:
    """Every file under `root` that is UTF-8 text and not ignored, in the order of their paths."""
    found = []
    for path in _files(root):
        try:
            text = path.read_text(encoding="utf-8")
        except UnicodeDecodeError:
            continue
        name = path.relative_to(root).as_posix()
        found.append(source(name, text) if name.endswith(".py") else Text(name, text))
    return sorted(found, key=lambda text: text.path)


def functions(tree: ast.AST) -> Iterator[ast.FunctionDef | ast.AsyncFunctionDef]:
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            yield node


def _files(root: Path) -> Iterator[Path]:
    ignored = [line.strip("/") for line in (root / ".gitignore").read_text(encoding="utf-8").splitlines() if line]
    ignored += [".git"]
    for folder, folders, files in os.walk(root):
        folders[:] = [name for name in folders if not any(fnmatch(name, pattern) for pattern in ignored)]
        yield from (Path(folder, name) for name in files if not any(fnmatch(name, pattern) for pattern in ignored))
