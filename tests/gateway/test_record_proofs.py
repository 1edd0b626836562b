"""Proofs, tiles, cosignatures through the front door: everything an outsider needs, and nothing of another tenant."""

import base64
import hashlib
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx2
import msgspec
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from gateway.record.cosignatures import Witnesses, WitnessesUnusable, cosigned_message, cosigned_time
from gateway.record.merkle import RightEdge, begins_with, leaf_hash, root_by_path
from gateway.record.notes import COSIGNATURE, NoteRefused, key_id, read_verifier_key, split_note, verifier_key
from infra.dev.postgres import Cluster, ServiceDatabase
from tests.gateway.test_record_routes import Door, record_door, without_request_id
from tests.support.database import DatabaseMaker
from tests.support.record import RecordHouse, record_house

# The example of C2SP tlog-cosignature, with its witness's line.
PUBLISHED_NOTE = (
    "example.com/behind-the-sofa\n20852163\nCsUYapGGPo4dkMgIAUqom/Xajj7h2fB2MPA3j2jxq2I=\n\n"
    "\u2014 example.com/behind-the-sofa "
    "Az3grlgtzPICa5OS8npVmf1Myq/5IZniMp+ZJurmRDeOoRDe4URYN7u5/Zhcyv2q1gGzGku9nTo+zyWE+xeMcTOAYQ8=\n"
    "\u2014 witness.example.com/w1 jWbPPwAAAABkGFDLEZMHwSRaJNiIDoe9DYn/zXcrtPHeolMI5OWXEhZCB9dlrDJsX3b2oyin1nPZ"
    "qhf5nNo0xUe+mbIUBkBIfZ+qnA==\n"
)
WITNESS = Ed25519PrivateKey.from_private_bytes(bytes(range(32)))
OTHER_WITNESS = Ed25519PrivateKey.from_private_bytes(bytes(range(1, 33)))
NAME, OTHER_NAME = "witness.example/w1", "witness.example/w2"


def cosignature(
    note: str, at: int, *, name: str = NAME, key: Ed25519PrivateKey = WITNESS, said_at: int | None = None
) -> str:
    """A witness's line for this note, as C2SP tlog-cosignature says it."""
    signature = key.sign(cosigned_message(split_note(note)[0], at))
    identifier = key_id(name, key.public_key(), kind=COSIGNATURE)
    whole = identifier + (at if said_at is None else said_at).to_bytes(8, "big") + signature
    return f"\u2014 {name} {base64.b64encode(whole).decode()}\n"


@dataclass(slots=True)
class Hall:
    door: Door
    house: RecordHouse
    bearer: str

    async def get(self, path: str, **query: Any) -> httpx2.Response:
        headers = {"authorization": f"Bearer {self.bearer}"}
        return await self.door.client.get(f"/v1/record/{path}", headers=headers, params=query or None)

    async def cosign(self, note: str) -> httpx2.Response:
        headers = {"authorization": f"Bearer {self.bearer}"}
        return await self.door.client.post("/v1/record/cosignatures", headers=headers, json={"note": note})

    async def tree(self, path: str) -> httpx2.Response:
        return await self.get(f"tree/{self.house.north}/{path}")

    @property
    def now(self) -> int:
        return int(self.house.clock.now().timestamp())


@pytest.fixture(scope="module")
def shared(database: DatabaseMaker) -> ServiceDatabase:
    return database("gateway")


@pytest.fixture
async def hall(shared: ServiceDatabase, clusters: dict[str, Cluster], tmp_path: Path) -> AsyncIterator[Hall]:
    keys = ((NAME, WITNESS), (OTHER_NAME, OTHER_WITNESS))
    known = [verifier_key(name, key.public_key(), kind=COSIGNATURE) for name, key in keys]
    (tmp_path / "witnesses").write_text("\n".join([*known, ""]), encoding="utf-8")
    async with record_house(shared, clusters["house"]) as house, record_door(house, Witnesses.load(tmp_path)) as door:
        agent = await door.agent(house.north)
        yield Hall(door, house, agent.bearer)


def hashes(answer: httpx2.Response) -> list[bytes]:
    return [bytes.fromhex(beside) for beside in answer.json()["path_sha256"]]


@pytest.mark.control("UC-10.4")
async def test_each_checkpoint_is_proven_to_begin_each_later_one(hall: Hall):
    roots = {}
    for batch in (3, 1, 252, 60):
        await hall.house.sealed(batch)
        kept = hall.house.record.open_checkpoint(hall.house.north, await hall.house.note())
        roots[kept.size] = kept.root

    for first, older in roots.items():
        for second, newer in roots.items():
            answer = await hall.get("consistency", **{"from": first, "to": second})
            if first > second:
                assert answer.status_code == 404
                continue
            assert (answer.json()["from_size"], answer.json()["to_size"]) == (first, second)
            assert begins_with(first, second, older, newer, hashes(answer))


@pytest.mark.control("UC-10.4")
async def test_an_entry_is_proven_in_the_tree_as_it_was(hall: Hall):
    await hall.house.sealed(5)
    kept = hall.house.record.open_checkpoint(hall.house.north, await hall.house.note())
    await hall.house.sealed(300)
    entry = (await hall.get(f"entries/{hall.house.appended[3]}")).json()

    answer = await hall.get("inclusion", index=3, size=kept.size)

    leaf = bytes.fromhex(entry["leaf_sha256"])
    assert (answer.json()["tree_index"], answer.json()["tree_size"]) == (3, 5)
    assert root_by_path(3, 5, leaf, hashes(answer)) == kept.root
    assert root_by_path(3, 5, leaf_hash(b"another"), hashes(answer)) != kept.root


@pytest.mark.parametrize(
    ("path", "query", "status"),
    [
        ("consistency", {"from": 1, "to": 8}, 404),
        ("consistency", {"from": 5, "to": 4}, 404),
        ("consistency", {"from": -1, "to": 4}, 404),
        ("consistency", {"from": 2**70, "to": 2**71}, 404),
        ("consistency", {"from": "one", "to": 4}, 422),
        ("consistency", {"to": 4}, 422),
        ("inclusion", {"index": 7, "size": 7}, 404),
        ("inclusion", {"index": -1, "size": 7}, 404),
        ("inclusion", {"index": 0, "size": 0}, 404),
        ("inclusion", {"index": 0, "size": 8}, 404),
        ("inclusion", {"index": 0, "size": 2**70}, 404),
        ("inclusion", {"index": "0x1", "size": 7}, 422),
    ],
)
async def test_what_cannot_be_proven_is_refused(hall: Hall, path: str, query: dict[str, Any], status: int):
    await hall.house.sealed(7)

    assert (await hall.get(path, **query)).status_code == status


async def test_before_anything_is_sealed_there_is_nothing_to_prove(hall: Hall):
    await hall.house.append()

    answers = [
        await hall.get("consistency", **{"from": 0, "to": 0}),
        await hall.get("inclusion", index=0, size=1),
        await hall.tree("checkpoint"),
        await hall.tree("tile/0/000"),
        await hall.tree("tile/0/000.p/1"),
        await hall.tree("tile/entries/000.p/1"),
    ]

    assert {answer.status_code for answer in answers} == {404}


async def test_the_tree_put_together_from_tiles_has_the_signed_root(hall: Hall):
    await hall.house.sealed(256, 300)
    note = (await hall.tree("checkpoint")).text
    signed = hall.house.record.open_checkpoint(hall.house.north, note)
    tiles = [(await hall.tree(f"tile/0/{path}")).content for path in ("000", "001", "002.p/44")]
    bundles = [(await hall.tree(f"tile/entries/{path}")).content for path in ("000", "001", "002.p/44")]

    found = [tile[place : place + 32] for tile in tiles for place in range(0, len(tile), 32)]
    edge = RightEdge()
    above = [
        sha256 for leaf in found for node, sha256 in edge.add(leaf) if (node.level, node.position) in {(8, 0), (8, 1)}
    ]
    assert (len(found), edge.root()) == (signed.size, signed.root)
    assert (await hall.tree("tile/1/000.p/2")).content == b"".join(above)
    assert [leaf_hash(entry) for entry in entries_of(b"".join(bundles))] == found


def entries_of(content: bytes) -> list[bytes]:
    entries = []
    while content:
        length = int.from_bytes(content[:2], "big")
        entries.append(content[2 : 2 + length])
        content = content[2 + length :]
    return entries


async def test_tiles_are_kept_by_their_reader_for_ever_and_the_checkpoint_is_not(hall: Hall):
    await hall.house.sealed(7)

    tile, checkpoint = await hall.tree("tile/0/000.p/7"), await hall.tree("checkpoint")

    assert tile.headers["cache-control"] == "private, max-age=31536000, immutable"
    assert tile.headers["content-type"] == "application/octet-stream"
    assert checkpoint.headers["cache-control"] == "private, no-cache"
    assert checkpoint.headers["content-type"] == "text/plain; charset=utf-8"
    assert {tile.headers["vary"], checkpoint.headers["vary"]} == {"Authorization"}


async def test_an_older_partial_tile_stays_what_it_was(hall: Hall):
    await hall.house.sealed(7)
    before = (await hall.tree("tile/0/000.p/7")).content
    await hall.house.sealed(300)

    assert (await hall.tree("tile/0/000.p/7")).content == before
    assert (await hall.tree("tile/0/000")).content.startswith(before)


@pytest.mark.parametrize("path", ["0/001", "0/000.p/8", "1/000.p/1", "0/000.p/0", "0/7", "8/000.p/1", "0/x001/000.p/1"])
async def test_a_tile_that_is_not_there_is_not_found(hall: Hall, path: str):
    await hall.house.sealed(7)

    assert (await hall.tree(f"tile/{path}")).status_code == 404


@pytest.mark.control("UC-7.3")
async def test_another_tenants_tree_is_not_found_like_one_that_never_was(hall: Hall):
    await hall.house.sealed(7, tenant_id=hall.house.south)
    paths = ("checkpoint", "tile/0/000.p/7", "tile/entries/000.p/7")

    foreign = [await hall.get(f"tree/{hall.house.south}/{path}") for path in paths]
    missing = [await hall.get(f"tree/tnt_missing/{path}") for path in paths]

    assert {answer.status_code for answer in foreign} == {404}
    assert [without_request_id(answer) for answer in foreign] == [without_request_id(answer) for answer in missing]


async def test_proofs_and_tiles_are_for_agents_with_the_scope(hall: Hall):
    await hall.house.sealed(1)
    north = hall.house.north
    hall.bearer = (await hall.door.agent(north, scopes="refund")).bearer
    paths = ("inclusion?index=0&size=1", "consistency?from=0&to=1", f"tree/{north}/checkpoint")
    more = (f"tree/{north}/tile/0/000.p/1", "export")

    answers = [await hall.get(path) for path in paths + more] + [await hall.cosign("note")]

    assert {answer.status_code for answer in answers} == {403}
    assert (await hall.door.client.get(f"/v1/record/tree/{north}/checkpoint")).status_code == 401


async def test_an_entry_missing_below_the_checkpoint_is_an_error_and_no_shorter_tile(hall: Hall):
    await hall.house.sealed(7)
    await hall.house.tamper("DELETE FROM record_entries WHERE entry_id = (SELECT min(entry_id) FROM record_entries);")

    answers = [await hall.tree("tile/0/000.p/7"), await hall.tree("tile/entries/000.p/7")]

    assert {answer.status_code for answer in answers} == {500}


@pytest.mark.control("UC-10.4")
async def test_a_witnesss_cosignature_is_kept_and_served_with_the_checkpoint(hall: Hall):
    await hall.house.sealed(7)
    note = (await hall.tree("checkpoint")).text

    answer = await hall.cosign(note + cosignature(note, hall.now))
    await hall.house.sealed(2)

    assert answer.json() == {"tree_size": 7, "witnesses": [NAME]}
    newest = (await hall.get("checkpoint")).json()
    cosigned = (await hall.get("checkpoint", cosigned="true")).json()
    assert (newest["tree_size"], cosigned["tree_size"]) == (9, 7)
    body, lines = split_note(cosigned["note"])
    assert [line.name for line in lines] == [f"undercroft/record/{hall.house.north}", NAME]
    assert cosigned_time(lines[1].signature, body, WITNESS.public_key()) == hall.now
    assert hall.house.record.open_checkpoint(hall.house.north, cosigned["note"]).size == 7


async def test_two_witnesses_and_a_stranger_below_one_checkpoint(hall: Hall):
    await hall.house.sealed(7)
    note = (await hall.tree("checkpoint")).text
    lines = [
        cosignature(note, hall.now, name="stranger.example", key=Ed25519PrivateKey.generate()),
        cosignature(note, hall.now, name=OTHER_NAME, key=OTHER_WITNESS),
        cosignature(note, hall.now),
    ]

    answer = await hall.cosign(note + "".join(lines))
    again = await hall.cosign(note + cosignature(note, hall.now + 60))

    assert answer.json()["witnesses"] == [NAME, OTHER_NAME]
    assert again.status_code == 200
    assert (await hall.tree("checkpoint")).text == note + lines[2] + lines[1]


@pytest.mark.control("UC-10.4")
async def test_what_is_no_cosignature_of_a_trusted_witness_on_our_checkpoint_is_refused(hall: Hall):
    await hall.house.sealed(7)
    await hall.house.sealed(7, tenant_id=hall.house.south)
    note, now = (await hall.tree("checkpoint")).text, hall.now
    good = cosignature(note, now)
    forged = hall.house.record.sign_checkpoint(hall.house.north, size=7, root=bytes(32))
    unknown = hall.house.record.sign_checkpoint(hall.house.north, size=8, root=bytes(32))
    foreign = await hall.house.note(hall.house.south)
    beyond = note.replace("\n7\n", f"\n{2**63}\n", 1)
    extended = note.replace("\n\n", "\nextension\n\n", 1)
    refused = [
        "", "not a note", note, good,
        note + cosignature(note, now, key=OTHER_WITNESS),
        note + cosignature(note, now, name="witness.example/w9"),
        note + cosignature(note, now, said_at=now + 1),
        note + cosignature(note, now + 301),
        note + cosignature(note, 2**63),
        note + good + good,
        note + cosignature(note, now, name=OTHER_NAME).replace(OTHER_NAME, NAME),
        note + good[:-6] + "\n",
        note + cosignature(foreign, now),
        forged + cosignature(forged, now),
        unknown + cosignature(unknown, now),
        foreign + cosignature(foreign, now),
        extended + cosignature(extended, now),
        beyond + cosignature(beyond, now),
        "one line\n\n" + cosignature("one line\n\n" + good, now),
    ]  # fmt: skip

    answers = [await hall.cosign(each) for each in refused]

    assert [answer.status_code for answer in answers] == [422] * len(refused)
    assert {answer.json()["code"] for answer in answers} == {"cosignature_refused"}
    assert (await hall.tree("checkpoint")).text == note
    assert (await hall.get("checkpoint", cosigned="true")).status_code == 404


async def test_a_witness_a_little_ahead_of_our_clock_is_believed(hall: Hall):
    await hall.house.sealed(7)
    note = (await hall.tree("checkpoint")).text

    assert (await hall.cosign(note + cosignature(note, hall.now + 299))).status_code == 200


async def test_a_cosignature_is_no_signature_of_ours(hall: Hall):
    """Domain separation: the witness's line under our own name opens nothing."""
    await hall.house.sealed(7)
    note = (await hall.tree("checkpoint")).text
    ours = split_note(note)[1][0].name
    body = split_note(note)[0]

    with pytest.raises(NoteRefused):
        hall.house.record.open_checkpoint(hall.house.north, f"{body}\n" + cosignature(note, hall.now, name=ours))


def test_the_published_cosignature_reads_as_published():
    body, lines = split_note(PUBLISHED_NOTE)

    assert int.from_bytes(lines[1].signature[:8], "big") == 1_679_315_147
    assert cosigned_message(body, 1_679_315_147).decode() == (
        "cosignature/v1\ntime 1679315147\nexample.com/behind-the-sofa\n20852163\n"
        "CsUYapGGPo4dkMgIAUqom/Xajj7h2fB2MPA3j2jxq2I=\n"
    )
    assert len(lines[1].signature) == 72


def test_a_cosigners_key_id_is_of_another_kind_than_a_logs():
    public = WITNESS.public_key()
    expected = hashlib.sha256(NAME.encode() + b"\n\x04" + public.public_bytes_raw()).digest()[:4]

    assert key_id(NAME, public, kind=COSIGNATURE) == expected != key_id(NAME, public)
    assert read_verifier_key(verifier_key(NAME, public, kind=COSIGNATURE), kind=COSIGNATURE)[0] == NAME
    with pytest.raises(NoteRefused):
        read_verifier_key(verifier_key(NAME, public), kind=COSIGNATURE)


@pytest.mark.parametrize(
    "content",
    [
        "nonsense",
        verifier_key(NAME, WITNESS.public_key()),
        verifier_key(NAME, WITNESS.public_key(), kind=COSIGNATURE).replace("+", "+0", 1),
        "\n".join(verifier_key(NAME, key.public_key(), kind=COSIGNATURE) for key in (WITNESS, OTHER_WITNESS)),
        "\n".join(
            verifier_key(f"w{n}", Ed25519PrivateKey.generate().public_key(), kind=COSIGNATURE) for n in range(16)
        ),
    ],
    ids=["no key", "a log's key", "wrong key id", "two keys of one name", "too many"],
)
def test_unusable_witnesses_keep_the_gateway_from_starting(tmp_path: Path, content: str):
    (tmp_path / "witnesses").write_text(content, encoding="utf-8")

    with pytest.raises(WitnessesUnusable):
        Witnesses.load(tmp_path)


async def test_the_export_is_the_whole_sealed_record_in_tree_order(hall: Hall):
    await hall.house.sealed(5, 300, tenant_id=hall.house.south)
    await hall.house.sealed(5, 300)
    await hall.house.append()

    answer = await hall.get("export")

    lines = [msgspec.json.decode(line) for line in answer.content.splitlines()]
    entries = [line for line in lines if line["type"] == "entry"]
    assert (answer.status_code, answer.headers["content-type"]) == (200, "application/x-ndjson")
    assert (lines[0]["tree_size"], [line["place"] for line in entries]) == (305, list(range(305)))
    assert [msgspec.json.decode(line["canonical"])["decision_id"] for line in entries] == await hall.house.places()


async def test_a_cosignature_of_long_ago_is_kept_as_it_is(hall: Hall):
    await hall.house.sealed(7)
    note = (await hall.tree("checkpoint")).text

    assert (await hall.cosign(note + cosignature(note, 0))).status_code == 200
