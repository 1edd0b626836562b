"""Killing a vault at a named step, bringing it up again, and asking what became of the money."""

import asyncio
import subprocess
from collections.abc import Awaitable, Callable
from datetime import timedelta
from typing import Any

import httpx2

from infra.chassis.engine import create_engine
from infra.chassis.secret import Secret
from infra.dev.postgres import ServiceDatabase
from tests.sandbox.running import Sandbox
from tests.support.waiting import BUSY_SECONDS_MAX
from tests.vault.forks import ForwardClock
from tests.vault.process import VaultProcess
from vault.ledger.check import check
from vault.store import Store

CRASH_POINTS = "UNDERCROFT_VAULT_CRASH_POINTS"
KILLED = -9


async def die(
    vault: VaultProcess,
    point: str,
    order: Callable[[], Awaitable[httpx2.Response]] | None = None,
    *,
    put_forward: timedelta = timedelta(),
) -> None:
    """Start anew with one crash point armed, give the order by which it is reached, if any, and see the process die."""
    await _restart(vault, point, put_forward, wait_ready=order is not None)
    if order is not None:
        try:
            answer = await order()
        except httpx2.TransportError:
            pass
        else:
            assert answer.status_code == 200, (point, answer.text)
    assert vault.process is not None
    try:
        code: int | None = await asyncio.to_thread(vault.process.wait, BUSY_SECONDS_MAX)
    except subprocess.TimeoutExpired:
        code = None
    assert code == KILLED, f"{point} was not reached: {code}\n{vault.log.read_text()[-2000:]}"


async def revive(vault: VaultProcess, *, put_forward: timedelta = timedelta()) -> None:
    """Start anew with nothing armed."""
    await _restart(vault, "", put_forward, wait_ready=True)


async def _restart(vault: VaultProcess, point: str, put_forward: timedelta, *, wait_ready: bool) -> None:
    vault.kill()
    assert isinstance(vault.mint.clock, ForwardClock)
    vault.mint.clock.advance(put_forward)
    vault.environment = {**(vault.environment or {}), CRASH_POINTS: point}
    if wait_ready:
        await vault.start()
    else:
        vault.process = vault.spawn(vault.environment, vault.log)


def charges_at(processor: Sandbox, charge_id: str) -> list[dict[str, Any]]:
    """What the processor says was attempted for a charge of ours, the newest thousand of all considered."""
    answer = processor.plain.get(f"{processor.url}/_sandbox/charges").json()["charges"]
    return [item for item in answer if item["metadata"].get("charge_id") == charge_id]


async def checked(databases: ServiceDatabase, tenant_id: str) -> bool:
    """Whether everything has ended. The ledger has to agree at any time."""
    engine = create_engine(Secret(databases.app_dsn), pool_size=1)
    try:
        found = await check(Store(engine), tenant_id)
    finally:
        await engine.dispose()
    assert found.differences == ()
    return found.unfinished == 0
