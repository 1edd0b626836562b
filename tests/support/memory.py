"""Searching this process's own memory for bytes, without making a copy of them that would then be found."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Self

CHUNK_BYTES = 1 << 20


@dataclass(frozen=True, slots=True)
class Needle:
    """Bytes to be searched for, in two parts that lie apart."""

    first: bytes
    rest: bytes

    @classmethod
    def of(cls, wanted: bytearray | memoryview) -> Self:
        half = (len(wanted) + 1) // 2
        return cls(bytes(wanted[:half]), bytes(wanted[half:]))

    @property
    def length(self) -> int:
        return len(self.first) + len(self.rest)

    def is_in(self, buffer: bytearray, end: int) -> bool:
        at = buffer.find(self.first, 0, end)
        while at >= 0:
            after = at + len(self.first)
            if buffer[after : min(after + len(self.rest), end)] == self.rest:
                return True
            at = buffer.find(self.first, at + 1, end)
        return False


def are_in_memory(*needles: Needle) -> tuple[bool, ...]:
    """Whether each stands anywhere in what this process can read of itself."""
    buffer, found = bytearray(CHUNK_BYTES), set[int]()
    overlap = max(needle.length for needle in needles)
    with Path("/proc/self/mem").open("rb", buffering=0) as memory:
        for start, end in _regions():
            for at in range(start, end, CHUNK_BYTES - overlap):
                memory.seek(at)
                try:
                    count = memory.readinto(memoryview(buffer)[: min(CHUNK_BYTES, end - at)]) or 0
                except OSError:  # a page that is not there
                    continue
                found |= {place for place, needle in enumerate(needles) if needle.is_in(buffer, count)}
                buffer[:] = bytes(CHUNK_BYTES)
    return tuple(place in found for place in range(len(needles)))


def _regions() -> Iterator[tuple[int, int]]:
    for line in Path("/proc/self/maps").read_text().splitlines():
        found = re.match(r"([0-9a-f]+)-([0-9a-f]+) r", line)
        if found and not line.endswith(("[vvar]", "[vvar_vclock]", "[vsyscall]")):
            yield int(found[1], 16), int(found[2], 16)


def flags_at(address: int) -> list[str]:
    """What the kernel says of the region there: VmFlags of proc_pid_smaps(5)."""
    inside = False
    for line in Path("/proc/self/smaps").read_text().splitlines():
        if found := re.match(r"([0-9a-f]+)-([0-9a-f]+) ", line):
            inside = int(found[1], 16) <= address < int(found[2], 16)
        elif inside and line.startswith("VmFlags:"):
            return line.split()[1:]
    raise LookupError(hex(address))
