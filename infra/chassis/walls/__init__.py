"""Walls a process builds around itself once it has all it needs: what is taken away cannot be had back.

Each wall is tried, looked at, and reported as it is: a machine without Landlock, without libseccomp or in a tight
container gets those that are possible there, and is told which are missing and why. `walls=require` does not start
where one is missing.

They hold against code that runs inside the process, and against other processes of the same user. They do not hold
against root, which reads any memory, nor against the kernel.
"""

import json
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from infra.chassis import logs
from infra.chassis.walls import access, process, system_calls
from infra.chassis.walls.plan import Plan
from infra.chassis.walls.settings import WallSettings
from infra.chassis.walls.unavailable import Unavailable

log = logs.get_logger()


class Name(StrEnum):
    NO_CORE_FILE = "no_core_file"
    NOT_DUMPABLE = "not_dumpable"
    MEMORY_LOCKED = "memory_locked"
    NO_NEW_PRIVILEGES = "no_new_privileges"
    NO_CAPABILITIES = "no_capabilities"
    FILES = "files"
    PORTS = "ports"
    SIGNALS = "signals"
    SYSTEM_CALLS = "system_calls"


MEANING: Final = {
    Name.NO_CORE_FILE: "a crash writes no memory to disk (RLIMIT_CORE)",
    Name.NOT_DUMPABLE: "other processes of the same user cannot read its memory (PR_SET_DUMPABLE)",
    Name.MEMORY_LOCKED: "its memory is not swapped out (mlockall)",
    Name.NO_NEW_PRIVILEGES: "it gains no privilege by executing anything (PR_SET_NO_NEW_PRIVS)",
    Name.NO_CAPABILITIES: "it has none of root's powers, also when root started it (capset)",
    Name.FILES: "it reads what it was told of, and writes nothing else (Landlock)",
    Name.PORTS: "it listens and connects on the ports it was told of (Landlock)",
    Name.SIGNALS: "it signals no other process (Landlock)",
    Name.SYSTEM_CALLS: "no program or process of its own, no debugger, no mounts, no raw sockets (seccomp)",
}


LOW_PORTS: Final = 1024
"""Ports below are root's, or CAP_NET_BIND_SERVICE's."""
LEFT_OUT: Final = "left out by the settings"


@dataclass(frozen=True, slots=True)
class Wall:
    """`why`: what is missing where it does not stand; else what it does not cover, if anything."""

    name: str
    stands: bool
    why: str = ""


class WallsMissing(Exception):
    """`walls=require`, and some cannot be had. Says which and why."""


def build(plan: Plan, settings: WallSettings) -> tuple[Wall, ...]:
    """Build them around this process, before it has a second thread, and say so in the log and in `walls_file`.

    Raises WallsMissing, and OSError when `walls_file` cannot be written.
    """
    with_file = _opened(settings)
    built = tuple(_built(plan, settings))
    log.info("walls", **{wall.name: "stands" if wall.stands else f"missing: {wall.why}" for wall in built})
    if with_file is not None:
        _write(with_file, built)
    missing = [wall for wall in built if not wall.stands and wall.name not in settings.left_out]
    if missing and settings.walls == "require":
        raise WallsMissing("; ".join(f"the wall {wall.name} cannot be had: {wall.why}" for wall in missing))
    return built


def _built(plan: Plan, settings: WallSettings) -> Iterator[Wall]:
    """In an order that matters: capabilities are needed to lock memory, and system calls for everything before."""
    with suppress(Unavailable):
        system_calls.library()
    single: dict[Name, Callable[[], str]] = {
        Name.NO_CORE_FILE: process.forbid_core_files,
        Name.NOT_DUMPABLE: process.forbid_dumps,
        Name.MEMORY_LOCKED: process.lock_memory,
        Name.NO_NEW_PRIVILEGES: process.forbid_new_privileges,
        Name.NO_CAPABILITIES: lambda: process.drop_capabilities(
            (*plan.reads, *plan.writes, *plan.sockets), keep_low_ports=min(plan.listens) < LOW_PORTS
        ),
    }
    for name, raise_it in single.items():
        yield _one(name, settings, raise_it)
    yield from _landlock(plan, settings)
    yield _one(Name.SYSTEM_CALLS, settings, lambda: system_calls.filter_calls(names_resolved=plan.resolves_names))


def _one(name: Name, settings: WallSettings, raise_it: Callable[[], str]) -> Wall:
    if not settings.wants(name):
        return Wall(name, stands=False, why=LEFT_OUT)
    try:
        return Wall(name, stands=True, why=raise_it())
    except Unavailable as reason:
        return Wall(name, stands=False, why=str(reason))


def _landlock(plan: Plan, settings: WallSettings) -> Iterator[Wall]:
    """Three walls by one call, which cannot be made stricter afterwards one by one."""
    wanted = {part: settings.wants(Name(part)) for part in access.PARTS}
    missing = access.restrict(plan, wanted)
    for part in access.PARTS:
        why = missing.get(part, "") if wanted[part] else LEFT_OUT
        covered = why or not (part == Name.PORTS and plan.connects is None)
        yield Wall(part, stands=not why, why=why or ("" if covered else "listening only: it may connect anywhere"))


def _opened(settings: WallSettings) -> int | None:
    """Now, for afterwards no file can be opened for writing."""
    if settings.walls_file is None:
        return None
    return os.open(settings.walls_file, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o644)


def _write(file: int, built: Sequence[Wall]) -> None:
    content = {"pid": os.getpid(), "walls": [{"name": w.name, "stands": w.stands, "why": w.why} for w in built]}
    os.write(file, json.dumps(content).encode())
    os.close(file)
