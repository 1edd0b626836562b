"""What code inside a walled process may try, and what came of it: "done", or the name of the error.

Standard library only, and nothing is loaded when it is too late to load anything.
"""

import ctypes
import errno
import gc
import os
import resource
import signal
import socket
import struct
import subprocess
import time
import weakref
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

DONE = "done"
SECONDS_MAX = 5.0
COLLECTED_SECONDS_MAX = 20.0
"""The vault has it come every five (vault/scrubbing.py)."""
PR_SET_DUMPABLE, PR_GET_DUMPABLE = 4, 3
PTRACE_ATTACH, PTRACE_DETACH = 16, 17
CLONE_NEWUSER = 0x10000000


def tcp(host: str, port: int) -> None:
    socket.create_connection((host, port), timeout=SECONDS_MAX).close()


def listen(port: int) -> None:
    with socket.socket() as own:
        own.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        own.bind(("127.0.0.1", port))


def datagram(host: str, port: int) -> None:
    """Sent is sent: nobody has to answer."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as own:
        own.sendto(b"\x00" * 12, (host, port))


def ip6(host: str, port: int) -> None:
    with socket.socket(socket.AF_INET6) as own:
        own.settimeout(SECONDS_MAX)
        own.connect((host, port))


def family(number: int, kind: int) -> None:
    socket.socket(number, kind).close()


def unix(path: str) -> None:
    with socket.socket(socket.AF_UNIX) as own:
        own.connect(path)


def postgres(path: str, role: str, database: str) -> None:
    """Without a password. The server's first word after ours: R and 0 is "come in" (PostgreSQL, protocol 3.0)."""
    with socket.socket(socket.AF_UNIX) as own:
        own.connect(path)
        words = b"\0".join(part.encode() for part in ("user", role, "database", database)) + b"\0\0"
        own.sendall(struct.pack("!ii", len(words) + 8, 3 << 16) + words)
        answer = own.recv(9)
    if not answer.startswith(b"R") or struct.unpack("!i", answer[5:9]) != (0,):
        raise PermissionError(errno.EACCES, "not let in")


def leave_network(pid: int) -> None:
    """In a thread that ends then: what it reaches must not be tried from where it got to."""
    with ThreadPoolExecutor(max_workers=1) as once:
        once.submit(_move_to_network, pid).result()


def _move_to_network(pid: int) -> None:
    handle = os.open(f"/proc/{pid}/ns/net", os.O_RDONLY)
    try:
        _checked(_libc().setns(handle, 0))
    finally:
        os.close(handle)


def read(path: str) -> None:
    with open(path, "rb") as file:  # noqa: PTH123 - as an intruder would
        file.read(1)


def write(path: str) -> None:
    with open(path, "ab") as file:  # noqa: PTH123 - as an intruder would
        file.write(b"x")


def entries(path: str) -> None:
    list(Path(path).iterdir())


def run_shell() -> None:
    subprocess.run(["/bin/sh", "-c", "true"], check=True)


def fork() -> None:
    child = os.fork()
    if child == 0:
        os._exit(0)
    os.waitpid(child, 0)


def ask_signal(pid: int) -> None:
    os.kill(pid, 0)


def end(pid: int) -> None:
    os.kill(pid, signal.SIGKILL)


def trace(pid: int) -> None:
    _checked(_libc().ptrace(PTRACE_ATTACH, pid, 0, 0))
    os.waitpid(pid, getattr(os, "__WALL", 0x40000000))
    _checked(_libc().ptrace(PTRACE_DETACH, pid, 0, 0))


def read_memory(pid: int) -> None:
    """One byte at an address of ours. That there is nothing at it in the other process is said to who may look only."""
    own, other = ctypes.create_string_buffer(1), (ctypes.c_size_t * 2)()
    here = (ctypes.c_size_t * 2)(ctypes.addressof(own), 1)
    other[:] = [ctypes.addressof(own), 1]
    try:
        _checked(_libc().process_vm_readv(pid, here, 1, other, 1, 0))
    except OSError as error:
        if error.errno != errno.EFAULT:
            raise


def be_dumpable() -> None:
    _checked(_libc().prctl(PR_SET_DUMPABLE, 1, 0, 0, 0))


def is_dumpable() -> None:
    if _libc().prctl(PR_GET_DUMPABLE, 0, 0, 0, 0) != 1:
        raise PermissionError(errno.EPERM, "not dumpable")


def may_leave_core() -> None:
    if resource.getrlimit(resource.RLIMIT_CORE)[1] == 0:
        raise PermissionError(errno.EPERM, "no core file")


def raise_core_limit() -> None:
    resource.setrlimit(resource.RLIMIT_CORE, (4096, 4096))


def may_swap() -> None:
    """Less than all of it is locked: a vault locks the codes' pages without any wall."""
    if is_locked(os.getpid()):
        raise PermissionError(errno.EPERM, "locked")


def may_gain_privileges() -> None:
    _require_zero("NoNewPrivs")


def own_namespace() -> None:
    _checked(_libc().unshare(CLONE_NEWUSER))


def change_root() -> None:
    os.chroot("/")


def become(user_id: int) -> None:
    os.seteuid(user_id)


def unlock_memory() -> None:
    _checked(_libc().munlockall())


def outlive_the_collector() -> None:
    """Of something that only holds itself, while Python's collector does not come by itself."""
    held = Held()
    held.itself = held
    there = weakref.ref(held)
    del held
    gc.disable()
    try:
        deadline = time.monotonic() + COLLECTED_SECONDS_MAX
        while there() is not None and time.monotonic() < deadline:
            time.sleep(0.05)
        if there() is None:
            raise OSError(errno.EIDRM, "it was collected")
    finally:
        gc.enable()


class Held:
    itself: "Held"


def attempt(name: str, *arguments: str | int) -> str:
    known: dict[str, Callable[..., None]] = {
        one.__name__: one
        for one in (
            *(tcp, listen, datagram, ip6, family, unix, read, write, entries, run_shell, fork, ask_signal, end, trace),
            *(read_memory, be_dumpable, is_dumpable, may_leave_core, raise_core_limit, own_namespace, change_root),
            *(become, unlock_memory, may_swap, may_gain_privileges, postgres, leave_network),
            outlive_the_collector,
        )
    }
    try:
        known[name](*arguments)
    except TimeoutError:
        return "ETIMEDOUT"
    except OSError as error:
        return errno.errorcode.get(error.errno or 0, str(error))
    except ValueError:  # what setrlimit says of a hard limit
        return "EPERM"
    return DONE


def is_locked(pid: int) -> bool:
    """Whether all memory of this process that is in use is locked. Raises OSError where we may not look."""
    return _status(pid, "VmLck") >= _status(pid, "VmRSS")


def _require_zero(field: str) -> None:
    if _status(os.getpid(), field) != 0:
        raise PermissionError(errno.EPERM, field)


def _status(pid: int, field: str) -> int:
    lines = dict(line.split(":", 1) for line in Path(f"/proc/{pid}/status").read_text().splitlines())
    return int(lines[field].split()[0])


def _checked(result: int) -> None:
    if result == -1:
        raise OSError(ctypes.get_errno(), "refused")


def _libc() -> ctypes.CDLL:
    library = ctypes.CDLL(None, use_errno=True)
    library.process_vm_readv.argtypes = [
        *(ctypes.c_int, ctypes.c_void_p, ctypes.c_ulong, ctypes.c_void_p, ctypes.c_ulong, ctypes.c_ulong)
    ]
    return library
