"""The vault's own walls: what code inside a real vault may still do, and what others may do to it from outside.

Where this machine has not got a wall, the vault says so, and what the wall would stop goes through.
"""

import asyncio
import os
import socket
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from sqlalchemy import make_url

from infra.chassis import durable
from infra.chassis.clock import SystemClock
from infra.dev.ports import free_ports
from infra.dev.postgres import ServiceDatabase
from infra.sandbox.settings import AIRWALLEX_CLIENT_ID
from tests.sandbox.running import AIRWALLEX_KEY, ROOT, WEBHOOK_SECRET, Sandbox
from tests.support.attempts import DONE, is_locked
from tests.support.database import DatabaseMaker
from tests.support.grants import TestMint
from tests.vault.bench import Person, settings_for
from tests.vault.process import vault_process
from tests.vault.within import EVERYTHING, REFUSED, defenceless, infiltrated, neighbour, peer_service
from vault.processors import ProcessorSettings
from vault.walls import plan_of

WALLS_EXIT = 4


def second_processor(sandbox: Sandbox, folder: Path) -> dict[str, str]:
    """Settings of a vault all of whose charges go there."""
    files, own = {"KEY_FILE": AIRWALLEX_KEY, "WEBHOOK_SECRET_FILE": WEBHOOK_SECRET}, folder / "airwallex"
    own.mkdir()
    for name, content in files.items():
        (own / name).write_text(content)
    given = {"URL": sandbox.airwallex_url, "CLIENT_ID": AIRWALLEX_CLIENT_ID}
    given |= {name: str(own / name) for name in files}
    named = {f"UNDERCROFT_VAULT_AIRWALLEX_{name}": value for name, value in given.items()}
    return {**EVERYTHING, **named, "UNDERCROFT_VAULT_DEFAULT_PROCESSOR": "airwallex"}


@pytest.mark.control("UC-2.2")
async def test_code_inside_the_vault_reaches_no_peer_no_file_of_others_and_no_shell_and_cards_are_still_charged(
    database: DatabaseMaker, processor: Sandbox, tmp_path: Path
):
    """By the second processor, whose address opened the way to it; by the first in `test_vault_segmentation`."""
    with peer_service(tmp_path) as (port, key):
        async with infiltrated(database, processor, tmp_path, second_processor(processor, tmp_path)) as within:
            own = tmp_path / "vault"
            assert is_locked(within.pid) == (within.walls["memory_locked"] is None)
            assert await within.refuses("ports", "tcp", "127.0.0.1", port)
            assert await within.refuses("ports", "listen", free_ports(1)[0])
            assert await within.refuses("files", "read", str(key))
            assert await within.refuses("files", "write", str(key))
            assert await within.refuses("files", "write", str(tmp_path / "loot"))
            assert await within.refuses("files", "entries", "/")
            assert await within.refuses("signals,system_calls", "ask_signal", os.getpid())
            assert await within.refuses("files,system_calls", "run_shell")
            for call in ("fork", "own_namespace", "be_dumpable", "unlock_memory"):
                assert await within.refuses("system_calls", call), call
            assert await within.refuses("system_calls", "datagram", "127.0.0.1", 53)
            assert await within.refuses("system_calls", "family", socket.AF_INET6, socket.SOCK_STREAM)
            assert await within.infiltrator.attempt("read", str(own / "grant.jwks")) == DONE
            assert await within.infiltrator.attempt("tcp", "127.0.0.1", processor.port) == DONE
            assert await within.infiltrator.attempt("tcp", "127.0.0.1", processor.airwallex_port) == DONE
            assert await within.refuses("ports", "tcp", "127.0.0.1", processor.inbox_port)
            assert await within.infiltrator.attempt("outlive_the_collector") == "EIDRM"

            await within.vault.paid_charge(Person())
            assert within.vault.stop() == 0


@pytest.mark.control("UC-2.2")
async def test_another_process_of_the_same_user_cannot_look_into_the_vault(
    database: DatabaseMaker, processor: Sandbox, tmp_path: Path
):
    async with infiltrated(database, processor, tmp_path) as within:
        into_it = neighbour(within.pid)
        with defenceless() as pid:
            into_another = neighbour(pid)

        assert (into_it["read"] in REFUSED) == (within.walls["not_dumpable"] is None)
        if within.walls["not_dumpable"] is None:
            assert set(into_it.values()) <= REFUSED
        assert into_another["read"] == DONE, "the same attempt on a process without walls"


async def test_a_vault_that_is_to_have_every_wall_and_cannot_does_not_start(
    database: DatabaseMaker, processor: Sandbox, tmp_path: Path
):
    """Here because of a thread that runs before; elsewhere because of the machine."""
    async with vault_process(tmp_path, database("vault"), processor, timeout_seconds=1) as vault:
        environment = {**(vault.environment or {}), "UNDERCROFT_VAULT_WALLS": "require"}
    program = (
        "import sys, threading; from vault.__main__ import main;"
        "threading.Thread(target=threading.Event().wait, daemon=True).start(); sys.exit(main([]))"
    )

    ended = await asyncio.to_thread(
        subprocess.run, [sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, env=environment
    )

    assert ended.returncode == WALLS_EXIT
    assert "vault: " in ended.stderr
    assert "the wall files cannot be had: 2 threads run already" in ended.stderr
    assert "Traceback" not in ended.stderr


def test_the_second_processor_may_be_called_once_its_address_is_given_and_no_other_port_with_it(
    shared_database: ServiceDatabase, processor: Sandbox, tmp_path: Path
):
    settings = settings_for(tmp_path, shared_database, processor, TestMint(SystemClock(), "vault"))
    second = ProcessorSettings(airwallex_url="https://api.airwallex.com:8443", airwallex_client_id="us")

    alone = plan_of(settings, make_url(shared_database.app_dsn)).connects
    both = plan_of(replace(settings, processors=second), make_url(shared_database.app_dsn)).connects

    assert alone is not None
    assert both is not None
    assert processor.port in alone
    assert set(both) - set(alone) == {8443}


def test_the_custodians_folder_that_is_made_for_the_walls_has_its_name_on_the_disk(
    shared_database: ServiceDatabase, processor: Sandbox, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    """Whoever writes the record there finds the folder, and flushes nothing above it."""
    settings = settings_for(tmp_path, shared_database, processor, TestMint(SystemClock(), "vault"))
    flushed = list[Path]()
    monkeypatch.setattr(durable, "flush_folder", flushed.append)

    *_, custody = plan_of(settings, make_url(shared_database.app_dsn)).writes

    assert custody.is_dir()
    assert flushed == [custody.parent]
