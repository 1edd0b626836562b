"""The memory beginning with a key service that is not a file."""

import asyncio
import sys
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path

import httpx2
import pytest

from infra.chassis.clock import SystemClock
from tests.support.database import DatabaseMaker
from tests.support.grants import TestMint
from tests.support.serving import free_port
from tests.support.transit import transit_engine
from tests.support.waiting import wait_until

ROOT = Path(__file__).parents[2]


@asynccontextmanager
async def started(environment: Mapping[str, str]) -> AsyncIterator[asyncio.subprocess.Process]:
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "memory", cwd=ROOT, env=dict(environment), stderr=asyncio.subprocess.PIPE
    )
    try:
        yield process
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()


@pytest.mark.control("UC-3.6.1")
async def test_the_memory_begins_with_a_transit_engine_and_not_without_its_key(database: DatabaseMaker, tmp_path: Path):
    mint, port = TestMint(SystemClock(), "memory"), free_port()
    url = tmp_path / "database.url"
    url.touch(mode=0o600)
    url.write_text(database("memory").app_dsn)
    async with transit_engine(tmp_path) as engine:
        settings = {
            "BIND": f"127.0.0.1:{port}",
            "DATABASE_URL_FILE": str(url),
            "GRANT_JWKS_FILE": str(mint.write_jwks(tmp_path / "grant.jwks")),
            "GRANT_ISSUER": mint.issuer,
            "SANDBOX": "true",
            "KEY_SERVICE": "transit",
            "ROOT_KEY_NAME": engine.as_service.key_name,
            "TRANSIT_URL": engine.as_service.url,
            "TRANSIT_BEARER_FILE": str(engine.as_service.bearer_file),
        }
        environment = {"PATH": "/usr/bin:/bin", **{f"UNDERCROFT_MEMORY_{name}": one for name, one in settings.items()}}
        async with started(environment):
            await wait_until(lambda: ready(port))
        async with started(environment | {"UNDERCROFT_MEMORY_ROOT_KEY_NAME": "another"}) as refused:
            _, said = await asyncio.wait_for(refused.communicate(), 30)

    assert refused.returncode == 3
    assert said.decode().startswith("memory cannot start: the transit server answered")


async def ready(port: int) -> bool:
    try:
        async with httpx2.AsyncClient(verify=False) as client:
            return (await client.get(f"http://127.0.0.1:{port}/ready")).status_code == 200
    except httpx2.TransportError:
        return False
