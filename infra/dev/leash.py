"""Run a program that dies with its parent: `python -I -S leash.py SIGNAL PARENT USER[:NETWORK] program args…`.

It moves into the network namespace at the path NETWORK, if one is named, becomes the named operating-system user ("-"
keeps the present one), asks the kernel for SIGNAL when its parent dies, and turns into the program. The order matters:
a change of user clears the request (Linux, prctl(2), PR_SET_PDEATHSIG). Where the kernel has no such request the runner
finds what is left over by its state file at the next start.
"""

import ctypes
import os
import pwd
import sys

PR_SET_PDEATHSIG = 1
CLONE_NEWNET = 0x40000000


def become(user: str) -> None:
    entry = pwd.getpwnam(user)
    os.initgroups(user, entry.pw_gid)
    os.setgid(entry.pw_gid)
    os.setuid(entry.pw_uid)


def enter(network: str) -> None:
    """Exit when it cannot: a program that was to be shut in is not run outside."""
    handle = os.open(network, os.O_RDONLY | os.O_CLOEXEC)
    if ctypes.CDLL(None, use_errno=True).setns(handle, CLONE_NEWNET) != 0:
        sys.exit(f"cannot enter the network namespace {network}: {os.strerror(ctypes.get_errno())}")


def die_with(parent: int, signal_number: int) -> None:
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal_number, 0, 0, 0)
    if os.getppid() != parent:  # it died before the request was in place
        sys.exit(1)


def main() -> None:
    signal_number, parent, place, *program = sys.argv[1:]
    user, _, network = place.partition(":")
    if network:
        enter(network)
    if user != "-":
        become(user)
    die_with(int(parent), int(signal_number))
    os.execv(program[0], program)  # noqa: S606 - this is the whole purpose; no shell is involved


if __name__ == "__main__":
    main()
