"""A real vault with somebody else's code in it: `python -m tests.support.infiltrated` serves as `python -m vault` does.

Beside the vault's own background work it obeys whoever holds the other end of its standard input: it tries what it is
told, in a thread of its own, and says what came of it.
"""

import asyncio
import json
import socket
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

from infra.chassis.http import Background, Listener, serve
from tests.sandbox.running import ROOT
from tests.support.attempts import attempt
from vault import __main__ as vault_program

ANSWER_SECONDS_MAX = 30.0


@dataclass(slots=True)
class Infiltrator:
    """`spawn` is for tests.vault.process.vault_process."""

    own: socket.socket
    theirs: socket.socket
    prefix: Sequence[str] = ()
    read: Any = field(init=False)

    @classmethod
    def make(cls, prefix: Sequence[str] = ()) -> Self:
        own, theirs = socket.socketpair()
        own.settimeout(ANSWER_SECONDS_MAX)
        made = cls(own, theirs, prefix)
        made.read = own.makefile("r", encoding="utf-8")
        return made

    def spawn(self, environment: Mapping[str, str], log: Path) -> subprocess.Popen[bytes]:
        program = [*self.prefix, sys.executable, "-m", "tests.support.infiltrated"]
        with log.open("ab") as opened:
            return subprocess.Popen(
                program, cwd=ROOT, env=dict(environment), stdin=self.theirs.fileno(), stdout=opened, stderr=opened
            )

    async def attempt(self, name: str, *arguments: str | int) -> str:
        return await asyncio.to_thread(self._ask, [name, *arguments])

    def _ask(self, order: Sequence[str | int]) -> str:
        self.own.sendall(json.dumps(order).encode() + b"\n")
        return str(json.loads(self.read.readline()))

    def close(self) -> None:
        for end in (self.read, self.own, self.theirs):
            end.close()


async def _obey(stop: asyncio.Event) -> None:
    """Until the vault is to stop: it would wait ten seconds for whoever does not."""
    async with asyncio.TaskGroup() as tasks:
        obeying = tasks.create_task(_take_orders())
        await stop.wait()
        obeying.cancel()


async def _take_orders() -> None:
    with socket.socket(fileno=0) as line:
        reader, writer = await asyncio.open_unix_connection(sock=line)
        while order := await reader.readline():
            outcome = await asyncio.to_thread(attempt, *json.loads(order))
            writer.write(json.dumps(outcome).encode() + b"\n")
            await writer.drain()


async def _serve_and_obey(listeners: Sequence[Listener], background: Sequence[Background] = ()) -> None:
    await serve(listeners, [*background, _obey])


if __name__ == "__main__":
    vars(vault_program)["serve"] = _serve_and_obey
    sys.exit(vault_program.main(sys.argv[1:]))
