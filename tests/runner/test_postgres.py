import tempfile
from pathlib import Path

import asyncpg
import pytest

from infra.dev.postgres import Cluster, PostgresFailed, ServiceDatabase, create_service_database


def plain(dsn: str) -> str:
    return dsn.replace("postgresql+asyncpg://", "postgresql://")


def as_other(dsn: str, old: str, new: str) -> str:
    return plain(dsn).replace(old, new)


@pytest.fixture(scope="module")
def two_services(clusters: dict[str, Cluster]) -> tuple[ServiceDatabase, ServiceDatabase]:
    first, second = (
        create_service_database(clusters["house"], name, owner_password=f"{name}-own", app_password=f"{name}-app")
        for name in ("attic", "cellar")
    )
    return first, second


@pytest.fixture
def folder(throwaway_folder: Path) -> Path:
    """For clusters of the test's own, where the house's stand: a socket's name has no room for pytest's folders."""
    return Path(tempfile.mkdtemp(dir=throwaway_folder))


@pytest.mark.control("UC-7.1")
async def test_a_role_cannot_enter_another_services_database(
    two_services: tuple[ServiceDatabase, ServiceDatabase],
) -> None:
    attic, _cellar = two_services
    for dsn in (attic.app_dsn, attic.owner_dsn):
        for other in ("cellar", "postgres", "template1"):
            with pytest.raises(asyncpg.InsufficientPrivilegeError, match="permission denied for database"):
                await asyncpg.connect(as_other(dsn, "/attic?", f"/{other}?"))


async def test_a_wrong_password_is_refused(two_services: tuple[ServiceDatabase, ServiceDatabase]) -> None:
    attic, _cellar = two_services

    with pytest.raises(asyncpg.InvalidPasswordError):
        await asyncpg.connect(as_other(attic.app_dsn, "attic-app", "attic-own"))


async def test_the_app_role_reads_and_writes_what_it_was_granted_and_alters_nothing(
    two_services: tuple[ServiceDatabase, ServiceDatabase],
) -> None:
    attic, _cellar = two_services
    owner = await asyncpg.connect(plain(attic.owner_dsn))
    await owner.execute("CREATE TABLE kept (id int PRIMARY KEY); GRANT SELECT, INSERT ON kept TO attic_app")
    await owner.close()

    app = await asyncpg.connect(plain(attic.app_dsn))
    await app.execute("INSERT INTO kept VALUES (1)")
    for statement in (
        "ALTER TABLE kept ADD COLUMN other int",
        "DROP TABLE kept",
        "DELETE FROM kept",
        "CREATE TABLE mine (id int)",
        "CREATE SCHEMA mine",
        "CREATE TEMPORARY TABLE mine (id int)",
        "CREATE ROLE mine",
        "SET ROLE attic_owner",
    ):
        with pytest.raises(asyncpg.InsufficientPrivilegeError):
            await app.execute(statement)
    assert await app.fetchval("SELECT count(*) FROM kept") == 1
    await app.close()


@pytest.mark.control("UC-L.1")
async def test_a_duplicate_key_shows_no_value_in_the_servers_log(
    clusters: dict[str, Cluster], two_services: tuple[ServiceDatabase, ServiceDatabase]
) -> None:
    _attic, cellar = two_services
    owner = await asyncpg.connect(plain(cellar.owner_dsn))
    await owner.execute("CREATE TABLE words (word text PRIMARY KEY)")
    await owner.execute("INSERT INTO words VALUES ($1)", "unmistakable-7f3a")

    with pytest.raises(asyncpg.UniqueViolationError):
        await owner.execute("INSERT INTO words VALUES ($1)", "unmistakable-7f3a")
    await owner.close()

    log = clusters["house"].log.read_text()
    assert "words_pkey" in log
    assert "unmistakable" not in log


def test_the_superuser_is_reached_by_the_runners_own_user_only(clusters: dict[str, Cluster]) -> None:
    rules = (clusters["house"].data / "pg_hba.conf").read_text().splitlines()

    active = [line for line in rules if line and not line.startswith("#")]
    assert active == ["local all postgres peer map=runner", "local all all scram-sha-256"]


def test_a_cluster_starts_again_over_a_stale_pid_file_and_keeps_its_data(folder: Path) -> None:
    cluster = Cluster(folder, "crashed", durable=False)
    cluster.start()
    cluster.sql("CREATE TABLE kept (id int); INSERT INTO kept VALUES (7)")
    cluster.kill()
    pid_file = cluster.data / "postmaster.pid"
    lines = pid_file.read_text().splitlines()
    pid_file.write_text("\n".join(["1", *lines[1:]]) + "\n")

    cluster.start()
    kept = cluster.sql("SELECT id FROM kept")
    cluster.stop()

    assert kept.strip() == "7"
    assert not cluster.running


def test_starting_and_stopping_twice_is_harmless(folder: Path) -> None:
    cluster = Cluster(folder, "twice", durable=False)
    cluster.start()
    first = cluster.server.identity

    cluster.start()
    assert cluster.server.identity == first

    cluster.stop()
    cluster.stop()
    assert not first.alive


def test_a_second_handle_takes_over_a_server_that_was_left_running(folder: Path) -> None:
    left_over = Cluster(folder, "left", durable=False)
    left_over.start()

    successor = Cluster(folder, "left", durable=False)
    successor.start()

    assert not left_over.running
    assert successor.sql("SELECT 1").strip() == "1"
    successor.stop()


def test_a_folder_too_deep_for_a_socket_still_works_and_leaves_nothing_outside(folder: Path) -> None:
    cluster = Cluster(folder / ("deep" * 20), "deep", durable=False)
    cluster.start()
    outside = cluster.socket_folder

    assert cluster.sql("SELECT 1").strip() == "1"
    assert folder not in outside.parents
    cluster.stop()
    assert not outside.exists()


def test_a_broken_configuration_is_reported_with_the_place_to_look(folder: Path) -> None:
    cluster = Cluster(folder, "broken", durable=False)
    cluster.start()
    cluster.stop()
    with (cluster.data / "postgresql.conf").open("a") as configuration:
        configuration.write("no_such_setting = 1\n")

    with pytest.raises(PostgresFailed, match="the reason is at the end of"):
        cluster.start()
