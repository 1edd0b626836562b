"""Landlock through `py_landlock` (MIT): which files, which TCP ports, and no signals to others.

Landlock (Linux 5.13; ports 6.7; signals 6.12) restricts a thread and those it starts, for good and without root. Files
that are open stay usable, so standard output does; sockets by a path are not its business, PostgreSQL's neither.
"""

import os
import socket
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Final

from infra.chassis.walls import process
from infra.chassis.walls.plan import Plan
from infra.chassis.walls.unavailable import Unavailable

if TYPE_CHECKING:
    from py_landlock import AccessFs, RulesetFd

FILES, PORTS, SIGNALS = PARTS = ("files", "ports", "signals")
ABI_OF: Final = {FILES: 1, PORTS: 4, SIGNALS: 6}
"""Since which version of Landlock's interface; 2, 3 and 5 added rights over files."""


def restrict(plan: Plan, wanted: Mapping[str, bool]) -> dict[str, str]:
    """Restrict this process; what was wanted and is not there now, with why."""
    parts = [part for part in PARTS if wanted[part]]
    try:
        abi = _apply(plan, parts) if parts else 0
    except Unavailable as reason:
        return dict.fromkeys(parts, str(reason))
    late = [part for part in parts if abi < ABI_OF[part]]
    missing = {part: f"this kernel's Landlock is version {abi}; it came with version {ABI_OF[part]}" for part in late}
    return missing | dict(_without_effect(part for part in parts if part not in missing))


def _apply(plan: Plan, parts: Iterable[str]) -> int:
    """The version of the kernel's interface. Raises Unavailable."""
    process.require_single_thread("Landlock's rules")
    process.forbid_new_privileges()  # Landlock asks for it
    try:
        import py_landlock  # noqa: PLC0415 - a machine without it runs without this wall
        from py_landlock.abi import get_supported_fs, get_supported_scope  # noqa: PLC0415 - as above
    except ImportError:
        raise Unavailable("the package py-landlock is not installed") from None
    try:
        abi = py_landlock.get_abi_version()
        handled = py_landlock.RulesetAttr()
        handled.handled_access_fs = get_supported_fs(abi) if FILES in parts else 0
        handled.handled_access_net = _handled_ports(plan) if PORTS in parts and abi >= ABI_OF[PORTS] else 0
        handled.scoped = get_supported_scope(abi) if SIGNALS in parts else 0
        ruleset = py_landlock.create_ruleset(handled)
        try:
            _allow_files(ruleset, plan, get_supported_fs(abi) if FILES in parts else py_landlock.AccessFs(0))
            _allow_ports(ruleset, plan, handled.handled_access_net)
            py_landlock.restrict_self(ruleset, None)
        finally:
            os.close(ruleset)
    except (py_landlock.LandlockError, OSError) as error:
        raise Unavailable(f"Landlock: {error}") from None
    return int(abi)


def _handled_ports(plan: Plan) -> int:
    from py_landlock import AccessNet  # noqa: PLC0415 - as above

    return AccessNet.BIND_TCP | (AccessNet.CONNECT_TCP if plan.connects is not None else 0)


def _allow_files(ruleset: "RulesetFd", plan: Plan, handled: "AccessFs") -> None:
    from py_landlock import AccessFs  # noqa: PLC0415 - as above

    of_file = AccessFs.READ_FILE | AccessFs.WRITE_FILE | AccessFs.TRUNCATE
    of_folder = AccessFs.READ_DIR | AccessFs.MAKE_REG | AccessFs.MAKE_DIR | AccessFs.MAKE_SOCK
    of_folder |= AccessFs.REMOVE_FILE | AccessFs.REMOVE_DIR
    for path in plan.reads:
        _allow(ruleset, path, AccessFs.READ_FILE & handled, AccessFs.READ_DIR & handled)
    for path in (*plan.writes, Path(os.devnull)):
        _allow(ruleset, path, of_file & handled, of_folder & handled)


def _allow(ruleset: "RulesetFd", path: Path, of_file: "AccessFs", of_folder: "AccessFs") -> None:
    """The kernel refuses rights for folders on a path that is a file, and a rule that allows nothing."""
    from py_landlock import PathBeneathAttr, add_rule  # noqa: PLC0415 - as above

    if not of_file or not path.exists():
        return
    rule = PathBeneathAttr()
    rule.allowed_access = of_file | of_folder if path.is_dir() else of_file
    rule.parent_fd = os.open(path, os.O_PATH | os.O_CLOEXEC)
    try:
        add_rule(ruleset, rule)
    finally:
        os.close(rule.parent_fd)


def _allow_ports(ruleset: "RulesetFd", plan: Plan, handled: int) -> None:
    from py_landlock import AccessNet, NetPortAttr, add_rule  # noqa: PLC0415 - as above

    for right, ports in ((AccessNet.BIND_TCP, plan.listens), (AccessNet.CONNECT_TCP, plan.connects or ())):
        for port in ports if right & handled else ():
            rule = NetPortAttr()
            rule.allowed_access, rule.port = right, port
            add_rule(ruleset, rule)


def _without_effect(parts: Iterable[str]) -> Iterator[tuple[str, str]]:
    """Looked at from inside: each does what no plan allows."""
    attempts: dict[str, Callable[[], object]] = {
        FILES: lambda: next(Path("/").iterdir()),
        PORTS: _listen_somewhere,
        SIGNALS: _signal_parent,
    }
    for part in parts:
        try:
            attempts[part]()
        except PermissionError:
            continue
        yield part, "Landlock was asked for it and it has no effect"


def _listen_somewhere() -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))


def _signal_parent() -> None:
    """Signal 0 only asks whether one may. A parent outside of what this process sees has the number 0."""
    if (parent := os.getppid()) == 0:
        raise PermissionError
    os.kill(parent, 0)
