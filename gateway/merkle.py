"""The Merkle tree of RFC 9162 section 2.1 (the one of RFC 6962): hashes, the right edge, inclusion proofs. Pure.

A tree of n leaves is kept as its *right edge*: the roots of the complete subtrees that n splits into, largest first,
one for each bit set in n. Adding a leaf costs at most log2(n) hashes, whatever lies to the left.
"""

import hashlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

LEAF_PREFIX = b"\x00"
NODE_PREFIX = b"\x01"
"""Section 2.1.1: a node can never pass for a leaf."""
EMPTY_ROOT = hashlib.sha256().digest()
HASH_BYTES = 32


def leaf_hash(data: bytes) -> bytes:
    return hashlib.sha256(LEAF_PREFIX + data).digest()


def node_hash(left: bytes, right: bytes) -> bytes:
    return hashlib.sha256(NODE_PREFIX + left + right).digest()


@dataclass(frozen=True, slots=True)
class Node:
    """A complete subtree: the root of the leaves from `position << level` on, `1 << level` of them."""

    level: int
    position: int
