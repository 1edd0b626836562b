"""Killed at every step between an outcome and its delivery, no event is lost, and what comes twice says so."""

import json
import re
from datetime import timedelta
from pathlib import Path

import pytest

from infra.dev.postgres import ServiceDatabase
from tests.sandbox.running import ROOT, Sandbox
from tests.support.database import DatabaseMaker
from tests.support.waiting import wait_until
from tests.vault.bench import Person, rows
from tests.vault.commanding import VaultCommand
from tests.vault.forks import nursery
from tests.vault.killed import die, revive
from tests.vault.process import VaultProcess, vault_process
from tests.vault.receiver import Receiver

PUT_FORWARD = timedelta(seconds=45)
"""More than a killed worker or courier may hold what he was at."""
POINTS = ("outbox_event_added", "outbox_claimed", "outbox_sent", "outbox_written")
"""Each is reached at a start by what dying at the one before left undone; the first by an order."""
AT_START = "outbox_purged"


def test_no_crash_point_of_the_outbox_is_left_out():
    text = "".join(path.read_text() for path in (ROOT / "vault" / "outbox").glob("*.py"))

    assert set(re.findall(r'reach\("(\w+)"\)', text)) == {*POINTS, AT_START}


@pytest.mark.control("UC-W.1")
async def test_killed_at_every_step_every_event_comes_and_repeats_are_known_by_their_id(
    database: DatabaseMaker, processor: Sandbox, tmp_path: Path, receiver: Receiver
):
    ada, databases = Person(), database("vault")
    with nursery() as forks:
        async with vault_process(
            tmp_path, databases, processor, timeout_seconds=5, spawn=forks.spawn, clock=forks.clock
        ) as vault:
            order = ada.charge((await vault.paid_charge(ada)).token_id)
            added = register(vault, ada, receiver)
            await die(vault, POINTS[0], lambda: vault.charge(order), put_forward=PUT_FORWARD)
            for point in (*POINTS[1:], AT_START):
                await die(vault, point, put_forward=PUT_FORWARD)
            await revive(vault, put_forward=PUT_FORWARD)
            await wait_until(lambda: all_delivered(databases, ada))

    sql = "SELECT event_id, payload FROM outbox_events WHERE kind = 'charge.approved' ORDER BY position"
    first, told = await rows(databases.app_dsn, sql, ada.tenant_id)
    assert json.loads(told["payload"])["data"]["charge_id"] == order.charge_id
    assert [one.event_id for one in receiver.taken] == [told["event_id"]] * 2, "once sent, once written down"
    assert {one.body.decode() for one in receiver.taken} == {told["payload"]}
    assert len({one.delivery_id for one in receiver.taken}) == 2
    assert all(one.is_signed_by(added) for one in receiver.taken)
    assert first["event_id"] not in {one.event_id for one in receiver.taken}, "there was no endpoint yet"


def register(vault: VaultProcess, person: Person, receiver: Receiver) -> str:
    """The endpoint's public key."""
    ran = VaultCommand(vault.environment or {}).run(
        "webhooks", "endpoints", "add", "--tenant", person.tenant_id, receiver.url
    )
    assert ran.code == 0, ran.errors
    return ran.lines[2].split()[1]


async def all_delivered(databases: ServiceDatabase, person: Person) -> bool:
    found = await rows(databases.app_dsn, "SELECT state FROM dispatches", person.tenant_id)
    return [row["state"] for row in found] == ["delivered"]
