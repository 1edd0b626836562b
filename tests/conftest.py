"""Fixtures every room's tests share. What they yield is described in tests/support/."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from infra.dev.house import House
from infra.dev.postgres import Cluster
from tests.support.database import DatabaseMaker, Databases
from tests.support.house import throwaway_house


@pytest.fixture(scope="session")
def clusters(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Cluster]]:
    """Two running PostgreSQL clusters, "vault" and "house", as the runner makes them."""
    folder: Path = tmp_path_factory.mktemp("postgres")
    made = {name: Cluster(folder, name, durable=False) for name in ("vault", "house")}
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
def house(tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    """The whole running house, every service a process of its own, on free ports. A test that kills restarts."""
    with throwaway_house(tmp_path_factory.mktemp("house")) as running:
        yield running
