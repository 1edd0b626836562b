"""A real vault with somebody inside it, and its neighbours."""

import json
import secrets
import socket
import subprocess
import sys
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from pathlib import Path

from infra.chassis.walls.plan import Plan, python_reads
from infra.chassis.walls.settings import NAMES
from tests.sandbox.running import ROOT, Sandbox
from tests.support.database import DatabaseMaker
from tests.support.infiltrated import Infiltrator
from tests.support.walled import Attempt, try_inside
from tests.vault.process import Spawn, VaultProcess, vault_process

BARE = """
from infra.chassis.walls import process
process.drop_capabilities([], keep_low_ports=False)
print("there", flush=True)
input()
"""
REFUSED = {"EPERM", "EACCES"}
EVERYTHING = {"UNDERCROFT_VAULT_WALLS_CONNECTS": ""}
"""As the runner sets it; vault_process lets its vaults connect anywhere."""


@dataclass(frozen=True, slots=True)
class Within:
    """A vault, and somebody inside it. `walls`: name → why it does not stand, or None."""

    vault: VaultProcess
    infiltrator: Infiltrator
    walls: dict[str, str | None]

    @property
    def pid(self) -> int:
        process = self.vault.process
        assert isinstance(process, subprocess.Popen)
        return process.pid

    async def refuses(self, walls: str, name: str, *arguments: str | int) -> bool:
        """Whether it goes as the vault's own report says it will. `walls`, parted by commas: each of them stops it."""
        outcome = await self.infiltrator.attempt(name, *arguments)
        return (outcome in REFUSED) == any(self.walls[wall] is None for wall in walls.split(","))


@asynccontextmanager
async def infiltrated(
    database: DatabaseMaker,
    processor: Sandbox,
    folder: Path,
    settings: Mapping[str, str] = EVERYTHING,
    around: Callable[[Infiltrator], Spawn] | None = None,
) -> AsyncIterator[Within]:
    """`around` starts it in another way than by itself."""
    inside, report = Infiltrator.make(), folder / "walls.json"
    environment = {**settings, "UNDERCROFT_VAULT_WALLS_FILE": str(report)}
    spawn = inside.spawn if around is None else around(inside)
    own = folder / "vault"
    own.mkdir()
    try:
        async with vault_process(
            own, database("vault"), processor, timeout_seconds=4, environment=environment, spawn=spawn
        ) as vault:
            found = json.loads(report.read_text())["walls"]
            yield Within(vault, inside, {wall["name"]: None if wall["stands"] else wall["why"] for wall in found})
    finally:
        inside.close()


@contextmanager
def peer_service(folder: Path) -> Iterator[tuple[int, Path]]:
    """Another service's port and its key file."""
    key = folder / "memory" / "root.key"
    key.parent.mkdir()
    key.write_bytes(secrets.token_bytes(32))
    with socket.create_server(("127.0.0.1", 0)) as listening:
        yield listening.getsockname()[1], key


@contextmanager
def defenceless() -> Iterator[int]:
    """A process of our user which, as the vault, has none of root's powers, and no other wall."""
    program = [sys.executable, "-c", BARE]
    with subprocess.Popen(program, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stdout.readline()
        yield process.pid
        process.communicate(b"\n")


def neighbour(pid: int) -> dict[str, str]:
    """What a process of our user without root's powers may do to another one."""
    attempts: list[Attempt] = [
        ["read", f"/proc/{pid}/environ"],
        ["read", f"/proc/{pid}/mem"],
        ["read_memory", pid],
        ["trace", pid],
    ]
    plan = Plan(tuple(python_reads()), (), (), (1024,), None, resolves_names=True)
    tried = try_inside(plan, attempts, walls_left_out=",".join(NAMES - {"no_capabilities"}))
    assert tried.stands["no_capabilities"] is None
    return dict(zip(("read", "mem", "read_memory", "trace"), tried.outcomes, strict=True))
