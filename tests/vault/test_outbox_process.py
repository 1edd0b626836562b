"""A courier in a process of its own, where the vault itself may not reach the internet."""

import asyncio
from pathlib import Path

from tests.sandbox.running import Sandbox
from tests.support.database import DatabaseMaker
from tests.support.waiting import wait_until
from tests.vault.bench import Person
from tests.vault.commanding import VaultCommand
from tests.vault.forks import nursery
from tests.vault.process import vault_process
from tests.vault.receiver import Receiver

NEEDED = ("PATH", "UNDERCROFT_VAULT_DATABASE_URL_FILE", "UNDERCROFT_VAULT_OUTBOX_KEY_FILE", "UNDERCROFT_VAULT_SANDBOX")


async def test_a_courier_of_its_own_delivers_for_a_vault_that_does_not(
    database: DatabaseMaker, processor: Sandbox, tmp_path: Path, receiver: Receiver
):
    ada, elsewhere = Person(), {"UNDERCROFT_VAULT_OUTBOX_COURIER": "false"}
    with nursery() as forks:
        async with vault_process(
            tmp_path, database("vault"), processor, timeout_seconds=5, spawn=forks.spawn, environment=elsewhere
        ) as vault:
            environment = vault.environment or {}
            await vault.new_token(ada)
            added = VaultCommand(environment).run(
                "webhooks", "endpoints", "add", "--tenant", ada.tenant_id, receiver.url
            )
            await vault.paid_charge(ada)
            deliver = VaultCommand({name: environment[name] for name in NEEDED})
            with deliver.started("courier", log=tmp_path / "courier.log") as running:
                await wait_until(lambda: len(receiver.taken) == 2)
                code = await asyncio.to_thread(running.end)

    assert sorted(receiver.kinds()) == ["card.stored", "charge.approved"]
    assert all(one.is_signed_by(added.lines[2].split()[1]) for one in receiver.taken)
    assert code == 0
    assert '"event": "webhook"' in (tmp_path / "courier.log").read_text()
    assert '"event": "webhook"' not in vault.log.read_text()
