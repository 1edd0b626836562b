"""The vault is killed while a keyed card is taken in, and at every step of its first charge."""

from datetime import timedelta
from functools import partial
from pathlib import Path

import httpx2
import pytest

from tests.sandbox.running import Sandbox
from tests.support.database import DatabaseMaker
from tests.support.waiting import wait_until
from tests.vault.bench import Person, rows
from tests.vault.forks import nursery
from tests.vault.killed import charges_at, checked, die, revive
from tests.vault.phone import Guard
from tests.vault.process import vault_process
from vault.contract import CaptureChannel, ChargeOrder

PUT_FORWARD = timedelta(minutes=5)
BY_PHONE = {"UNDERCROFT_VAULT_PHONE_PROCESSORS": "stripe"}
ENDS = {"charge_intended": "failed", "charge_named": "failed", "charge_confirmed": "approved"}
"""Where the charge's carrier is killed → how the charge ends."""


@pytest.mark.control("UC-C.2", "UC-P.1")
async def test_a_killed_telephone_order_is_charged_as_one_or_not_at_all_and_a_taken_card_is_taken_once(
    database: DatabaseMaker, processor: Sandbox, tmp_path: Path
):
    databases, ada, orders = database("vault"), Person(), dict[str, ChargeOrder]()
    with nursery() as forks:
        async with vault_process(
            tmp_path, databases, processor, timeout_seconds=60, environment=BY_PHONE, spawn=forks.spawn,
            clock=forks.clock,
        ) as vault:  # fmt: skip
            guard = Guard(vault)

            async def keyed_and_charged(point: str) -> httpx2.Response:
                orders[point] = ada.charge(await guard.new_token(ada))
                return await vault.charge(orders[point])

            for point in ENDS:
                await die(vault, point, partial(keyed_and_charged, point))
            taken = ada.capture(channel=CaptureChannel.PHONE)

            async def keyed() -> httpx2.Response:
                await vault.order_capture(taken)
                return await guard.hand_in(taken, await guard.sealed(taken))

            await die(vault, "keyed_card_taken", keyed)
            await revive(vault, put_forward=PUT_FORWARD)
            await wait_until(lambda: checked(databases, ada.tenant_id))

            view = (await vault.show_capture(taken)).json()
            late = (await vault.charge(ada.charge(view["token_id"]))).json()

        found = await rows(databases.app_dsn, "SELECT charge_id, state, by_phone FROM charges", ada.tenant_id)
        stands = {row["charge_id"]: (row["state"], row["by_phone"]) for row in found}
        assert {point: stands[order.charge_id] for point, order in orders.items()} == {
            point: (state, True) for point, state in ENDS.items()
        }
        told = {point: charges_at(processor, order.charge_id) for point, order in orders.items()}
        assert {
            point: [(one["moto"], one["amount_settled_minor"]) for one in ones] for point, ones in told.items()
        } == {point: [(True, 7998)] if state == "approved" else [] for point, state in ENDS.items()}
        assert (view["state"], late["reason"]) == ("completed", "verification_code_missing")
        cards = await rows(databases.app_dsn, "SELECT token_id FROM cards", ada.tenant_id)
        assert len(cards) == len(ENDS) + 1
