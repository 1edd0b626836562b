"""A vault each of whose functions can be made to fail as it ends, all its values at hand.

The vault's modules are compiled with one thing added, at the end of every function: `finally: left(PLACE)`. This is
done by an import hook of `python -m tests.attacks.breaking`: nothing in the vault knows of it, and nobody can arm it
there. What `left` does stands in the file CONTROL, which the test writes and this process has mapped:

    (nothing)          nothing
    calm               write a line to the file SEEN: the place, and whether a value there held the number
    break PLACE        raise at this place, once, when a value there holds the number
    break! PLACE       raise at this place, once
    loops PLACE…       raise at the first place that each of these loops calls, once for each
    collect NUMBER     have Python's collector come, once for each number, and write a line with the place COLLECTED

The exception says the number, as a library's would that repeats what it was handed: in its text, in its arguments, in a
note and in its cause. The number is read from the file NUMBER each time, so that this process has it nowhere else.
"""

import ast
import builtins
import dataclasses
import gc
import importlib.machinery
import logging
import mmap
import os
import sys
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from types import FrameType, ModuleType
from typing import Any, Final

ROOT: Final = Path(__file__).resolve().parents[2]
CONTROL_BYTES: Final = 1024
DEPTH_MAX: Final = 4
MEMBERS_MAX: Final = 100
WITHIN: Final = ("vault.", "infra.chassis.http.", "infra.chassis.sealing.")
"""Ours that have a card in hand: the screen, which has, is called by these and fails as they do."""
NAME: Final = "_left_by_the_leak_test"
COLLECTED: Final = "collected"
LIBRARIES: Final = ("aiohttp", "asyncio", "asyncpg", "_granian", "httpx2", "litestar", "sqlalchemy", "stripe")


class Broken(Exception):
    """Says a card number."""


def place_of(path: str) -> str:
    """`vault/cleartext/pan.py` of wherever that is."""
    return str(Path(path).relative_to(ROOT))


class _Added(ast.NodeTransformer):
    """Puts the body of each function into `try: … finally: left(PLACE)`."""

    def __init__(self, path: str) -> None:
        self._path = place_of(path)
        self._within: list[str] = []

    def visit_ClassDef(self, node: ast.ClassDef) -> Any:
        return self._inside(node, node.name)

    def visit_FunctionDef(self, node: ast.FunctionDef) -> Any:
        return self._function(node)

    def visit_AsyncFunctionDef(self, node: ast.AsyncFunctionDef) -> Any:
        return self._function(node)

    def _function(self, node: Any) -> Any:
        place = f"{self._path}:{'.'.join([*self._within, node.name])}"
        self._inside(node, f"{node.name}.<locals>")
        said = node.body[:1] if ast.get_docstring(node) is not None else []
        (left,) = ast.parse(f"{NAME}({place!r})").body
        body = node.body[len(said) :] or [ast.Pass()]
        node.body = [*said, ast.Try(body=body, handlers=[], orelse=[], finalbody=[left])]
        return node

    def _inside(self, node: Any, name: str) -> Any:
        self._within.append(name)
        self.generic_visit(node)
        self._within.pop()
        return node


class _Loader(importlib.machinery.SourceFileLoader):
    """Reads and writes no compiled file: those are of the vault as it is."""

    def path_stats(self, path: str) -> Mapping[str, Any]:
        raise OSError(path)

    def source_to_code(self, data: Any, path: Any, *, _optimize: int = -1) -> Any:  # type: ignore[override]  # static there, a method here: importlib's own
        tree = _Added(path).visit(ast.parse(data, path))
        return compile(ast.fix_missing_locations(tree), path, "exec", dont_inherit=True, optimize=_optimize)


class _Finder(importlib.machinery.PathFinder):
    @classmethod
    def find_spec(
        cls, fullname: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> importlib.machinery.ModuleSpec | None:
        if not f"{fullname}.".startswith(WITHIN):
            return None
        spec = super().find_spec(fullname, path, target)
        if spec is not None and spec.origin is not None and spec.origin.endswith(".py"):
            spec.loader = _Loader(fullname, spec.origin)
        return spec


class Breaker:
    def __init__(self, control: Path, number: Path, seen: Path) -> None:
        with control.open("r+b") as file:
            self._control = mmap.mmap(file.fileno(), CONTROL_BYTES)
        self._number = number
        self._seen = seen
        self._was = b""
        self._done: set[str] = set()

    def __call__(self, place: str) -> None:
        line = self._control[:].rstrip(b"\0")
        if not line:
            return
        if line != self._was:
            self._was = line
            self._done.clear()
        order, *places = line.decode().split(" ")
        frame = sys._getframe(1)  # noqa: SLF001 - the documented way to one's caller
        if order == "calm":
            self._note(place, held=self._holds(frame))
        elif order == "loops":
            caller = _caller(frame)
            if caller in places and caller not in self._done:
                self._break(caller)
        elif order == "collect":
            self._collect()
        elif place == places[0] and not self._done and (order == "break!" or self._holds(frame)):
            self._break(place)

    def _holds(self, frame: FrameType) -> bool:
        digits = self._number.read_bytes()
        return _any_holds(list(frame.f_locals.values()), digits, DEPTH_MAX)

    def _note(self, place: str, *, held: bool) -> None:
        with self._seen.open("a", encoding="utf-8") as file:
            file.write(f"{place}\t{int(held)}\n")

    def _collect(self) -> None:
        if not self._done:
            self._done.add(COLLECTED)
            gc.collect()
            self._note(COLLECTED, held=False)

    def _break(self, place: str) -> None:
        """Not while something else than an exception leaves: a task that is told to end has to."""
        if sys.exc_info()[0] is not None and not issubclass(sys.exc_info()[0] or BaseException, Exception):
            return
        self._done.add(place)
        self._note(place, held=True)
        digits = self._number.read_text(encoding="ascii")
        groups = " ".join(digits[start : start + 4] for start in range(0, len(digits), 4))
        error = Broken(f"cannot charge {digits}, that is {groups}", digits, {"number": digits})
        error.add_note(f"card {digits}")
        try:
            raise error from ValueError(digits)
        finally:
            del error  # it holds this frame, and would be held by it until the collector comes


def _caller(frame: FrameType) -> str:
    """Its place, if it is ours: who awaits is who calls."""
    before = frame.f_back
    if before is None:
        return ""
    path = before.f_code.co_filename
    return f"{place_of(path)}:{before.f_code.co_qualname}" if path.startswith(f"{ROOT}{os.sep}") else ""


def _any_holds(values: Iterable[Any], digits: bytes, depth: int) -> bool:
    return depth > 0 and any(_one_holds(value, digits, depth) for value in list(values)[:MEMBERS_MAX])


def _one_holds(value: Any, digits: bytes, depth: int) -> bool:
    if isinstance(value, str):
        return digits.decode() in value
    if isinstance(value, bytes | bytearray | memoryview):
        return digits in bytes(value)
    if type(value).__module__ == "vault.cleartext.pan" and hasattr(value, "_digits"):
        return digits in bytes(value._digits)  # noqa: SLF001 - whatever it is, wiped or not
    return _any_holds(_members(value), digits, depth - 1)


def _members(value: Any) -> list[Any]:
    """Of what is made of parts; a service, its store or its keys are not gone into."""
    if isinstance(value, Mapping):
        return [*value.keys(), *value.values()]
    if isinstance(value, list | tuple | set | frozenset):
        return list(value)
    if isinstance(value, type):
        return []
    names = getattr(type(value), "__struct_fields__", ())
    if dataclasses.is_dataclass(value):
        names = [field.name for field in dataclasses.fields(value)]
    return [getattr(value, name, None) for name in names]


if __name__ == "__main__":
    setattr(builtins, NAME, Breaker(*(Path(os.environ[name]) for name in ("CONTROL", "NUMBER", "SEEN"))))
    sys.meta_path.insert(0, _Finder)
    for library in LIBRARIES:
        logging.getLogger(library).setLevel(logging.DEBUG)
    from vault.__main__ import main  # now, compiled as above

    sys.exit(main([]))
