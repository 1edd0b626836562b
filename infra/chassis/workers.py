"""Several processes of one service on one port, and who watches them.

Each worker listens on the same address by SO_REUSEPORT (granian sets it) and the kernel spreads connections over them.
The supervisor opens no port and answers nothing: it starts workers, replaces one that died, and hands SIGTERM on. A
worker notices by its standard input, a pipe from the supervisor, when there is nobody left to watch it.
"""

import asyncio
import os
import signal
import sys
import tempfile
import time
from collections import deque
from collections.abc import Mapping, Sequence
from typing import Final

from prometheus_client import CollectorRegistry, multiprocess

from infra.chassis import logs

METRICS_FOLDER: Final = "PROMETHEUS_MULTIPROC_DIR"
"""prometheus_client reads it when it is imported; its workers then count in files there, and each can add them up."""
UNUSABLE: Final = 2
"""The exit code of a worker whose settings are incomplete: another one would fare no better."""
DEATHS_MAX: Final = 5
DEATHS_WITHIN_SECONDS: Final = 60.0
"""More often than this is no accident any more: the supervisor ends, so that whoever watches it learns of it."""
PAUSE_SECONDS: Final = 0.2
STOP_SECONDS: Final = 15.0
"""A worker takes 10 s at most to finish what it answers."""
log = logs.get_logger()


class Supervisor:
    """`command` starts one worker; `run` returns the exit code of the service."""

    def __init__(self, command: Sequence[str], count: int, environment: Mapping[str, str]) -> None:
        self._command = command
        self._count = count
        self._environment = environment
        self._workers: dict[int, asyncio.subprocess.Process] = {}
        self._deaths: deque[float] = deque(maxlen=DEATHS_MAX + 1)
        self._stop = asyncio.Event()

    async def run(self) -> int:
        """Until SIGTERM or SIGINT (0), or until workers cannot be kept alive (their code, or 1)."""
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._stop.set)
        with tempfile.TemporaryDirectory(prefix="undercroft-metrics-") as folder:
            slots = [asyncio.ensure_future(self._keep(slot, folder)) for slot in range(self._count)]
            stopping = asyncio.ensure_future(self._stop.wait())
            done, _ = await asyncio.wait([stopping, *slots], return_when=asyncio.FIRST_COMPLETED)
            codes = [task.result() for task in slots if task in done]
            self._stop.set()
            await self._end_workers()
            await asyncio.gather(stopping, *slots)
        return next((code for code in codes if code), 0)

    async def _keep(self, slot: int, folder: str) -> int:
        """One worker after the other. Returns 0 after `stop`, else the code to end with."""
        while not self._stop.is_set():
            worker = await asyncio.create_subprocess_exec(
                *self._command,
                stdin=asyncio.subprocess.PIPE,
                env={**self._environment, METRICS_FOLDER: folder},
            )
            self._workers[slot] = worker
            if self._stop.is_set():
                worker.terminate()
            code = await worker.wait()
            if self._stop.is_set():
                return 0
            log.error("worker_ended", slot=slot, pid=worker.pid, code=code)
            if code == UNUSABLE or self._too_many():
                log.critical("workers_cannot_be_kept", code=code)
                return code if code > 0 else 1
            await asyncio.sleep(PAUSE_SECONDS)
        return 0

    def _too_many(self) -> bool:
        now = time.monotonic()
        self._deaths.append(now)
        return len(self._deaths) > DEATHS_MAX and now - self._deaths[0] < DEATHS_WITHIN_SECONDS

    async def _end_workers(self) -> None:
        living = [worker for worker in self._workers.values() if worker.returncode is None]
        for worker in living:
            worker.terminate()
        if not living:
            return
        _, hanging = await asyncio.wait(
            [asyncio.ensure_future(worker.wait()) for worker in living], timeout=STOP_SECONDS
        )
        if hanging:
            log.error("workers_killed", count=len(hanging))
        for worker in living:
            if worker.returncode is None:
                worker.kill()


async def end_when_orphaned(stop: asyncio.Event) -> None:
    """For a worker's background: ends this process at once when the supervisor is gone, as a crash would.

    Whoever starts the service again must find its port free, and what is under way survives a crash anyway.
    """
    loop = asyncio.get_running_loop()
    reader = asyncio.StreamReader()
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
    ended, stopped = asyncio.ensure_future(reader.read(1)), asyncio.ensure_future(stop.wait())
    await asyncio.wait([ended, stopped], return_when=asyncio.FIRST_COMPLETED)
    if not stop.is_set():
        log.critical("supervisor_gone")
        os._exit(1)
    ended.cancel()


def shared_metrics() -> CollectorRegistry | None:
    """In a worker: the sum over all workers, the dead included. None in a process that has the service to itself."""
    if METRICS_FOLDER not in os.environ:
        return None
    registry = CollectorRegistry()
    multiprocess.MultiProcessCollector(registry)  # type: ignore[no-untyped-call]  # the library leaves it untyped
    return registry
