"""`python -m gateway record verify`, as an operator or a nightly job runs it."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from gateway.__main__ import main
from infra.chassis.clock import SystemClock
from infra.dev.postgres import Cluster
from tests.support.database import DatabaseMaker
from tests.support.record import START, RecordHouse, record_house


@dataclass(slots=True)
class Desk:
    house: RecordHouse
    folder: Path
    output: pytest.CaptureFixture[str]

    async def run(self, *arguments: str) -> tuple[int, str, str]:
        """In a thread, because the command has a loop of its own. Exit code, output, errors."""
        code = await asyncio.to_thread(main, ["record", "verify", *arguments])
        written = self.output.readouterr()
        return code, written.out, written.err

    async def keep(self) -> Path:
        kept = self.folder / "checkpoint.txt"
        kept.write_text(await self.house.note(), encoding="utf-8")
        return kept


@pytest.fixture
async def desk(
    database: DatabaseMaker,
    clusters: dict[str, Cluster],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> AsyncIterator[Desk]:
    async with record_house(database("gateway"), clusters["house"]) as house:
        pem = house.key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
        (tmp_path / "record.pem").write_bytes(pem)
        (tmp_path / "url").write_text(house.database.app_dsn, encoding="utf-8")
        monkeypatch.setenv("UNDERCROFT_GATEWAY_KEYS_FOLDER", str(tmp_path))
        monkeypatch.setenv("UNDERCROFT_GATEWAY_DATABASE_URL_FILE", str(tmp_path / "url"))
        yield Desk(house, tmp_path, capsys)


async def test_intact_records_exit_with_zero_and_a_line_each(desk: Desk):
    await desk.house.sealed(4)
    desk.house.clock.advance(SystemClock().now() - START)
    await desk.house.append(desk.house.south)

    code, output, _ = await desk.run()

    assert code == 0
    assert sorted(output.splitlines()) == sorted(
        [f"{desk.house.north}: intact, 4 sealed, 0 not yet", f"{desk.house.south}: intact, 0 sealed, 1 not yet"]
    )


@pytest.mark.control("UC-10.3")
async def test_a_damaged_record_exits_with_one_and_says_where(desk: Desk):
    await desk.house.sealed(4)
    await desk.house.tamper("DELETE FROM record_leaves WHERE tree_index = 2;")

    code, output, _ = await desk.run("--tenant", desk.house.north)

    assert code == 1
    assert output.splitlines()[:2] == [f"{desk.house.north}: DAMAGED, 4 sealed, 1 not yet", "  Place 2 is missing."]


@pytest.mark.control("UC-10.3")
async def test_a_record_cut_off_is_found_against_a_checkpoint_in_a_file(desk: Desk):
    await desk.house.sealed(4, 3)
    kept = await desk.keep()
    await desk.house.tamper(
        "DELETE FROM record_checkpoints WHERE tree_size = 7; DELETE FROM record_leaves WHERE tree_index > 3;"
        "DELETE FROM record_entries WHERE entry_id NOT IN (SELECT entry_id FROM record_leaves);"
    )

    alone = await desk.run("--tenant", desk.house.north)
    against = await desk.run("--tenant", desk.house.north, "--checkpoint", str(kept))

    assert alone[0] == 0
    assert against[0] == 1
    assert "Places 4 to 6 are missing, says the checkpoint kept elsewhere: cut off." in against[1]


async def test_what_cannot_be_done_exits_with_two(desk: Desk):
    await desk.house.sealed(1)
    kept = await desk.keep()

    codes = [
        (await desk.run("--tenant", "tnt_nobody"))[0],
        (await desk.run("--checkpoint", str(kept)))[0],
        (await desk.run("--tenant", desk.house.north, "--checkpoint", str(desk.folder / "missing")))[0],
    ]
    (desk.folder / "record.pem").unlink()
    codes.append((await desk.run())[0])

    assert codes == [2, 2, 2, 2]
