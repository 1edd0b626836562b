"""Whether freed memory is overwritten in this process, found out by looking.

A card number is copied by whoever is handed it: the web server, the form's parser, the processor's SDK, HTTP, OpenSSL.
Our own values are wiped; those copies are only freed, and lie in the heap until that place is used again, for a core
file or a debugger to find. So the allocators are told to fill what is given back to them: glibc's, on which Python is
put instead of its own pools, and the web server's, which is jemalloc. They read that once, at the start of a process,
so whoever starts a vault sets it (`OVERWRITTEN`), and the vault looks whether it is so.

What is never given back is never overwritten: an error and the frames it went through hold each other, with all that
the frames held, until Python's collector comes. By itself it may not come for minutes, so here it is called.
"""

import asyncio
import contextlib
import ctypes
import gc
import secrets
from asyncio import selector_events
from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

OVERWRITTEN: Final[Mapping[str, str]] = MappingProxyType(
    {
        "PYTHONMALLOC": "malloc",
        "GLIBC_TUNABLES": "glibc.malloc.perturb=165:glibc.malloc.tcache_count=0",
        "_RJEM_MALLOC_CONF": "junk:free",
    }
)
"""The environment of a vault. glibc's cache for each thread keeps blocks as they were, so it is switched off."""
RECEIVED_BYTES_MAX: Final = 16 * 1024
"""Most of what is received here, an answer of the database or of a processor, is far less."""
COLLECT_SECONDS: Final = 5
YOUNG_MAX: Final = 10_000
"""Objects made before the collector comes earlier than that by itself; Python's 700 are made by every second card."""
PROBES: Final = 64
PROBE_BYTES: Final = 200
"""A size that Python's own pools would serve."""
HEAD_BYTES: Final = 64
"""Where an allocator writes its own notes into a free block."""


def receive_in_small_pieces() -> None:
    """Has asyncio take room for 16 KiB whenever something is received, where it takes 256.

    What is taken is overwritten when it is taken and when it is given back: for each answer of the database, which has
    a few hundred bytes, that was a sixth of what the answer cost, and emptied the processor's caches besides.
    """
    selector_events._SelectorTransport.max_size = RECEIVED_BYTES_MAX  # type: ignore[attr-defined]  # noqa: SLF001 - asyncio has no setting for it


def spare_what_stays() -> None:
    """Has the collector never look again at what was made so far: at the end of a start, that is all that stays.

    It is then done in milliseconds, however much was imported.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(YOUNG_MAX)


async def collect(stop: asyncio.Event) -> None:
    """Beside the listeners: have the collector come every few seconds."""
    while not stop.is_set():
        gc.collect()
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(stop.wait(), COLLECT_SECONDS)


def is_overwritten() -> bool:
    """Whether none of some blocks, given back to Python's allocator, still holds what was in it."""
    content = secrets.token_bytes(PROBE_BYTES)
    blocks = [bytes(bytearray(content)) for _ in range(PROBES)]
    places = [id(block) for block in blocks]
    told_by = content[HEAD_BYTES:]  # made before anything is given back, or it would lie where a block was
    blocks.clear()
    return not any(told_by in ctypes.string_at(place, bytes.__basicsize__ + PROBE_BYTES) for place in places)
