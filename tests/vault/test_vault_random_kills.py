"""The vault is killed at random moments under load, and afterwards every purchase is looked for at the processor.

CI kills it eight times; `UNDERCROFT_KILLS=200` is the long run, whose last result is in the decision about the ledger.
"""

import asyncio
import os
import random
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any

import httpx2
import pytest

from infra.chassis import logs
from infra.chassis.ids import new_id
from infra.dev.postgres import ServiceDatabase
from tests.sandbox.running import Sandbox, make_sandbox
from tests.support.database import DatabaseMaker
from tests.support.waiting import wait_until
from tests.vault.bench import Person, rows
from tests.vault.forks import nursery
from tests.vault.killed import checked, revive
from tests.vault.process import VaultProcess, vault_process
from vault.contract import ChargeOrder, SettleOrder, VoidOrder

KILLS = int(os.environ.get("UNDERCROFT_KILLS", "8"))
AT_ONCE, UP_SECONDS_MAX = 6, 1.0
PUT_FORWARD = timedelta(seconds=30)
"""More than a worker may take for its work, so that nobody waits for a killed one."""
RETRY_SECONDS, AWAY_SECONDS = 0.02, 0.2
log = logs.get_logger()
NOT_YET = frozenset({"unknown", None})


@dataclass(slots=True)
class Load:
    """Purchases as gateways make them: each order is repeated, under its own id, until it has an end."""

    vault: VaultProcess
    person: Person
    token: str
    chance: random.Random
    stopped: bool = False
    seen: Counter[str] = field(default_factory=Counter)

    async def run(self) -> None:
        while not self.stopped:
            if self.chance.random() < 0.5:
                await self._charge_and_give_back()
            else:
                await self._hold_and_end()

    async def _charge_and_give_back(self) -> None:
        order = self.person.charge(self.token)
        if await self._until_ended(lambda: self.vault.charge(order)) != "approved":
            return
        refund = self.person.refund(order.charge_id, self.chance.randint(1, order.amount_minor))
        clicks = (self._until_ended(lambda: self.vault.refund(refund)) for _ in range(2))
        await asyncio.gather(*clicks)

    async def _hold_and_end(self) -> None:
        order = self.person.hold(self.token)
        if await self._until_ended(lambda: self.vault.hold(order)) == "held":
            await self._until_ended(self._ending(order))

    def _ending(self, hold: ChargeOrder) -> Callable[[], Awaitable[httpx2.Response]]:
        whose = {"tenant_id": hold.tenant_id, "brand_id": hold.brand_id, "subject_id": hold.subject_id}
        if self.chance.random() < 0.3:
            void = VoidOrder(void_id=new_id("vod"), charge_id=hold.charge_id, **whose)
            return lambda: self.vault.send("/v1/voids", "void", void)
        settle = SettleOrder(
            settlement_id=new_id("stl"),
            charge_id=hold.charge_id,
            amount_minor=self.chance.randint(1, hold.amount_minor),
            currency="USD",
            **whose,
        )
        return lambda: self.vault.send("/v1/settlements", "settle", settle)

    async def _until_ended(self, ask: Callable[[], Awaitable[httpx2.Response]]) -> str | None:
        """Its end; None when the load stopped before. A grant may have run out while the vault was away."""
        while not self.stopped:
            state = None
            try:
                answer = await ask()
                assert answer.status_code in {200, 403}, answer.text
                state = answer.json().get("state")
            except httpx2.TransportError:
                self.seen["lost"] += 1
                await asyncio.sleep(AWAY_SECONDS)
            if state not in NOT_YET:
                self.seen[str(state)] += 1
                return state
            await asyncio.sleep(RETRY_SECONDS)
        return None


@asynccontextmanager
async def loaded(vault: VaultProcess, chance: random.Random) -> AsyncIterator[Load]:
    ada = Person()
    load = Load(vault, ada, (await vault.paid_charge(ada)).token_id, chance)
    callers = [asyncio.create_task(load.run()) for _ in range(AT_ONCE)]
    try:
        yield load
    finally:
        load.stopped = True
        await asyncio.gather(*callers)


@pytest.fixture
def own_processor(tmp_path: Path) -> Iterator[Sandbox]:
    sandbox = make_sandbox(tmp_path / "processor")
    sandbox.start()
    yield sandbox
    sandbox.end()


@pytest.mark.control("UC-C.1", "UC-C.2")
async def test_killed_at_random_under_load_all_money_is_taken_once_or_not_at_all(
    database: DatabaseMaker, own_processor: Sandbox, tmp_path: Path
):
    chance, databases = random.Random(20261121), database("vault")  # noqa: S311 - the same moments every time
    with nursery() as forks:
        async with vault_process(
            tmp_path, databases, own_processor, timeout_seconds=5, spawn=forks.spawn, clock=forks.clock
        ) as vault:
            async with loaded(vault, chance) as load:
                for _ in range(KILLS):
                    await asyncio.sleep(chance.uniform(0.01, UP_SECONDS_MAX))
                    await revive(vault, put_forward=PUT_FORWARD)
            await revive(vault, put_forward=PUT_FORWARD)
            await wait_until(lambda: checked(databases, load.person.tenant_id))

    found = await agreed(databases, own_processor, load.person)
    assert load.seen["lost"] > 0
    log.info("random_kills", kills=KILLS, answers=dict(load.seen), charges=dict(found))


async def agreed(databases: ServiceDatabase, processor: Sandbox, person: Person) -> Counter[str]:
    """How many charges came to which end, each of them having taken and given back at the processor what it says."""
    sql = "SELECT charge_id, purchase_id, state, taken_minor, refunded_minor FROM charges"
    charges = await rows(databases.app_dsn, sql, person.tenant_id)
    attempts = attempts_by_charge(processor)
    for charge in charges:
        tried = attempts.pop(charge["charge_id"], [])
        assert len(tried) == (0 if charge["state"] == "failed" else 1), (charge, tried)
        assert sum(one.amount_captured for one in tried) == charge["taken_minor"]
        if charge["state"] not in {"voided", "failed"}:
            assert sum(one.amount_refunded for one in tried) == charge["refunded_minor"]
    assert attempts == {}, "the processor knows charges that the vault does not"
    assert len({charge["purchase_id"] for charge in charges}) == len(charges)
    return Counter(charge["state"] for charge in charges)


def attempts_by_charge(processor: Sandbox) -> dict[str, list[Any]]:
    found: dict[str, list[Any]] = {}
    for one in processor.client().v1.charges.list({"limit": 100}).auto_paging_iter():
        found.setdefault(one.metadata["charge_id"], []).append(one)
    return found
