"""`undercroft custody`: who is a custodian, whose share is right, and a record that shows tampering."""

import json
from pathlib import Path
from typing import Any

import pytest

from infra.chassis.keys.custody import is_sealed_file
from tests.vault.custody import Place, acts, prove
from vault.custodians import sheets
from vault.custodians.record import Record, RecordBroken


@pytest.mark.control("UC-3.6.1.2")
def test_a_custodian_can_tell_whether_his_paper_is_right_without_anybody_else(kept: Place, papers: dict[str, str]):
    right = kept.give("verify", "ben", papers["ben"])
    of_another = kept.give("verify", "ben", papers["ada"])
    slip = "p" if papers["ben"].endswith("q") else "q"
    misspelt = kept.give("verify", "ben", papers["ben"][:-1] + slip)

    assert (right[0], "share 2 is the one ben was given" in right[1]) == (0, True)
    assert (of_another[0], "that is share 1, and ben has share 2" in of_another[1]) == (1, True)
    assert (misspelt[0], "check letters do not agree" in misspelt[1]) == (1, True)
    assert [act["act"] for act in acts(kept)][-1:] == ["verified"]
    assert is_sealed_file(kept.root)


def test_a_share_of_another_ceremony_and_one_of_another_value_are_refused(kept: Place, papers: dict[str, str]):
    mine = sheets.read(bytearray(papers["ada"].encode()))
    other_ceremony = sheets.write(sheets.Share(b"other", 2, 1, mine.value))
    other_value = sheets.write(sheets.Share(mine.ceremony, 2, 1, bytearray(32)))

    assert "a share of another ceremony" in kept.give("verify", "ada", other_ceremony)[1]
    assert "not the share that was given out" in kept.give("verify", "ada", other_value)[1]


TAMPERINGS = {
    "a name": lambda lines: [*lines[:-1], lines[-1].replace('"ben"', '"eve"')],
    "a line less": lambda lines: [lines[0], *lines[2:]],
    "two lines swapped": lambda lines: [lines[1], lines[0], *lines[2:]],
    "a line twice": lambda lines: [*lines, lines[-1]],
    "a line of nothing": lambda lines: [*lines, "{}"],
    "a threshold": lambda lines: [*lines[:-1], lines[-1].replace('"threshold":2', '"threshold":1')],
    "a signature less": lambda lines: [*lines[:-1], drop_signature(lines[-1])],
}


def drop_signature(line: str) -> str:
    entry = json.loads(line)
    del entry["signatures"]["cleo"]
    return json.dumps(entry, separators=(",", ":"), sort_keys=True)


@pytest.mark.parametrize("how", TAMPERINGS.values(), ids=TAMPERINGS.keys())
def test_a_record_that_was_touched_is_noticed_and_no_ceremony_is_held_over_it(kept: Place, how: Any):
    lines = kept.record.read_text().splitlines()
    kept.record.write_text("".join(f"{line}\n" for line in how(lines)))

    told = kept.run("status")
    more = kept.run("enrol", "dora")

    assert (told[0], more[0]) == (1, 1)
    assert "line" in told[1]


def test_a_line_somebody_was_killed_in_is_taken_away_and_one_cut_off_at_the_end_comes_back(kept: Place):
    whole = kept.record.read_bytes()
    kept.record.write_bytes(whole + b'{"previous":"')
    half = kept.run("status")
    kept.record.write_bytes(whole[: whole[:-1].rfind(b"\n") + 1])
    missing = kept.run("status")

    assert (half[0], missing[0]) == (0, 0)
    assert kept.record.read_bytes() == whole


def test_a_record_too_long_to_be_read_whole_is_not_cut(kept: Place, monkeypatch: pytest.MonkeyPatch):
    record, before = Record(kept.custody), kept.record.read_bytes()
    entry = record.entries()[0]
    monkeypatch.setattr("vault.custodians.record.RECORD_BYTES_MAX", len(before) - 1)

    with pytest.raises(RecordBroken, match="longer than"):
        record.add(entry)
    with pytest.raises(RecordBroken, match="longer than"):
        record.check()

    assert kept.record.read_bytes() == before


def test_a_file_that_was_swapped_for_another_custodians_does_not_prove_him(place: Place, tmp_path: Path):
    """Who may write the folder could enrol himself elsewhere and put his file in ada's place."""
    with_mallory = Place(tmp_path / "elsewhere")
    with_mallory.enrol("ada")
    (place.custody / "custodians" / "ada.json").write_bytes(
        (with_mallory.custody / "custodians" / "ada.json").read_bytes()
    )

    with place.sit("generate", "ada", "ben") as typist:
        prove(typist, "ada")
        assert typist.end() == 1

    assert "is not the one the record says" in typist.screen


def test_an_enrolment_is_refused_for_weak_words_two_words_and_a_name_that_is_taken(place: Place):
    with place.sit("enrol", "dora") as typist:
        typist.sees("a passphrase only you know: ")
        typist.types("short")
        assert (typist.end(), "12 letters or more" in typist.screen) == (1, True)
    with place.sit("enrol", "dora") as typist:
        typist.sees("a passphrase only you know: ")
        typist.types("long enough, I think")
        typist.sees("the same again: ")
        typist.types("long enough, I thought")
        assert (typist.end(), "not the same" in typist.screen) == (1, True)

    assert "is a custodian already" in place.run("enrol", "ada")[1]
    assert [place.run("enrol", name)[0] for name in ("custody", "../root", "A", "x" * 40)] == [1] * 4
    assert len(acts(place)) == 3
