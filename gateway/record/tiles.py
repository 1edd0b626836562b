"""C2SP tlog-tiles: which hashes and entries a path names, and the bytes they are served as. Pure.

`tile/<L>/<N>[.p/<W>]` holds up to 256 hashes of level 8 * L; `tile/entries/<N>[.p/<W>]` the entries under a tile of
level 0. `<N>` is written in groups of three digits, all but the last beginning with an `x`: 1234067 is `x001/x234/067`.
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from gateway.record.merkle import TILE_LEVELS, TILE_WIDTH, NodeRange

ENTRY_BYTES_MAX: Final = 2**16 - 1
"""An entry's length goes before it in 16 bits. Ours have some 2,000 bytes."""
LEVEL_MAX: Final = 63 // TILE_LEVELS
"""The specification allows levels to 63; a tree with a node on the ninth would need more leaves than 64 bits count."""
_PATH = re.compile(
    r"(?P<level>0|[1-9]|entries)/(?P<groups>(?:x[0-9]{3}/){0,5}[0-9]{3})(?:\.p/(?P<width>[1-9][0-9]{0,2}))?"
)
"""At most six groups of digits: 10**18 tiles are more than 64 bits can count leaves for."""


@dataclass(frozen=True, slots=True)
class Tile:
    """`level` is None for a bundle of entries. `width` hashes or entries from the left, 256 when it is full."""

    level: int | None
    index: int
    width: int

    def range(self, size: int) -> NodeRange | None:
        """The nodes, if a tree of `size` leaves has all of them."""
        level = (self.level or 0) * TILE_LEVELS
        start = self.index * TILE_WIDTH
        stop = start + self.width
        return NodeRange(level, start, stop) if stop <= size >> level else None


def tile_of(path: str) -> Tile | None:
    """What comes after `tile/`; None for what is not written exactly as the specification says."""
    found = _PATH.fullmatch(path)
    if found is None:
        return None
    groups = found["groups"].replace("x", "").split("/")
    if len(groups) > 1 and groups[0] == "000":
        return None
    width = TILE_WIDTH if found["width"] is None else int(found["width"])
    if found["width"] is not None and width >= TILE_WIDTH:
        return None
    level = None if found["level"] == "entries" else int(found["level"])
    if level is not None and level > LEVEL_MAX:
        return None
    return Tile(level, int("".join(groups)), width)


def bundle(entries: Iterable[bytes]) -> bytes:
    """Entries with their lengths. Raises OverflowError for one longer than ENTRY_BYTES_MAX."""
    return b"".join(len(entry).to_bytes(2, "big") + entry for entry in entries)
