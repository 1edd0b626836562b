"""The Merkle tree of RFC 9162 section 2.1 (the one of RFC 6962): hashes, the right edge, proofs. Pure.

A tree of n leaves is kept as its *right edge*: the roots of the complete subtrees that n splits into, largest first,
one for each bit set in n. Adding a leaf costs at most log2(n) hashes, whatever lies to the left.
"""

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

LEAF_PREFIX = b"\x00"
NODE_PREFIX = b"\x01"
"""Section 2.1.1: a node can never pass for a leaf."""
EMPTY_ROOT = hashlib.sha256().digest()

TILE_LEVELS = 8
"""Nodes are kept at every eighth level only, 256 under one, as C2SP tlog-tiles cuts a tree: a proof reads at most two
tiles a level, and keeping them costs one row in 256 leaves."""
TILE_WIDTH = 1 << TILE_LEVELS


def leaf_hash(data: bytes) -> bytes:
    return hashlib.sha256(LEAF_PREFIX + data).digest()


def node_hash(left: bytes, right: bytes) -> bytes:
    return hashlib.sha256(NODE_PREFIX + left + right).digest()


@dataclass(frozen=True, slots=True)
class Node:
    """A complete subtree of `1 << level` leaves, the first of which is number `position << level`."""

    level: int
    position: int


@dataclass(frozen=True, slots=True)
class NodeRange:
    """Positions `start` (in) to `stop` (out) of one level."""

    level: int
    start: int
    stop: int


class EdgeImpossible(Exception):
    """A tree of this size has another number of complete subtrees on its right edge."""


class RightEdge:
    """A growing tree. Raises EdgeImpossible when `hashes` cannot be the edge of `size` leaves."""

    __slots__ = ("_hashes", "size")

    def __init__(self, size: int = 0, hashes: Iterable[bytes] = ()) -> None:
        self.size = size
        self._hashes = list(hashes)
        if len(self._hashes) != size.bit_count():
            raise EdgeImpossible

    @property
    def hashes(self) -> tuple[bytes, ...]:
        return tuple(self._hashes)

    def add(self, leaf: bytes) -> list[tuple[Node, bytes]]:
        """Append a leaf's hash. Returns the subtrees it completed, smallest first."""
        completed = []
        position, current, level = self.size, leaf, 0
        while position & 1:
            current = node_hash(self._hashes.pop(), current)
            position >>= 1
            level += 1
            completed.append((Node(level, position), current))
        self._hashes.append(current)
        self.size += 1
        return completed

    def root(self) -> bytes:
        if not self._hashes:
            return EMPTY_ROOT
        return _fold(self._hashes)


def _fold(hashes: list[bytes]) -> bytes:
    """The root over neighbouring complete subtrees, largest first."""
    root = hashes[-1]
    for left in reversed(hashes[:-1]):
        root = node_hash(left, root)
    return root


def nodes_for_inclusion(index: int, size: int) -> list[NodeRange]:
    """The kept nodes (level 0 being the leaves) from which `inclusion_path` can be put together."""
    ranges = []
    for level in range(0, size.bit_length(), TILE_LEVELS):
        complete = size >> level
        for tile in sorted({index >> (level + TILE_LEVELS), size >> (level + TILE_LEVELS)}):
            start = tile << TILE_LEVELS
            if start < complete:
                ranges.append(NodeRange(level, start, min(start + TILE_WIDTH, complete)))
    return ranges


def inclusion_path(index: int, size: int, kept: Mapping[Node, bytes]) -> list[bytes]:
    """RFC 9162 section 2.1.3.1: the hashes beside the way from leaf `index` up to the root, lowest first.

    Raises KeyError when `kept` lacks something `nodes_for_inclusion` asked for.
    """
    return _upwards(Node(0, index), size, kept)


def nodes_for_consistency(first: int, second: int) -> list[NodeRange]:
    """The kept nodes from which `consistency_path` can be put together; none where there is nothing to show."""
    return nodes_for_inclusion(first - 1, second) if 0 < first < second else []


def consistency_path(first: int, second: int, kept: Mapping[Node, bytes]) -> list[bytes]:
    """RFC 9162 section 2.1.4.1: what shows that the tree of `second` leaves begins with the tree of `first`.

    0 <= first <= second. Empty for equal sizes and for an empty first tree. Raises KeyError when `kept` lacks something
    `nodes_for_consistency` asked for.
    """
    if first in {0, second}:
        return []
    level = (first & -first).bit_length() - 1
    seam = Node(level, (first >> level) - 1)
    above = _upwards(seam, second, kept)
    return above if seam.position == 0 else [_hash_of(seam, kept), *above]


def _upwards(node: Node, size: int, kept: Mapping[Node, bytes]) -> list[bytes]:
    """The hashes beside the way from a complete subtree up to the root of `size` leaves, lowest first."""
    path = []
    level, position = node.level, node.position
    last = (size - 1) >> level
    while last > 0:
        beside = position ^ 1
        if beside < last or (beside + 1) << level == size:
            path.append(_hash_of(Node(level, beside), kept))
        elif beside == last:
            path.append(_ragged(beside << level, size, kept))
        last, level, position = last >> 1, level + 1, position >> 1
    return path


def _hash_of(node: Node, kept: Mapping[Node, bytes]) -> bytes:
    if node in kept or node.level % TILE_LEVELS == 0:
        return kept[node]
    below, left = node.level - 1, node.position * 2
    return node_hash(_hash_of(Node(below, left), kept), _hash_of(Node(below, left + 1), kept))


def _ragged(start: int, size: int, kept: Mapping[Node, bytes]) -> bytes:
    """The root over leaves `start` to `size`, where `start` begins an incomplete subtree."""
    hashes = []
    while start < size:
        level = (size - start).bit_length() - 1
        hashes.append(_hash_of(Node(level, start >> level), kept))
        start += 1 << level
    return _fold(hashes)


def root_by_path(index: int, size: int, leaf: bytes, path: Iterable[bytes]) -> bytes | None:
    """RFC 9162 section 2.1.3.2: the root that this proof leads to; None when it cannot be a proof for this place."""
    if not 0 <= index < size:
        return None
    position, last, root = index, size - 1, leaf
    for beside in path:
        if last == 0:
            return None
        if position & 1 or position == last:
            root = node_hash(beside, root)
            while not position & 1 and position:
                position, last = position >> 1, last >> 1
        else:
            root = node_hash(root, beside)
        position, last = position >> 1, last >> 1
    return root if last == 0 else None


def begins_with(first: int, second: int, first_root: bytes, second_root: bytes, path: Iterable[bytes]) -> bool:
    """RFC 9162 section 2.1.4.2: whether `path` shows that the second tree only added to the first."""
    proof = list(path)
    if not 0 <= first <= second:
        return False
    if first in {0, second}:
        return not proof and first_root == (second_root if first == second else EMPTY_ROOT)
    if first.bit_count() == 1:
        proof.insert(0, first_root)
    if not proof:
        return False
    position, last = first - 1, second - 1
    while position & 1:
        position, last = position >> 1, last >> 1
    older = newer = proof[0]
    for beside in proof[1:]:
        if last == 0:
            return False
        if position & 1 or position == last:
            older, newer = node_hash(beside, older), node_hash(beside, newer)
            while not position & 1 and position:
                position, last = position >> 1, last >> 1
        else:
            newer = node_hash(newer, beside)
        position, last = position >> 1, last >> 1
    return last == 0 and older == first_root and newer == second_root
