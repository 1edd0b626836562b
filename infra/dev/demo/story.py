"""A story told while it happens: each step says who sent what to whom, who decided what, and how long it took."""

import sys
import textwrap
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import TextIO

WIDTH = 100


class DidNotHappen(Exception):
    """Something the story promises did not happen; the message says what was expected and what was seen."""


def require(happened: object, otherwise: str) -> None:
    """Break the story unless `happened`; `otherwise` is a sentence for the reader and holds no secret."""
    if not happened:
        raise DidNotHappen(otherwise)


class Step:
    def __init__(self) -> None:
        self.answers: list[str] = []

    def decided(self, who: str, what: str) -> None:
        """Who decided, and what; several may."""
        self.answers.append(f"{who}: {what}")


class Story:
    def __init__(self, out: TextIO | None = None) -> None:
        self._out = out = out or sys.stdout
        self._steps = 0
        self._bold, self._quiet, self._plain = ("\033[1m", "\033[2m", "\033[0m") if out.isatty() else ("", "", "")

    def say(self, text: str = "") -> None:
        self._out.write(f"{text}\n")
        self._out.flush()

    def chapter(self, title: str) -> None:
        self.say(f"\n{self._bold}{title}{self._plain}")

    @asynccontextmanager
    async def step(self, who: str, what: str) -> AsyncIterator[Step]:
        """Tell one step when it is over. An exception inside is told as a step that did not happen, and goes on up."""
        step = Step()
        started = time.perf_counter()
        try:
            yield step
        except BaseException:
            self._tell("✗", who, what, started, [])
            raise
        self._tell("✓", who, what, started, step.answers)

    def _tell(self, mark: str, who: str, what: str, started: float, answers: list[str]) -> None:
        self._steps += 1
        took = f"{(time.perf_counter() - started) * 1000:,.0f} ms"
        lines = textwrap.wrap(f"{who}: {what}", WIDTH - 18, subsequent_indent="  ")
        self.say(f" {mark} {self._steps:>2}  {lines[0]:<{WIDTH - 18}} {took:>10}")
        for line in lines[1:]:
            self.say(f"       {line}")
        for answer in answers:
            indent = " " * 9
            wrapped = textwrap.wrap(answer, WIDTH - 12, initial_indent="→ ", subsequent_indent="  ")
            self.say("\n".join(f"{self._quiet}{indent}{line}{self._plain}" for line in wrapped))
