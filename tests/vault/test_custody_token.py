"""Custody of a token's PIN: one that nobody has seen; the vault logs in after its custodians were here."""

import asyncio
import shutil
from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import pkcs11
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from infra.chassis.keys import RootSealed, new_key
from infra.chassis.keys.custody import Custody, is_sealed_file
from infra.chassis.keys.pkcs11 import Pkcs11KeyService, Token, library_of
from infra.chassis.keys.ringfile import RingFile
from infra.dev.postgres import ServiceDatabase
from tests.sandbox.running import Sandbox
from tests.support import softhsm
from tests.support.waiting import wait_until
from tests.vault.bench import Person
from tests.vault.custody import NAMES, Place, enrolled_place, short_folder
from tests.vault.process import VaultProcess, vault_process
from vault.custodians import ceremony
from vault.custodians.people import Custodian

CONTEXT = b"tests/vault/test_custody_token"


@dataclass(slots=True)
class Room:
    vault: VaultProcess
    place: Place
    token: Token


def takes(token: Token, pin: str) -> bool:
    """Whether the token lets in who says this PIN."""
    library_of(token.module).start_anew()
    try:
        with library_of(token.module).token(token.label).open(user_pin=pin):
            return True
    except pkcs11.PinIncorrect:
        return False


@pytest.fixture
async def token(tmp_path: Path) -> Token:
    """With one version of a root."""
    made = softhsm.new_token(tmp_path)
    keys = softhsm.service(made)
    await keys.rotate()
    await keys.close()
    return made


@pytest.fixture
async def room(
    token: Token, shared_database: ServiceDatabase, processor: Sandbox, tmp_path: Path
) -> AsyncIterator[Room]:
    """A vault whose root is in a token, and three custodians without shares."""
    enrolled = await asyncio.to_thread(enrolled_place, tmp_path)
    with short_folder() as folder:
        custody = folder / "c"
        shutil.copytree(enrolled.custody, custody)
        environment = {
            "UNDERCROFT_VAULT_KEY_SERVICE": "pkcs11",
            "UNDERCROFT_VAULT_ROOT_KEY_NAME": token.key_label,
            "UNDERCROFT_VAULT_PKCS11_MODULE": str(token.module),
            "UNDERCROFT_VAULT_PKCS11_TOKEN": token.label,
            "UNDERCROFT_VAULT_PKCS11_PIN_FILE": str(token.pin_file),
            "UNDERCROFT_VAULT_CUSTODY_FOLDER": str(custody),
            softhsm.CONFIGURATION: str(softhsm.configuration()),
            "UNDERCROFT_VAULT_WALLS_READS": str(softhsm.configuration()),
            "UNDERCROFT_VAULT_WALLS_WRITES": str(softhsm.tokens()),
        }
        async with vault_process(
            tmp_path, shared_database, processor, timeout_seconds=4, environment=environment
        ) as vault:
            yield Room(vault, Place(tmp_path, environment, custody), token)


@pytest.mark.control("UC-3.6.1.2")
async def test_the_pin_of_before_opens_the_token_no_more_and_two_custodians_open_the_vault(room: Room):
    ada, vault = Person(), room.vault
    first = await vault.paid_charge(ada)
    pin = room.token.pin_file.read_text()

    papers = await asyncio.to_thread(room.place.generate, *NAMES)
    beside = await vault.charge(ada.charge(first.token_id))
    vault.stop()
    assert vault.environment is not None
    vault.process = vault.spawn(vault.environment, vault.log)
    await wait_until(lambda: any(room.place.custody.glob("door-*.sock")))
    told = [await asyncio.to_thread(room.place.give, "enter", name, papers[name]) for name in ("cleo", "ben")]
    charged = (await vault.charge(ada.charge(first.token_id))).json()

    assert (beside.status_code, beside.json()["code"]) == (503, "sealed")
    assert is_sealed_file(room.token.pin_file)
    assert pin.encode() not in room.token.pin_file.read_bytes()
    assert [code for code, _ in told] == [0, 0], told
    assert charged["state"] == "approved"
    vault.stop()
    assert not takes(room.token, pin)


async def test_a_pin_that_was_being_changed_when_somebody_was_killed_is_set_by_the_next_login(token: Token):
    former = token.pin_file.read_text()
    people = [Custodian(name, Ed25519PrivateKey.generate()) for name in ("ada", "ben")]
    prepared = ceremony.prepare(people, 2)
    entry = prepared.entry(
        act="generated", at=datetime.now(UTC), machine="tests", under=token.pin_file, also={}, replaces=None
    )
    ceremony.put_under(RingFile(token.pin_file), prepared, entry, ceremony.with_another_pin, bytes)
    opened = Custody(token.pin_file)
    opened.give(prepared.key)
    lines = opened.clear(token.pin_file.read_bytes()).decode().split("\n")
    still = takes(token, former)

    stranger = softhsm.service(token)
    with pytest.raises(RootSealed):
        await stranger.wrap(new_key(), CONTEXT)
    await stranger.close()
    keys = Pkcs11KeyService(token, softhsm.TIMEOUT_SECONDS, opened)
    assert await keys.wrap(new_key(), CONTEXT)
    await keys.close()

    assert (len(lines), lines[1], still) == (2, former, True)
    assert (takes(token, former), takes(token, lines[0])) == (False, True)
    again = Pkcs11KeyService(token, softhsm.TIMEOUT_SECONDS, opened)
    assert await again.wrap(new_key(), CONTEXT)
    await again.close()
