"""While a custodian types, nobody of the vault's own user looks into the memory his passphrase and his share lie in."""

import os
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from infra.dev.users import NUMBERS, of_this_machine
from tests.sandbox.running import ROOT
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


def test_a_process_that_somebody_debugs_already_asks_for_nothing(tmp_path: Path):
    tried = subprocess.run(
        [sys.executable, "-c", DEBUGGED, str(tmp_path)], cwd=ROOT, capture_output=True, text=True, check=True
    )

    said, seized = tried.stdout.splitlines()
    if seized == "True":
        assert "is debugging this one" in said
    else:  # this machine lets nobody debug anybody
        assert said == "it was closed"
