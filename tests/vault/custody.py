"""Custodians at a terminal: the real commands on a pseudo-terminal, typed at and read as a person would.

A command is forked from a server that has imported everything once, as in killing.py; the pseudo-terminal is its
controlling one, so Ctrl-C is the terminal's and not a signal of ours.
"""

import argparse
import contextlib
import json
import multiprocessing
import os
import pty
import re
import select
import shutil
import sys
import tempfile
import termios
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from infra.chassis.keys.custody import Custody, Sealed
from infra.chassis.keys.ringfile import RingFile
from infra.chassis.secret import Secret
from infra.chassis.settings import SettingsIncomplete
from tests.support.keys import root_file
from vault.custodians import shamir, sheets
from vault.custodians.commands import add_custody, custody
from vault.token_commands import add_tokens, tokens

SECONDS_MAX = 60.0
SHEET = re.compile(r"ucs1(?:\s+[a-z0-9]{1,4}\b)+")
SETTINGS_EXIT = 2
HEAD_LETTERS = len("ucs1") + 10
"""Of a share: which one of which ceremony it is, which is no secret."""
LETTERS_IN_A_ROW = 12
"""Of a share, in a text: 60 bits. Four letters stand somewhere in any log by chance."""
CTRL_C, CTRL_D = b"\x03", b"\x04"
_FORKS = multiprocessing.get_context("forkserver")
_FORKS.set_forkserver_preload(["vault.custodians.commands", "vault.token_commands"])
OBEYED = {"custody": custody, "tokens": tokens}
"""What is typed after `vault`; `custody` unless said."""


NAMES = ("ada", "ben", "cleo")
PAIR = NAMES[:2]


def passphrase(name: str) -> str:
    return f"{name} walks the dog at noon"


class Running(Protocol):
    """What is asked of the command's process."""

    def is_alive(self) -> bool: ...

    def kill(self) -> None: ...

    def join(self) -> None: ...

    @property
    def exitcode(self) -> int | None: ...


@dataclass(slots=True)
class Typist:
    """A person at a terminal on which one command runs."""

    process: Running
    master: int
    slave: int
    screen: str = ""
    _read: int = 0

    def sees(self, words: str) -> str:
        """Wait until these words stand on the screen, below what was waited for before; what was shown until then."""
        deadline = time.monotonic() + SECONDS_MAX
        while (found := self.screen.find(words, self._read)) < 0:
            assert self._more(deadline), f"{words!r} is not to be seen in:\n{self.screen[self._read :]}"
        shown, self._read = self.screen[self._read : found], found + len(words)
        return shown

    def types(self, line: str) -> None:
        os.write(self.master, line.encode() + b"\n")

    def presses(self, key: bytes) -> None:
        os.write(self.master, key)

    @property
    def echoes(self) -> bool:
        return bool(termios.tcgetattr(self.slave)[3] & termios.ECHO)

    def kill(self) -> int:
        """As a crash would: no warning, nothing put right."""
        self.process.kill()
        return self.end()

    def end(self) -> int:
        """Wait for its end and read what is left; the exit code."""
        deadline = time.monotonic() + SECONDS_MAX
        while self.process.is_alive():
            assert time.monotonic() < deadline, f"it does not end:\n{self.screen[self._read :]}"
            self._more(time.monotonic() + 0.05)
        while self._more(time.monotonic()):
            pass
        self.process.join()
        assert self.process.exitcode is not None
        return self.process.exitcode

    def _more(self, deadline: float) -> bool:
        """Whether there was anything to read in time, or anybody who may yet write."""
        while True:
            if select.select([self.master], [], [], 0.05)[0]:
                self.screen += os.read(self.master, 65536).decode().replace("\r\n", "\n")
                return True
            if time.monotonic() >= deadline:
                return False
            if not self.process.is_alive() and not select.select([self.master], [], [], 0)[0]:
                return False


@dataclass(frozen=True, slots=True)
class Place:
    """A root file and its custody folder, and the environment of who works there."""

    folder: Path
    environment: dict[str, str] = field(default_factory=dict)
    elsewhere: Path | None = None

    @property
    def root(self) -> Path:
        return self.folder / "root.key"

    @property
    def custody(self) -> Path:
        return self.elsewhere or self.folder / "root.key.custody"

    @property
    def record(self) -> Path:
        return self.custody / "record.jsonl"

    def settings(self, **changes: str) -> dict[str, str]:
        values = {"ROOT_KEY_FILE": str(self.root), "SANDBOX": "true"} | changes
        return {**{f"UNDERCROFT_VAULT_{name}": value for name, value in values.items()}, **self.environment}

    @contextmanager
    def sit(self, *arguments: str, **settings: str) -> Iterator[Typist]:
        """At a terminal at which `custody <arguments>` runs, or `tokens …`. No process is left."""
        with terminal() as (master, slave):
            process = _FORKS.Process(target=_obey, args=(os.ttyname(slave), arguments, self.settings(**settings)))
            process.start()
            try:
                yield Typist(process, master, slave)
            finally:
                process.kill()
                process.join()

    def run(self, *arguments: str, **settings: str) -> tuple[int, str]:
        """A command that asks nothing: its exit code and what it said."""
        with self.sit(*arguments, **settings) as typist:
            return typist.end(), typist.screen

    def enrol(self, *names: str) -> None:
        for name in names:
            with self.sit("enrol", name) as typist:
                typist.sees("a passphrase only you know: ")
                typist.types(passphrase(name))
                typist.sees("the same again: ")
                typist.types(passphrase(name))
                assert typist.end() == 0, typist.screen

    def generate(self, *names: str, threshold: int = 2, **settings: str) -> dict[str, str]:
        """Put the root under custody; what each custodian has on paper."""
        with self.sit("generate", "--threshold", str(threshold), *names, **settings) as typist:
            prove(typist, *names)
            sheets = deal(typist, *names)
            typist.types("yes")
            assert typist.end() == 0, typist.screen
        return sheets

    def give(self, verb: str, name: str, sheet: str, **settings: str) -> tuple[int, str]:
        """`enter` or `verify`: a custodian's passphrase and his share; the exit code and what was said."""
        with self.sit(verb, name, **settings) as typist:
            prove(typist, name)
            typist.sees(f"{name}, your share: ")
            typist.types(sheet)
            return typist.end(), typist.screen

    def copy(self, folder: Path) -> "Place":
        shutil.copytree(self.folder, folder, dirs_exist_ok=True)
        return Place(folder, dict(self.environment))


def enrolled_place(folder: Path) -> Place:
    """Three custodians, and a root that lies open."""
    place = Place(folder)
    place.enrol(*NAMES)
    root_file(place.folder).rename(place.root)
    return place


def acts(place: Place) -> list[dict[str, Any]]:
    return [json.loads(line)["statement"] for line in place.record.read_text().splitlines()]


def everything(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


def changed(before: dict[str, bytes], after: dict[str, bytes]) -> set[str]:
    locks = {"root.key.lock", "root.key.custody/lock"}
    return {name for name in before.keys() | after.keys() if before.get(name) != after.get(name)} - locks


def tells(text: str, paper: str) -> bool:
    """Whether letters of the share on this paper stand in the text, however they are parted."""
    bare, letters = "".join(text.split()), paper.replace(" ", "")
    starts = range(HEAD_LETTERS, len(letters) - LETTERS_IN_A_ROW + 1)
    return any(letters[start : start + LETTERS_IN_A_ROW] in bare for start in starts)


def key_of(papers: dict[str, str], *names: str) -> Secret[bytes]:
    """The custody key, put together by hand."""
    shares = [sheets.read(bytearray(papers[name].encode())) for name in names]
    return Secret(bytes(shamir.combine({one.number: one.value for one in shares}, len(shares))))


def opens(place: Place, key: Secret[bytes]) -> bytes | None:
    """The root in the file, if this key opens it."""
    custody = Custody(place.root)
    custody.give(key)
    try:
        return RingFile(place.root, custody).read().newest.key.reveal()
    except Sealed:
        return None


def prove(typist: Typist, *names: str) -> None:
    for name in names:
        typist.sees(f"{name}, your passphrase: ")
        typist.types(passphrase(name))


def approves(typist: Typist, name: str) -> None:
    typist.sees("Who approves? ")
    typist.types(name)
    prove(typist, name)


def deal(typist: Typist, *names: str) -> dict[str, str]:
    """Each takes his share off the screen and types it back, until the question whether to seal."""
    sheets = {}
    for name in names:
        sheets[name] = take_sheet(typist, name)
        typist.sees(f"{name}, your share: ")
        typist.types(sheets[name])
    typist.sees("Type yes to seal: ")
    return sheets


def take_sheet(typist: Typist, name: str) -> str:
    typist.sees(f"{name}: your share comes next")
    typist.sees("Press Enter when you are alone. ")
    typist.types("")
    shown = typist.sees("Press Enter when it is on paper. ")
    found = SHEET.search(shown)
    assert found is not None, shown
    typist.types("")
    return " ".join(found[0].split())


@contextmanager
def terminal() -> Iterator[tuple[int, int]]:
    master, slave = pty.openpty()
    try:
        yield master, slave
    finally:
        os.close(master)
        os.close(slave)


@contextmanager
def short_folder() -> Iterator[Path]:
    """The name of a socket may have 107 bytes, which pytest's own folders leave no room for."""
    with tempfile.TemporaryDirectory(prefix="uc-") as folder:
        yield Path(folder)


def _obey(tty: str, arguments: tuple[str, ...], environment: dict[str, str]) -> None:
    os.environ.update(environment)  # a token's library reads there where its tokens are
    os.setsid()
    descriptor = os.open(tty, os.O_RDWR)  # the first one a leader without a terminal opens becomes his
    for number in (0, 1, 2):
        os.dup2(descriptor, number)
    parser = argparse.ArgumentParser(prog="vault")
    commands = parser.add_subparsers(dest="command")
    add_custody(commands.add_parser("custody"))
    add_tokens(commands.add_parser("tokens"))
    chosen = parser.parse_args(arguments if arguments[0] in OBEYED else ("custody", *arguments))
    with open(0, closefd=False) as sys.stdin, open(1, "w", closefd=False) as sys.stdout:
        sys.stderr = sys.stdout
        code = SETTINGS_EXIT
        with contextlib.suppress(SettingsIncomplete):
            code = OBEYED[chosen.command](chosen, environment)
        sys.stdout.flush()
    os._exit(code)
