"""A vault whose root is under custody, as a process: sealed from its first moment until its custodians were here."""

import asyncio
import shutil
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from pathlib import Path

import httpx2
import pytest

from infra.chassis.clock import SystemClock
from infra.chassis.keys.custody import is_sealed_file
from infra.chassis.keys.settings import KeySettings, custody_of, open_key_service
from infra.chassis.keys.starting import NotStarted
from infra.dev.postgres import ServiceDatabase
from tests.sandbox.running import Sandbox
from tests.support.keys import root_file
from tests.support.waiting import wait_until
from tests.vault.bench import Person
from tests.vault.custody import NAMES, Place, deal, prove, short_folder, tells
from tests.vault.forks import Nursery, nursery
from tests.vault.killing import keys_command
from tests.vault.process import VaultProcess, vault_process
from vault.custodians import opening


@dataclass(slots=True)
class Room:
    """A vault, and the place where its custodians work."""

    vault: VaultProcess
    place: Place

    async def give(self, verb: str, name: str, sheet: str) -> tuple[int, str]:
        return await asyncio.to_thread(self.place.give, verb, name, sheet)

    async def says(self, *arguments: str) -> str:
        return (await asyncio.to_thread(self.place.run, *arguments))[1]

    async def start_sealed(self) -> None:
        assert self.vault.environment is not None
        self.vault.process = self.vault.spawn(self.vault.environment, self.vault.log)
        await wait_until(self.is_sealed)

    async def is_sealed(self) -> bool:
        assert self.vault.process is not None
        assert self.vault.process.poll() is None, self.vault.log.read_text()
        try:
            return (await self.vault.api.get("/health")).text == '{"status":"sealed"}'
        except httpx2.TransportError:
            return False


@pytest.fixture(scope="module")
def forks() -> Iterator[Nursery]:
    with nursery() as running:
        yield running


@pytest.fixture
async def room(
    enrolled: Place, forks: Nursery, shared_database: ServiceDatabase, processor: Sandbox, tmp_path: Path
) -> AsyncIterator[Room]:
    """An open vault, and three custodians without shares."""
    with short_folder() as folder:
        custody = folder / "c"
        shutil.copytree(enrolled.custody, custody)
        environment = {"UNDERCROFT_VAULT_CUSTODY_FOLDER": str(custody)}
        async with vault_process(
            tmp_path, shared_database, processor, timeout_seconds=4, environment=environment, spawn=forks.spawn
        ) as vault:
            yield Room(vault, Place(tmp_path, environment, custody))


@pytest.mark.control("UC-3.6.1.2")
async def test_sealed_it_answers_nobody_and_two_custodians_later_it_charges_what_it_had_stored(room: Room):
    ada, vault = Person(), room.vault
    first = await vault.paid_charge(ada)
    assert '"event": "root_lies_open"' in vault.log.read_text()
    papers = await asyncio.to_thread(room.place.generate, *NAMES)
    beside = await vault.charge(ada.charge(first.token_id))
    vault.stop()

    await room.start_sealed()
    order = ada.capture()
    refused = [
        await vault.charge(ada.charge(first.token_id)),
        await vault.order_capture(order),
        await vault.api.get("/v1/captures/cap_x"),
        await vault.api.get("/schema/openapi.json"),
        await vault.browser.get("/captures/cap_x"),
        await vault.enter(order),
    ]
    ready = await vault.api.get("/ready")
    alone = await room.give("enter", "ada", papers["ada"])
    twice = await room.give("enter", "ada", papers["ada"])
    with_anothers = await room.give("enter", "cleo", papers["ben"])
    between = await vault.charge(ada.charge(first.token_id))
    told = await room.says("status")
    opened = await room.give("enter", "cleo", papers["cleo"])
    charged = (await vault.charge(ada.charge(first.token_id))).json()
    shown = await room.says("status")

    for answer in (beside, between, *refused):
        assert answer.status_code == 503
        assert (answer.json()["code"], answer.headers["retry-after"]) == ("sealed", "10")
        assert answer.json()["request_id"].startswith("req_")
    assert (ready.status_code, ready.json()) == (503, {"database": "ok", "custody": "missing"})
    assert (alone[0], "1 more needed" in alone[1]) == (0, True)
    assert (twice[0], "another custodian has to come" in twice[1]) == (1, True)
    assert (with_anothers[0], "that is share 2, and cleo has share 3" in with_anothers[1]) == (1, True)
    assert "sealed; shares given: 1, needed: 2" in told
    assert (opened[0], "the vault is open; key check value" in opened[1]) == (0, True)
    assert charged["state"] == "approved"
    assert ": open" in shown
    assert "record: 7 entries, whole" in shown
    assert is_sealed_file(room.place.root)


@pytest.mark.control("UC-3.6.1.2")
async def test_a_killed_vault_has_forgotten_shares_and_key_and_new_shares_end_the_old_ones(
    room: Room, shared_database: ServiceDatabase
):
    ada, vault = Person(), room.vault
    first = await vault.paid_charge(ada)
    old = await asyncio.to_thread(room.place.generate, *NAMES)
    await wait_until(room.is_sealed)
    await room.give("enter", "ada", old["ada"])
    vault.kill()
    await room.start_sealed()
    after_half = await room.says("status")
    keys = keys_command(room.place.folder, shared_database, KeySettings(root_key_file=room.place.root)).run("round")
    for name in ("ben", "ada"):
        await room.give("enter", name, old[name])
    opened = await vault.api.get("/ready")

    new = await asyncio.to_thread(reshare, room.place, old, ("ben", "cleo"))
    meanwhile = (await vault.charge(ada.charge(first.token_id))).json()["state"]
    vault.kill()
    await room.start_sealed()
    after_whole = await room.says("status")
    with_old = await room.give("enter", "ben", old["ben"])
    without_share = await room.says("enter", "ada")
    for name in ("ben", "cleo"):
        await room.give("enter", name, new[name])
    afterwards = (await vault.charge(ada.charge(first.token_id))).json()["state"]

    assert "shares given: none, needed: 2" in after_half
    assert (keys.code, "only the opened vault has its key" in keys.errors) == (1, True)
    assert (opened.status_code, meanwhile, afterwards) == (200, "approved", "approved")
    assert "shares given: none, needed: 2" in after_whole
    assert (with_old[0], "a share of another ceremony" in with_old[1]) == (1, True)
    assert "ada has no share of this ceremony" in without_share
    log = vault.log.read_text()
    assert not any(tells(log, paper) for paper in (*old.values(), *new.values()))


def reshare(place: Place, old: dict[str, str], names: tuple[str, ...]) -> dict[str, str]:
    """Ada and ben give their shares; `names` get new ones. Ben has proved himself already."""
    with place.sit("reshare", *names) as typist:
        for name in ("ada", "ben"):
            typist.sees("Who gives one? ")
            typist.types(name)
            prove(typist, name)
            typist.sees(f"{name}, your share: ")
            typist.types(old[name])
        prove(typist, *(name for name in names if name not in {"ada", "ben"}))
        sheets = deal(typist, *names)
        typist.types("yes")
        assert typist.end() == 0, typist.screen
    return sheets


async def test_outside_of_a_sandbox_a_root_that_lies_open_has_to_be_wanted(tmp_path: Path):
    keys = KeySettings(root_key_file=root_file(tmp_path))
    custody, clock = custody_of(keys), SystemClock()
    service = open_key_service(keys, clock, custody)

    with pytest.raises(NotStarted, match="lies open: `custody generate` puts it under custody"):
        await opening.begin(keys, None, custody, service, clock, (), may_lie_open=False)

    assert len(await opening.begin(keys, None, custody, service, clock, (), may_lie_open=True)) == 1
