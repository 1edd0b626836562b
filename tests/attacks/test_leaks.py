"""Leak proof: numbers are driven through every path of a loud house, and then looked for everywhere, in 12 encodings.

`leak_paths` has the paths, `leak_media` the places. Memory was read by whoever runs the tests, who started all these
processes: as root, or as their own user where they are dumpable.
"""

import subprocess
import sys
from pathlib import Path

import pytest

from tests.attacks import leak_media as media
from tests.attacks.leak_media import FILES, Findings
from tests.attacks.leak_paths import PATHS, PLANTED
from tests.attacks.leak_world import LoudHouse, outside
from tests.sandbox.running import ROOT
from tests.support import memory_of
from tests.support.encodings import ENCODINGS
from tests.support.searching import ALL_ENCODINGS, Search, encodings_in
from vault.scrubbing import OVERWRITTEN

NUL_CANNOT_STAND_THERE = {"words": {"UTF-16"}}
NUMBERS_OF_EACH_LENGTH = ("4242424242424242", "378282246310005", "36227206271667")
PROCESS_NEVER = 4_194_305  # Linux numbers no process above 2^22
PLACES = ("answers", "deliveries", "metrics", "dumps", "memory", "words", *FILES)


@pytest.fixture(scope="module")
async def findings(throwaway_folder: Path) -> Findings:
    folder, found = throwaway_folder / "leaks", Findings()
    search = Search([*(path.number for path in PATHS), PLANTED], folder / "search")
    with LoudHouse(folder / "house") as house:
        media.plant_in_files(house)
        media.plant_in_databases(house)
        async with outside(house) as world:
            for path in PATHS:
                await path.drive(world, path.number)
            await media.look_at_answers(found, search, world)
        assert house.ended() == {}
        found.notes["libraries"] = house.raw_log.read_text(encoding="utf-8")
        media.look_at_dumps(found, search, house)
        (folder / "holder").mkdir()
        with media.holder(folder / "holder") as held:
            media.look_at_processes(found, search, house, held)
            media.look_at_the_vault(found, search, house, held)
    media.look_at_files(found, search, house)
    return found


@pytest.mark.control("UC-3.1.1")
def test_no_card_number_is_left_in_the_memory_of_the_vault(findings: Findings):
    """Its image as `gcore` takes it, and its core where the kernel writes one. The wall against cores is down here."""
    places = ["image"] if "core" in findings.notes else ["image", "core"]
    for place in places:
        assert encodings_in(findings.planted[place]) == ALL_ENCODINGS, findings.notes
        assert findings.told(place) == []
        assert set(findings.looked_at[place]) == {"vault", "planted"}


def test_what_ends_a_service_is_logged_without_the_text_of_the_exception():
    number = NUMBERS_OF_EACH_LENGTH[0]
    program = f"from infra.chassis import logs; logs.configure('x'); raise ValueError(f'card {{{number}}}')"
    ended = subprocess.run([sys.executable, "-c", program], cwd=ROOT, env={}, capture_output=True, check=False)

    assert ended.returncode == 1
    assert b'"uncaught"' in ended.stdout
    assert b"ValueError" in ended.stdout
    assert number.encode() not in ended.stdout + ended.stderr


def test_the_sdk_of_the_processor_stays_silent_when_somebody_configures_logging_anew():
    """As the web server does when it starts: that enables loggers again which were disabled."""
    number = NUMBERS_OF_EACH_LENGTH[0]
    program = f"""
import logging, logging.config, stripe
from stripe import _util
from tests.vault.processor_rigs import made
made("stripe", "http://127.0.0.1:1")
logging.config.dictConfig({{"version": 1, "disable_existing_loggers": False, "root": {{"level": "DEBUG"}}}})
logger = logging.getLogger("stripe")
logger.setLevel(logging.DEBUG)
logger.addHandler(logging.StreamHandler())
logging.getLogger().addHandler(logging.StreamHandler())
stripe.log = None
_util.log_debug("Post details", post_data="number={number}")
_util.log_info("message={number}")
logging.getLogger("another").debug("it is heard")
"""
    said = subprocess.run([sys.executable, "-c", program], cwd=ROOT, env={}, capture_output=True, check=True)

    assert b"it is heard" in said.stderr
    assert number.encode() not in said.stdout + said.stderr


def test_unless_told_to_overwrite_it_freed_memory_keeps_what_was_in_it():
    ask = "import sys; from vault.scrubbing import is_overwritten; sys.exit(0 if is_overwritten() else 7)"
    codes = [
        subprocess.run([sys.executable, "-c", ask], cwd=ROOT, env=environment, check=False).returncode
        for environment in ({}, dict(OVERWRITTEN))
    ]

    assert codes == [7, 0]


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.control("UC-3.1", "UC-L.1")
def test_no_card_number_is_found_where_a_planted_one_is_found_in_every_encoding(findings: Findings, place: str):
    assert encodings_in(findings.planted[place]) == ALL_ENCODINGS - NUL_CANNOT_STAND_THERE.get(place, set())
    assert findings.told(place) == []


def test_there_are_no_other_files_with_a_card_number(findings: Findings):
    assert findings.told("other files") == []


def test_every_process_of_the_house_was_looked_at(findings: Findings):
    assert set(findings.looked_at["memory"]) >= {"gateway", "memory", "mcp_server", "postgres-vault", "postgres-house"}
    assert set(findings.looked_at["words"]) >= {"vault", "sandbox", "wiretap", *findings.looked_at["memory"]}
    assert findings.looked_at["dumps"] == ["vault", "memory", "gateway", "mcp_server"]


def test_the_libraries_of_the_vault_wrote_down_what_they_did(findings: Findings):
    """Else nothing found in their log would say nothing."""
    written = findings.notes["libraries"]
    assert "INSERT INTO" in written
    assert {"sqlalchemy.engine.Engine", "asyncio"} <= {line.partition(" ")[0] for line in written.splitlines()}


def test_of_a_family_whoever_ended_since_it_was_listed_is_passed_over_and_its_head_is_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    """PostgreSQL's helpers come and go while its memory is read."""
    monkeypatch.setattr(memory_of, "family_of", lambda pid: [pid, PROCESS_NEVER])
    (tmp_path / "holder").mkdir()

    with media.holder(tmp_path / "holder") as held:
        read = Search([PLANTED], tmp_path).in_stream("memory", memory_of.memory_of_family(held.pid, set()))

    assert encodings_in(read) == ALL_ENCODINGS
    with pytest.raises(FileNotFoundError):
        list(memory_of.memory_of_family(PROCESS_NEVER, set()))


def test_the_twelve_encodings_find_what_libraries_write(tmp_path: Path):
    search = Search(NUMBERS_OF_EACH_LENGTH, tmp_path)
    for number in NUMBERS_OF_EACH_LENGTH:
        for encoding in ENCODINGS:
            for sample in encoding.samples(number):
                found = {
                    (hit.number, hit.encoding) for hit in search.in_bytes("sample", b"before\n" + sample + b"\nafter")
                }
                assert (number, encoding.name) in found, (encoding.name, sample)
    assert len(ALL_ENCODINGS) == 12
