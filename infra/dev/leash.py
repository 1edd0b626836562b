"""Run a program that dies with its parent: `python -I -S leash.py SIGNAL PARENT USER[:NETWORK[:ACCOUNTS]] program …`.

It moves into the network namespace at the path NETWORK, if one is named; sees the file ACCOUNTS, if one is named, where
others see /etc/passwd; becomes the operating-system user (an
account's name, or a number and numbers of further groups, parted by commas; "-" keeps the present one); asks the kernel
for SIGNAL when its parent dies; and turns into the program. The order matters: a change of user clears the request
(Linux, prctl(2), PR_SET_PDEATHSIG). Where the kernel has no such request the runner finds what is left over by its
state file at the next start.
"""

import contextlib
import ctypes
import os
import pwd
import resource
import sys

PR_SET_PDEATHSIG = 1
CLONE_NEWNET, CLONE_NEWNS = 0x40000000, 0x00020000
MS_BIND, MS_REC, MS_SLAVE = 0x1000, 0x4000, 0x80000
PASSWD = b"/etc/passwd"


def become(user: str) -> None:
    if user[0].isdigit():
        become_number(*map(int, user.split(",")))
        return
    entry = pwd.getpwnam(user)
    os.initgroups(user, entry.pw_gid)
    os.setgid(entry.pw_gid)
    os.setuid(entry.pw_uid)


def become_number(number: int, *groups: int) -> None:
    """Its group has the same number. What root may lift for itself and others may not is lifted before."""
    with contextlib.suppress(OSError, ValueError):  # the process says itself when its memory is not locked
        resource.setrlimit(resource.RLIMIT_MEMLOCK, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
    os.setgroups(groups)
    os.setgid(number)
    os.setuid(number)


def enter(network: str) -> None:
    """Exit when it cannot: a program that was to be shut in is not run outside."""
    handle = os.open(network, os.O_RDONLY | os.O_CLOEXEC)
    if ctypes.CDLL(None, use_errno=True).setns(handle, CLONE_NEWNET) != 0:
        sys.exit(f"cannot enter the network namespace {network}: {os.strerror(ctypes.get_errno())}")


def see(accounts: str) -> None:
    """In a mount namespace of this process; what is mounted elsewhere is seen here, and nothing of this elsewhere."""
    library = ctypes.CDLL(None, use_errno=True)
    library.mount.argtypes = [ctypes.c_char_p, ctypes.c_char_p, ctypes.c_char_p, ctypes.c_ulong, ctypes.c_char_p]
    if (
        library.unshare(CLONE_NEWNS) != 0
        or library.mount(b"none", b"/", None, MS_REC | MS_SLAVE, None) != 0
        or library.mount(accounts.encode(), PASSWD, None, MS_BIND, None) != 0
    ):
        sys.exit(f"no accounts of its own in {PASSWD.decode()}: {os.strerror(ctypes.get_errno())}")


def die_with(parent: int, signal_number: int) -> None:
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal_number, 0, 0, 0)
    if os.getppid() != parent:  # it died before the request was in place
        sys.exit(1)


def main() -> None:
    signal_number, parent, place, *program = sys.argv[1:]
    user, network, accounts, *_ = [*place.split(":", 2), "", ""]
    if network:
        enter(network)
    if accounts:
        see(accounts)
    if user != "-":
        become(user)
    die_with(int(parent), int(signal_number))
    os.execv(program[0], program)  # noqa: S606 - this is the whole purpose; no shell is involved


if __name__ == "__main__":
    main()
