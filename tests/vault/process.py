"""The vault as a process of its own on free ports, to be killed, started again and searched."""

import secrets
import subprocess
import sys
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Protocol

import httpx2

from infra.chassis.clock import Clock, SystemClock
from infra.dev.postgres import ServiceDatabase
from tests.sandbox.running import API_KEY, NO_TLS, ROOT, WEBHOOK_SECRET, Sandbox, free_port
from tests.support.grants import TestMint
from tests.support.waiting import BUSY_SECONDS_MAX, wait_until
from tests.vault.bench import DOOR_ORIGIN, Doors


class Process(Protocol):
    """What `subprocess.Popen` can, and a fork of one that waits with everything imported."""

    def poll(self) -> int | None: ...

    def wait(self, timeout: float) -> int: ...

    def kill(self) -> None: ...

    def terminate(self) -> None: ...


Spawn = Callable[[Mapping[str, str], Path], Process]


def run_program(environment: Mapping[str, str], log: Path) -> Process:
    with log.open("ab") as opened:
        return subprocess.Popen(
            [sys.executable, "-m", "vault"], cwd=ROOT, env=dict(environment), stdout=opened, stderr=opened
        )


@dataclass(slots=True)
class VaultProcess(Doors):
    log: Path = Path()
    environment: dict[str, str] | None = None
    process: Process | None = None
    spawn: Spawn = run_program

    async def start(self) -> None:
        self.process = self.spawn(self.environment or {}, self.log)
        await wait_until(self._ready)

    async def _ready(self) -> bool:
        assert self.process is not None
        assert self.process.poll() is None, self.log.read_text()
        try:
            return (await self.api.get("/ready")).status_code == 200
        except httpx2.TransportError:
            return False

    def kill(self) -> None:
        """As a crash would: no warning, nothing written."""
        assert self.process is not None
        self.process.kill()
        self.process.wait(BUSY_SECONDS_MAX)

    def stop(self) -> int:
        assert self.process is not None
        self.process.terminate()
        return self.process.wait(BUSY_SECONDS_MAX)


@asynccontextmanager
async def vault_process(
    folder: Path,
    databases: ServiceDatabase,
    processor: Sandbox,
    *,
    timeout_seconds: int,
    webhook_port: int | None = None,
    environment: Mapping[str, str] = MappingProxyType({}),
    spawn: Spawn = run_program,
    clock: Clock | None = None,
) -> AsyncIterator[VaultProcess]:
    """A started vault and its callers. Whatever happens, no process is left."""
    mint = TestMint(clock or SystemClock(), "vault")
    port, page_port = free_port(), free_port()
    page_url = f"http://127.0.0.1:{page_port}"
    settings = {
        "BIND": f"127.0.0.1:{port}",
        "PAGE_BIND": f"127.0.0.1:{page_port}",
        "WEBHOOK_BIND": f"127.0.0.1:{webhook_port or free_port()}",
        "PAGE_URL": page_url,
        "DATABASE_URL_FILE": _file(folder / "database.url", databases.app_dsn.encode()),
        "GRANT_JWKS_FILE": str(mint.write_jwks(folder / "grant.jwks")),
        "GRANT_ISSUER": mint.issuer,
        "DOOR_ORIGIN": DOOR_ORIGIN,
        "ROOT_KEY_FILE": _file(folder / "root.key", secrets.token_bytes(32)),
        "FINGERPRINT_KEY_FILE": _file(folder / "fingerprint.key", secrets.token_bytes(32)),
        "OUTBOX_KEY_FILE": _file(folder / "outbox.key", secrets.token_bytes(32)),
        "PROCESSOR_URL": processor.url,
        "PROCESSOR_KEY_FILE": _file(folder / "processor.key", API_KEY.encode()),
        "WEBHOOK_SECRET_FILE": _file(folder / "webhook.secret", WEBHOOK_SECRET.encode()),
        "PROCESSOR_TIMEOUT_SECONDS": str(timeout_seconds),
        "SANDBOX": "true",
        "WALLS_CONNECTS": "any",  # tests put those the vault calls on ports it has not been told of
    }
    async with _client(f"http://127.0.0.1:{port}") as api, _client(page_url) as browser:
        vault = VaultProcess(
            mint=mint,
            api=api,
            browser=browser,
            page_url=page_url,
            log=folder / "vault.log",
            spawn=spawn,
            environment={
                "PATH": "/usr/bin:/bin",
                **{f"UNDERCROFT_VAULT_{name}": value for name, value in settings.items()},
                **environment,
            },
        )
        await vault.start()
        try:
            yield vault
        finally:
            vault.kill()


def _client(base_url: str) -> httpx2.AsyncClient:
    return httpx2.AsyncClient(base_url=base_url, verify=NO_TLS, timeout=BUSY_SECONDS_MAX)


def _file(path: Path, content: bytes) -> str:
    path.write_bytes(content)
    path.chmod(0o600)
    return str(path)
