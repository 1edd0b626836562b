"""Fixtures every room's tests share. What they yield is described in tests/support/."""

import inspect
import logging
import shutil
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx2
import pytest
import structlog

from infra.chassis import engine, trace
from infra.dev.house import House
from infra.dev.postgres import Cluster
from tests.support.cases import modes
from tests.support.database import DatabaseMaker, Databases
from tests.support.house import throwaway_house
from tests.support.order import longest_first
from tests.support.waiting import BUSY_SECONDS_MAX

modes()

CONFIGURE = structlog.configure
MEMORY_FOLDER = Path("/dev/shm")  # noqa: S108 - the folder made inside is TemporaryDirectory's own
MEMORY_BYTES_MIN = 4 * 2**30
"""Two workers' databases come to about 2 GB."""


def _memory_folder() -> Path | None:
    """Throwaway databases in memory where there is room, which spares the disk thousands of files; None elsewhere."""
    if MEMORY_FOLDER.is_dir() and shutil.disk_usage(MEMORY_FOLDER).free > MEMORY_BYTES_MIN:
        return MEMORY_FOLDER
    return None


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    longest_first(items)


@pytest.fixture(scope="session", autouse=True)
def patient_engines() -> Iterator[None]:
    """A starved machine needs longer for a connection than production waits. Processes of their own wait as ever."""
    unsaid = inspect.signature(httpx2.AsyncClient).parameters["timeout"].default
    with pytest.MonkeyPatch.context() as patch:
        for wait in ("connect", "read", "write", "pool"):
            patch.setattr(unsaid, wait, BUSY_SECONDS_MAX)
        patch.setattr(engine, "CONNECT_SECONDS_MAX", BUSY_SECONDS_MAX)
        patch.setattr(engine, "COMMAND_SECONDS_MAX", BUSY_SECONDS_MAX)
        yield


@pytest.fixture(autouse=True)
def logs_as_they_were(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A command that a test runs in this process sets its log level; no later test, in whatever file, is to have it.

    Nor the trace of a request that a test before made to an app in this process.
    """
    trace.current.set(None)
    root, hook = logging.getLogger(), sys.excepthook
    handlers, level = root.handlers[:], root.level
    monkeypatch.setattr(structlog, "configure", _configure_without_remembering)
    yield
    structlog.reset_defaults()
    root.handlers[:], sys.excepthook = handlers, hook
    root.setLevel(level)


def _configure_without_remembering(**given: Any) -> None:
    """A logger that remembered how it was first used could not be told otherwise."""
    CONFIGURE(**{**given, "cache_logger_on_first_use": False})


@pytest.fixture(scope="session")
def throwaway_folder() -> Iterator[Path]:
    """Where databases stand. Not pytest's folder: every pytest that starts closes that one to PostgreSQL's user."""
    with tempfile.TemporaryDirectory(prefix="undercroft-tests-", dir=_memory_folder()) as folder:
        yield Path(folder)


@pytest.fixture(scope="session")
def clusters(throwaway_folder: Path) -> Iterator[dict[str, Cluster]]:
    """Two running PostgreSQL clusters, "vault" and "house", as the runner makes them."""
    made = {name: Cluster(throwaway_folder / "postgres", name, durable=False) for name in ("vault", "house")}
    try:
        for cluster in made.values():
            cluster.start()
        yield made
    finally:
        for cluster in made.values():
            cluster.stop()


@pytest.fixture(scope="session")
def database(clusters: dict[str, Cluster]) -> DatabaseMaker:
    """`database("vault")` makes a fresh, migrated database of that service with `owner_dsn` and `app_dsn`."""
    return Databases(clusters).fresh


@pytest.fixture(scope="session")
def house(throwaway_folder: Path) -> Iterator[House]:
    """The whole running house, every service a process of its own, on free ports. A test that kills restarts."""
    with throwaway_house(throwaway_folder / "house") as running:
        yield running
