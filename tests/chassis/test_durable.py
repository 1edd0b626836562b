"""What is said to be on the disk is there with its name: the folder is flushed as well, after the name was given."""

import os
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import pytest

from gateway.rotation import rotate
from infra.chassis import durable
from infra.chassis.canonical import canonical_json
from infra.chassis.ring import KeyFiles
from infra.dev.keyring import Keyring
from tests.support.keys import root_file
from vault.custodians.people import People
from vault.custodians.record import Record, signed

NOW = datetime(2031, 1, 1, tzinfo=UTC)


@pytest.fixture
def flushed(monkeypatch: pytest.MonkeyPatch) -> list[tuple[Path, list[str]]]:
    """Each folder that was flushed, with the names that stood in it at that moment."""
    seen: list[tuple[Path, list[str]]] = []
    genuine = os.fsync

    def fsync(descriptor: int) -> None:
        path = Path(f"/proc/self/fd/{descriptor}").resolve()
        if path.is_dir():
            seen.append((path, names_in(path)))
        genuine(descriptor)

    monkeypatch.setattr(os, "fsync", fsync)
    return seen


def names_in(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def enrolled(folder: Path) -> Path:
    People(folder).enrol("ada", bytearray(b"walks the dog at noon"))
    return folder / "custodians" / "ada.json"


def recorded(folder: Path) -> Path:
    record = Record(folder / "custody")
    record.add(signed({"act": "enrolled", "at": NOW.isoformat(), "custodian": "ada"}, {}))
    return record.path


def kept_key(folder: Path) -> Path:
    return Keyring(folder).write("vault/root.key", b"x" * 32)


def rotated(folder: Path) -> Path:
    ring = Keyring(folder)
    ring.make(())
    files = KeyFiles(ring.path("gateway/keys/sender.pem").parent, "sender")
    rotate(files, NOW)
    return files.current


def replaced(folder: Path) -> Path:
    path = root_file(folder)
    return durable.replace(path, canonical_json({"of": "the root"}))


@pytest.mark.parametrize("write", [enrolled, recorded, kept_key, rotated, replaced])
def test_a_written_file_has_its_name_on_the_disk_too(
    write: Callable[[Path], Path], tmp_path: Path, flushed: list[tuple[Path, list[str]]]
):
    path = write(tmp_path)

    folder, names = [one for one in flushed if one[0] == path.parent.resolve()][-1]
    assert names == names_in(folder)
    assert path.name in names
    made = path.parent.resolve()
    while made != tmp_path.resolve():
        assert (made.parent, made.name) in {(at, name) for at, found in flushed for name in found}, made
        made = made.parent


def test_a_file_replaced_is_its_owners_only_and_what_a_killed_writer_left_is_no_hindrance(tmp_path: Path):
    path = tmp_path / "key"
    path.with_name("key.new").write_bytes(b"half")

    durable.replace(path, b"whole")

    assert (path.read_bytes(), path.stat().st_mode & 0o777) == (b"whole", 0o600)
    assert names_in(tmp_path) == ["key"]
    durable.remove(path)
    durable.remove(path)
    assert names_in(tmp_path) == []
