"""Vaults that start in a moment, to be killed by the hundred: forked from a process that has imported everything.

Each is `python -m vault` in all but the import: its own process, its own memory, killed by SIGKILL. Their clock can be
put forward, which is how the time that a killed worker had for its work passes without waiting for it.
"""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from infra.chassis.clock import SystemClock
from tests.sandbox.running import ROOT
from tests.support.waiting import BUSY_SECONDS_MAX
from vault.__main__ import main

POLL_SECONDS = 0.005


@dataclass(slots=True)
class ForwardClock:
    """The real one, put forward."""

    by: timedelta = timedelta()

    def now(self) -> datetime:
        return SystemClock().now() + self.by

    def advance(self, by: timedelta) -> None:
        self.by += by


@dataclass(slots=True)
class Forked:
    """A process as `subprocess.Popen` shows one."""

    nursery: "Nursery"
    pid: int
    code: int | None = None

    def poll(self) -> int | None:
        if self.code is None:
            self.code = self.nursery.ask({"poll": self.pid})
        return self.code

    def wait(self, timeout: float) -> int:
        deadline = time.monotonic() + timeout
        while (code := self.poll()) is None:
            if time.monotonic() > deadline:
                raise subprocess.TimeoutExpired("vault", timeout)
            time.sleep(POLL_SECONDS)
        return code

    def kill(self) -> None:
        self._signal(signal.SIGKILL)

    def terminate(self) -> None:
        self._signal(signal.SIGTERM)

    def _signal(self, number: signal.Signals) -> None:
        if self.poll() is None:
            os.kill(self.pid, number)


@dataclass(slots=True)
class Nursery:
    """Where they are forked, and how far their clock is put forward."""

    process: subprocess.Popen[str]
    clock: ForwardClock = field(default_factory=ForwardClock)

    def spawn(self, environment: Mapping[str, str], log: Path) -> Forked:
        order = {"environment": dict(environment), "log": str(log), "seconds": self.clock.by.total_seconds()}
        return Forked(self, int(self.ask(order)))

    def ask(self, order: Mapping[str, Any]) -> Any:
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write(json.dumps(order) + "\n")
        self.process.stdin.flush()
        return json.loads(self.process.stdout.readline())


@contextmanager
def nursery() -> Iterator[Nursery]:
    """Whatever happens, no process is left: the children are killed when the pipe to their parent closes."""
    program = [sys.executable, "-m", "tests.vault.forks"]
    with subprocess.Popen(program, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        yield Nursery(process)
        assert process.stdin is not None
        process.stdin.close()
        process.wait(BUSY_SECONDS_MAX)


def _serve_orders() -> None:
    children: set[int] = set()
    for line in sys.stdin:
        order = json.loads(line)
        if "poll" in order:
            answer = _poll(order["poll"], children)
        else:
            answer = os.fork()
            if answer == 0:
                _become_vault(order)
            children.add(answer)
        sys.stdout.write(f"{json.dumps(answer)}\n")
        sys.stdout.flush()
    for child in children:
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)


def _poll(pid: int, children: set[int]) -> int | None:
    ended, status = os.waitpid(pid, os.WNOHANG)
    if ended == 0:
        return None
    children.discard(pid)
    return os.waitstatus_to_exitcode(status)


def _become_vault(order: Mapping[str, Any]) -> None:
    log = os.open(order["log"], os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
    nothing = os.open(os.devnull, os.O_RDONLY)
    for source, target in ((nothing, 0), (log, 1), (log, 2)):
        os.dup2(source, target)
    os.environ.clear()
    os.environ.update(order["environment"])
    code = 70
    try:
        code = main([], ForwardClock(timedelta(seconds=order["seconds"])))
    finally:
        os._exit(code)


if __name__ == "__main__":
    _serve_orders()
