"""An exported record checked offline: every kind of damage, at the first, a middle and the last place, and together."""

import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given
from hypothesis import strategies as st

from gateway.record.merkle import leaf_hash
from infra.dev.postgres import Cluster
from tests.support.cases import cases
from tests.support.database import DatabaseMaker
from tests.support.exported import HEADS, LINE_OF, Desk, Exported, changed, exported_record
from tests.support.record import record_house

FIRST_MIDDLE_LAST = (0, 5, 11)


@pytest.fixture(scope="module")
async def exported(database: DatabaseMaker, clusters: dict[str, Cluster]) -> AsyncIterator[Exported]:
    async with record_house(database("gateway"), clusters["house"]) as house:
        yield await exported_record(house)


@pytest.fixture
def desk(exported: Exported, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Desk:
    return Desk(exported, tmp_path, capsys, json.loads(json.dumps(exported.lines)))


def test_a_whole_file_is_intact_by_its_own_key_and_says_so(desk: Desk):
    code, lines = desk.verify()

    assert (code, len(lines)) == (0, 2)
    assert lines[0].endswith(f"intact, 12 places of {desk.lines[0]['origin']}")
    assert lines[1].startswith("The key is the file's own")
    assert desk.findings() == []


@pytest.mark.parametrize("place", FIRST_MIDDLE_LAST)
@pytest.mark.control("UC-10.4")
def test_an_edited_entry_is_named_by_its_place(desk: Desk, place: int):
    desk.lines[LINE_OF[place]] = changed(desk.lines[LINE_OF[place]])

    assert desk.findings() == [f"Place {place} was changed."]


@pytest.mark.parametrize("place", FIRST_MIDDLE_LAST)
@pytest.mark.control("UC-10.4")
def test_an_entry_edited_together_with_its_hash_is_narrowed_to_its_batch(desk: Desk, place: int):
    first = {0: 0, 5: 4, 11: 7}[place]
    line = desk.lines[LINE_OF[place]] = changed(desk.lines[LINE_OF[place]])
    batch = desk.lines[HEADS[(0, 4, 7).index(first)]]
    batch["leaves_sha256"][place - first] = leaf_hash(line["canonical"].encode()).hex()

    last = first + len(batch["leaves_sha256"]) - 1
    assert desk.findings() == [f"Places {first} to {last} are not what was signed, nor are their hashes."]


@pytest.mark.parametrize("place", FIRST_MIDDLE_LAST)
@pytest.mark.parametrize("renumbered", [False, True])
@pytest.mark.control("UC-10.4")
def test_a_deleted_entry_is_named_by_its_place(desk: Desk, place: int, *, renumbered: bool):
    del desk.lines[LINE_OF[place]]
    if renumbered:
        desk.renumber()

    numbered = [f"Place {later} is numbered {later - 1}." for later in range(place + 1, 12)] if renumbered else []
    assert sorted(desk.findings()) == sorted([*numbered, f"Place {place} is missing."])


@pytest.mark.parametrize("place", FIRST_MIDDLE_LAST)
@pytest.mark.control("UC-10.4")
def test_an_inserted_entry_is_named_by_what_it_stands_after(desk: Desk, place: int):
    desk.lines.insert(LINE_OF[place] + 1, changed(desk.lines[LINE_OF[place]]))

    assert desk.findings() == [f"An entry was added: it stands after place {place}."]


def test_an_entry_before_the_first_batch_is_named(desk: Desk):
    desk.lines.insert(1, changed(desk.lines[2]))

    assert desk.findings() == ["An entry was added: it stands before place 0."]


@pytest.mark.parametrize("place", FIRST_MIDDLE_LAST)
def test_an_entry_written_twice_is_named(desk: Desk, place: int):
    desk.lines.insert(LINE_OF[place] + 1, desk.lines[LINE_OF[place]])

    assert desk.findings() == [f"Place {place} stands twice: again after place {place}."]


@pytest.mark.parametrize(
    ("place", "to", "finding"),
    [
        (0, 3, "Place 0 was moved: it stands after place 3."),
        (3, 0, "Place 3 was moved: it stands at the beginning of its batch."),
        (4, 6, "Place 4 was moved: it stands after place 6."),
        (11, 7, "Place 11 was moved: it stands at the beginning of its batch."),
        (10, 8, "Place 10 was moved: it stands after place 7."),
        (0, 11, "Place 0 was moved: it stands after place 11."),
        (11, 0, "Place 11 was moved: it stands before place 0."),
        (5, 9, "Place 5 was moved: it stands after place 9."),
    ],
)
@pytest.mark.control("UC-10.4")
def test_a_moved_entry_is_named_within_its_batch_and_beyond(desk: Desk, place: int, to: int, finding: str):
    line = desk.lines.pop(LINE_OF[place])
    desk.lines.insert(LINE_OF[to], line)

    assert desk.findings() == [finding]


@pytest.mark.parametrize("renumbered", [False, True])
def test_two_neighbours_exchanged_are_named(desk: Desk, *, renumbered: bool):
    here, there = LINE_OF[8], LINE_OF[9]
    desk.lines[here], desk.lines[there] = desk.lines[there], desk.lines[here]
    if renumbered:
        desk.renumber()

    assert "Place 9 was moved: it stands after place 7." in desk.findings()


@pytest.mark.parametrize(("count", "finding"), [(1, "Place 11 is missing."), (3, "Place 9 is missing.")])
def test_entries_cut_off_within_a_batch_are_named(desk: Desk, count: int, finding: str):
    del desk.lines[-count:]

    assert finding in desk.findings()


@pytest.mark.parametrize(("lines", "finding"), [(10, "Places 7 to 11 are"), (6, "Places 4 to 11 are"), (1, "Places 0")])
@pytest.mark.control("UC-10.4")
def test_a_file_cut_off_is_found_against_its_head_and_against_a_checkpoint_kept_elsewhere(
    desk: Desk, lines: int, finding: str
):
    del desk.lines[lines:]
    by_its_head = desk.findings()
    desk.lines[0]["tree_size"] = {10: 7, 6: 4, 1: 0}[lines]
    alone, _ = desk.verify("--key", desk.exported.key)
    against = desk.findings("--checkpoint", desk.kept("note", desk.exported.notes[12]))

    assert by_its_head[0].startswith(finding)
    assert by_its_head[0].endswith("missing: the file was cut off.")
    assert alone == 0
    assert against[0].startswith(finding)
    assert against[0].endswith("missing, says the checkpoint kept elsewhere: cut off.")


def test_a_batch_taken_out_is_named(desk: Desk):
    del desk.lines[6:10]

    assert desk.findings() == ["Places 4 to 6 are missing."]


def test_batches_in_another_order_are_named(desk: Desk):
    desk.lines = desk.lines[:6] + desk.lines[10:] + desk.lines[6:10]

    assert desk.findings() == ["Places 4 to 6 are missing.", "Places 4 to 6 are there twice or out of order."]


def test_a_batch_that_stands_twice_is_named(desk: Desk):
    desk.lines[10:10] = desk.lines[6:10]

    assert desk.findings() == ["Places 4 to 6 are there twice or out of order."]


@pytest.mark.parametrize(
    ("part", "value"),
    [
        ("leaves_sha256", []),
        ("leaves_sha256", ["00"]),
        ("leaves_sha256", ["zz" * 32] * 3),
        ("left_edge_sha256", ["00" * 32]),
        ("left_edge_sha256", []),
        ("first", 3),
        ("first", 2**70),
    ],
)
def test_what_is_damaged_beside_intact_entries_does_not_make_them_damaged(desk: Desk, part: str, value: Any):
    desk.lines[6][part] = value

    assert desk.findings() == ["The head of the batch of Places 4 to 6 are damaged."]


@pytest.mark.control("UC-10.4")
def test_several_damages_at_once_are_all_named(desk: Desk):
    for place in (11, 6):
        desk.lines[LINE_OF[place]] = changed(desk.lines[LINE_OF[place]])
    added, moved = changed(desk.lines[LINE_OF[8]]), desk.lines[LINE_OF[1]]
    desk.lines.insert(LINE_OF[8] + 1, added)
    desk.lines[LINE_OF[1] : LINE_OF[3] + 1] = [desk.lines[LINE_OF[2]], moved]

    assert sorted(desk.findings()) == [
        "An entry was added: it stands after place 8.",
        "Place 11 was changed.",
        "Place 2 was moved: it stands after place 0.",
        "Place 3 is missing.",
        "Place 6 was changed.",
    ]


@cases(80, HealthCheck.function_scoped_fixture)
@given(st.data())
@pytest.mark.control("UC-10.4")
def test_no_byte_of_the_file_can_be_changed_unseen(desk: Desk, data: st.DataObject):
    """But for the time of the export, which nobody signs."""
    content = b"".join(json.dumps(line).encode() + b"\n" for line in desk.exported.lines)
    free = content.index(b'"exported_at"')
    end = content.index(b"}", free)
    place = data.draw(st.integers(0, len(content) - 1).filter(lambda place: not free <= place < end))
    byte = data.draw(st.integers(0, 255).filter(lambda byte: byte != content[place]))
    damaged = content[:place] + bytes([byte]) + content[place + 1 :]

    code, lines = desk.verify("--key", desk.exported.key, content=damaged)

    blank = content[place : place + 1] == b" " and byte in b"\t\r"
    assert (code == 0) == blank, lines


@pytest.mark.parametrize(
    "content",
    [b"", b"\n", b"{}\n", b"\xff\xfe\n", b'{"type":"other"}\n', b"[" * 100_000 + b"\n", b'{"type":"head"'],
)
def test_what_is_no_export_is_said_to_be_none(desk: Desk, content: bytes):
    assert desk.verify(content=content)[0] == 2
    assert desk.verify("--key", desk.exported.key, content=content)[0] == 1


@pytest.mark.parametrize("text", ["\ud800", "\x00", "\U0001f600"])
def test_texts_that_are_hard_to_encode_are_a_changed_entry(desk: Desk, text: str):
    desk.lines[LINE_OF[5]]["canonical"] = text

    found = desk.findings()

    assert found in (["Place 5 was changed."], ["Line 9 is not a line of an export.", "Place 5 is missing."])


def test_a_second_head_and_another_version_are_named(desk: Desk):
    desk.lines[0]["version"] = 2
    desk.lines.append(desk.lines[0])

    assert desk.findings() == [
        "The export is of version 2; this is made for 1.",
        "There is a second head: two exports in one file.",
    ]
