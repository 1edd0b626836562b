"""Which walls are wanted, and what a process needs besides what its other settings say."""

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Final

MODES: Final = ("auto", "require", "off")
NAMES: Final = frozenset({
    "no_core_file", "not_dumpable", "memory_locked", "no_new_privileges", "no_capabilities", "files", "ports",
    "signals", "system_calls",
})  # fmt: skip
ANY: Final = "any"


@dataclass(frozen=True, slots=True)
class WallSettings:
    """`walls`: `auto` builds what the machine allows, `require` does not start where one is missing, `off` builds none.

    Parted by commas: `walls_left_out`, names of walls that are not wanted; `walls_reads` and `walls_writes`, further
    files and folders (the state of a PKCS#11 module); `walls_connects`, further TCP ports, or `any`. `walls_file`:
    where to write which stand.
    """

    walls: str = "auto"
    walls_left_out: str = ""
    walls_reads: str = ""
    walls_writes: str = ""
    walls_connects: str = ""
    walls_file: Path | None = None

    @property
    def left_out(self) -> frozenset[str]:
        return frozenset(_parts(self.walls_left_out))

    @property
    def reads(self) -> list[Path]:
        return [Path(part) for part in _parts(self.walls_reads)]

    @property
    def writes(self) -> list[Path]:
        return [Path(part) for part in _parts(self.walls_writes)]

    @property
    def connects(self) -> list[int] | None:
        """None: anywhere."""
        return None if self.walls_connects == ANY else [int(part) for part in _parts(self.walls_connects)]

    def wants(self, name: str) -> bool:
        return self.walls != "off" and name not in self.left_out

    def faults(self) -> list[str]:
        if self.walls not in MODES:
            return [f"WALLS must be one of {', '.join(MODES)}"]
        if unknown := sorted(self.left_out - NAMES):
            return [f"WALLS_LEFT_OUT knows no {', '.join(unknown)}"]
        ports = [] if self.walls_connects == ANY else _parts(self.walls_connects)
        if not all(part.isascii() and part.isdigit() and 0 < int(part) <= PORT_MAX for part in ports):
            return ["WALLS_CONNECTS holds something else than ports"]
        if missing := [str(path) for path in (*self.reads, *self.writes) if not path.exists()]:
            return [f"WALLS_READS or WALLS_WRITES names what is not there: {', '.join(missing)}"]
        if self.walls_file is not None and not os.access(self.walls_file.parent, os.W_OK):
            return ["WALLS_FILE is in a folder that cannot be written"]
        return []


PORT_MAX: Final = 65_535


def _parts(text: str) -> list[str]:
    return [part.strip() for part in text.split(",") if part.strip()]
