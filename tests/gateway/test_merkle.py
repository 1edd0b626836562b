"""The tree against published vectors and against a slow reference written from the RFC's definitions."""

import hashlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.record.merkle import (
    EMPTY_ROOT,
    EdgeImpossible,
    Node,
    RightEdge,
    inclusion_path,
    leaf_hash,
    node_hash,
    nodes_for_inclusion,
    root_by_path,
)

# The reference tests of Certificate Transparency (RFC 6962): google/certificate-transparency, merkle_tree_test.cc.
CT_LEAVES = [
    bytes.fromhex(data)
    for data in (
        "", "00", "10", "2021", "3031", "40414243", "5051525354555657", "606162636465666768696a6b6c6d6e6f",
    )
]  # fmt: skip
CT_ROOTS = (
    "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
    "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
    "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125",
    "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77",
    "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
    "4e3bbb1f7b478dcfe71fb631631519a3bca12c9aefca1612bfce4c13a86264d4",
    "76e67dadbcdf1e10e1b74ddc608abd2f98dfb16fbce75277b5232a127f2087ef",
    "ddb89be403809e325750d3d263cd78929c2942b7942a34b77e122c9594a74c8c",
    "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328",
)
CT_PATHS = {
    (0, 1): (),
    (0, 8): (
        "96a296d224f285c67bee93c30f8a309157f0daa35dc5b87e410b78630a09cfc7",
        "5f083f0a1a33ca076a95279832580db3e0ef4584bdff1f54c8a360f50de3031e",
        "6b47aaf29ee3c2af9af889bc1fb9254dabd31177f16232dd6aab035ca39bf6e4",
    ),
    (5, 8): (
        "bc1a0643b12e4d2d7c77918f44e0f4f79a838b6cf9ec5b5c283e1f4d88599e6b",
        "ca854ea128ed050b41b35ffc1b87b8eb2bde461e9e3b5596ece6b9d5975a0ae0",
        "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
    ),
    (2, 3): ("fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125",),
    (1, 5): (
        "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
        "5f083f0a1a33ca076a95279832580db3e0ef4584bdff1f54c8a360f50de3031e",
        "bc1a0643b12e4d2d7c77918f44e0f4f79a838b6cf9ec5b5c283e1f4d88599e6b",
    ),
}


def leaves(count: int) -> list[bytes]:
    return [leaf_hash(str(number).encode()) for number in range(count)]


def reference_root(hashes: list[bytes]) -> bytes:
    """RFC 9162 section 2.1.1, word for word."""
    if not hashes:
        return hashlib.sha256(b"").digest()
    if len(hashes) == 1:
        return hashes[0]
    half = 1
    while half * 2 < len(hashes):
        half *= 2
    left, right = reference_root(hashes[:half]), reference_root(hashes[half:])
    return hashlib.sha256(b"\x01" + left + right).digest()


def reference_path(index: int, hashes: list[bytes]) -> list[bytes]:
    """RFC 9162 section 2.1.3.1, word for word."""
    if len(hashes) == 1:
        return []
    half = 1
    while half * 2 < len(hashes):
        half *= 2
    if index < half:
        return [*reference_path(index, hashes[:half]), reference_root(hashes[half:])]
    return [*reference_path(index - half, hashes[half:]), reference_root(hashes[:half])]


class Tree:
    """Leaves with the nodes that the sealer would keep of them."""

    def __init__(self, hashes: list[bytes]) -> None:
        self.edge = RightEdge()
        self.kept: dict[Node, bytes] = {}
        for index, leaf in enumerate(hashes):
            self.kept[Node(0, index)] = leaf
            self.kept |= {node: sha256 for node, sha256 in self.edge.add(leaf) if node.level % 8 == 0}

    def path(self, index: int, size: int) -> list[bytes]:
        """From nothing but the nodes that are asked for."""
        asked = {
            Node(wanted.level, position)
            for wanted in nodes_for_inclusion(index, size)
            for position in range(wanted.start, wanted.stop)
        }
        return inclusion_path(index, size, {node: self.kept[node] for node in asked})


def grown(hashes: list[bytes]) -> RightEdge:
    edge = RightEdge()
    for leaf in hashes:
        edge.add(leaf)
    return edge


@pytest.mark.parametrize("size", range(9))
@pytest.mark.control("UC-10.3")
def test_the_root_is_the_published_one(size: int):
    edge = grown([leaf_hash(data) for data in CT_LEAVES[:size]])

    assert edge.root().hex() == CT_ROOTS[size]


@pytest.mark.parametrize(("index", "size"), list(CT_PATHS))
def test_the_inclusion_proof_is_the_published_one(index: int, size: int):
    tree = Tree([leaf_hash(data) for data in CT_LEAVES[:size]])

    path = tree.path(index, size)

    assert [beside.hex() for beside in path] == list(CT_PATHS[index, size])
    root = root_by_path(index, size, leaf_hash(CT_LEAVES[index]), path)
    assert root is not None
    assert root.hex() == CT_ROOTS[size]


def test_an_empty_tree_has_the_hash_of_nothing():
    assert RightEdge().root() == EMPTY_ROOT == hashlib.sha256(b"").digest()


@pytest.mark.control("UC-10.3")
def test_a_leaf_never_hashes_like_a_node():
    left, right = leaves(2)

    assert leaf_hash(left + right) != node_hash(left, right)


@given(st.integers(0, 70))
def test_the_root_equals_the_reference(size: int):
    hashes = leaves(size)

    assert grown(hashes).root() == reference_root(hashes)


@given(st.integers(0, 1_100), st.integers(0, 1_100))
def test_an_edge_taken_up_again_grows_to_the_same_root(first: int, second: int):
    hashes = leaves(first + second)
    before = grown(hashes[:first])

    after = RightEdge(before.size, before.hashes)
    for leaf in hashes[first:]:
        after.add(leaf)

    assert after.root() == grown(hashes).root()
    assert len(after.hashes) == (first + second).bit_count()


@given(st.data())
def test_every_proof_equals_the_reference_and_leads_to_the_root(data: st.DataObject):
    size = data.draw(st.integers(1, 90))
    index = data.draw(st.integers(0, size - 1))
    hashes = leaves(size)

    path = Tree(hashes).path(index, size)

    assert path == reference_path(index, hashes)
    assert root_by_path(index, size, hashes[index], path) == reference_root(hashes)


LARGE = Tree(leaves(66_200))
"""Over 256 * 256: three levels of tiles."""


@given(st.integers(0, 66_199))
def test_proofs_in_a_large_tree_read_few_tiles_and_hold(index: int):
    asked = nodes_for_inclusion(index, 66_200)

    path = LARGE.path(index, 66_200)

    assert sum(wanted.stop - wanted.start for wanted in asked) <= 5 * 256
    assert root_by_path(index, 66_200, LARGE.kept[Node(0, index)], path) == LARGE.edge.root()


@given(st.data())
@pytest.mark.control("UC-10.3")
def test_a_proof_for_another_place_leaf_size_or_with_another_hash_does_not_lead_to_the_root(data: st.DataObject):
    size = data.draw(st.integers(2, 90))
    index = data.draw(st.integers(0, size - 1))
    hashes = leaves(size)
    root, path = reference_root(hashes), reference_path(index, hashes)
    other = data.draw(st.integers(0, size - 1).filter(lambda place: place != index))
    bent = data.draw(st.integers(0, len(path) - 1))
    flipped = [bytes([part[0] ^ 1]) + part[1:] if place == bent else part for place, part in enumerate(path)]

    assert root_by_path(other, size, hashes[index], path) != root
    assert root_by_path(index, size, hashes[other], path) != root
    assert root_by_path(index, size, hashes[index], flipped) != root
    assert root_by_path(index, size, hashes[index], path[:-1]) is None
    assert root_by_path(index, size, hashes[index], [*path, root]) is None
    assert root_by_path(size, size, hashes[index], path) is None


@pytest.mark.parametrize(("size", "hashes"), [(0, 1), (1, 0), (3, 1), (4, 2), (7, 4)])
def test_an_edge_with_another_number_of_subtrees_is_refused(size: int, hashes: int):
    with pytest.raises(EdgeImpossible):
        RightEdge(size, leaves(hashes))
