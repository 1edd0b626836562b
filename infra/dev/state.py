"""What another shell needs to know about a house: who runs it, what it started, where it answers. Never a secret."""

import contextlib
import fcntl
import json
import os
import shutil
import signal
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import IO

from infra.dev.postgres import stop_left_over
from infra.dev.processes import Identity, identify, stop, wait_for

CLUSTERS = ("vault", "house")
CLUSTER_PREFIX = "postgres-"
DOWN_SECONDS_MAX = 60.0


class HouseBusy(RuntimeError):
    """Another runner holds this data folder."""


@dataclass(slots=True)
class State:
    runner: Identity
    processes: dict[str, Identity] = field(default_factory=dict)
    urls: dict[str, str] = field(default_factory=dict)

    def write(self, folder: Path) -> None:
        new = folder / "state.new"
        new.write_text(json.dumps(asdict(self), indent=1), encoding="utf-8")
        new.replace(folder / "state.json")

    @classmethod
    def read(cls, folder: Path) -> "State | None":
        """Return what the last runner wrote, alive or not; None when none did."""
        try:
            raw = json.loads((folder / "state.json").read_text(encoding="utf-8"))
        except FileNotFoundError:
            return None
        processes = {name: Identity(**item) for name, item in raw["processes"].items()}
        return cls(runner=Identity(**raw["runner"]), processes=processes, urls=raw["urls"])


class Lock:
    """At most one runner a data folder. The kernel lets go of it when the runner dies, however it dies."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._file: IO[bytes] | None = None

    def take(self) -> None:
        """Raise HouseBusy if another runner has it."""
        self._folder.mkdir(parents=True, exist_ok=True)
        file = (self._folder / "lock").open("ab")
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            file.close()
            raise HouseBusy(
                f"a house already runs on {self._folder}: `undercroft status` shows it, `undercroft down` stops it"
            ) from None
        self._file = file

    def release(self) -> None:
        if self._file is not None:
            self._file.close()
            self._file = None


def is_running(folder: Path) -> bool:
    lock = Lock(folder)
    if not (folder / "lock").exists():
        return False
    try:
        lock.take()
    except HouseBusy:
        return True
    lock.release()
    return False


def bring_down(folder: Path) -> bool:
    """Stop the house of this folder from any shell, and whatever a killed runner left. False if nothing ran.

    Raises HouseBusy if its runner does not end.
    """
    state = State.read(folder)
    if state is None:
        return False
    ran = state.runner.alive or any(identity.alive for identity in state.processes.values())
    if state.runner.alive and state.runner != identify(os.getpid()):
        os.kill(state.runner.pid, signal.SIGTERM)
        if not wait_for(lambda: not state.runner.alive, seconds=DOWN_SECONDS_MAX):
            raise HouseBusy(f"the runner (pid {state.runner.pid}) does not end; its terminal says why")
    sweep(folder, state)
    return ran


def sweep(folder: Path, state: State | None) -> None:
    """Stop what a runner that is gone left behind."""
    for process, identity in (state.processes if state else {}).items():
        if not process.startswith(CLUSTER_PREFIX):  # PostgreSQL is told to stop in its own way, below
            stop(identity, seconds=5.0)
    for name in CLUSTERS:
        stop_left_over(folder / "postgres" / name / "data")
    with contextlib.suppress(FileNotFoundError):
        (folder / "state.json").unlink()


def remove(folder: Path) -> None:
    """Delete all data of a house that does not run. Raises HouseBusy if it does."""
    lock = Lock(folder)
    if not folder.exists():
        return
    lock.take()
    sweep(folder, State.read(folder))
    shutil.rmtree(folder)
    lock.release()
