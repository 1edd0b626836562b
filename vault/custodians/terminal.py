"""A real terminal, for what must not be seen: nothing typed is echoed, what is shown once is wiped from the screen.

Pipes and files are refused, for a share would stay in one. What a person types hidden is read into a buffer that its
reader wipes. Not in our hands: a terminal that records, a multiplexer that logs, a camera.
"""

import contextlib
import os
import signal
import sys
import termios
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from types import FrameType
from typing import Final

LINE_BYTES_MAX: Final = 4096
"""What a terminal holds of a line (N_TTY_BUF_SIZE of Linux)."""
_OTHER_SCREEN: Final = "\x1b[?1049h\x1b[2J\x1b[H"
_BACK: Final = "\x1b[2J\x1b[3J\x1b[H\x1b[?1049l"
"""Clears the other screen and what a terminal keeps of it for scrolling, then shows what was there before."""
_STOPS: Final = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class NoTerminal(Exception):
    """Input or output is a pipe or a file."""


class Left(Exception):
    """Somebody typed Ctrl-C or Ctrl-D, or the terminal is gone."""


class Terminal:
    """Use it as `with Terminal.taken() as terminal`: signals then undo what is on the screen before they end us."""

    def __init__(self) -> None:
        if not (sys.stdin.isatty() and sys.stdout.isatty()):
            raise NoTerminal("this is done at a terminal: input and output must not be pipes or files")
        self._descriptor = sys.stdin.fileno()

    @classmethod
    @contextmanager
    def taken(cls) -> Iterator["Terminal"]:
        """Raises NoTerminal; and Left wherever something is asked."""
        terminal = cls()
        before = {number: signal.signal(number, _leave) for number in _STOPS}
        before[signal.SIGTSTP] = signal.signal(signal.SIGTSTP, signal.SIG_IGN)  # no going away with echo off
        try:
            yield terminal
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    def say(self, *lines: str) -> None:
        sys.stdout.write("".join(f"{line}\n" for line in lines))
        sys.stdout.flush()

    def ask(self, question: str) -> str:
        """What is no secret."""
        self._write(question)
        typed = self._line()
        return typed.decode(errors="replace").strip()

    def ask_hidden(self, question: str) -> bytearray:
        """What is not to be seen, without the end of its line. Whoever asks wipes it."""
        with self._unseen():
            self._write(question)
            try:
                return self._line()
            finally:
                with contextlib.suppress(OSError):
                    self._write("\n")

    def show_once(self, lines: Sequence[str], question: str) -> None:
        """On a screen of its own until Enter is pressed, and then nowhere."""
        with self._unseen():
            try:
                self._write(_OTHER_SCREEN + "".join(f"{line}\n" for line in lines) + question)
                self._line()
            finally:
                with contextlib.suppress(OSError):  # a terminal that is gone shows nothing
                    self._write(_BACK)

    @contextmanager
    def _unseen(self) -> Iterator[None]:
        """Also what was typed too early is not shown: it is thrown away."""
        before = termios.tcgetattr(self._descriptor)
        silent = termios.tcgetattr(self._descriptor)
        silent[3] &= ~(termios.ECHO | termios.ECHONL)
        termios.tcsetattr(self._descriptor, termios.TCSAFLUSH, silent)
        try:
            yield
        finally:
            with contextlib.suppress(termios.error):
                termios.tcsetattr(self._descriptor, termios.TCSAFLUSH, before)

    def _line(self) -> bytearray:
        """Raises Left."""
        buffer = bytearray(LINE_BYTES_MAX)
        try:
            length = os.readv(self._descriptor, [buffer])
        except OSError:
            raise Left from None
        if not length:
            raise Left
        del buffer[length:]
        while buffer and buffer[-1] in b"\r\n":
            del buffer[-1]
        return buffer

    @staticmethod
    def _write(text: str) -> None:
        sys.stdout.write(text)
        sys.stdout.flush()


def _leave(_number: int, _frame: FrameType | None) -> None:
    for number in _STOPS:
        signal.signal(number, signal.SIG_IGN)  # wiping the screen is not to be interrupted
    raise Left
