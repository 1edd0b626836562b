"""The vault is killed while it has a card renewed: the next one goes on, and the card is the old one or the new one."""

import re
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from tests.sandbox.running import ROOT, Sandbox
from tests.support.database import DatabaseMaker
from tests.support.waiting import wait_until
from tests.vault.bench import Person, rows
from tests.vault.forks import nursery
from tests.vault.killed import die, revive
from tests.vault.process import vault_process
from tests.vault.updating import (
    NEXT,
    Company,
    clear_of_month_end,
    environment_of,
    inquiries,
    on_file,
    this_month,
    turn_on,
)

OUT_OF_REACH = 60
AGAIN = timedelta(minutes=61)
BEFORE = ("inquiry_noted", "inquiry_answered")
"""Before anything of the new card is stored. A card is asked about three times a month, so these and the two below have
a person each."""
PARTS = """SELECT c.generation, c.last4,
    (SELECT count(*) FROM outbox_events e WHERE e.kind = 'card.updated') AS told,
    (SELECT count(*) FROM shreddings s WHERE s.cause = 'replaced') AS shreddings FROM cards c"""
OLD: dict[str, Any] = {"generation": 1, "last4": "4242", "told": 0, "shreddings": 0}
NEW: dict[str, Any] = {"generation": 2, "last4": NEXT[-4:], "told": 1, "shreddings": 1}


def test_no_crash_point_of_the_job_is_left_out():
    text = (ROOT / "vault" / "updating" / "job.py").read_text()

    assert set(re.findall(r'reach\("(\w+)"\)', text)) == {*BEFORE, "inquiry_ended"}


@pytest.mark.control("UC-T.7", "UC-C.1")
async def test_killed_at_every_step_a_card_is_renewed_once_and_told_of_once(
    database: DatabaseMaker, processor: Sandbox, tmp_path: Path
):
    databases, company = database("vault"), Company(processor)
    company.forget()
    company.knows("CARD_UPDATED", new_number=NEXT, expiry_month=12, expiry_year=2040)
    ada, bob, eve = Person(), Person(), Person()
    with nursery() as forks:
        clear_of_month_end(forks.clock)
        async with vault_process(
            tmp_path, databases, processor, timeout_seconds=OUT_OF_REACH, spawn=forks.spawn, clock=forks.clock,
            environment=environment_of(processor),
        ) as vault:  # fmt: skip
            now = forks.clock.now()
            for person in (ada, bob, eve):
                await on_file(vault, person, this_month(now))

            async def parts(person: Person) -> dict[str, Any]:
                (found,) = await rows(databases.app_dsn, PARTS, person.tenant_id)
                return found

            async def ended(person: Person) -> bool:
                return [outcome for _, _, outcome in await inquiries(databases, person)] == ["updated"]

            vault.kill()
            await turn_on(databases, ada, now)
            between = []
            for point in BEFORE:
                await die(vault, point, put_forward=AGAIN)
                between.append(await parts(ada))
            await revive(vault, put_forward=AGAIN)
            await wait_until(lambda: ended(ada), OUT_OF_REACH)
            vault.kill()

            await turn_on(databases, bob, now)
            await die(vault, "card_sealed")
            between.append(await parts(bob))
            await die(vault, "card_stored", put_forward=AGAIN)
            stored = await parts(bob)

            await turn_on(databases, eve, now)
            await die(vault, "inquiry_ended")
            last = await parts(eve)
            await revive(vault, put_forward=AGAIN)
            await wait_until(lambda: ended(eve), OUT_OF_REACH)
            found = [await parts(person) for person in (ada, bob, eve)]
            tries = [await inquiries(databases, person) for person in (ada, bob, eve)]
    company.forget()

    assert between == [OLD] * 3
    assert (stored, last) == (NEW, NEW)
    assert found == [NEW] * 3
    assert tries == [[("expiring", 3, "updated")], [("expiring", 2, "updated")], [("expiring", 1, "updated")]]
