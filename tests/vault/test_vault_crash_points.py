"""The vault is killed at every named step of a charge, a hold, its end, a refund, a reconciliation and an event.

A loop over crash points, in one database and one after another, so that each start finds what the kills before it left.
"""

import re
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path

import httpx2
import pytest

from infra.chassis.ids import new_id
from infra.dev.postgres import ServiceDatabase
from tests.sandbox.running import ROOT, Sandbox, free_port
from tests.support.database import DatabaseMaker
from tests.support.waiting import wait_until
from tests.vault.bench import Person, rows
from tests.vault.events import event_about, signed
from tests.vault.forks import nursery
from tests.vault.killed import charges_at, checked, die, revive
from tests.vault.money import DISPUTED
from tests.vault.process import VaultProcess, vault_process
from vault.contract import ChargeOrder, HoldOrder, SettleOrder, VoidOrder

PUT_FORWARD = timedelta(minutes=45)
"""More than any worker may take for its work here."""
OUT_OF_REACH = 600
"""Seconds a worker may wait for the processor: nobody takes over from a killed one before the clock is put forward.

Longer than all the kills take on a busy machine. With less, a vault started for a later kill takes over by itself,
and the round that was to die on such a charge finds none.
"""
CHARGED = {
    "charge_intended": "failed",
    "charge_opened": "failed",
    "charge_named": "failed",
    "charge_presented": "failed",
    "charge_confirmed": "approved",
    "charge_written": "approved",
    "charge_posted": "approved",
}
"""Where a charge's carrier is killed → how the charge ends."""
ENDED = ("hold_end_intended", "hold_end_asked", "hold_written", "hold_posted", "hold_end_closed")
REFUNDED = ("refund_intended", "refund_asked", "refund_written", "refund_posted", "refund_closed")
RECONCILED = (
    "reconcile_claimed", "reconcile_named", "reconcile_cancelled", "reconcile_looked_up", "reconcile_found_out",
    "charge_written", "charge_posted",
    "refund_asked", "refund_written", "reconcile_refund_looked_up",
    "hold_end_asked", "hold_end_claimed", "hold_end_looked_up", "hold_written", "hold_posted",
)  # fmt: skip
"""In the order in which a round meets what the carriers left, so that each point has a row left to die on."""
NOTED = ("event_noted", "disputes_seen", "dispute_written", "dispute_recorded", "event_seen_to")
ELSEWHERE = {"charge_given_up", "hold_looked_up"}
MOVING_ON = {"attempt_cancelled", "charge_moved_on"}
"""tests/vault/test_failover_deaths.py."""
FILES = ("charges", "refunds", "reconcile", "outcomes", "disputes", "inbox", "holds/ending", "holds/keeping")


def test_no_crash_point_of_the_money_is_left_out():
    text = "".join((ROOT / "vault" / f"{name}.py").read_text() for name in FILES)

    named = set(re.findall(r'reach\("(\w+)"\)', text))

    assert named == {*CHARGED, *ENDED, *REFUNDED, *RECONCILED, *NOTED, *ELSEWHERE, *MOVING_ON}


@dataclass(slots=True)
class Story:
    """Orders given while the vault was killed, and how each must have ended."""

    vault: VaultProcess
    databases: ServiceDatabase
    processor: Sandbox
    webhooks: str
    ada: Person
    token: str = ""
    ends: dict[str, tuple[str, int]] = field(default_factory=dict)

    async def charge_killed_at(self, point: str, state: str) -> None:
        order = self.ada.charge(self.token)
        await die(self.vault, point, lambda: self.vault.charge(order))
        self.ends[order.charge_id] = (state, order.amount_minor if state == "approved" else 0)

    async def hold_killed_at(self, point: str) -> None:
        order = self.ada.hold(self.token)
        await die(self.vault, point, lambda: self.vault.hold(order))
        self.ends[order.charge_id] = ("held", 0)

    async def held(self) -> HoldOrder:
        order = self.ada.hold(self.token)
        assert (await self.vault.hold(order)).json()["state"] == "held"
        return order

    async def paid(self) -> ChargeOrder:
        order = self.ada.charge(self.token)
        assert (await self.vault.charge(order)).json()["state"] == "approved"
        return order

    async def end_killed_at(self, point: str, hold: ChargeOrder, kind: str) -> None:
        await die(self.vault, point, lambda: self.end(hold, kind))
        self.ends[hold.charge_id] = ("settled", 5000) if kind == "settle" else ("voided", 0)

    async def end(self, hold: ChargeOrder, kind: str) -> httpx2.Response:
        whose = {"tenant_id": hold.tenant_id, "brand_id": hold.brand_id, "subject_id": hold.subject_id}
        if kind == "void":
            return await self.vault.send(
                "/v1/voids", "void", VoidOrder(void_id=new_id("vod"), charge_id=hold.charge_id, **whose)
            )
        order = SettleOrder(
            settlement_id=new_id("stl"), charge_id=hold.charge_id, amount_minor=5000, currency="USD", **whose
        )
        return await self.vault.send("/v1/settlements", "settle", order)

    async def refund_killed_at(self, point: str, order: ChargeOrder) -> None:
        await die(self.vault, point, lambda: self.vault.refund(self.ada.refund(order.charge_id, 1000)))
        self.ends[order.charge_id] = ("approved", 7998)

    async def event(self, payment_ref: str, what: str, kind: str) -> httpx2.Response:
        body = event_about(payment_ref, what, kind)
        return await self.vault.api.post(self.webhooks, content=body, headers=signed(body))

    async def payment_of(self, charge_id: str) -> str:
        (charge,) = charges_at(self.processor, charge_id)
        ref: str = charge["payment_intent"]
        return ref


@pytest.fixture
async def story(database: DatabaseMaker, processor: Sandbox, tmp_path: Path) -> AsyncIterator[Story]:
    port, databases = free_port(), database("vault")
    with nursery() as forks:
        async with vault_process(
            tmp_path, databases, processor, timeout_seconds=OUT_OF_REACH, webhook_port=port, spawn=forks.spawn,
            clock=forks.clock,
        ) as vault:  # fmt: skip
            ada = Person()
            first = await vault.paid_charge(ada)
            told = Story(vault, databases, processor, f"http://127.0.0.1:{port}/webhooks/stripe", ada, first.token_id)
            told.ends[first.charge_id] = ("approved", 7998)
            yield told


@pytest.mark.control("UC-C.1", "UC-C.2")
async def test_killed_at_every_step_all_money_is_taken_once_or_not_at_all(story: Story):
    paid = [await story.paid() for _ in REFUNDED]
    *holds, to_void = [await story.held() for _ in (*ENDED, "void")]

    for point, state in CHARGED.items():
        await story.charge_killed_at(point, state)
    for point in ("charge_confirmed", "charge_posted"):
        await story.hold_killed_at(point)
    story.processor.fault("error_503", operation="payment_methods.create")
    await story.charge_killed_at("charge_given_up", "failed")
    for point, order in zip(REFUNDED, paid, strict=True):
        await story.refund_killed_at(point, order)
    for point, hold in zip(ENDED, holds, strict=True):
        await story.end_killed_at(point, hold, "settle")
    await story.end_killed_at("hold_end_intended", to_void, "void")
    for point in RECONCILED:
        await die(story.vault, point, put_forward=PUT_FORWARD)
    await revive(story.vault, put_forward=PUT_FORWARD)
    await wait_until(lambda: ended(story))

    assert await states(story) == {charge_id: state for charge_id, (state, _) in story.ends.items()}
    for charge_id, (state, taken_minor) in story.ends.items():
        found = [charge for charge in charges_at(story.processor, charge_id) if charge["status"] != "failed"]
        assert len(found) == (0 if state == "failed" else 1), (charge_id, state, found)
        assert sum(charge["amount_settled_minor"] for charge in found) == taken_minor
    refunds = await rows(story.databases.app_dsn, "SELECT state, charge_id FROM refunds", story.ada.tenant_id)
    assert [row["state"] for row in refunds] == ["refunded"] * len(REFUNDED)
    assert {charges_at(story.processor, row["charge_id"])[0]["amount_refunded_minor"] for row in refunds} == {1000}


@pytest.mark.control("UC-C.2")
async def test_killed_at_every_step_of_an_event_a_dispute_is_recorded_once(story: Story):
    disputed = story.ada.charge(await story.vault.new_token(story.ada, DISPUTED))
    assert (await story.vault.charge(disputed)).json()["state"] == "approved"
    hold = await story.held()
    story.processor.plain.post(
        f"{story.processor.url}/_sandbox/holds/{await story.payment_of(hold.charge_id)}/expire"
    ).raise_for_status()
    payment = await story.payment_of(disputed.charge_id)

    for point in NOTED:
        await die(story.vault, point, lambda: story.event(payment, "dispute", "charge.dispute.created"))
    await die(story.vault, "hold_looked_up", lambda: expired(story, hold))
    await revive(story.vault)
    await wait_until(lambda: ended(story))

    found = await rows(
        story.databases.app_dsn, "SELECT state, postings.event FROM disputes JOIN postings ON source_id = dispute_ref",
        story.ada.tenant_id,
    )  # fmt: skip
    assert found == [{"state": "open", "event": "withdrawn"}]
    assert (await states(story))[hold.charge_id] == "expired"


async def expired(story: Story, hold: ChargeOrder) -> httpx2.Response:
    return await story.event(await story.payment_of(hold.charge_id), "payment_intent", "payment_intent.canceled")


async def states(story: Story) -> dict[str, str]:
    found = await rows(story.databases.app_dsn, "SELECT charge_id, state FROM charges", story.ada.tenant_id)
    return {row["charge_id"]: row["state"] for row in found}


async def ended(story: Story) -> bool:
    """Nothing is unknown, no event waits, and the ledger agrees."""
    waiting = await rows(
        story.databases.app_dsn, "SELECT 1 FROM inbox_events WHERE handled_at IS NULL", story.ada.tenant_id
    )
    return not waiting and await checked(story.databases, story.ada.tenant_id)
