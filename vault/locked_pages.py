"""Memory for what must not outlive the process: in no core file, in no child, and where the machine allows, in no swap.

Linux only. Locking needs room under RLIMIT_MEMLOCK (getrlimit(2)); where there is none, `locked` says so and everything
else still holds. Root can read this memory like any other.
"""

import ctypes
import mmap
from typing import Final

_LIBC: Final = ctypes.CDLL(None, use_errno=True)


class LockedPages:
    """`view` is `length` writable bytes, zero at first, at one place in memory until the process ends."""

    def __init__(self, length: int) -> None:
        pages = mmap.mmap(-1, length, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
        pages.madvise(mmap.MADV_DONTDUMP)
        pages.madvise(mmap.MADV_DONTFORK)
        self.view: Final = memoryview(pages)
        self.address: Final = ctypes.addressof(ctypes.c_char.from_buffer(pages))
        self.locked: Final = _LIBC.mlock(ctypes.c_void_p(self.address), ctypes.c_size_t(length)) == 0

    def wipe(self) -> None:
        """Zeros everywhere."""
        self.view[:] = bytes(len(self.view))
