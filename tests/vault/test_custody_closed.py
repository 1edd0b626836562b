"""While a custodian types, nobody of the vault's own user looks into the memory his passphrase and his share lie in."""

import asyncio
import errno
import os
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import psutil
import pytest

from infra.chassis import durable
from infra.dev.users import NUMBERS, of_this_machine
from tests.sandbox.running import ROOT
from tests.support.keys import root_file
from tests.support.waiting import wait_until
from tests.vault.custody import CTRL_C, Place, Typist, acts, passphrase, short_folder
from tests.vault.within import REFUSED, defenceless, neighbour

VAULT = NUMBERS["vault"]
DEBUGGED = """
import ctypes, os, sys
from pathlib import Path
from vault.custodians import closing
PTRACE_SEIZE = 0x4206
go, child = os.pipe(), os.fork()
if child == 0:
    os.read(go[0], 1)
    try:
        closing.close(Path(sys.argv[1]))
        print("it was closed", flush=True)
    except closing.NotClosed as reason:
        print(reason.strerror, flush=True)
    os._exit(0)
seized = ctypes.CDLL(None).ptrace(PTRACE_SEIZE, child, None, None) == 0
os.write(go[1], b"x")
os.waitpid(child, 0)
print(seized)
"""

WITHOUT_POWERS = """
import sys
from infra.chassis.walls import process
from vault.__main__ import main
process.drop_capabilities([], keep_low_ports=False)
sys.exit(main(sys.argv[1:]))
"""
BECOMES = """
import os, sys
from pathlib import Path
from vault.custodians import closing
os.setgroups([0, 4711])
closing.close(Path(sys.argv[1]), keep_groups=True)
print(*os.getresuid(), *os.getresgid(), os.getgroups())
"""


def seated_at_a_passphrase(typist: Typist) -> int:
    """The process that waits for it."""
    typist.sees("a passphrase only you know: ")
    pid = getattr(typist.process, "pid", None)
    assert isinstance(pid, int)
    return pid


@pytest.mark.control("UC-3.6.1.2")
def test_who_waits_for_a_passphrase_is_read_by_no_other_process_of_his_user(place: Place):
    with place.sit("enrol", "dora") as typist:
        looked = neighbour(seated_at_a_passphrase(typist))
        typist.presses(CTRL_C)
    with defenceless() as pid:
        into_another = neighbour(pid)

    assert set(looked.values()) <= REFUSED
    assert into_another["read"] == "done", "the same attempt on a process that is not closed"


def as_the_vault(*command: str) -> bytes:
    return subprocess.run(
        command, user=VAULT, group=VAULT, extra_groups=[], capture_output=True, check=False, env={"LANG": "C"}
    ).stderr


@pytest.mark.control("UC-3.6.1.2")
def test_a_ceremony_that_root_begins_becomes_the_vaults_user_and_is_still_not_his_to_read():
    """It was root until it was closed: there was no moment at which the vault's user could have opened its memory."""
    if not of_this_machine().stand:
        return
    with short_folder() as folder:
        os.chown(folder, VAULT, VAULT)
        place = Place(folder)
        with place.sit("enrol", "dora") as typist:
            pid = seated_at_a_passphrase(typist)
            uids = set(psutil.Process(pid).uids())
            read = [as_the_vault("/bin/cat", f"/proc/{pid}/{name}") for name in ("environ", "mem", "maps")]
            typist.types(passphrase("dora"))
            typist.sees("the same again: ")
            typist.types(passphrase("dora"))
            assert typist.end() == 0, typist.screen
        owners = {path.stat().st_uid for path in folder.rglob("*")}
        (enrolled,) = acts(place)

    assert uids == owners == {VAULT}
    assert all(b"Permission denied" in said for said in read)
    assert enrolled["machine"] == "operator root"


def may_export(folder: Path) -> tuple[Place, list[str], Path]:
    """What the command reads before the other vault's key, the command, and that key, which is not there yet."""
    files = {"url": b"postgresql+asyncpg://nobody@127.0.0.1:1/none", "fingerprint": bytes(32)}
    for name, content in files.items():
        durable.replace(folder / name, content)
    root_file(folder).rename(folder / "root.key")
    names = {"DATABASE_URL_FILE": "url", "FINGERPRINT_KEY_FILE": "fingerprint"}
    place = Place(folder, {f"UNDERCROFT_VAULT_{name}": str(folder / file) for name, file in names.items()})
    key = folder / "key"
    return place, ["tokens", "export", "--tenant", "tnt_ours", "--to", str(key), "--out", str(folder / "out")], key


@asynccontextmanager
async def at_the_key(place: Place, asked: list[str], key: Path) -> AsyncIterator[int]:
    """The command with none of root's powers, as the vault's; it waits for what stands in the key."""
    os.mkfifo(key)
    program, held = [sys.executable, "-c", WITHOUT_POWERS, *asked], list[int]()
    process = await asyncio.create_subprocess_exec(*program, cwd=ROOT, env=os.environ | place.settings())

    def it_reads() -> bool:
        try:
            held.append(os.open(key, os.O_WRONLY | os.O_NONBLOCK))
        except OSError as error:
            if error.errno != errno.ENXIO or process.returncode is not None:
                raise
        return bool(held)

    try:
        await wait_until(it_reads)
        yield process.pid
    finally:
        for descriptor in held:
            os.close(descriptor)
        process.kill()
        await process.wait()


@pytest.mark.control("UC-T.4", "UC-3.6.1.2")
async def test_before_an_export_reads_anything_no_other_process_of_the_vaults_user_looks_into_it():
    """A vault that was broken into is that user: it would read passphrases, shares, the root, and then every card."""
    with short_folder() as folder:
        async with at_the_key(*may_export(folder)) as pid:
            looked = neighbour(pid)

    assert set(looked.values()) <= REFUSED


def test_who_needs_the_database_keeps_the_group_that_leads_there_and_none_of_roots(tmp_path: Path):
    if not of_this_machine().stand:
        return
    os.chown(tmp_path, VAULT, VAULT)
    became = subprocess.run(
        [sys.executable, "-c", BECOMES, str(tmp_path)], cwd=ROOT, capture_output=True, text=True, check=True
    )

    assert became.stdout.split("\n")[0] == " ".join([str(VAULT)] * 6) + " [4711]"


def test_a_process_that_somebody_debugs_already_asks_for_nothing(tmp_path: Path):
    tried = subprocess.run(
        [sys.executable, "-c", DEBUGGED, str(tmp_path)], cwd=ROOT, capture_output=True, text=True, check=True
    )

    said, seized = tried.stdout.splitlines()
    if seized == "True":
        assert "is debugging this one" in said
    else:  # this machine lets nobody debug anybody
        assert said == "it was closed"
