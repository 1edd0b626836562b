"""The vault is killed while it replaces a card: afterwards the old card is there whole, or the new one is."""

from pathlib import Path
from typing import Any

import httpx2
import pytest

from tests.sandbox.running import Sandbox
from tests.support.database import DatabaseMaker
from tests.vault.bench import Person, rows
from tests.vault.forks import nursery
from tests.vault.killed import die, revive
from tests.vault.process import VaultProcess, vault_process
from tests.vault.updates import AMEX, MASTERCARD, asked
from vault.contract import CaptureOrder, ChargeOrder

OUT_OF_REACH = 60
PARTS = """SELECT c.generation, c.last4, c.card_brand, c.good_through::text, c.on_file_since IS NOT NULL AS on_file,
    (SELECT count(*) FROM outbox_events e WHERE e.kind = 'card.updated') AS told,
    (SELECT count(*) FROM shreddings s WHERE s.cause = 'replaced') AS shreddings,
    (SELECT count(*) FROM captures a WHERE a.replaces_card_of IS NOT NULL AND a.token_id IS NOT NULL) AS completed
    FROM cards c"""
OLD = {"generation": 1, "last4": "4242", "card_brand": "visa", "good_through": "2040-12-31", "on_file": True}
NEW = {"generation": 2, "last4": "4444", "card_brand": "mastercard", "good_through": "2038-03-31", "on_file": False}


@pytest.mark.control("UC-T.3", "UC-C.1")
async def test_killed_before_and_after_the_update_the_card_is_the_old_one_or_the_new_one(
    database: DatabaseMaker, processor: Sandbox, tmp_path: Path
):
    databases, ada, with_old = database("vault"), Person(), list[tuple[str, str | None]]()
    with nursery() as forks:
        async with vault_process(
            tmp_path, databases, processor, timeout_seconds=OUT_OF_REACH, spawn=forks.spawn, clock=forks.clock
        ) as vault:
            token = (await vault.paid_charge(ada)).token_id
            order = await asked(vault, ada, token)

            async def charge_and_type() -> httpx2.Response:
                with_old.append(await state(vault, ada.charge(token)))
                return await vault.type_card(order, MASTERCARD, expiry="03/38")

            await die(vault, "card_sealed", lambda: vault.type_card(order, MASTERCARD, expiry="03/38"))
            before = await parts(databases.app_dsn, ada)
            await die(vault, "card_stored", charge_and_type)
            after = await parts(databases.app_dsn, ada)
            await revive(vault)
            without_code = await state(vault, ada.charge(token))
            with_new = await replaced_again(vault, ada, token)

    assert before == OLD | {"told": 0, "shreddings": 0, "completed": 0}
    assert with_old == [("approved", None)]
    assert after == NEW | {"told": 1, "shreddings": 1, "completed": 1}
    assert without_code == ("failed", "verification_code_missing"), "the code was in the memory of the killed process"
    assert with_new == ("approved", None)


async def parts(dsn: str, person: Person) -> dict[str, Any]:
    (found,) = await rows(dsn, PARTS, person.tenant_id)
    return found


async def state(vault: VaultProcess, order: ChargeOrder) -> tuple[str, str | None]:
    answer = (await vault.charge(order)).json()
    return answer["state"], answer["reason"]


async def replaced_again(vault: VaultProcess, person: Person, token: str) -> tuple[str, str | None]:
    order: CaptureOrder = await asked(vault, person, token)
    assert (await vault.type_card(order, AMEX)).status_code == 303
    return await state(vault, person.charge(token))
