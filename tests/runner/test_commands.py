"""`up` and its companions, as a person types them, over the whole house."""

import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from infra.dev import readiness
from infra.dev.house import LISTENERS
from infra.dev.ports import Ports
from infra.dev.processes import Identity
from infra.dev.state import State, is_running
from tests.support.waiting import BUSY_SECONDS_MAX, wait_until

ROOT = Path(__file__).parents[2]
STARTED = "The house runs."


def undercroft(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", RUN, *arguments]
    return subprocess.run(
        command, cwd=ROOT, capture_output=True, text=True, check=False, timeout=90, stdin=subprocess.DEVNULL
    )


# The bootstrap would install again where the tests run in an environment it did not make.
RUN = "import sys; from infra import bootstrap, cli; bootstrap.enter = lambda _: None; sys.exit(cli.main())"


@dataclass
class Up:
    process: subprocess.Popen[str]
    folder: Path
    ports: Ports
    told: str

    @property
    def state(self) -> State:
        state = State.read(self.folder)
        assert state is not None
        return state

    def everything(self) -> list[Identity]:
        return [self.state.runner, *self.state.processes.values()]


def start(folder: Path) -> Up:
    ports = Ports.free()
    chosen = [f"--port={name}={port}" for name, port in ports.named().items()]
    process = subprocess.Popen(
        [sys.executable, "-c", RUN, "up", f"--folder={folder}", *chosen],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    told = ""
    assert process.stdout is not None
    for line in process.stdout:
        told += line
        if line.strip().startswith("missing") and STARTED in told:
            break
    assert STARTED in told, told
    return Up(process, folder, ports, told)


@pytest.fixture(scope="module")
def running(throwaway_folder: Path) -> Iterator[Up]:
    up = start(throwaway_folder / "up")  # not in pytest's folder, which services that are other users cannot pass
    yield up
    if up.process.poll() is None:  # the last test stops it, when it is among those that run
        up.process.send_signal(signal.SIGINT)
        up.process.communicate(timeout=BUSY_SECONDS_MAX)


def test_up_shows_where_things_are_and_which_walls_stand(running: Up) -> None:
    for port in running.ports.named().values():
        assert f"http://127.0.0.1:{port}" in running.told
    for words in ("npx @modelcontextprotocol/inspector", "/mcp", "https", "inbox", "4242", "stands", "missing"):
        assert words in running.told


def test_every_listener_answers(running: Up) -> None:
    for listeners in LISTENERS.values():
        assert readiness.answers_ok(running.ports.named()[listeners[0]], "/ready")


def test_status_lists_what_runs(running: Up) -> None:
    shown = undercroft("status", "--folder", str(running.folder))

    assert shown.returncode == 0
    for name, identity in running.state.processes.items():
        assert re.search(rf"{name} +{identity.pid} +runs", shown.stdout)


def test_logs_shows_one_process_and_names_the_others(running: Up) -> None:
    listed = undercroft("logs", "--folder", str(running.folder)).stdout
    shown = undercroft("logs", "sandbox", "-n", "1", "--folder", str(running.folder)).stdout
    unknown = undercroft("logs", "kitchen", "--folder", str(running.folder))

    for name in (*LISTENERS, "postgres-vault", "postgres-house"):
        assert name in listed
    assert isinstance(json.loads(shown), dict)
    assert unknown.returncode == 1
    assert "gateway" in unknown.stderr


def test_a_running_house_is_neither_reset_nor_started_twice(running: Up) -> None:
    reset = undercroft("reset", "--yes", "--folder", str(running.folder))
    again = undercroft("up", "--folder", str(running.folder))

    for refused in (reset, again):
        assert refused.returncode == 1
        assert "undercroft down" in refused.stderr
        assert "Traceback" not in refused.stderr
    assert running.process.poll() is None


async def test_up_starts_a_crashed_service_again(running: Up) -> None:
    crashed = running.state.processes["memory"]

    os.kill(crashed.pid, signal.SIGKILL)

    await wait_until(lambda: running.state.processes["memory"] != crashed)
    await wait_until(lambda: readiness.answers_ok(running.ports.memory, "/ready"))


def test_a_taken_port_is_explained(running: Up, tmp_path: Path) -> None:
    told = undercroft("up", "--folder", str(tmp_path / "second"), f"--port=gateway={running.ports.gateway}")

    assert told.returncode == 1
    assert f"{running.ports.gateway} (gateway): by " in told.stderr
    assert "Traceback" not in told.stderr


def test_a_port_for_something_unknown_is_explained(tmp_path: Path) -> None:
    told = undercroft("up", "--folder", str(tmp_path), "--port=kitchen=8000")

    assert told.returncode == 2
    assert "mcp_server" in told.stderr


async def test_down_stops_it_from_another_shell_keeps_the_data_and_reset_deletes_it(running: Up) -> None:
    folder, everything = running.folder, running.everything()

    down = undercroft("down", "--folder", str(folder))

    rest, _ = running.process.communicate(timeout=BUSY_SECONDS_MAX)
    assert (down.returncode, running.process.returncode) == (0, 0)
    assert "the data is kept" in rest
    await wait_until(lambda: not any(identity.alive for identity in everything))
    assert not is_running(folder)
    assert (folder / "postgres" / "vault" / "data" / "PG_VERSION").exists()
    assert undercroft("status", "--folder", str(folder)).returncode == 1
    assert "nothing was running" in undercroft("down", "--folder", str(folder)).stdout

    unasked = undercroft("reset", "--folder", str(folder))
    assert unasked.returncode == 1
    assert folder.exists()
    assert undercroft("reset", "--yes", "--folder", str(folder)).returncode == 0
    assert not folder.exists()
