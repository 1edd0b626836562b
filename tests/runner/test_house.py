import json
import stat
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from infra.dev import readiness
from infra.dev.house import House, HouseFailed, Options
from infra.dev.ports import Ports, PortTaken
from infra.dev.processes import Identity
from infra.dev.state import HouseBusy, State, bring_down, is_running, remove
from tests.support.house import throwaway_house
from tests.support.waiting import wait_until

KEEPER = """
import sys, time
from pathlib import Path
from tests.support.house import throwaway_house
house = throwaway_house(Path(sys.argv[1]), ["sandbox"])
house.start()
print("up", flush=True)
time.sleep(600)
"""


@pytest.fixture(scope="module")
def small_house(tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    with throwaway_house(tmp_path_factory.mktemp("small"), ["sandbox"]) as running:
        yield running


def keeper(folder: Path) -> subprocess.Popen[str]:
    process = subprocess.Popen([sys.executable, "-c", KEEPER, str(folder)], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stdout.readline() == "up\n"
    return process


def everything_of(folder: Path) -> list[Identity]:
    state = State.read(folder)
    assert state is not None
    return list(state.processes.values())


def test_each_part_is_a_process_of_its_own_in_its_own_group(small_house: House) -> None:
    pids = small_house.pids

    assert set(pids) == {"sandbox", "postgres-vault", "postgres-house"}
    assert len(set(pids.values())) == len(pids)
    for pid in pids.values():
        assert psutil.Process(pid).parent() == psutil.Process()


def test_a_service_is_told_only_its_own_settings(small_house: House) -> None:
    environment = psutil.Process(small_house.pids["sandbox"]).environ()

    others = {name for name in environment if not name.startswith("UNDERCROFT_SANDBOX_")}
    assert others <= {"PATH", "LANG", "LC_CTYPE", "PYTHONUNBUFFERED", "PYTHONWARNINGS", "PYTHONDEVMODE"}


@pytest.mark.control("UC-3.6")
def test_no_environment_and_no_command_line_holds_a_secret(small_house: House) -> None:
    secrets = [path.read_bytes() for path in small_house.keyring.folder.rglob("*") if path.is_file()]
    seen = b""
    for pid in small_house.pids.values():
        seen += Path(f"/proc/{pid}/environ").read_bytes() + Path(f"/proc/{pid}/cmdline").read_bytes()

    assert secrets
    assert [secret for secret in secrets if secret.strip() in seen] == []


@pytest.mark.control("UC-3.6")
def test_only_the_owner_may_read_keys_and_logs(small_house: House) -> None:
    for folder in (small_house.keyring.folder, small_house.logs):
        assert stat.S_IMODE(folder.stat().st_mode) in {0o700, 0o711}  # a service passes on its way to its own
        for path in folder.rglob("*"):
            assert stat.S_IMODE(path.stat().st_mode) & 0o077 == 0, path


def test_every_part_has_a_log_and_services_write_json(small_house: House) -> None:
    names = {path.name for path in small_house.logs.iterdir()}

    assert names == {"sandbox.log", "postgres-vault.log", "postgres-house.log"}
    for line in (small_house.logs / "sandbox.log").read_text().splitlines():
        assert isinstance(json.loads(line), dict)


def test_a_second_house_on_the_same_folder_is_refused_and_the_first_goes_on(small_house: House) -> None:
    with pytest.raises(HouseBusy, match="undercroft down"):
        throwaway_house(small_house.folder, ["sandbox"]).start()

    assert small_house.ended() == {}
    assert is_running(small_house.folder)
    with pytest.raises(HouseBusy):
        remove(small_house.folder)


def test_a_taken_port_is_named_with_its_holder_and_the_way_out(small_house: House, tmp_path: Path) -> None:
    house = House(tmp_path / "other", small_house.ports, Options(services=["sandbox"], durable=False))

    with pytest.raises(PortTaken) as refused:
        house.start()

    message = str(refused.value)
    assert str(small_house.ports.processor) in message
    assert f"pid {small_house.pids['sandbox']}" in message
    assert "--base-port" in message
    assert not is_running(house.folder)


def test_a_killed_service_is_noticed_and_can_be_restarted(small_house: House) -> None:
    before = small_house.pids["sandbox"]

    small_house.kill("sandbox")
    assert small_house.ended() == {"sandbox": -9}

    small_house.restart("sandbox")
    assert small_house.ended() == {}
    assert small_house.pids["sandbox"] != before


def test_a_service_that_cannot_start_is_reported_with_its_last_words_and_nothing_stays(tmp_path: Path) -> None:
    house = throwaway_house(tmp_path, ["sandbox"])
    (tmp_path / "sandbox").write_text("in the way of the sandbox's folder")

    with pytest.raises((HouseFailed, FileExistsError)):
        house.start()

    assert house.pids == {}
    assert not is_running(tmp_path)


def test_data_and_keys_survive_a_stop(tmp_path: Path) -> None:
    with throwaway_house(tmp_path, ["sandbox"]) as first:
        first.clusters["house"].sql("CREATE TABLE kept (id int); INSERT INTO kept VALUES (3)")
        key = first.keyring.path("vault/root.key").read_bytes()

    with throwaway_house(tmp_path, ["sandbox"]) as second:
        assert second.clusters["house"].sql("SELECT id FROM kept").strip() == "3"
        assert second.keyring.path("vault/root.key").read_bytes() == key


async def test_a_killed_runner_leaves_no_orphans(tmp_path: Path) -> None:
    runner = keeper(tmp_path)
    started = everything_of(tmp_path)
    assert len(started) == 3
    assert all(identity.alive for identity in started)

    runner.kill()
    runner.communicate()

    await wait_until(lambda: not any(identity.alive for identity in started))


async def test_another_shell_brings_the_house_down(tmp_path: Path) -> None:
    runner = keeper(tmp_path)
    started = everything_of(tmp_path)
    assert is_running(tmp_path)

    assert bring_down(tmp_path)

    runner.communicate()
    await wait_until(lambda: not any(identity.alive for identity in started))
    assert not is_running(tmp_path)
    assert not bring_down(tmp_path)


def test_ports_are_free_again_after_a_stop(tmp_path: Path) -> None:
    with throwaway_house(tmp_path, ["sandbox"]) as house:
        assert readiness.answers_ok(house.ports.inbox, "/health")

    with House(tmp_path, house.ports, Options(services=["sandbox"], durable=False)) as again:
        assert again.ended() == {}


def test_usual_ports_can_be_moved_together_or_one_by_one() -> None:
    ports = Ports.usual(8100, {"inbox": 9999})

    assert (ports.gateway, ports.vault_page, ports.inbox) == (8100, 8201, 9999)
