"""The vault on key services other than the software one, which every other test uses."""

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from infra.sandbox.transit.app import Faults
from tests.sandbox.running import Sandbox
from tests.support import softhsm
from tests.support.database import DatabaseMaker
from tests.support.transit import transit_engine
from tests.vault.bench import Person
from tests.vault.process import vault_process
from tests.vault.test_vault_process import run_vault


@dataclass(frozen=True, slots=True)
class Begun:
    """A key service and how a vault is told of it; `answers(False)`: it is away. None where it is in the process."""

    environment: Mapping[str, str]
    answers: Callable[[bool], None] | None = None


@asynccontextmanager
async def pkcs11(folder: Path) -> AsyncIterator[Begun]:
    token = softhsm.new_token(folder)
    keys = softhsm.service(token)
    await keys.rotate()
    await keys.close()
    yield Begun({
        "UNDERCROFT_VAULT_KEY_SERVICE": "pkcs11",
        "UNDERCROFT_VAULT_ROOT_KEY_NAME": token.key_label,
        "UNDERCROFT_VAULT_PKCS11_MODULE": str(token.module),
        "UNDERCROFT_VAULT_PKCS11_TOKEN": token.label,
        "UNDERCROFT_VAULT_PKCS11_PIN_FILE": str(token.pin_file),
        softhsm.CONFIGURATION: str(softhsm.configuration()),
        "UNDERCROFT_VAULT_WALLS_READS": str(softhsm.configuration()),
        "UNDERCROFT_VAULT_WALLS_WRITES": str(softhsm.tokens()),
    })  # fmt: skip


@asynccontextmanager
async def transit(folder: Path) -> AsyncIterator[Begun]:
    async with transit_engine(folder) as engine:
        environment = {
            "UNDERCROFT_VAULT_KEY_SERVICE": "transit",
            "UNDERCROFT_VAULT_ROOT_KEY_NAME": engine.as_service.key_name,
            "UNDERCROFT_VAULT_TRANSIT_URL": engine.as_service.url,
            "UNDERCROFT_VAULT_TRANSIT_BEARER_FILE": str(engine.as_service.bearer_file),
        }
        yield Begun(environment, lambda yes: engine.transit.misbehave(Faults(refuses=None if yes else 503)))


@pytest.mark.control("UC-3.6.1")
@pytest.mark.parametrize(
    ("opened", "spoil"),
    [(pkcs11, {"PKCS11_TOKEN": "no such token"}), (transit, {"ROOT_KEY_NAME": "no such key"})],
)
async def test_a_card_is_charged_on_it_and_again_after_a_restart_and_without_it_nothing(
    database: DatabaseMaker,
    processor: Sandbox,
    tmp_path: Path,
    opened: Callable[[Path], AbstractAsyncContextManager[Begun]],
    spoil: Mapping[str, str],
):
    ada, databases, refused = Person(), database("vault"), None
    async with opened(tmp_path) as begun:
        given = begun.environment
        async with vault_process(tmp_path, databases, processor, timeout_seconds=4, environment=given) as vault:
            first = await vault.paid_charge(ada)
            vault.stop()
            await vault.start()
            if begun.answers is not None:
                begun.answers(False)
                refused = await vault.charge(ada.charge(first.token_id))
                begun.answers(True)

            second = (await vault.charge(ada.charge(first.token_id))).json()
        spoilt = {f"UNDERCROFT_VAULT_{name}": value for name, value in spoil.items()}
        ended = await asyncio.to_thread(run_vault, {**(vault.environment or {}), **spoilt})

    assert second["state"] == "approved"
    if refused is not None:
        assert (refused.status_code, refused.json()["code"]) == (503, "key_service_unreachable")
        assert refused.headers["retry-after"] == "2"
    assert ended.returncode == 3
    assert ended.stderr.startswith("vault: ")
    assert "Traceback" not in ended.stderr


def test_a_key_service_that_is_not_wholly_described_is_not_begun_with():
    ended = run_vault({"UNDERCROFT_VAULT_KEY_SERVICE": "pkcs11"})

    assert ended.returncode == 2
    assert "UNDERCROFT_VAULT_PKCS11_PIN_FILE is missing" in ended.stderr
