"""What an exported record is held against: its key, checkpoints kept elsewhere, witnesses, receipts."""

import base64
import json
import subprocess
import sys
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import msgspec
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from gateway.__main__ import main
from gateway.contract import Receipt
from gateway.record.cosignatures import cosigned_message
from gateway.record.entries import Record
from gateway.record.merkle import RightEdge, leaf_hash
from gateway.record.notes import COSIGNATURE, key_id, split_note, verifier_key
from infra.chassis.clock import FixedClock
from infra.dev.postgres import Cluster
from tests.support.database import DatabaseMaker
from tests.support.exported import (
    BATCHES,
    HEADS,
    LINE_OF,
    Desk,
    Exported,
    changed,
    exported_record,
    signed_anew,
    whole_export,
)
from tests.support.record import START, record_house
from tests.support.waiting import BUSY_SECONDS_MAX


@pytest.fixture(scope="module")
async def exported(database: DatabaseMaker, clusters: dict[str, Cluster]) -> AsyncIterator[Exported]:
    async with record_house(database("gateway"), clusters["house"]) as house:
        yield await exported_record(house)


@pytest.fixture
def desk(exported: Exported, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Desk:
    return Desk(exported, tmp_path, capsys, json.loads(json.dumps(exported.lines)))


@pytest.mark.parametrize("head", range(3))
def test_a_checkpoint_of_another_key_vouches_for_nothing(desk: Desk, head: int):
    stranger = Record(Ed25519PrivateKey.generate(), FixedClock(START))
    size = sum(BATCHES[: head + 1])
    desk.lines[HEADS[head]]["note"] = stranger.sign_checkpoint(desk.exported.house.north, size=size, root=bytes(32))

    first = sum(BATCHES[:head])
    assert desk.findings() == [f"Places {first} to {size - 1} are under a forged or damaged checkpoint."]


@pytest.mark.control("UC-10.4")
def test_a_history_signed_by_somebody_else_is_intact_only_by_its_own_key(desk: Desk):
    stranger = Ed25519PrivateKey.generate()
    desk.lines[LINE_OF[5]] = changed(desk.lines[LINE_OF[5]])
    signed_anew(desk, stranger)
    desk.lines[0]["verifier_key"] = verifier_key(desk.lines[0]["origin"], stranger.public_key())

    own, lines = desk.verify()

    assert (own, lines[1][:29]) == (0, "The key is the file's own: ho")
    assert desk.findings()[:2] == [
        "The head names another record or another key.",
        "Places 0 to 3 are under a forged or damaged checkpoint.",
    ]


@pytest.mark.control("UC-10.4")
def test_a_history_rewritten_with_the_key_in_hand_needs_a_checkpoint_kept_elsewhere(desk: Desk):
    desk.lines[LINE_OF[5]] = changed(desk.lines[LINE_OF[5]])
    signed_anew(desk, desk.exported.house.key)

    assert desk.findings() == []
    assert desk.findings("--checkpoint", desk.kept("early", desk.exported.notes[4])) == []
    assert desk.findings("--checkpoint", desk.kept("note", desk.exported.notes[7])) == [
        "The record up to size 7 is not the one that the checkpoint kept elsewhere signs."
    ]


def test_two_histories_under_one_key_are_seen_where_they_meet(desk: Desk):
    whole = json.loads(json.dumps(desk.lines[:6]))
    desk.lines[LINE_OF[2]] = changed(desk.lines[LINE_OF[2]])
    signed_anew(desk, desk.exported.house.key)
    desk.lines[:6] = whole

    assert desk.findings() == ["Two histories were signed: one up to place 3, another after it."]


@pytest.mark.parametrize("size", [0, 1, 5, 12])
def test_a_checkpoint_of_any_size_is_compared(desk: Desk, size: int):
    edge = RightEdge()
    for place in range(size):
        edge.add(leaf_hash(desk.lines[LINE_OF[place]]["canonical"].encode()))
    record, north = desk.exported.house.record, desk.exported.house.north
    right = record.sign_checkpoint(north, size=size, root=edge.root())
    wrong = record.sign_checkpoint(north, size=size, root=bytes(32))

    assert desk.findings("--checkpoint", desk.kept("right", right)) == []
    assert desk.findings("--checkpoint", desk.kept("wrong", wrong)) == [
        f"The record up to size {size} is not the one that the checkpoint kept elsewhere signs."
    ]


def test_a_checkpoint_that_falls_into_damage_could_not_be_compared(desk: Desk):
    del desk.lines[6:10]
    inside = desk.exported.house.record.sign_checkpoint(desk.exported.house.north, size=5, root=bytes(32))

    assert "could not be compared" in desk.findings("--checkpoint", desk.kept("note", inside))[-1]


def receipt_file(desk: Desk, receipt: Receipt, name: str = "receipt") -> str:
    return desk.kept(name, msgspec.json.encode(receipt).decode())


@pytest.mark.control("UC-10.4")
def test_a_receipt_is_a_promise_that_the_file_keeps_or_breaks(desk: Desk):
    kept, broken = desk.exported.receipts[5], desk.exported.unsealed
    both = ("--receipt", receipt_file(desk, kept), "--receipt", receipt_file(desk, broken, "broken"))

    assert desk.findings(*both[:2]) == []
    assert desk.findings(*both) == [
        f"{broken.decision_id} was promised at 2026-11-20T12:00:00Z and is not in this file."
    ]


def test_what_was_promised_by_nobody_here_is_no_receipt(desk: Desk):
    receipt = desk.exported.receipts[5]
    forged = msgspec.structs.replace(receipt, leaf_sha256="00" * 32)

    assert desk.verify("--receipt", receipt_file(desk, forged))[0] == 2
    assert desk.verify("--receipt", desk.kept("nothing", "{}"))[0] == 2
    assert desk.verify("--receipt", str(desk.folder / "missing"))[0] == 2


WITNESS, WITNESS_NAME = Ed25519PrivateKey.from_private_bytes(bytes(range(32))), "witness.example/w1"
WITNESS_KEY = verifier_key(WITNESS_NAME, WITNESS.public_key(), kind=COSIGNATURE)


def cosigned(note: str, key: Ed25519PrivateKey = WITNESS) -> str:
    signature = key.sign(cosigned_message(split_note(note)[0], 1_700_000_000))
    whole = (
        key_id(WITNESS_NAME, WITNESS.public_key(), kind=COSIGNATURE) + (1_700_000_000).to_bytes(8, "big") + signature
    )
    return f"{note}\u2014 {WITNESS_NAME} {base64.b64encode(whole).decode()}\n"


@pytest.mark.control("UC-10.4")
def test_a_witness_that_has_to_cosign_is_asked_for(desk: Desk):
    without = desk.findings("--witness", WITNESS_KEY)
    desk.lines[6]["note"] = cosigned(desk.lines[6]["note"])
    signed = desk.findings("--witness", WITNESS_KEY)
    desk.lines[1]["note"] = cosigned(desk.lines[1]["note"], Ed25519PrivateKey.generate())
    forged = desk.findings("--witness", WITNESS_KEY)

    assert without == [f"No checkpoint in this file is cosigned by {WITNESS_NAME}."]
    assert signed == [f"{WITNESS_NAME} saw the first 7 places at 2023-11-14T22:13:20Z."]
    assert forged == [f"The cosignature of {WITNESS_NAME} at size 4 is forged or damaged.", *signed]


Misuse = Callable[[Desk], tuple[str, ...]]
MISUSED: dict[str, Misuse] = {
    "no key": lambda _: ("--key", "nonsense"),
    "a witness's key": lambda _: ("--key", WITNESS_KEY),
    "a log's key for a witness": lambda desk: ("--witness", desk.exported.key),
    "a tenant": lambda _: ("--tenant", "tnt_north"),
    "no checkpoint": lambda desk: ("--checkpoint", desk.kept("none", "nothing")),
    "no file": lambda desk: ("--checkpoint", str(desk.folder / "missing")),
}


@pytest.mark.parametrize("arguments", MISUSED.values(), ids=MISUSED)
def test_what_cannot_be_used_exits_with_two(desk: Desk, arguments: Misuse):
    assert desk.verify(*arguments(desk))[0] == 2


def test_what_is_for_a_file_is_refused_without_one(desk: Desk):
    assert main(["record", "verify", "--key", desk.exported.key]) == 2


# The bootstrap would install again where the tests run in an environment it did not make.
UNDERCROFT = "import sys; from infra import bootstrap, cli; bootstrap.enter = lambda _: None; sys.exit(cli.main())"


def test_undercroft_record_verify_is_the_gateways_with_its_exit_code(desk: Desk):
    desk.verify()
    file = str(desk.folder / "record.ndjson")
    command = [sys.executable, "-c", UNDERCROFT, "record", "verify", file, "--key"]

    answers = [
        subprocess.run([*command, key], capture_output=True, text=True, check=False, timeout=BUSY_SECONDS_MAX)
        for key in (desk.exported.key, "nonsense")
    ]

    assert [answer.returncode for answer in answers] == [0, 2]
    assert answers[0].stdout == f"{file}: intact, 12 places of {desk.exported.lines[0]['origin']}\n"


async def test_an_entry_damaged_in_the_database_is_exported_as_it_is_and_found_offline(
    database: DatabaseMaker, clusters: dict[str, Cluster], desk: Desk
):
    async with record_house(database("gateway"), clusters["house"]) as house:
        await house.sealed(4, 3)
        gone = "(SELECT entry_id FROM record_leaves WHERE tree_index = {})"
        await house.tamper(
            f"DELETE FROM record_entries WHERE entry_id = {gone.format(1)};"  # noqa: S608 - written out here
            f"UPDATE record_entries SET canonical = '\\xff' WHERE entry_id = {gone.format(5)};"
        )
        desk.lines = await whole_export(house)

    _, lines = desk.verify()

    assert lines[1:3] == ["Places 0 to 3 are not what was signed, nor are their hashes.", "Place 5 was changed."]


async def test_an_empty_record_is_exported_and_intact(
    database: DatabaseMaker, clusters: dict[str, Cluster], desk: Desk
):
    async with record_house(database("gateway"), clusters["house"]) as house:
        await house.append()
        desk.lines = await whole_export(house)

    code, lines = desk.verify()

    assert (code, len(desk.lines)) == (0, 1)
    assert "intact, 0 places" in lines[0]
