"""Walls by prctl(2), setrlimit(2), mlockall(2) and capset(2). Each returns what it does not cover, in most cases "".

Each raises Unavailable. What was asked for is looked at afterwards: a sandbox may say yes and do nothing.
"""

import ctypes
import errno
import os
import resource
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Final

from infra.chassis.walls.unavailable import Unavailable

PR_GET_DUMPABLE, PR_SET_DUMPABLE = 3, 4
PR_CAPBSET_DROP = 24
PR_SET_NO_NEW_PRIVS, PR_GET_NO_NEW_PRIVS = 38, 39
PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL = 47, 4
MCL_CURRENT, MCL_FUTURE, MCL_ONFAULT = 1, 2, 4
CAPABILITY_VERSION_3: Final = 0x20080522
CAP_NET_BIND_SERVICE: Final = 10
LOW_HALF: Final = 0xFFFFFFFF
CAPABILITIES_MAX: Final = 64
"""The kernel's structure holds no more (linux/capability.h)."""


def forbid_core_files() -> str:
    try:
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    except (OSError, ValueError) as error:
        raise Unavailable(f"setrlimit: {error}") from None
    if resource.getrlimit(resource.RLIMIT_CORE) != (0, 0):
        raise Unavailable("RLIMIT_CORE keeps its value")
    return ""


def forbid_dumps() -> str:
    """Also closes /proc/<pid>/mem, maps, environ and fd to other processes of our user, and ends ptrace of us."""
    _prctl(PR_SET_DUMPABLE, 0)
    if _prctl(PR_GET_DUMPABLE) != 0:
        raise Unavailable("PR_SET_DUMPABLE keeps its value")
    return ""


def lock_memory() -> str:
    """Pages are locked when they are touched (MCL_ONFAULT): nothing is loaded that would not be.

    Only without a limit on locked memory, for at a limit the next allocation would fail. Not against hibernation, a
    snapshot of a virtual machine, or a core file.
    """
    unlimited = resource.RLIM_INFINITY
    limit = resource.getrlimit(resource.RLIMIT_MEMLOCK)[1]
    try:
        resource.setrlimit(resource.RLIMIT_MEMLOCK, (unlimited, unlimited))
    except (OSError, ValueError):
        raise Unavailable(
            f"RLIMIT_MEMLOCK is {limit // 1024} kB and may not be raised (systemd: LimitMEMLOCK=infinity)"
        ) from None
    if _libc().mlockall(MCL_CURRENT | MCL_FUTURE | MCL_ONFAULT) != 0:
        raise Unavailable(f"mlockall: {_last_error()}")
    return ""


def forbid_new_privileges() -> str:
    _prctl(PR_SET_NO_NEW_PRIVS, 1)
    if _prctl(PR_GET_NO_NEW_PRIVS) != 1:
        raise Unavailable("PR_SET_NO_NEW_PRIVS keeps its value")
    return ""


def drop_capabilities(needed: Iterable[Path], *, keep_low_ports: bool) -> str:
    """All of them, but the one to listen on ports below 1024 where we are told to and have it.

    None when one of the paths `needed` is another user's and can only be read with them.
    """
    require_single_thread("capabilities")
    held = _capabilities()
    if not held:  # nothing to drop, and a strict unit of systemd denies even the call
        return ""
    kept = held & (1 << CAP_NET_BIND_SERVICE if keep_low_ports else 0)
    _set_capabilities(held, effective=kept)
    if (unread := next((path for path in needed if not _readable(path)), None)) is not None:
        _set_capabilities(held, effective=held)
        raise Unavailable(f"{unread} is another user's and cannot be read without root's powers")
    _libc().prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0)
    for capability in range(CAPABILITIES_MAX):  # fails without CAP_SETPCAP: then there is nothing it could give back
        _libc().prctl(PR_CAPBSET_DROP, capability, 0, 0, 0)
    _set_capabilities(kept, effective=kept)
    if _capabilities() != kept:
        raise Unavailable("the kernel keeps capabilities it was told to drop")
    return "keeps net_bind_service, to listen below port 1024" if kept else ""


class _Header(ctypes.Structure):
    _fields_ = (("version", ctypes.c_uint32), ("pid", ctypes.c_int))


class _Data(ctypes.Structure):
    _fields_ = (("effective", ctypes.c_uint32), ("permitted", ctypes.c_uint32), ("inheritable", ctypes.c_uint32))


def _capabilities() -> int:
    """Permitted ones, by bit; what is effective is among them."""
    halves = (_Data * 2)()
    if _libc().capget(ctypes.byref(_Header(CAPABILITY_VERSION_3, 0)), halves) != 0:
        raise Unavailable(f"capget: {_last_error()}")
    return int(halves[0].permitted) | int(halves[1].permitted) << 32


def _set_capabilities(permitted: int, *, effective: int) -> None:
    halves = (_Data * 2)(
        _Data(effective & LOW_HALF, permitted & LOW_HALF, 0), _Data(effective >> 32, permitted >> 32, 0)
    )
    if _libc().capset(ctypes.byref(_Header(CAPABILITY_VERSION_3, 0)), halves) != 0:
        raise Unavailable(f"capset: {_last_error()}")


def _readable(path: Path) -> bool:
    """A socket is reached if its folder lets us pass."""
    try:
        if path.is_socket():
            path.stat()
        else:
            os.close(os.open(path, os.O_RDONLY | os.O_CLOEXEC))
    except PermissionError:
        return False
    except OSError:
        return True  # it is not there, or is no plain file: not a matter of powers
    return True


def require_single_thread(what: str) -> None:
    """Raises Unavailable when there are other threads, to which it would not apply."""
    threads = len(list(Path("/proc/self/task").iterdir())) if Path("/proc/self/task").exists() else 1
    if threads > 1:
        raise Unavailable(f"{threads} threads run already, and {what} are each thread's own")


def _prctl(option: int, value: int = 0) -> int:
    result = int(_libc().prctl(option, value, 0, 0, 0))
    if result < 0:
        raise Unavailable(f"prctl({option}): {_last_error()}")
    return result


def _last_error() -> str:
    number = ctypes.get_errno()
    return f"{errno.errorcode.get(number, number)}, {os.strerror(number)}"


def _libc() -> Any:
    if sys.platform != "linux":
        raise Unavailable("only Linux has it")
    library = ctypes.CDLL(None, use_errno=True)
    library.prctl.argtypes = [ctypes.c_int, *[ctypes.c_ulong] * 4]
    return library
