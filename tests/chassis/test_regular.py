"""A pipe, a device or a folder where a key should lie is refused at once: a start does not hang on it."""

import os
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from gateway.factors.credentials import load_credentials
from gateway.record.cosignatures import Witnesses
from gateway.settings import CONTACT_KEY_BYTES, load_keys
from infra.chassis import regular
from infra.chassis.ring import KeyFiles, SigningRing
from infra.chassis.settings import SettingsIncomplete

NAMES = ("bearer.pem", "grant.pem", "sender.pem", "record.pem")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name in NAMES:
        pem = Ed25519PrivateKey.generate().private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
        (tmp_path / name).write_bytes(pem)
    (tmp_path / "contact.key").write_bytes(bytes(CONTACT_KEY_BYTES))
    load_keys(tmp_path)
    return tmp_path


def a_pipe_instead(path: Path) -> None:
    path.unlink(missing_ok=True)
    os.mkfifo(path)


@pytest.mark.parametrize("name", [*NAMES, "contact.key", "grant.next.pem", "grant.retiring.jwks"])
def test_a_pipe_among_the_gateways_keys_is_refused_by_its_name(folder: Path, name: str):
    a_pipe_instead(folder / name)

    with pytest.raises(SettingsIncomplete, match=name.partition(".")[0]):
        load_keys(folder)


def test_a_pipe_among_the_witnesses_or_the_providers_credentials_is_refused(folder: Path):
    (folder / "openid").mkdir()
    a_pipe_instead(folder / "witnesses")
    a_pipe_instead(folder / "openid" / "north.secret")

    with pytest.raises(SettingsIncomplete, match="witnesses cannot be read"):
        Witnesses.load(folder)
    with pytest.raises(SettingsIncomplete, match=r"north\.secret cannot be used"):
        load_credentials(folder / "openid")


def test_a_pipe_that_comes_later_leaves_the_key_that_is_held(folder: Path):
    ring = SigningRing.open(folder, "grant")
    held = ring.now().key_id
    a_pipe_instead(folder / "grant.pem")

    with pytest.raises(OSError, match="not a regular file"):
        KeyFiles(folder, "grant").read()
    assert ring.now().key_id == held


def test_devices_folders_and_endless_files_are_refused_and_a_link_to_a_file_is_read(tmp_path: Path):
    (tmp_path / "file").write_bytes(b"content")
    (tmp_path / "link").symlink_to(tmp_path / "file")
    with (tmp_path / "large").open("wb") as large:
        large.truncate(regular.BYTES_MAX + 1)

    for refused in (Path("/dev/zero"), tmp_path, tmp_path / "large"):
        with pytest.raises(OSError, match=r".*"):
            regular.read(refused)
    assert regular.read(tmp_path / "link") == b"content"
