"""Operating-system processes of the house: started on a leash, named by (pid, start time), stopped for certain."""

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import psutil

LEASH = Path(__file__).with_name("leash.py")
POLL_SECONDS = 0.02
START_TIME_SLACK_SECONDS = 1.5  # /proc counts in ticks since boot; the wall clock it is added to may be adjusted

# The kernel's "parent died" means the *thread* that forked. One thread that lives as long as the interpreter does all
# forking, so that a restart from a short-lived worker thread cannot kill what it started.
_FORKS = ThreadPoolExecutor(max_workers=1, thread_name_prefix="forks")


@dataclass(frozen=True, slots=True)
class Identity:
    """A process that cannot be confused with a later one of the same number."""

    pid: int
    started_at: float

    def process(self) -> psutil.Process | None:
        """Look it up; None when it no longer runs."""
        try:
            process = psutil.Process(self.pid)
            same = abs(process.create_time() - self.started_at) < START_TIME_SLACK_SECONDS
            return process if same and process.status() != psutil.STATUS_ZOMBIE else None
        except psutil.NoSuchProcess:
            return None

    @property
    def alive(self) -> bool:
        return self.process() is not None


@dataclass(frozen=True, slots=True)
class Child:
    """A process we started, and so must collect when it ends."""

    process: subprocess.Popen[bytes]
    identity: Identity

    @property
    def exit_code(self) -> int | None:
        return self.process.poll()

    @property
    def alive(self) -> bool:
        return self.exit_code is None

    def stop(self, gently: signal.Signals = signal.SIGTERM, *, seconds: float = 10.0) -> int:
        """Ask it to end, then make its whole group end. Returns its exit code; one long gone is fine."""
        stop(self.identity, gently, seconds=seconds)
        return self.process.wait()

    def kill(self) -> None:
        """End it as a crash would: no warning."""
        _signal_group(self.identity, signal.SIGKILL)
        self.process.wait()


def identify(pid: int) -> Identity:
    """Note who `pid` is now. Raises psutil.NoSuchProcess when it is gone already."""
    return Identity(pid=pid, started_at=psutil.Process(pid).create_time())


def spawn(
    command: Sequence[str | Path],
    *,
    environment: Mapping[str, str],
    log: Path,
    folder: Path,
    user: str | None = None,
    network: str | None = None,
    accounts: Path | None = None,
    death_signal: signal.Signals = signal.SIGTERM,
) -> Child:
    """Start `command` in its own process group, both output streams appended to `log`.

    `user`: as which, in the words of the leash; `network`: in the network namespace at this path; `accounts`: with this
    file in place of /etc/passwd.
    """
    place = f"{user or '-'}:{network or ''}:{accounts or ''}"
    whose = [str(int(death_signal)), str(os.getpid()), place]
    leash = [sys.executable, "-I", "-S", str(LEASH), *whose]
    with open(log, "ab", opener=_private) as output:
        process = _FORKS.submit(
            subprocess.Popen,
            [*leash, *map(str, command)],
            env=dict(environment),
            cwd=folder,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            process_group=0,
            umask=0o077,
        ).result()
    return Child(process=process, identity=identify(process.pid))


def _private(path: str, flags: int) -> int:
    """Logs name subjects and orders: only the owner reads them."""
    return os.open(path, flags, 0o600)


def wait_for(condition: Callable[[], bool], *, seconds: float) -> bool:
    """Poll until `condition` holds; False when it did not within `seconds`."""
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(POLL_SECONDS)
    return True


def stop(identity: Identity, gently: signal.Signals = signal.SIGTERM, *, seconds: float = 10.0) -> None:
    """Ask a process to end, then make its whole group end. Returns once it is gone; a process long gone is fine."""
    process = identity.process()
    if process is None:
        return
    with contextlib.suppress(psutil.NoSuchProcess):
        process.send_signal(gently)
    if not wait_for(lambda: not identity.alive, seconds=seconds):
        _signal_group(identity, signal.SIGKILL)
        wait_for(lambda: not identity.alive, seconds=seconds)


def _signal_group(identity: Identity, number: signal.Signals) -> None:
    if identity.alive:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(identity.pid, number)
