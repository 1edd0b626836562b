"""The vault is killed between giving up one processor and charging at the next: one charge, or none."""

from datetime import timedelta
from functools import partial
from pathlib import Path

import pytest

from infra.sandbox.settings import AIRWALLEX_CLIENT_ID
from tests.sandbox.running import AIRWALLEX_KEY, WEBHOOK_SECRET, Sandbox
from tests.support.database import DatabaseMaker
from tests.support.waiting import wait_until
from tests.vault.bench import Person, rows
from tests.vault.forks import nursery
from tests.vault.killed import checked, die, revive
from tests.vault.process import vault_process
from tests.vault.processor_rigs import open_rig

PUT_FORWARD = timedelta(minutes=5)
ROUTE = """INSERT INTO payment_routes (tenant_id, route_id, position, processor, weight)
    VALUES (:tenant, :route_id, :position, :processor, 1) RETURNING route_id"""
ENDS = {"attempt_cancelled": "failed", "charge_moved_on": "failed", "charge_confirmed": "approved"}
"""Where the charge's carrier is killed → how the charge ends."""


@pytest.mark.control("UC-C.2", "UC-C.3")
async def test_killed_while_moving_on_a_charge_is_taken_once_or_not_at_all(
    database: DatabaseMaker, processor: Sandbox, tmp_path: Path
):
    (tmp_path / "airwallex.key").write_text(AIRWALLEX_KEY)
    (tmp_path / "airwallex.webhook").write_text(WEBHOOK_SECRET)
    second = {
        "UNDERCROFT_VAULT_AIRWALLEX_URL": processor.airwallex_url,
        "UNDERCROFT_VAULT_AIRWALLEX_CLIENT_ID": AIRWALLEX_CLIENT_ID,
        "UNDERCROFT_VAULT_AIRWALLEX_KEY_FILE": str(tmp_path / "airwallex.key"),
        "UNDERCROFT_VAULT_AIRWALLEX_WEBHOOK_SECRET_FILE": str(tmp_path / "airwallex.webhook"),
    }
    databases, ada = database("vault"), Person()
    with nursery() as forks:
        async with (
            open_rig("stripe", processor) as stripe,
            open_rig("airwallex", processor) as airwallex,
            vault_process(
                tmp_path, databases, processor, timeout_seconds=60, environment=second, spawn=forks.spawn,
                clock=forks.clock,
            ) as vault,
        ):  # fmt: skip
            token = (await vault.paid_charge(ada)).token_id
            for position, name in enumerate(("stripe", "airwallex"), start=1):
                await rows(
                    databases.app_dsn, ROUTE, ada.tenant_id, tenant=ada.tenant_id, route_id=f"rte_{name}",
                    position=position, processor=name,
                )  # fmt: skip
            orders = {}
            for point in ENDS:
                orders[point] = order = ada.charge(token)
                stripe.fault("error_503", "payment_methods.create")
                await die(vault, point, partial(vault.charge, order))
            await revive(vault, put_forward=PUT_FORWARD)
            await wait_until(lambda: checked(databases, ada.tenant_id))

            found = await rows(databases.app_dsn, "SELECT charge_id, state FROM charges", ada.tenant_id)
            states = {row["charge_id"]: row["state"] for row in found}
            assert {point: states[order.charge_id] for point, order in orders.items()} == ENDS
            for point, order in orders.items():
                taken = (stripe.taken_minor(order.charge_id), airwallex.taken_minor(order.charge_id))
                assert taken == (0, 7998 if ENDS[point] == "approved" else 0), point
