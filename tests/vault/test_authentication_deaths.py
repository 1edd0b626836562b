"""The vault is killed at every step of asking a card's holder: each is asked, and charged, once or not at all."""

from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

import pytest

from infra.dev.postgres import ServiceDatabase
from tests.sandbox.running import Sandbox
from tests.support.database import DatabaseMaker
from tests.support.waiting import wait_until
from tests.vault.authenticating import ALWAYS, Holder
from tests.vault.bench import Person, rows
from tests.vault.forks import nursery
from tests.vault.killed import charges_at, checked, die, revive
from tests.vault.process import VaultProcess, vault_process

PUT_FORWARD = timedelta(minutes=45)
"""More than any worker may take for its work here, and more than a person has at their bank."""
TAKEN_OVER = timedelta(minutes=5)
"""More than a carrier may take, and a third of what a person has from their order on."""
OUT_OF_REACH = 60
"""Seconds a worker may wait for the processor: nobody takes over from a killed one before the clock is put forward."""
ASKING = ("charge_confirmed", "charge_written", "charge_posted")
"""Where a charge's carrier is killed."""
ENDING = (
    "authentication_looked_up", "reconcile_claimed", "reconcile_looked_up", "reconcile_found_out", "charge_written",
    "charge_posted",
)  # fmt: skip
"""Where whoever finds out how it ended is killed."""


@dataclass(slots=True)
class Story:
    vault: VaultProcess
    databases: ServiceDatabase
    holder: Holder

    async def states(self) -> dict[str, tuple[str, str | None]]:
        sql = "SELECT charge_id, state, reason FROM charges"
        found = await rows(self.databases.app_dsn, sql, self.holder.person.tenant_id)
        return {row["charge_id"]: (row["state"], row["reason"]) for row in found}


@pytest.fixture
async def story(database: DatabaseMaker, processor: Sandbox, tmp_path: Path) -> AsyncIterator[Story]:
    databases = database("vault")
    with nursery() as forks:
        async with vault_process(
            tmp_path, databases, processor, timeout_seconds=OUT_OF_REACH, spawn=forks.spawn, clock=forks.clock
        ) as vault:
            yield Story(vault, databases, Holder(vault, processor, Person()))


@pytest.mark.control("UC-C.1", "UC-C.4")
async def test_killed_at_every_step_a_holder_is_asked_and_charged_once_or_not_at_all(story: Story):
    vault, holder = story.vault, story.holder
    first = await holder.asked(ALWAYS)
    await holder.see_through(first)
    abandoned, *confirmed = [holder.person.charge(first.token_id, person_present=True) for _ in ("", *ASKING)]

    assert (await holder.repeat(abandoned))["state"] == "needs_action"
    await die(vault, "authentication_entered", lambda: holder.enter(abandoned))
    await die(vault, "reconcile_cancelled", put_forward=PUT_FORWARD)
    await revive(vault, put_forward=PUT_FORWARD)
    await wait_until(lambda: checked(story.databases, holder.person.tenant_id))
    for point, order in zip(ASKING, confirmed, strict=True):
        await die(vault, point, lambda order=order: vault.charge(order))  # type: ignore[misc]  # bound now
    await revive(vault, put_forward=TAKEN_OVER)
    await wait_until(lambda: waiting(story, len(confirmed)))
    links = [await holder.link(order) for order in confirmed]
    vault.kill()  # or a round would find out between two answers, and leave nothing to die on
    assert {holder.answer(link).status_code for link in links} == {200}
    for point in ENDING:
        await die(vault, point, put_forward=PUT_FORWARD)
    await revive(vault, put_forward=PUT_FORWARD)
    await wait_until(lambda: checked(story.databases, holder.person.tenant_id))

    paid = {order.charge_id: ("approved", None) for order in (first, *confirmed)}
    assert await story.states() == {**paid, abandoned.charge_id: ("declined", "authentication_expired")}
    for charge_id in paid:
        (charge,) = charges_at(holder.processor, charge_id)
        assert charge["amount_settled_minor"] == 7998
    assert charges_at(holder.processor, abandoned.charge_id) == []


async def waiting(story: Story, count: int) -> bool:
    return sum(state == "needs_action" for state, _ in (await story.states()).values()) == count
