"""A user of its own for each service of a house: a number that no account has, taken on by the leash. Linux, as root.

Nothing is added to the machine: the kernel asks for no account, and nothing has to be removed afterwards. Two houses on
one machine use the same numbers: what is parted are the services of a house, not houses.
"""

import compileall
import grp
import os
import pwd
import re
import stat
import subprocess
import sys
import sysconfig
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from infra.dev import crossing
from infra.dev.settings import ROOT

NUMBERS: Final = {
    "sandbox": 65520, "vault": 65521, "courier": 65522, "memory": 65523, "gateway": 65524, "mcp_server": 65525,
    "wiretap": 65526,
}  # fmt: skip
"""Each is a user and its group. 65520 to 65533 are given to nobody: Debian reserves them (policy 9.2.2), systemd leaves
them unused (its UIDS-GIDS.md), and a container with the ordinary map of 65536 users has them."""
CLUSTER_GROUPS: Final = {"vault": 65530, "house": 65531}
"""Whoever is in one may come to the socket of that PostgreSQL cluster."""
PACKAGES: Final = ("infra", "vault", "gateway", "memory", "mcp_server")
NOT_ASKED: Final = "not asked for"
READ: Final = stat.S_IRGRP | stat.S_IROTH
SEARCH: Final = stat.S_IXGRP | stat.S_IXOTH
BUILT_ELSEWHERE: Final = re.compile("node_modules")


@dataclass(frozen=True, slots=True)
class Users:
    """`why` is empty where each service gets its own; where it is not, all of them are the runner's user."""

    why: str = ""

    @property
    def stand(self) -> bool:
        return not self.why

    def word(self, name: str, *, cluster: str | None = None) -> str | None:
        """How the leash is told to become it: the number, and of which other group. None: as the runner."""
        if not self.stand or name not in NUMBERS:
            return None
        return ",".join(map(str, (NUMBERS[name], *([CLUSTER_GROUPS[cluster]] if cluster else []))))

    def number(self, name: str) -> int:
        """Whose the files of `name` are."""
        return NUMBERS.get(name, os.geteuid()) if self.stand else os.geteuid()


def of_this_machine() -> Users:
    """Looked up in the accounts, then found out by becoming each of them and trying to read what a service reads."""
    if sys.platform != "linux" or os.geteuid() != 0:
        return Users("only root may start a process as somebody else")
    if taken := _taken():
        return Users(f"the number {taken} is an account's on this machine")
    _share_compiled()
    tree = ",".join([str(ROOT), *PACKAGES])
    numbers = ",".join(map(str, NUMBERS.values()))
    installed = {sysconfig.get_path("purelib"), sysconfig.get_path("platlib")}
    program = [sys.executable, "-I", "-S", crossing.__file__, numbers, tree, *installed]
    looked = subprocess.run(program, capture_output=True, text=True, check=False)  # noqa: S603 - our own program and arguments, no shell
    return Users() if looked.returncode == 0 else Users(looked.stdout or looked.stderr.strip() or "it cannot be tried")


def give(folder: Path, number: int) -> None:
    """Make a folder, what is in it and nobody else's into this user's. Only root has to, and may.

    No link is followed, and no file touched that has a second name: whoever had the folder may have put them there.
    """
    if os.geteuid() != 0:
        return
    for _, _, files, handle in os.fwalk(folder, follow_symlinks=False):
        os.fchown(handle, number, number)
        for name in files:
            _give_file(name, handle, number)


def _give_file(name: str, folder: int, number: int) -> None:
    try:
        file = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, dir_fd=folder)
    except OSError:  # a link, or a socket
        return
    found = os.fstat(file)
    if stat.S_ISREG(found.st_mode) and found.st_nlink == 1:
        os.fchown(file, number, number)
    os.close(file)


def _taken() -> int | None:
    users = {entry.pw_uid for entry in pwd.getpwall()} | {entry.pw_gid for entry in pwd.getpwall()}
    groups = {entry.gr_gid for entry in grp.getgrall()}
    ours = {*NUMBERS.values(), *CLUSTER_GROUPS.values()}
    return min(ours & (users | groups), default=None)


def _share_compiled() -> None:
    """Let other users read what Python compiled: they may write nothing here, and would compile all at each start."""
    for name in PACKAGES:
        compileall.compile_dir(ROOT / name, quiet=2, rx=BUILT_ELSEWHERE)
        for path in _compiled(ROOT / name):
            # Somebody else is compiling it, or it is not ours to open: then it is not read, and compiled at each start.
            with suppress(OSError):
                mode = stat.S_IMODE(path.stat().st_mode)
                path.chmod(mode | (READ | SEARCH if path.is_dir() else READ))


def _compiled(package: Path) -> Iterator[Path]:
    for folder, names, files in os.walk(package):
        names[:] = [name for name in names if name != "node_modules"]
        if folder.endswith("__pycache__"):
            yield from (Path(folder), *(Path(folder, name) for name in files))
