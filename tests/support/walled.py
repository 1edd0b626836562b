"""Small processes that wall themselves in and then try things, forked from one that has loaded all they need.

`python -m tests.support.walled` reads orders, one JSON document a line: `plan` (the fields of Plan), `settings` (those
of WallSettings), `attempts` (name and arguments), `machine` (what to make of this machine first, see MACHINES). It
answers each with a line: which walls stand and what came of each attempt, or why it does not start.
"""

import atexit
import errno
import io
import json
import os
import subprocess
import sys
import threading
from collections.abc import Mapping, Sequence
from contextlib import redirect_stdout
from dataclasses import asdict, dataclass
from functools import cache
from pathlib import Path
from typing import Any

import pyseccomp

from infra.chassis import logs, walls
from infra.chassis.walls.plan import Plan
from infra.chassis.walls.settings import WallSettings
from tests.support.attempts import attempt

ROOT = Path(__file__).parents[2]
LANDLOCK_CREATE_RULESET = 444  # on every processor: calls made since 2019 have one number
PIPE_BYTES = 60_000
Attempt = Sequence[str | int]


@dataclass(frozen=True, slots=True)
class Tried:
    """`stands`: wall → why it does not, or None. `outcomes` in the order of the attempts."""

    stands: dict[str, str | None]
    outcomes: list[str]


def try_inside(plan: Plan, attempts: Sequence[Attempt], machine: str = "", **settings: str) -> Tried:
    answer = _ask(plan, attempts, machine, settings)
    stands = {wall["name"]: None if wall["stands"] else wall["why"] for wall in answer["walls"]}
    return Tried(stands, answer["outcomes"])


def refusal(plan: Plan, machine: str = "", **settings: str) -> str:
    """What a process says that does not start."""
    return str(_ask(plan, [], machine, {"walls": "require", **settings})["refused"])


def _ask(plan: Plan, attempts: Sequence[Attempt], machine: str, settings: Mapping[str, str]) -> dict[str, Any]:
    order = {"plan": asdict(plan), "settings": settings, "attempts": attempts, "machine": machine}
    server = _server()
    assert server.stdin is not None
    assert server.stdout is not None
    server.stdin.write(json.dumps(order, default=str) + "\n")
    server.stdin.flush()
    answer: dict[str, Any] = json.loads(server.stdout.readline())
    return answer


@cache
def _server() -> subprocess.Popen[str]:
    """One for all tests of a process; it ends when its standard input does."""
    program = [sys.executable, "-m", "tests.support.walled"]
    process = subprocess.Popen(program, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    atexit.register(process.communicate)
    return process


def _without_packages() -> None:
    sys.modules["pyseccomp"] = sys.modules["py_landlock"] = None  # type: ignore[assignment]  # as if not installed


def _without_landlock() -> None:
    """As a kernel before 5.13 answers."""
    rules = pyseccomp.SyscallFilter(pyseccomp.ALLOW)
    rules.add_rule(pyseccomp.ERRNO(errno.ENOSYS), LANDLOCK_CREATE_RULESET)
    rules.load()


def _with_a_thread() -> None:
    threading.Thread(target=threading.Event().wait, daemon=True).start()


MACHINES = {
    "": lambda: None,
    "without packages": _without_packages,
    "without Landlock": _without_landlock,
    "with a thread": _with_a_thread,
}


def _plan(given: Mapping[str, Any]) -> Plan:
    paths = {name: tuple(map(Path, given[name])) for name in ("reads", "writes", "sockets")}
    connects = None if given["connects"] is None else tuple(given["connects"])
    return Plan(**paths, listens=tuple(given["listens"]), connects=connects, resolves_names=given["resolves_names"])


def _obey(order: Mapping[str, Any]) -> dict[str, Any]:
    MACHINES[order["machine"]]()
    settings = dict(order["settings"])
    settings |= {"walls_file": Path(settings["walls_file"])} if "walls_file" in settings else {}
    try:
        with redirect_stdout(io.StringIO()):
            built = walls.build(_plan(order["plan"]), WallSettings(**settings))
    except walls.WallsMissing as missing:
        return {"refused": str(missing)}
    outcomes = [attempt(str(name), *arguments) for name, *arguments in order["attempts"]]
    return {"walls": [asdict(wall) for wall in built], "outcomes": outcomes}


def _obey_in_a_child(line: str) -> str:
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        code = 1
        try:
            os.write(writing, json.dumps(_obey(json.loads(line))).encode())
            code = 0
        finally:
            os._exit(code)
    os.close(writing)
    answer = os.read(reading, PIPE_BYTES)
    os.close(reading)
    os.waitpid(child, 0)
    return answer.decode()


if __name__ == "__main__":
    logs.configure("walled")
    import py_landlock  # noqa: F401 - loaded once for all children

    for asked in sys.stdin:
        sys.stdout.write(_obey_in_a_child(asked) + "\n")
        sys.stdout.flush()
