"""The whole gateway, supervisor and workers, is killed by SIGKILL while people decide and pay: no answer was a lie."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Final

import aiohttp
import psutil
import pytest

from gateway.__main__ import main
from gateway.captures import Captures
from gateway.grants import GrantMint
from gateway.record import store
from gateway.settings import load_keys
from infra.chassis.clock import SystemClock
from infra.chassis.engine import tenant_transaction
from infra.dev.house import House
from tests.support.card_typing import enter_and_type
from tests.support.counter import Buyer, Counter, buyer, opened
from tests.support.waiting import wait_until

WORKERS: Final = 2
CUSTOMERS: Final = 5
"""The first has a card on file."""
ANSWERS_MIN: Final = 40
CARD: Final = "4242424242424242"
UP_SECONDS: Final = 90.0
ENDS: Final = frozenset({"paid", "declined", "failed"})


@dataclass(slots=True)
class Customer:
    """Quotes, asks and pays again and again, and keeps everything that was answered."""

    buyer: Buyer
    receipts: list[dict[str, Any]] = field(default_factory=list)
    checkouts: list[str] = field(default_factory=list)
    broken: list[str] = field(default_factory=list)
    """What was under way when the line broke."""

    async def shop(self) -> None:
        """Until nobody answers."""
        while not self.broken:
            try:
                await self._buy()
            except aiohttp.ClientError as error:
                self.broken.append(type(error).__name__)

    async def _buy(self) -> None:
        order, counter = await self.buyer.quoted(), self.buyer.counter
        asked = await counter.done("POST", "/v1/decisions", {"action": "purchase", **order})
        self.receipts.append(asked["receipt"])
        self.checkouts.append(order["checkout_id"])
        paid = await counter.done("POST", "/v1/purchases", order)
        assert paid["state"] in {"needs_card", "paid"}, paid
        self.receipts.append(paid["decision"]["receipt"])


@pytest.fixture
async def world(house: House) -> AsyncIterator[Counter]:
    """The shared house with two workers; afterwards as it was."""
    before = house.options
    house.options = replace(before, gateway_workers=WORKERS)
    await asyncio.to_thread(house.restart, "gateway")
    try:
        await wait_until(lambda: len(workers(house)) == WORKERS, seconds=UP_SECONDS)
        async with opened(house) as made:
            yield made
    finally:
        if house.options != before or "gateway" in house.ended():
            house.options = before
            await asyncio.to_thread(house.restart, "gateway")


def workers(house: House) -> list[psutil.Process]:
    """Those whose port is open."""
    port = house.ports.named()["gateway"]
    children = psutil.Process(house.pids["gateway"]).children()
    return [child for child in children if any(one.laddr.port == port for one in child.net_connections("tcp"))]


async def put_card_on_file(world: Counter, who: Customer) -> None:
    order, issuer = await who.buyer.quoted(), world.house.urls["gateway"]
    capture_id = (await world.done("POST", "/v1/purchases", order))["capture_id"]
    keys = load_keys(world.house.keyring.path("gateway/keys"))
    captures = Captures(world.engine, GrantMint(keys.grant, issuer, SystemClock(), keys.sender), issuer)
    door = await captures.door(capture_id)
    assert door is not None
    entry = captures.entry_grant(door, "browser")
    await enter_and_type(world.house.urls["vault_page"], issuer, capture_id, entry, CARD)
    assert (await world.done("POST", "/v1/purchases", order))["state"] == "paid"


@asynccontextmanager
async def no_sealer_gets_its_turn(world: Counter) -> AsyncIterator[None]:
    """So that what is answered meanwhile is a promise only, and everything of it is lost if the promise is not kept."""
    async with tenant_transaction(world.engine, world.tenant_id) as tx:

        async def taken() -> bool:
            return await store.take_sealing(tx, world.tenant_id)

        await wait_until(taken)
        yield


@pytest.mark.control("UC-10.3")
async def test_a_gateway_killed_under_load_breaks_no_promise(
    world: Counter, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    people = [Customer(await buyer(world)) for _ in range(CUSTOMERS)]
    await put_card_on_file(world, people[0])
    kept = (await world.done("GET", "/v1/record/checkpoint"))["note"]

    await killed_under_load(world, people)
    world.house.options = replace(world.house.options, gateway_workers=1)
    await asyncio.to_thread(world.house.restart, "gateway")
    for checkout_id in people[0].checkouts:
        await ends_as_paid(people[0], checkout_id)
    await everything_sealed(world)

    assert [len(person.broken) for person in people] == [1] * CUSTOMERS
    await assert_promises_are_kept(world, people, kept, tmp_path)
    assert ": intact, " in capsys.readouterr().out
    await assert_nothing_is_half_done(world, people)


async def killed_under_load(world: Counter, people: list[Customer]) -> None:
    crew = [process.pid for process in workers(world.house)]
    async with no_sealer_gets_its_turn(world):
        shopping = [asyncio.create_task(person.shop()) for person in people]
        await wait_until(lambda: answered(people) >= ANSWERS_MIN or any(task.done() for task in shopping))
        await asyncio.to_thread(world.house.kill, "gateway")
        await asyncio.gather(*shopping)
    assert answered(people) >= ANSWERS_MIN
    await wait_until(lambda: not any(psutil.pid_exists(pid) for pid in crew))


def answered(people: list[Customer]) -> int:
    return sum(len(person.receipts) for person in people)


async def ends_as_paid(person: Customer, checkout_id: str) -> None:
    """What an agent does whose request was not answered: it asks again."""

    async def ended() -> bool:
        status, answer = await person.buyer.counter.send("POST", "/v1/purchases", person.buyer.order(checkout_id))
        assert status in {200, 409}, answer
        return status == 200 and answer["state"] in ENDS

    await wait_until(ended)


async def everything_sealed(world: Counter) -> None:
    async def sealed() -> bool:
        found = await world.done("POST", "/v1/record/verifications")
        assert found["intact"], found
        return found["unsealed"] == 0 or False

    await wait_until(sealed)


async def assert_promises_are_kept(world: Counter, people: list[Customer], kept: str, folder: Path) -> None:
    """Offline, from an export: each receipt that was handed out, and the checkpoint from before."""
    url = f"{world.house.urls['gateway']}/v1/record/export"
    async with world.http.get(url, headers=world.headers) as exported:
        (folder / "record.ndjson").write_bytes(await exported.read())
    (folder / "kept.txt").write_text(kept)
    key = (await world.done("GET", "/v1/record/checkpoint"))["verifier_key"]
    arguments = [
        "record",
        "verify",
        str(folder / "record.ndjson"),
        "--key",
        key,
        "--checkpoint",
        str(folder / "kept.txt"),
    ]
    receipts = [receipt for person in people for receipt in person.receipts]
    for number, receipt in enumerate(receipts):
        (folder / f"{number}.json").write_text(json.dumps(receipt))
        arguments += ["--receipt", str(folder / f"{number}.json")]
    assert await asyncio.to_thread(main, arguments) == 0


async def assert_nothing_is_half_done(world: Counter, people: list[Customer]) -> None:
    """Each purchase has its decision on record; money is posted for what was charged, and free again for the rest."""
    subjects = [person.buyer.subject_id for person in people]
    unrecorded = await world.rows(
        "SELECT purchase_id FROM purchases p WHERE subject_id = ANY(:s) AND NOT EXISTS"
        " (SELECT FROM record_entries e WHERE e.tenant_id = p.tenant_id AND e.decision_id = p.decision_id)",
        s=subjects,
    )
    held = await world.rows(
        "SELECT state FROM purchases WHERE purchase_id = ANY(SELECT purchase_id FROM reservations"
        " WHERE state = 'held' AND subject_id = ANY(:s))",
        s=subjects,
    )
    theirs = ", ".join(f"'{subject}'" for subject in subjects)
    over = f"UPDATE reservations SET expires_at = now() WHERE state = 'held' AND subject_id IN ({theirs})"  # noqa: S608 - ids of ours
    world.superuser(over)  # instead of waiting for a quarter of an hour

    async def freed() -> bool:
        return not await world.rows(
            "SELECT 1 FROM reservations WHERE state = 'held' AND subject_id = ANY(:s)", s=subjects
        )

    await wait_until(freed)
    posted = await world.rows(
        "SELECT charge_id FROM purchases p JOIN reservations r USING (tenant_id, purchase_id)"
        " WHERE r.state = 'posted' AND p.subject_id = ANY(:s)",
        s=subjects,
    )

    assert unrecorded == []
    assert {row["state"] for row in held} <= {"needs_card"}
    assert sorted(row["charge_id"] for row in posted) == await charged(world, subjects)
    assert len(posted) == 1 + len(people[0].checkouts)


async def charged(world: Counter, subjects: list[str]) -> list[str]:
    """Once for each settled charge at the processor that is one of theirs."""
    known = await world.rows("SELECT charge_id FROM purchases WHERE subject_id = ANY(:s)", s=subjects)
    async with world.http.get(f"{world.house.urls['processor']}/_sandbox/charges") as answer:
        charges = (await answer.json())["charges"]
    ours = {row["charge_id"] for row in known}
    settled = [charge["metadata"].get("charge_id") for charge in charges if charge["status"] == "settled"]
    return sorted(charge_id for charge_id in settled if charge_id in ours)
