"""The vault on key services other than the software one, which every other test uses."""

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path

import pytest

from tests.sandbox.running import Sandbox
from tests.support import softhsm
from tests.support.database import DatabaseMaker
from tests.support.transit import transit_engine
from tests.vault.bench import Person
from tests.vault.process import vault_process
from tests.vault.test_vault_process import run_vault

Environment = Mapping[str, str]


@asynccontextmanager
async def pkcs11(folder: Path) -> AsyncIterator[Environment]:
    token = softhsm.new_token(folder)
    keys = softhsm.service(token)
    await keys.rotate()
    await keys.close()
    yield {
        "UNDERCROFT_VAULT_KEY_SERVICE": "pkcs11",
        "UNDERCROFT_VAULT_ROOT_KEY_NAME": token.key_label,
        "UNDERCROFT_VAULT_PKCS11_MODULE": str(token.module),
        "UNDERCROFT_VAULT_PKCS11_TOKEN": token.label,
        "UNDERCROFT_VAULT_PKCS11_PIN_FILE": str(token.pin_file),
        softhsm.CONFIGURATION: str(softhsm.configuration()),
    }


@asynccontextmanager
async def transit(folder: Path) -> AsyncIterator[Environment]:
    async with transit_engine(folder) as engine:
        yield {
            "UNDERCROFT_VAULT_KEY_SERVICE": "transit",
            "UNDERCROFT_VAULT_ROOT_KEY_NAME": engine.as_service.key_name,
            "UNDERCROFT_VAULT_TRANSIT_URL": engine.as_service.url,
            "UNDERCROFT_VAULT_TRANSIT_BEARER_FILE": str(engine.as_service.bearer_file),
        }


@pytest.mark.control("UC-3.6.1")
@pytest.mark.parametrize(
    ("opened", "spoil"),
    [(pkcs11, {"PKCS11_TOKEN": "no such token"}), (transit, {"ROOT_KEY_NAME": "no such key"})],
)
async def test_a_card_is_charged_on_it_and_again_after_a_restart_and_without_it_nothing_starts(
    database: DatabaseMaker,
    processor: Sandbox,
    tmp_path: Path,
    opened: Callable[[Path], AbstractAsyncContextManager[Environment]],
    spoil: Environment,
):
    ada, databases = Person(), database("vault")
    async with opened(tmp_path) as environment:
        async with vault_process(tmp_path, databases, processor, timeout_seconds=4, environment=environment) as vault:
            first = await vault.paid_charge(ada)
            vault.stop()
            await vault.start()

            second = (await vault.charge(ada.charge(first.token_id))).json()
        spoilt = {f"UNDERCROFT_VAULT_{name}": value for name, value in spoil.items()}
        ended = await asyncio.to_thread(run_vault, {**(vault.environment or {}), **spoilt})

    assert second["state"] == "approved"
    assert ended.returncode == 3
    assert ended.stderr.startswith("vault: ")
    assert "Traceback" not in ended.stderr


def test_a_key_service_that_is_not_wholly_described_is_not_begun_with():
    ended = run_vault({"UNDERCROFT_VAULT_KEY_SERVICE": "pkcs11"})

    assert ended.returncode == 2
    assert "UNDERCROFT_VAULT_PKCS11_PIN_FILE is missing" in ended.stderr
