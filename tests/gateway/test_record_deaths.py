"""The sealer is killed by SIGKILL, a process of its own, once at each point between reading and having committed."""

import asyncio
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from gateway.record.sealer import Sealer
from infra.chassis.engine import tenant_transaction
from infra.chassis.ids import new_id
from infra.dev.postgres import Cluster
from tests.support.database import DatabaseMaker
from tests.support.record import RecordHouse, record_house
from tests.support.waiting import wait_until

ENTRIES = 300
"""More than a tile of 256 holds, so that each batch stores hashes of the tree as well."""
BEFORE_COMMIT = ("sealer_turn", "sealer_places", "sealer_tiles", "sealer_checkpoint")
AFTER_COMMIT = ("sealer_committed",)


@pytest.fixture(scope="module")
async def house(database: DatabaseMaker, clusters: dict[str, Cluster]) -> AsyncIterator[RecordHouse]:
    async with record_house(database("gateway"), clusters["house"]) as made:
        yield made


@pytest.fixture(scope="module")
def dying(house: RecordHouse, tmp_path_factory: pytest.TempPathFactory) -> Iterator[subprocess.Popen[str]]:
    folder = tmp_path_factory.mktemp("dying")
    url, key = folder / "url", folder / "key"
    url.write_text(house.database.app_dsn)
    key.write_bytes(house.key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    command = [sys.executable, "-m", "tests.gateway.dying_sealer", str(url), str(key), house.north]
    root = Path(__file__).parents[2]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=root) as program:
        yield program
        assert program.stdin is not None
        program.stdin.close()


async def sealed_by(program: subprocess.Popen[str], point: str) -> int:
    """The signal that ended the sealer."""
    pipes = program.stdin, program.stdout
    assert pipes[0] is not None
    assert pipes[1] is not None
    pipes[0].write(f"{point}\n")
    pipes[0].flush()
    return int(await asyncio.to_thread(pipes[1].readline))


async def append(house: RecordHouse, count: int = ENTRIES) -> None:
    async with tenant_transaction(house.engine, house.north) as tx:
        for _ in range(count):
            house.appended.append(new_id("dec"))
            await house.record.append(tx, tenant_id=house.north, decision_id=house.appended[-1], body={"v": 1})


async def all_sealed(house: RecordHouse) -> None:
    """By another one, as soon as the database has noticed that the dead one is gone."""

    async def done() -> bool:
        await Sealer(house.engine, house.record).seal(house.north)
        return len(await house.places()) == len(house.appended)

    await wait_until(done)


@pytest.mark.parametrize("point", BEFORE_COMMIT)
@pytest.mark.control("UC-10.3")
async def test_a_sealer_killed_before_it_committed_never_was(
    house: RecordHouse, dying: subprocess.Popen[str], point: str
):
    await append(house, 1)
    await all_sealed(house)
    kept, size = await house.note(), len(house.appended)
    await append(house)

    died = await sealed_by(dying, point)
    between = await house.verify(kept_elsewhere=kept)
    await all_sealed(house)

    assert died == signal.SIGKILL
    assert (between.intact, between.tree_size, between.unsealed) == (True, size, ENTRIES)
    await assert_whole(house, kept)


@pytest.mark.parametrize("point", AFTER_COMMIT)
@pytest.mark.control("UC-10.3")
async def test_a_sealer_killed_after_it_committed_had_sealed(
    house: RecordHouse, dying: subprocess.Popen[str], point: str
):
    await append(house, 1)
    await all_sealed(house)
    kept = await house.note()
    await append(house)

    died = await sealed_by(dying, point)
    between = await house.verify(kept_elsewhere=kept)
    await append(house, 1)
    await all_sealed(house)

    assert died == signal.SIGKILL
    assert (between.intact, between.tree_size, between.unsealed) == (True, len(house.appended) - 1, 0)
    await assert_whole(house, kept)


async def test_a_sealer_that_is_told_of_no_such_point_lives(house: RecordHouse, dying: subprocess.Popen[str]):
    await append(house)

    assert await sealed_by(dying, "") == 0
    assert len(await house.places()) == len(house.appended)


async def assert_whole(house: RecordHouse, kept: str) -> None:
    """Each entry one place, and the tree of before is the beginning of the tree of now."""
    found = await house.verify(kept_elsewhere=kept)
    assert (found.intact, found.tree_size, found.unsealed) == (True, len(house.appended), 0)
    assert sorted(await house.places()) == sorted(house.appended)
