"""A house whose vault has a network of its own, where this machine gives one; and what is said where it does not."""

import json
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from infra.dev import enclosure, readiness, walls
from infra.dev.house import COURIER, House, Options
from infra.dev.ports import Ports
from infra.dev.processes import Identity
from infra.dev.state import State
from tests.runner.test_commands import undercroft
from tests.support.waiting import wait_until

WANTED = Options(services=("sandbox", "vault"), durable=False, close_ports=True, enclose=True)


@pytest.fixture(scope="module")
def enclosed(throwaway_folder: Path) -> Iterator[House]:
    with House(throwaway_folder / "enclosed", Ports.free(), WANTED) as running:
        yield running


def network_of(pid: int) -> str | None:
    """None where we may not look (CAP_SYS_PTRACE)."""
    try:
        return os.readlink(f"/proc/{pid}/ns/net")  # noqa: PTH115 - it points at no path
    except PermissionError:
        return None


def test_the_vault_has_its_own_network_or_the_report_says_why_not(enclosed: House) -> None:
    (network,) = [wall for wall in walls.standing(enclosed.folder) if wall.name == "network"]
    (packets,) = [wall for wall in walls.standing(enclosed.folder) if wall.name == "packet_filter"]

    assert network.stands == (enclosure.NAME in enclosed.pids)
    assert network.stands or "no network namespace" in network.why
    assert packets.stands or packets.why
    assert network.stands or not packets.stands
    if network.stands:
        assert network_of(enclosed.pids["vault"]) != network_of(os.getpid())
        assert network_of(enclosed.pids[COURIER]) in {None, network_of(os.getpid())}
    assert readiness.answers_ok(enclosed.ports.vault, "/ready")
    assert enclosed.ended() == {}


def test_the_runner_knows_every_process_and_says_which_walls_stand(enclosed: House) -> None:
    state = State.read(enclosed.folder)
    assert state is not None

    told = undercroft("status", f"--folder={enclosed.folder}").stdout
    report = undercroft("harden", "--report", f"--folder={enclosed.folder}")

    assert set(enclosed.pids) <= set(state.processes)
    for wall in walls.standing(enclosed.folder):
        assert wall.name in told
        assert wall.stands or wall.why in told
        assert f"{wall.name} " in report.stdout
    assert report.returncode in {0, 1}
    assert report.stderr == ""


def test_a_killed_vault_comes_back_inside_and_a_killed_enclosure_takes_the_vault_along(enclosed: House) -> None:
    for name in ("vault", COURIER, enclosure.NAME):
        if name not in enclosed.pids:
            continue
        before = enclosed.pids[name]
        enclosed.kill(name)
        enclosed.restart(name)

        assert enclosed.pids[name] != before
        assert enclosed.ended() == {}
        assert readiness.answers_ok(enclosed.ports.vault, "/ready")
        if enclosure.NAME in enclosed.pids:
            assert network_of(enclosed.pids["vault"]) in {None, network_of_path(enclosed.folder)}


def test_an_enclosure_that_runs_is_made_anew_and_the_vault_is_inside_the_new_one(enclosed: House) -> None:
    if enclosure.NAME not in enclosed.pids:
        (network,) = [wall for wall in walls.standing(enclosed.folder) if wall.name == "network"]
        assert not network.stands
        return
    before = {name: enclosed.pids[name] for name in (enclosure.NAME, "vault")}

    enclosed.restart(enclosure.NAME)

    assert all(enclosed.pids[name] != pid for name, pid in before.items())
    assert enclosed.ended() == {}
    assert readiness.answers_ok(enclosed.ports.vault, "/ready")
    assert network_of(enclosed.pids["vault"]) in {None, network_of_path(enclosed.folder)}


def network_of_path(folder: Path) -> str | None:
    _, _, pid, *_ = Path((folder / "walls" / "network").read_text()).parts
    return network_of(int(pid)) and os.readlink((folder / "walls" / "network").read_text())  # noqa: PTH115 - no path


async def test_nothing_of_an_enclosure_is_left_when_whoever_started_it_stops(tmp_path: Path) -> None:
    made = enclosure.Enclosure(tmp_path, tmp_path / "log")
    child = made.start([], [])
    said = json.loads((tmp_path / "network.json").read_text())
    assert said["stands"] == (child is not None)
    if child is None:
        assert said["why"]
        return

    namespace, identity = made.network, Identity(child.identity.pid, child.identity.started_at)
    child.stop()

    await wait_until(lambda: not identity.alive)
    await wait_until(lambda: not os.path.lexists(namespace))
