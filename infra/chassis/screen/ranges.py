"""The issuers' ranges as `ranges.toml` states them, read strictly: a file that is not sound starts no service."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Final, Literal

import msgspec

Prefix = Annotated[str, msgspec.Meta(pattern=r"^[0-9]{1,4}(-[0-9]{1,4})?\Z")]


class _Row(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    brand: Annotated[str, msgspec.Meta(pattern=r"^[a-z]{2,20}\Z")]
    prefixes: Annotated[list[Prefix], msgspec.Meta(min_length=1)]
    lengths: Annotated[list[Annotated[int, msgspec.Meta(ge=12, le=19)]], msgspec.Meta(min_length=1)]
    code_length: Literal[3, 4]
    sources: Annotated[list[Literal["wikipedia", "networks", "tests"]], msgspec.Meta(min_length=1)]


class _Rows(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    range: Annotated[list[_Row], msgspec.Meta(min_length=1)]


class RangesUnsound(ValueError):
    """The file contradicts itself; says where. It holds no card's digits, only prefixes."""


@dataclass(frozen=True, slots=True)
class NumberRange:
    """Numbers whose first digits lie between `first` and `last`, both included and equally long. Lengths in digits."""

    first: str
    last: str
    brand: str
    lengths: tuple[int, ...]
    code_length: int


def read_ranges(text: str) -> tuple[NumberRange, ...]:
    """Longest prefix first. Raises `RangesUnsound` or `msgspec.ValidationError`."""
    rows = msgspec.toml.decode(text, type=_Rows).range
    found = [
        NumberRange(*_ends(prefix), row.brand, tuple(sorted(set(row.lengths))), row.code_length)
        for row in rows
        for prefix in row.prefixes
    ]
    if len({row.brand for row in rows}) != len(rows):
        raise RangesUnsound("a brand stands there twice")
    for at, one in enumerate(found):
        for other in found[at + 1 :]:
            if _overlap(one, other):
                raise RangesUnsound(f"{one.first} and {other.first} overlap")
    return tuple(sorted(found, key=lambda row: -len(row.first)))


def _ends(prefix: str) -> tuple[str, str]:
    first, _, last = prefix.partition("-")
    last = last or first
    if len(first) != len(last) or first > last:
        raise RangesUnsound(f"{prefix} does not go from a prefix to a later one as long")
    return first, last


def _overlap(one: NumberRange, other: NumberRange) -> bool:
    size = min(len(one.first), len(other.first))
    return one.first[:size] <= other.last[:size] and other.first[:size] <= one.last[:size]


RANGES: Final = read_ranges((Path(__file__).parent / "ranges.toml").read_text(encoding="utf-8"))
