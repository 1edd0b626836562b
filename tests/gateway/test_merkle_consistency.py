"""Consistency proofs: published vectors, a naive implementation of the RFC's definition, and what must not pass."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.record.merkle import Node, begins_with, consistency_path, leaf_hash, nodes_for_consistency
from tests.gateway.test_merkle import CT_LEAVES, CT_ROOTS, LARGE, Tree, grown, leaves, reference_root

# Certificate Transparency's reference proofs over the leaves of CT_LEAVES: google/certificate-transparency,
# merkle_tree_test.cc; the same stand in transparency-dev/merkle and in google/trillian.
CT_CONSISTENCY = {
    (1, 1): (),
    (1, 8): (
        "96a296d224f285c67bee93c30f8a309157f0daa35dc5b87e410b78630a09cfc7",
        "5f083f0a1a33ca076a95279832580db3e0ef4584bdff1f54c8a360f50de3031e",
        "6b47aaf29ee3c2af9af889bc1fb9254dabd31177f16232dd6aab035ca39bf6e4",
    ),
    (6, 8): (
        "0ebc5d3437fbe2db158b9f126a1d118e308181031d0a949f8dededebc558ef6a",
        "ca854ea128ed050b41b35ffc1b87b8eb2bde461e9e3b5596ece6b9d5975a0ae0",
        "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
    ),
    (2, 5): (
        "5f083f0a1a33ca076a95279832580db3e0ef4584bdff1f54c8a360f50de3031e",
        "bc1a0643b12e4d2d7c77918f44e0f4f79a838b6cf9ec5b5c283e1f4d88599e6b",
    ),
    (6, 7): (
        "0ebc5d3437fbe2db158b9f126a1d118e308181031d0a949f8dededebc558ef6a",
        "b08693ec2e721597130641e8211e7eedccb4c26413963eee6c1e2ed16ffb1a5f",
        "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
    ),
}


def naive_path(first: int, hashes: list[bytes], *, whole: bool = True) -> list[bytes]:
    """SUBPROOF of RFC 9162 section 2.1.4.1, word for word."""
    if first == len(hashes):
        return [] if whole else [reference_root(hashes)]
    half = 1
    while half * 2 < len(hashes):
        half *= 2
    left, right = hashes[:half], hashes[half:]
    if first <= half:
        return [*naive_path(first, left, whole=whole), reference_root(right)]
    return [*naive_path(first - half, right, whole=False), reference_root(left)]


def path_from_tiles(tree: Tree, first: int, second: int) -> list[bytes]:
    """From nothing but the nodes that are asked for."""
    asked = {
        Node(wanted.level, position)
        for wanted in nodes_for_consistency(first, second)
        for position in range(wanted.start, wanted.stop)
    }
    return consistency_path(first, second, {node: tree.kept[node] for node in asked})


@pytest.mark.parametrize(("first", "second"), list(CT_CONSISTENCY))
@pytest.mark.control("UC-10.3")
def test_the_consistency_proof_is_the_published_one(first: int, second: int):
    tree = Tree([leaf_hash(data) for data in CT_LEAVES[:second]])

    path = path_from_tiles(tree, first, second)

    assert [beside.hex() for beside in path] == list(CT_CONSISTENCY[first, second])
    assert begins_with(first, second, bytes.fromhex(CT_ROOTS[first]), bytes.fromhex(CT_ROOTS[second]), path)


@given(st.data())
def test_every_consistency_proof_equals_the_naive_one_and_holds(data: st.DataObject):
    second = data.draw(st.integers(1, 90))
    first = data.draw(st.integers(1, second))
    hashes = leaves(second)

    path = path_from_tiles(Tree(hashes), first, second)

    assert path == naive_path(first, hashes)
    assert begins_with(first, second, reference_root(hashes[:first]), reference_root(hashes), path)


BOUNDARIES = [1, 2, 255, 256, 257, 511, 512, 65_535, 65_536, 65_537, 66_199, 66_200]


@pytest.mark.parametrize("first", BOUNDARIES)
def test_proofs_hold_at_the_edges_of_tiles(first: int):
    older = grown([LARGE.kept[Node(0, index)] for index in range(first)]).root()

    path = path_from_tiles(LARGE, first, 66_200)

    assert begins_with(first, 66_200, older, LARGE.edge.root(), path)


@given(st.data())
@pytest.mark.control("UC-10.3")
def test_no_proof_joins_trees_that_differ(data: st.DataObject):
    second = data.draw(st.integers(2, 60))
    first = data.draw(st.integers(1, second - 1))
    hashes = leaves(second)
    older, newer, path = reference_root(hashes[:first]), reference_root(hashes), naive_path(first, hashes)
    forged = leaves(second + 1)[1 : first + 1]
    bent = data.draw(st.integers(0, len(path) - 1))
    flipped = [bytes([part[0] ^ 1]) + part[1:] if place == bent else part for place, part in enumerate(path)]

    assert not begins_with(first, second, reference_root(forged), newer, path)
    assert not begins_with(first, second, older, older, path)
    assert not begins_with(first, second, older, newer, flipped)
    assert not begins_with(first, second, older, newer, path[:-1])
    assert not begins_with(first, second, older, newer, [*path, newer])
    assert not begins_with(second, first, newer, older, path)


def test_equal_and_empty_trees_need_no_proof_and_take_none():
    (root,) = leaves(1)
    nothing = bytes.fromhex(CT_ROOTS[0])

    assert consistency_path(3, 3, {}) == consistency_path(0, 3, {}) == []
    assert begins_with(3, 3, root, root, [])
    assert begins_with(0, 3, nothing, root, [])
    assert begins_with(0, 0, nothing, nothing, [])
    assert not begins_with(3, 3, root, nothing, [])
    assert not begins_with(3, 3, root, root, [root])
    assert not begins_with(0, 3, root, root, [])
    assert not begins_with(3, 2, root, root, [])
    assert not begins_with(-1, 2, root, root, [])
    assert not begins_with(2, 3, root, root, [])
