"""The software root: a file of versions that several processes read and one replaces."""

import asyncio
import json
import os
import secrets
import sys
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from infra.chassis.clock import FixedClock
from infra.chassis.keys import (
    CannotDestroy,
    KeyServiceUnreachable,
    KeyUnusable,
    RingFile,
    RootVersion,
    SoftwareKeyService,
    VersionState,
    new_key,
)
from infra.chassis.keys.ringfile import RingUnusable
from tests.support.keys import root_file

NOW = datetime(2026, 11, 21, 12, 0, tzinfo=UTC)
CONTEXT = b"tenant a"


def service(path: Path) -> SoftwareKeyService:
    return SoftwareKeyService(RingFile(path), FixedClock(NOW))


async def opens(keys: SoftwareKeyService, wrapped: bytes) -> bool:
    try:
        await keys.unwrap(wrapped, CONTEXT)
    except KeyUnusable:
        return False
    return True


def left_beside(path: Path) -> list[str]:
    return sorted(file.name for file in path.parent.iterdir())


def contents(path: Path) -> list[bytes]:
    return [file.read_bytes() for file in path.parent.iterdir()]


def wrapped_before_versions(root: bytes, key: bytes) -> bytes:
    """As the software service wrote it until November 2026."""
    nonce = secrets.token_bytes(12)
    return b"\x01" + nonce + AESGCM(root).encrypt(nonce, key, b"\x01" + CONTEXT)


async def test_what_a_root_of_32_bytes_wrapped_opens_after_it_became_a_ring(tmp_path: Path):
    path, key = root_file(tmp_path), new_key()
    old = wrapped_before_versions(path.read_bytes(), key.reveal())
    keys = service(path)
    first = await keys.wrap(key, CONTEXT)

    newest = await keys.rotate()

    second = await keys.wrap(key, CONTEXT)
    assert newest == 2
    assert [keys.version_of(one) for one in (old, first, second)] == [1, 1, 2]
    assert [(await keys.unwrap(one, CONTEXT)).reveal() for one in (old, first, second)] == [key.reveal()] * 3


@pytest.mark.control("UC-3.5")
async def test_a_destroyed_version_opens_nothing_in_any_process_at_once(tmp_path: Path):
    path = root_file(tmp_path)
    keys, other = service(path), service(path)
    first = await keys.wrap(new_key(), CONTEXT)
    old = wrapped_before_versions(path.read_bytes(), new_key().reveal())
    assert await opens(other, first)
    second_version = await keys.rotate()
    second = await keys.wrap(new_key(), CONTEXT)

    await keys.destroy_before(second_version)

    assert [await opens(each, one) for each in (keys, other) for one in (first, old, second)] == [
        *(False, False, True),
        *(False, False, True),
    ]


@pytest.mark.control("UC-3.5")
async def test_the_key_of_a_destroyed_version_is_in_no_file_beside_and_not_in_the_old_ones_blocks(tmp_path: Path):
    path = root_file(tmp_path)
    keys, root = service(path), path.read_bytes()
    await keys.rotate()
    ring = path.open("rb")
    before = ring.read()

    await keys.destroy_before(2)

    ring.seek(0)
    left_in_the_blocks = ring.read()
    ring.close()
    destroyed = json.loads(before)["versions"][0]["key"].encode()
    assert left_in_the_blocks == bytes(len(before))
    assert left_beside(path) == [path.name, f"{path.name}.lock"]
    assert not any(root in content or destroyed in content for content in contents(path))


async def test_a_link_to_the_root_stays_one_and_the_file_it_names_is_replaced(tmp_path: Path):
    (tmp_path / "elsewhere").mkdir()
    path, link = root_file(tmp_path / "elsewhere"), tmp_path / "root.key"
    link.symlink_to(path)
    keys, root = service(link), path.read_bytes()
    await keys.rotate()

    await keys.destroy_before(2)

    assert link.is_symlink()
    assert left_beside(path) == [path.name, f"{path.name}.lock"]
    assert not any(root in content for content in contents(path))


async def test_the_newest_version_is_never_destroyed_and_a_second_destruction_changes_nothing(tmp_path: Path):
    keys = service(root_file(tmp_path))
    await keys.rotate()
    await keys.destroy_before(2)
    described = await keys.describe()

    await keys.destroy_before(2)
    with pytest.raises(CannotDestroy):
        await keys.destroy_before(3)

    assert await keys.describe() == described
    assert described.versions == (
        RootVersion(1, VersionState.DESTROYED, destroyed_at=NOW),
        RootVersion(2, VersionState.ACTIVE, NOW),
    )
    assert described.can_destroy


async def test_rotations_at_once_make_each_its_own_version_and_lose_none(tmp_path: Path):
    path = root_file(tmp_path)

    versions = await asyncio.gather(*(service(path).rotate() for _ in range(8)))

    assert sorted(versions) == list(range(2, 10))
    assert [one.version for one in (await service(path).describe()).versions] == list(range(1, 10))


async def test_wraps_go_on_while_the_root_rotates(tmp_path: Path):
    path = root_file(tmp_path)
    keys, rotating = service(path), service(path)

    async def wrap_and_open() -> None:
        for _ in range(20):
            assert await opens(keys, await keys.wrap(new_key(), CONTEXT))

    async def rotate() -> None:
        for _ in range(20):
            await rotating.rotate()

    await asyncio.gather(wrap_and_open(), wrap_and_open(), rotate())

    assert keys.version_of(await keys.wrap(new_key(), CONTEXT)) == 21


KILLED_AT = """
import os, signal, sys
from datetime import UTC, datetime
from pathlib import Path
from infra.chassis.keys import ringfile
path, step = Path(sys.argv[1]), sys.argv[2]
opens = os.open
def die(*_): os.kill(os.getpid(), signal.SIGKILL)
if step == "before the rename": ringfile.os.fsync = die
if step == "after the rename": ringfile.flush_folder = die
if step == "before the old is overwritten": ringfile._overwrite = die
if step == "before the new is written": ringfile.os.open = lambda *a: die() if str(a[0]).endswith(".new") else opens(*a)
ringfile.RingFile(path).change(lambda ring: ring.rotated(datetime.now(UTC)))
"""


@pytest.mark.parametrize(
    ("step", "version"),
    [
        ("before the new is written", 1),
        ("before the rename", 1),
        ("after the rename", 2),
        ("before the old is overwritten", 2),
    ],
)
async def test_killed_at_any_step_of_a_rotation_the_old_or_the_new_ring_stands(tmp_path: Path, step: str, version: int):
    path = root_file(tmp_path)
    keys = service(path)
    wrapped = await keys.wrap(new_key(), CONTEXT)

    killed = await asyncio.create_subprocess_exec(sys.executable, "-c", KILLED_AT, str(path), step)

    assert await killed.wait() == -9
    assert (await keys.describe()).versions[-1].version == version
    assert await opens(keys, wrapped)
    left = [content for content in contents(path) if content]
    assert await keys.rotate() == version + 1
    assert await opens(keys, wrapped)
    assert all(len(content) >= 32 for content in left)
    assert left_beside(path) == [path.name, f"{path.name}.lock"]


KEY = "A" * 43 + "="
DAMAGED: list[tuple[str, bytes]] = [
    ("empty", b""),
    ("31 bytes", bytes(31)),
    ("not a ring", b'{"keys": []}'),
    ("no version", b'{"undercroft_root_ring": 1, "versions": [], "destroyed": []}'),
    ("short key", b'{"undercroft_root_ring": 1, "versions": [{"version": 1, "key": "AAAA"}], "destroyed": []}'),
    (
        "twice the same version",
        json.dumps({"undercroft_root_ring": 1, "versions": [{"version": 1, "key": KEY}] * 2, "destroyed": []}).encode(),
    ),
    (
        "a form of the future",
        json.dumps({"undercroft_root_ring": 2, "versions": [{"version": 1, "key": KEY}], "destroyed": []}).encode(),
    ),
]


@pytest.mark.parametrize("content", [content for _, content in DAMAGED], ids=[name for name, _ in DAMAGED])
async def test_a_spoilt_root_file_stops_everything_and_is_not_quoted(tmp_path: Path, content: bytes):
    path = root_file(tmp_path)
    keys = service(path)
    wrapped = await keys.wrap(new_key(), CONTEXT)
    path.write_bytes(content)

    with pytest.raises(KeyServiceUnreachable) as refused:
        await keys.unwrap(wrapped, CONTEXT)

    assert str(refused.value) == "the root file cannot be used (RingUnusable)"
    with pytest.raises(RingUnusable):
        await keys.rotate()
    assert path.read_bytes() == content


@pytest.mark.parametrize(
    "spoil",
    [lambda path: path.unlink(), lambda path: path.chmod(0o604), lambda path: path.chmod(0o620)],
    ids=["gone", "readable by others", "writable by the group"],
)
async def test_a_root_file_that_is_gone_or_open_to_others_stops_everything(
    tmp_path: Path, spoil: Callable[[Path], None]
):
    path = root_file(tmp_path)
    keys = service(path)
    wrapped = await keys.wrap(new_key(), CONTEXT)
    spoil(path)
    if path.exists():
        os.utime(path, ns=(0, 0))

    with pytest.raises(KeyServiceUnreachable):
        await keys.unwrap(wrapped, CONTEXT)
    with pytest.raises(KeyServiceUnreachable):
        await keys.wrap(new_key(), CONTEXT)


async def test_a_group_that_could_read_the_root_still_can_after_a_rotation(tmp_path: Path):
    path = root_file(tmp_path)
    path.chmod(0o640)

    await service(path).rotate()

    assert path.stat().st_mode & 0o777 == 0o640
