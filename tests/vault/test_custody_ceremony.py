"""`undercroft custody` at a real terminal: how the root is put under custody, and what is left of it."""

import os
import stat
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from infra.chassis.keys.custody import is_sealed_file
from infra.chassis.secret import Secret
from tests.runner.test_delegating import RUN
from tests.sandbox.running import ROOT
from tests.support.waiting import BUSY_SECONDS_MAX
from tests.vault.custody import (
    CTRL_C,
    CTRL_D,
    NAMES,
    PAIR,
    Place,
    Typist,
    acts,
    changed,
    deal,
    everything,
    key_of,
    opens,
    passphrase,
    prove,
    take_sheet,
    tells,
    terminal,
)
from vault.custodians import sheets


@pytest.mark.control("UC-3.6.1.2")
def test_the_root_is_put_under_custody_and_any_two_of_three_open_it_and_nobody_alone(place: Place):
    root = place.root.read_bytes()

    papers = place.generate(*NAMES)

    assert is_sealed_file(place.root)
    assert root not in b"".join(everything(place.folder).values())
    for pair in (("ada", "ben"), ("ada", "cleo"), ("ben", "cleo")):
        assert opens(place, key_of(papers, *pair)) == root
    values = [sheets.read(bytearray(paper.encode())).value for paper in papers.values()]
    assert [len(value) for value in values] == [32] * 3
    assert all(opens(place, Secret(bytes(value))) is None for value in values)


def test_where_there_is_no_root_yet_one_is_made_that_never_lay_open(place: Place):
    place.root.unlink()

    papers = place.generate("ada", "cleo")

    assert is_sealed_file(place.root)
    assert stat.S_IMODE(place.root.stat().st_mode) == 0o600
    assert len(opens(place, key_of(papers, "ada", "cleo")) or b"") == 32


@pytest.mark.control("UC-3.6.1.2")
def test_the_record_says_who_when_which_shares_and_the_check_value_and_never_a_share(
    kept: Place, papers: dict[str, str]
):
    told = kept.run("status")
    (done,) = [act for act in acts(kept) if act["act"] == "generated"]
    text = kept.record.read_text() + kept.root.read_text() + told[1]

    assert told[0] == 0
    assert [(one["number"], one["custodian"]) for one in done["shares"]] == [(1, "ada"), (2, "ben"), (3, "cleo")]
    assert (done["threshold"], done["present"]) == (2, ["ada", "ben", "cleo"])
    assert done["at"]
    assert done["machine"].startswith("operator ")
    assert f"key check value {done['check_value']}" in told[1]
    assert "2 of 3 shares open it" in told[1]
    assert "record: 4 entries, whole" in told[1]
    for paper in papers.values():
        share = sheets.read(bytearray(paper.encode()))
        assert bytes(share.value).hex() not in text
        assert not tells(text, paper)
        assert tells(text + paper, paper)
    assert key_of(papers, "ada", "ben").reveal().hex() not in text


def test_the_record_and_the_sealed_file_are_for_their_owner_alone(kept: Place):
    files = [path for path in kept.custody.rglob("*") if path.is_file() and path.name != "lock"] + [kept.root]

    assert {stat.S_IMODE(path.stat().st_mode) for path in files} == {0o600}
    assert stat.S_IMODE(kept.custody.stat().st_mode) == 0o700


@pytest.mark.control("UC-3.6.1.2")
def test_what_is_secret_is_never_echoed_and_a_share_is_shown_once(place: Place):
    with place.sit("generate", *NAMES) as typist:
        typist.sees("ada, your passphrase: ")
        echoed = [typist.echoes]
        typist.types(passphrase("ada"))
        prove(typist, "ben", "cleo")
        paper = take_sheet(typist, "ada")
        typist.sees("ada, your share: ")
        echoed.append(typist.echoes)
        typist.types(paper)
        typist.sees("ben: your share comes next")
        shown = typist.screen
        typist.presses(CTRL_C)
        assert typist.end() == 130
        echoed.append(typist.echoes)

    assert echoed == [False, False, True]
    row = paper.split(" ", 2)[1]
    assert shown.count(row) == 1
    assert passphrase("ada") not in shown
    before, _, after = shown.partition(row)
    assert "\x1b[?1049h" in before
    assert "\x1b[2J\x1b[3J\x1b[H\x1b[?1049l" in after


def test_a_wrong_passphrase_a_stranger_and_the_same_person_twice_get_no_share(place: Place):
    before = everything(place.folder)

    with place.sit("generate", *NAMES) as typist:
        typist.sees("ada, your passphrase: ")
        typist.types(passphrase("ben"))
        assert typist.end() == 1
        assert "that is not the passphrase" in typist.screen
    twice = place.run("generate", "ada", "ada", "ben")
    stranger = place.run("generate", "ada", "mallory")
    alone = place.run("generate", "--threshold", "1", "ada", "ben")
    too_many = place.run("generate", "--threshold", "4", *NAMES)

    assert (twice[0], "each share goes to another custodian" in twice[1]) == (1, True)
    assert (stranger[0], "not a custodian: mallory" in stranger[1]) == (1, True)
    assert (alone[0], too_many[0]) == (1, 1)
    assert changed(before, everything(place.folder)) == set()


def test_a_share_that_is_not_typed_back_ends_the_ceremony_with_nothing_done(place: Place):
    before = everything(place.folder)

    with place.sit("generate", *NAMES) as typist:
        prove(typist, *NAMES)
        paper = take_sheet(typist, "ada")
        for wrong in (paper[:-1], paper.replace(paper[-1], "q" if paper[-1] != "q" else "p"), "no share"):
            typist.sees("ada, your share: ")
            typist.types(wrong)
        assert typist.end() == 1

    assert "2 tries left" in typist.screen
    assert "nothing was changed" in typist.screen
    assert changed(before, everything(place.folder)) == set()


def leave_at_the_passphrase(typist: Typist) -> None:
    typist.sees("ada, your passphrase: ")


def leave_at_the_share(typist: Typist) -> None:
    prove(typist, *PAIR)
    typist.sees("Press Enter when you are alone. ")
    typist.types("")
    typist.sees("Press Enter when it is on paper. ")


def leave_at_the_last_question(typist: Typist) -> None:
    prove(typist, *PAIR)
    deal(typist, *PAIR)


@pytest.mark.control("UC-3.6.1.2")
@pytest.mark.parametrize(
    ("step", "key"),
    [
        (leave_at_the_passphrase, CTRL_C),
        (leave_at_the_passphrase, CTRL_D),
        (leave_at_the_share, CTRL_C),
        (leave_at_the_share, None),
        (leave_at_the_last_question, CTRL_C),
    ],
    ids=["Ctrl-C", "Ctrl-D", "Ctrl-C with a share shown", "SIGKILL with a share shown", "Ctrl-C at the end"],
)
def test_a_ceremony_that_is_left_at_any_step_changes_nothing(place: Place, step: Any, key: bytes | None):
    before = everything(place.folder)

    with place.sit("generate", *PAIR) as typist:
        step(typist)
        if key is None:
            assert typist.kill() == -9
        else:
            typist.presses(key)
            assert typist.end() == 130
            assert typist.screen.rstrip().endswith("nothing was changed")
            assert typist.screen.count("\x1b[?1049h") == typist.screen.count("\x1b[?1049l")

    assert changed(before, everything(place.folder)) == set()
    assert place.run("status")[0] == 0


@pytest.mark.control("UC-3.6.1.2")
@pytest.mark.parametrize("point", ["custody_before_file", "custody_after_file", "custody_after_record"])
def test_a_ceremony_killed_while_it_writes_is_wholly_done_or_not_at_all(place: Place, point: str):
    root = place.root.read_bytes()

    with place.sit("generate", *PAIR, CRASH_POINTS=point) as typist:
        prove(typist, *PAIR)
        papers = deal(typist, *PAIR)
        typist.types("yes")
        assert typist.end() == -9
    told = place.run("status")

    assert told[0] == 0, told[1]
    if point == "custody_before_file":
        assert place.root.read_bytes() == root
        assert "lies open" in told[1]
        assert [act["act"] for act in acts(place)] == ["enrolled"] * 3
    else:
        assert opens(place, key_of(papers, *PAIR)) == root
        assert [act["act"] for act in acts(place)] == ["enrolled"] * 3 + ["generated"]


def test_one_ceremony_at_a_time(place: Place):
    with place.sit("generate", *NAMES) as typist:
        typist.sees("ada, your passphrase: ")

        second = place.run("generate", *NAMES)

    assert (second[0], "another ceremony is being held" in second[1]) == (1, True)


def test_what_is_under_custody_is_not_put_there_again(kept: Place):
    before = everything(kept.folder)

    again = kept.run("generate", *NAMES)

    assert (again[0], "under custody already" in again[1]) == (1, True)
    assert changed(before, everything(kept.folder)) == set()


@pytest.mark.control("UC-3.6.1.2")
def test_pipes_are_refused_before_anything_is_asked(kept: Place):
    done = subprocess.run(
        [sys.executable, "-m", "vault", "custody", "verify", "ada"],
        cwd=ROOT,
        env={**os.environ, **kept.settings()},
        input="a passphrase in a pipe\n" * 3,
        capture_output=True,
        text=True,
        check=False,
        timeout=BUSY_SECONDS_MAX,
    )

    assert done.returncode == 1
    assert "at a terminal" in done.stderr
    assert done.stdout == ""


SEATED = (
    "import os, sys\nos.setsid()\ntty = os.open(sys.argv.pop(1), os.O_RDWR)\n[os.dup2(tty, n) for n in (0, 1, 2)]\n"
    + RUN
)


def test_the_one_command_line_leads_to_the_ceremony_and_leaves_the_terminal_as_it_was(place: Place, tmp_path: Path):
    house = tmp_path / "house"
    (house / "secrets" / "vault").mkdir(parents=True)
    place.root.rename(house / "secrets" / "vault" / "root.key")
    environment = {name: value for name, value in os.environ.items() if not name.startswith("UNDERCROFT_")}

    with terminal() as (master, slave):
        program = [sys.executable, "-c", SEATED, os.ttyname(slave), "custody", "enrol", "dora", "--folder", str(house)]
        with subprocess.Popen(program, cwd=ROOT, env=environment) as process:
            typist = Typist(Seated(process), master, slave)
            typist.sees("dora, a passphrase only you know: ")
            echoed = [typist.echoes]
            typist.presses(CTRL_C)
            code = typist.end()
        echoed.append(typist.echoes)

    assert (code, echoed) == (130, [False, True])
    assert "nothing was changed" in typist.screen


class Seated:
    """A subprocess by the names of a forked one."""

    def __init__(self, process: "subprocess.Popen[bytes]") -> None:
        self._process = process

    def is_alive(self) -> bool:
        return self._process.poll() is None

    def kill(self) -> None:
        self._process.kill()

    def join(self) -> None:
        self._process.wait()

    @property
    def exitcode(self) -> int | None:
        return self._process.returncode
