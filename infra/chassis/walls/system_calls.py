"""seccomp through `pyseccomp` (MIT) and libseccomp (LGPL-2.1, the system's own, loaded and not changed).

A list of what is denied, not of what is allowed: Python, its libraries and the system's change which calls they make
from version to version. The units in infra/deploy/systemd add systemd's own list of what is allowed. A denied call
fails with EPERM, so that code which can do without goes on.
"""

import ctypes
import errno
import os
import sys
from types import ModuleType
from typing import Any, Final

from infra.chassis.walls.unavailable import Unavailable

PR_GET_SECCOMP, FILTERED = 21, 2
PR_SET_DUMPABLE, PR_SET_PTRACER = 4, 0x59616D61
CLONE_THREAD: Final = 0x10000
LOW_HALF: Final = 0xFFFFFFFF
SOCKET_KIND: Final = 0xF
AF_UNIX, AF_INET, AF_INET6 = 1, 2, 10
SOCK_STREAM, SOCK_DGRAM = 1, 2
FAMILIES_BELOW: Final = 17
UNKNOWN: Final = -1
"""What libseccomp calls a name it has never heard of (__NR_SCMP_ERROR)."""
ARCHITECTURES: Final = frozenset({"x86_64", "aarch64"})
"""Where clone(2) takes its flags first."""

PROGRAMS: Final = ("execve", "execveat", "fork", "vfork")
OTHER_PROCESSES: Final = (
    *("ptrace", "process_vm_readv", "process_vm_writev", "process_madvise", "pidfd_getfd", "pidfd_send_signal"),
    *("kcmp", "tkill", "rt_sigqueueinfo", "rt_tgsigqueueinfo"),
)
KERNEL: Final = (
    *("bpf", "perf_event_open", "userfaultfd", "io_uring_setup", "io_uring_enter", "io_uring_register"),
    *("init_module", "finit_module", "delete_module", "kexec_load", "kexec_file_load", "reboot", "syslog", "acct"),
    *("add_key", "request_key", "keyctl", "iopl", "ioperm", "personality", "quotactl", "swapon", "swapoff"),
    *("settimeofday", "clock_settime", "clock_adjtime", "adjtimex", "sethostname", "setdomainname", "vhangup"),
)
MOUNTS: Final = (
    *("mount", "umount2", "pivot_root", "chroot", "setns", "unshare", "open_tree", "move_mount", "mount_setattr"),
    *("fsopen", "fsconfig", "fsmount", "fspick", "name_to_handle_at", "open_by_handle_at", "mknod", "mknodat"),
)
MEMORY: Final = ("munlock", "munlockall")
"""What was locked stays locked."""
DENIED: Final = (*PROGRAMS, *OTHER_PROCESSES, *KERNEL, *MOUNTS, *MEMORY)


def filter_calls(*, names_resolved: bool) -> str:
    """For all threads. Without `names_resolved` there are no datagrams, so no DNS, and no IPv6 either.

    Raises Unavailable.
    """
    if os.uname().machine not in ARCHITECTURES:
        raise Unavailable(f"this processor ({os.uname().machine}) is not one it was made for")
    seccomp = library()
    try:
        unknown = _load(seccomp, names_resolved=names_resolved)
    except OSError as error:
        raise Unavailable(f"seccomp: {error}") from None
    if int(ctypes.CDLL(None).prctl(PR_GET_SECCOMP, 0, 0, 0, 0)) != FILTERED:
        raise Unavailable("seccomp was asked for a filter and has none")
    return f"this libseccomp does not know {', '.join(unknown)}" if unknown else ""


def library() -> ModuleType:
    """To be called first before there are walls over files: finding libseccomp runs a program. Raises Unavailable."""
    if sys.platform != "linux":
        raise Unavailable("only Linux has it")
    try:
        import pyseccomp  # noqa: PLC0415 - a machine without it runs without this wall
    except ImportError:
        raise Unavailable("the package pyseccomp is not installed") from None
    except (RuntimeError, OSError):  # what it raises when it finds no libseccomp
        raise Unavailable("libseccomp is not installed (Debian: libseccomp2)") from None
    found: ModuleType = pyseccomp
    return found


def _load(seccomp: Any, *, names_resolved: bool) -> list[str]:
    """The names this libseccomp does not know. Raises OSError."""
    rules = seccomp.SyscallFilter(seccomp.ALLOW)
    rules.set_attr(seccomp.Attr.CTL_TSYNC, 1)
    rules.set_attr(seccomp.Attr.ACT_BADARCH, seccomp.KILL_PROCESS)  # 32-bit calls have other numbers
    refused = seccomp.ERRNO(errno.EPERM)
    unknown = []
    for name in DENIED:
        number = seccomp.resolve_syscall(seccomp.Arch.NATIVE, name)
        if number == UNKNOWN:
            unknown.append(name)
        elif number > UNKNOWN:  # below: a call this processor does not have
            rules.add_rule(refused, number)
    _deny_processes(seccomp, rules, refused)
    _deny_undoing(seccomp, rules, refused)
    _deny_sockets(seccomp, rules, refused, names_resolved=names_resolved)
    rules.load()
    return unknown


def _deny_processes(seccomp: Any, rules: Any, refused: int) -> None:
    """Threads are made by clone as well; clone3 hides its flags in memory, and C libraries fall back to clone."""
    rules.add_rule(refused, "clone", seccomp.Arg(0, seccomp.MASKED_EQ, CLONE_THREAD, 0))
    rules.add_rule(seccomp.ERRNO(errno.ENOSYS), "clone3")
    for name in ("kill", "tgkill"):
        rules.add_rule(refused, name, seccomp.Arg(0, seccomp.NE, os.getpid()))
    rules.add_rule(refused, "prlimit64", seccomp.Arg(0, seccomp.NE, 0))


def _deny_undoing(seccomp: Any, rules: Any, refused: int) -> None:
    for option in (PR_SET_DUMPABLE, PR_SET_PTRACER):
        rules.add_rule(refused, "prctl", seccomp.Arg(0, seccomp.MASKED_EQ, LOW_HALF, option))


def _deny_sockets(seccomp: Any, rules: Any, refused: int, *, names_resolved: bool) -> None:
    """Only streams over the internet and on this machine; datagrams where names are looked up.

    Families and kinds are 32-bit arguments: what stands above them in the register says nothing.
    """
    streams = {AF_UNIX, AF_INET, AF_INET6} if names_resolved else {AF_UNIX, AF_INET}
    for family in {*range(FAMILIES_BELOW)} - streams:
        rules.add_rule(refused, "socket", seccomp.Arg(0, seccomp.MASKED_EQ, LOW_HALF, family))
    rules.add_rule(refused, "socket", seccomp.Arg(0, seccomp.GE, FAMILIES_BELOW))
    allowed = {SOCK_STREAM, SOCK_DGRAM} if names_resolved else {SOCK_STREAM}
    for family in streams - {AF_UNIX}:
        for kind in {*range(SOCKET_KIND + 1)} - allowed:
            rules.add_rule(
                refused,
                "socket",
                seccomp.Arg(0, seccomp.MASKED_EQ, LOW_HALF, family),
                seccomp.Arg(1, seccomp.MASKED_EQ, SOCKET_KIND, kind),
            )
