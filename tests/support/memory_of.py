"""What is in the memory of other processes, read as `gcore` does: by the kernel's /proc/PID/maps and /proc/PID/mem.

Who may: root with CAP_SYS_PTRACE, whatever a process says about itself; anybody else only for processes of his own user
that are dumpable (Linux, ptrace(2), "Ptrace access mode checking"). Everybody else gets PermissionError. As which user
somebody looks is asked of his thread's file system ids: so root without that power, as in many a container, takes on
those of the process for as long as he opens these files.
"""

import ctypes
import os
import resource
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import psutil

PART_BYTES: Final = 4 * 2**20
OF_THE_KERNEL: Final = ("[vvar]", "[vvar_vclock]", "[vsyscall]", "[vdso]")
CORE_PATTERN: Final = Path("/proc/sys/kernel/core_pattern")
_SHARED: Final = "s"


@dataclass(frozen=True, slots=True)
class Region:
    """One line of /proc/PID/maps (proc(5)). `file` is the device and inode behind it, or None."""

    start: int
    end: int
    rights: str
    file: str | None

    @property
    def is_of_a_file(self) -> bool:
        """Nothing but what the file on disk holds: code and constants of programs and libraries."""
        return self.file is not None and "w" not in self.rights

    @property
    def is_shared(self) -> bool:
        return _SHARED in self.rights


def regions_of(pid: int) -> list[Region]:
    """What can be read, but for the kernel's own pages."""
    found = []
    for line in Path(f"/proc/{pid}/maps").read_text(encoding="utf-8", errors="replace").splitlines():
        place, rights, _, device, inode, *name = line.split(maxsplit=5)
        start, _, end = place.partition("-")
        if "r" in rights and (not name or name[0] not in OF_THE_KERNEL):
            file = f"{device}:{inode}" if inode != "0" else None
            found.append(Region(int(start, 16), int(end, 16), rights, file))
    return found


def memory_of(pid: int, seen: set[str]) -> Iterator[bytes]:
    """Everything in it that is not merely mapped from a file; what is shared only once for all who share `seen`.

    Raises PermissionError. Regions that do not touch are parted, so that nothing is found across them.
    """
    with _as_its_user(pid):
        regions, memory = regions_of(pid), Path(f"/proc/{pid}/mem").open("rb", buffering=0)  # noqa: SIM115 - closed below
    with memory:
        for region in regions:
            if region.is_of_a_file or (region.is_shared and region.file in seen):
                continue
            if region.is_shared and region.file is not None:
                seen.add(region.file)
            yield from _parts(memory.fileno(), region)
            yield b"\n"


@contextmanager
def _as_its_user(pid: int) -> Iterator[None]:
    """Of this thread only (setfsuid(2)); nothing where we are not root."""
    if os.geteuid() != 0:
        yield
        return
    library, whose = ctypes.CDLL(None), Path(f"/proc/{pid}").stat()
    library.setfsgid(whose.st_gid)
    library.setfsuid(whose.st_uid)
    try:
        yield
    finally:
        library.setfsuid(0)
        library.setfsgid(0)


def _parts(memory: int, region: Region) -> Iterator[bytes]:
    for start in range(region.start, region.end, PART_BYTES):
        try:
            yield os.pread(memory, min(PART_BYTES, region.end - start), start)
        except PermissionError:
            raise
        except OSError:  # given back meanwhile, for the process lives on
            return


def memory_of_family(pid: int, seen: set[str]) -> Iterator[bytes]:
    """Of a process and of those it started, of which some may end before it is their turn, as PostgreSQL's helpers do.

    Raises as memory_of does, and FileNotFoundError when the process itself is gone.
    """
    yield from memory_of(pid, seen)
    for child in family_of(pid)[1:]:
        with suppress(FileNotFoundError, ProcessLookupError):
            yield from memory_of(child, seen)


def family_of(pid: int) -> list[int]:
    """The process and those it started, which is how PostgreSQL serves."""
    process = psutil.Process(pid)
    return [pid, *(child.pid for child in process.children(recursive=True))]


def words_of(pid: int) -> bytes:
    """Its environment and its command line, which others of its user, and of `ps`, can read."""
    with _as_its_user(pid):
        return Path(f"/proc/{pid}/environ").read_bytes() + b"\n" + Path(f"/proc/{pid}/cmdline").read_bytes()


def allow_core(pid: int) -> str | None:
    """Let the kernel write a core file when the process dies; the reason why it will not, or None.

    It lies in the process's working folder where the pattern of names is the kernel's own.
    """
    pattern = CORE_PATTERN.read_text(encoding="ascii").strip()
    if "/" in pattern or pattern.startswith("|"):
        return f"this machine hands core files to {pattern.lstrip('|').split()[0]}"
    try:
        resource.prlimit(pid, resource.RLIMIT_CORE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
    except (PermissionError, ValueError):
        return "this machine allows no core files"
    return None
