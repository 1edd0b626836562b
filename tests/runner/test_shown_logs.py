"""What a service was told by a stranger stands in its log; root's terminal shows it and does not obey it."""

from argparse import Namespace
from pathlib import Path

import pytest

from infra.cli import running
from infra.cli.console import complain

TITLE, UP, EIGHT_BITS, OTHER_WAY, LINE = "\x1b]0;owned\x07", "\x1b[2A", "\x9b2J", "\u202e", "\u2028"
OBEYED = TITLE + UP + EIGHT_BITS + OTHER_WAY + LINE
SHOWN = r"\x1b]0;owned\x07\x1b[2A\x9b2J\u202e\u2028"


@pytest.fixture
def log(tmp_path: Path) -> Path:
    (tmp_path / "logs").mkdir()
    return tmp_path / "logs" / "gateway.log"


def asked(log: Path, *, lines: int = 200, follow: bool = False) -> Namespace:
    return Namespace(folder=log.parents[1], name="gateway", lines=lines, follow=follow)


def test_control_characters_of_a_log_are_shown_and_not_sent(log: Path, capsys: pytest.CaptureFixture[str]):
    log.write_text(f"before\nname\t{OBEYED} Zoë 東京\nafter\n")

    code = running.logs(asked(log, lines=2))

    assert (code, capsys.readouterr().out) == (0, f"name\t{SHOWN} Zoë 東京\nafter\n")


def test_a_log_whose_last_line_is_not_ended_and_bytes_that_are_no_text_are_shown(
    log: Path, capsys: pytest.CaptureFixture[str]
):
    log.write_bytes(b"one\ntwo \xff\x1b[H")

    running.logs(asked(log, lines=1))

    assert capsys.readouterr().out == "two \N{REPLACEMENT CHARACTER}\\x1b[H\n"


def test_what_is_added_while_it_is_followed_is_shown_the_same_way(
    log: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
):
    log.write_text("")
    coming = [OBEYED + "\n"]

    def pause(_seconds: float) -> None:
        """Instead of waiting: somebody writes, and then Ctrl-C."""
        if not coming:
            raise KeyboardInterrupt
        with log.open("a") as file:
            file.write(coming.pop())

    monkeypatch.setattr("infra.cli.running.time.sleep", pause)
    running.logs(asked(log, follow=True))

    assert capsys.readouterr().out == f"{SHOWN}\n"


def test_the_end_of_a_log_in_a_complaint_is_not_obeyed_either(capsys: pytest.CaptureFixture[str]):
    complain(f"vault stopped. The end of its log:\n    {OBEYED}")

    assert capsys.readouterr().err == f"undercroft: vault stopped. The end of its log:\n    {SHOWN}\n"
