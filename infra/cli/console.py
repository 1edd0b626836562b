"""What the command line writes. Standard library only: the bootstrap uses it before anything is installed."""

import sys
import time
from collections.abc import Iterable, Sequence
from types import TracebackType
from typing import Self

QUIET_SECONDS = 5.0  # without a terminal a line this often shows that something happens


def printable(text: str) -> str:
    r"""What others wrote, for a terminal: lines and tabs stay; control characters and the like are shown as `\x1b`.

    A terminal obeys them: they set its title, move its cursor over what stood there, and some make it type.
    """
    return "".join(one if one in "\n\t" or one.isprintable() else _as_escape(one) for one in text)


def _as_escape(one: str) -> str:
    return one.encode("unicode_escape").decode("ascii")


def say(text: str = "") -> None:
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


def complain(text: str) -> None:
    """The end of a log may be in it."""
    sys.stderr.write(f"undercroft: {printable(text)}\n")
    sys.stderr.flush()


def step(what: str, seconds: float) -> None:
    """Say what was done and how long it took."""
    say(f"  {seconds:6.1f} s  {what}")


def table(rows: Iterable[Sequence[str]], *, indent: str = "  ") -> str:
    """Lay rows out in columns as wide as their widest cell."""
    lines = [tuple(map(str, row)) for row in rows]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    return "\n".join(
        indent + "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip()
        for line in lines
    )


class Progress:
    """Shows one step while it runs: in place on a terminal, as a line now and then elsewhere; then how long it took."""

    def __init__(self, what: str) -> None:
        self._what = what
        self._live = sys.stdout.isatty()
        self._started = self._shown = 0.0

    def __enter__(self) -> Self:
        self._started = self._shown = time.monotonic()
        self._write("")
        return self

    def show(self, stage: str) -> None:
        now = time.monotonic()
        if self._live or now - self._shown > QUIET_SECONDS:
            self._shown = now
            self._write(stage)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._live:
            sys.stdout.write("\r\033[K")
        if kind is None:
            step(self._what, time.monotonic() - self._started)

    def _write(self, stage: str) -> None:
        text = f"            {self._what} … {stage}".rstrip()
        sys.stdout.write(f"\r\033[K{text[:110]}" if self._live else f"{text}\n")
        sys.stdout.flush()
