"""C2SP tlog-tiles: paths, widths, and the tree put together again from what is served."""

import hashlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.record.merkle import NodeRange
from gateway.record.tiles import ENTRY_BYTES_MAX, Tile, bundle, tile_of


@pytest.mark.parametrize(
    ("path", "tile"),
    [
        ("0/000", Tile(0, 0, 256)),
        ("0/x001/x234/067", Tile(0, 1_234_067, 256)),  # the specification's own example
        ("1/255", Tile(1, 255, 256)),
        ("7/000.p/1", Tile(7, 0, 1)),
        ("0/273.p/112", Tile(0, 273, 112)),
        ("2/x001/000.p/255", Tile(2, 1_000, 255)),
        ("entries/x001/067", Tile(None, 1_067, 256)),
        ("entries/000.p/9", Tile(None, 0, 9)),
    ],
)
def test_a_path_names_a_tile(path: str, tile: Tile):
    assert tile_of(path) == tile


@pytest.mark.parametrize(
    "path",
    [
        "", "0", "0/", "0/0", "0/00", "0/0000", "0/1234", "0/001/234", "0/x001", "0/x01/067", "0/x000/067", "00/000",
        "01/000", "8/000", "63/000", "64/000", "-1/000", "0/-01", "0/000.p", "0/000.p/", "0/000.p/0", "0/000.p/01",
        "0/000.p/256", "0/000.p/1000", "0/000.p/-1", "0/000/p/1", "data/000", "entries", "Entries/000", "0/000 ",
        "0/000\n", "0/\u0661\u0660\u0660", "0/X001/067", "0//000", "../0/000", "0/x999/x999/x999/x999/x999/x999/999",
        "0/000.p/1/", "0/000.p/1.p/1",
    ],
)  # fmt: skip
def test_what_is_not_written_exactly_so_names_nothing(path: str):
    assert tile_of(path) is None


@given(st.integers(0, 10**18 - 1), st.one_of(st.none(), st.integers(1, 255)))
def test_every_index_is_read_back_from_how_the_specification_writes_it(index: int, width: int | None):
    digits = str(index)
    digits = digits.zfill(-(-len(digits) // 3) * 3)
    groups = [digits[place : place + 3] for place in range(0, len(digits), 3)]
    path = "/".join([f"x{group}" for group in groups[:-1]] + groups[-1:]) + (f".p/{width}" if width else "")

    assert tile_of(f"0/{path}") == Tile(0, index, width or 256)


@pytest.mark.parametrize(
    ("path", "there"),
    [
        ("0/272", True), ("0/273", False), ("0/273.p/112", True), ("0/273.p/113", False), ("0/273.p/1", True),
        ("0/274.p/1", False), ("1/000", True), ("1/001.p/17", True), ("1/001.p/18", False), ("2/000.p/1", True),
        ("2/000.p/2", False), ("3/000.p/1", False), ("entries/273.p/112", True), ("entries/273", False),
    ],
)  # fmt: skip
def test_a_tree_of_70_000_has_the_tiles_that_the_specification_lists(path: str, *, there: bool):
    tile = tile_of(path)

    assert tile is not None
    assert (tile.range(70_000) is not None) == there


def test_the_nodes_of_a_tile_are_of_every_eighth_level():
    assert Tile(2, 3, 5).range(2**40) == NodeRange(16, 768, 773)
    assert Tile(None, 3, 256).range(1_024) == NodeRange(0, 768, 1_024)


@given(st.lists(st.binary(max_size=300), max_size=20))
def test_a_bundle_is_entries_with_their_lengths(entries: list[bytes]):
    rest, found = bundle(entries), []
    while rest:
        length = int.from_bytes(rest[:2], "big")
        found.append(rest[2 : 2 + length])
        rest = rest[2 + length :]

    assert found == entries


def test_an_entry_longer_than_its_length_field_is_not_bundled():
    longest = bytes(ENTRY_BYTES_MAX)

    assert hashlib.sha256(bundle([longest])[2:]).digest() == hashlib.sha256(longest).digest()
    with pytest.raises(OverflowError):
        bundle([bytes(ENTRY_BYTES_MAX + 1)])
