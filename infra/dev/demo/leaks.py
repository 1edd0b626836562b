"""Looking for a card number where it must not be: byte by byte in every file of the house.

Searched are both clusters' data folders (heap, indexes, write-ahead log), every log, every wire capture and the
sandbox's state. Not searched: memory of running processes, and two wires on which a card number is sent on purpose (the
browser to the vault's page, the vault to the processor).
"""

import base64
import mmap
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Found:
    path: Path
    form: str


@dataclass(frozen=True, slots=True)
class Search:
    files: int
    size_bytes: int
    found: list[Found]


def forms(number: str) -> dict[str, bytes]:
    """How a card number could be written: name → bytes."""
    groups = [number[place : place + 4] for place in range(0, len(number), 4)]
    plain = number.encode()
    return {
        "plain": plain,
        "spaced": " ".join(groups).encode(),
        "dashed": "-".join(groups).encode(),
        "url-encoded": "%20".join(groups).encode(),
        "plus-encoded": "+".join(groups).encode(),
        "UTF-16": number.encode("utf-16-le"),
        "hex": plain.hex().encode(),
        "HEX of spaced": " ".join(groups).encode().hex().encode(),
        **{f"base64 at {shift}": _base64_core(plain, shift) for shift in range(3)},
        **{f"base64 of spaced at {shift}": _base64_core(" ".join(groups).encode(), shift) for shift in range(3)},
    }


def _base64_core(plain: bytes, shift: int) -> bytes:
    """The characters that depend on `plain` alone when `shift` bytes stand before it in the encoded text."""
    encoded = base64.b64encode(b"\0" * shift + plain + b"\0\0")
    first = 4 if shift else 0
    last = (shift + len(plain)) // 3 * 4
    return encoded[first:last]


def search(folder: Path, wanted: dict[str, bytes]) -> Search:
    """Every regular file under `folder`, whole, for every form."""
    found: list[Found] = []
    files = size = 0
    for path in _files(folder):
        files += 1
        size += path.stat().st_size
        found += [Found(path.relative_to(folder), form) for form in _forms_in(path, wanted)]
    return Search(files, size, found)


def _files(folder: Path) -> Iterator[Path]:
    yield from (path for path in sorted(folder.rglob("*")) if path.is_file() and not path.is_symlink())


def _forms_in(path: Path, wanted: dict[str, bytes]) -> list[str]:
    if path.stat().st_size == 0:
        return []
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
        return [form for form, needle in wanted.items() if content.find(needle) != -1]
