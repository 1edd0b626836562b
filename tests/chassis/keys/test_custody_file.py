"""A root file under custody, as every service sees it: without the key it is no root, and says why."""

import json
import secrets
from datetime import UTC, datetime
from pathlib import Path

import pytest

from infra.chassis.clock import FixedClock
from infra.chassis.keys import RingFile, RootSealed, SoftwareKeyService, new_key
from infra.chassis.keys.custody import Custody, SealedFileDamaged, is_sealed_file, seal
from infra.chassis.keys.ringfile import RingUnusable
from infra.chassis.keys.settings import KeySettings, custody_of, open_key_service
from infra.chassis.keys.starting import NotStarted, begin
from infra.chassis.secret import Secret
from tests.support.keys import root_file

NOW = datetime(2026, 11, 21, 20, 0, tzinfo=UTC)
CONTEXT = b"tests/chassis/keys/test_custody_file"
CEREMONY = b'{"of":"tests"}'


@pytest.fixture
def key() -> Secret[bytes]:
    return Secret(secrets.token_bytes(32))


@pytest.fixture
def path(tmp_path: Path, key: Secret[bytes]) -> Path:
    """A root of 32 bytes, sealed."""
    found = root_file(tmp_path)
    found.write_bytes(seal(key, CEREMONY, found.read_bytes()))
    return found


def content(path: Path) -> bytes:
    return path.read_bytes()


def service(path: Path, custody: Custody) -> SoftwareKeyService:
    return SoftwareKeyService(RingFile(path, custody), FixedClock(NOW))


@pytest.mark.control("UC-3.6.1.2")
async def test_without_the_custody_key_nothing_is_wrapped_rotated_destroyed_or_described(path: Path):
    custody, before = Custody(path), content(path)
    keys = service(path, custody)

    for asked in (keys.wrap(new_key(), CONTEXT), keys.rotate(), keys.destroy_before(1), keys.describe(), keys.prove()):
        with pytest.raises(RootSealed) as refused:
            await asked
        assert (refused.value.status, refused.value.code) == (503, "sealed")

    assert custody.closed
    assert content(path) == before


@pytest.mark.control("UC-3.6.1.2")
async def test_with_it_the_root_works_and_stays_sealed_in_its_file(path: Path, key: Secret[bytes]):
    custody = Custody(path)
    custody.give(key)
    keys = service(path, custody)

    wrapped = await keys.wrap(key, CONTEXT)
    await keys.rotate()

    assert (await keys.unwrap(wrapped, CONTEXT)).reveal() == key.reveal()
    assert not custody.closed
    assert is_sealed_file(path)
    assert json.loads(content(path))["ceremony"] == {"of": "tests"}
    custody.forget()
    assert custody.closed


def test_another_key_another_ceremony_and_a_changed_byte_open_nothing(path: Path, key: Secret[bytes]):
    stranger, owner = Custody(path), Custody(path)
    stranger.give(Secret(secrets.token_bytes(32)))
    owner.give(key)
    document = json.loads(path.read_bytes())
    other = "B" if document["sealed"].startswith("A") else "A"

    assert stranger.closed
    for changed in ({"ceremony": {"of": "nobody"}}, {"sealed": other + document["sealed"][1:]}):
        path.write_bytes(json.dumps(document | changed, separators=(",", ":")).encode())
        assert owner.closed


@pytest.mark.parametrize(
    "damaged",
    [
        b'{"undercroft_sealed":1}',
        b'{"undercroft_sealed":2,"ceremony":{},"sealed":""}',
        b'{"undercroft_sealed":1,"ceremony":{},"sealed":"","more":1}',
        b'{"undercroft_sealed":1,"ceremony":{},"sealed":',
    ],
)
def test_a_sealed_file_that_is_damaged_is_neither_open_nor_a_root(path: Path, damaged: bytes):
    path.write_bytes(damaged)

    with pytest.raises(SealedFileDamaged):
        is_sealed_file(path)
    with pytest.raises(RingUnusable):
        RingFile(path).read()
    assert KeySettings(root_key_file=path).faults() == ["ROOT_KEY_FILE cannot be used (RingUnusable)"]


async def test_a_service_without_a_door_does_not_start_on_a_sealed_root(path: Path):
    """The memory's settings are right, and its key service is never opened."""
    settings = KeySettings(root_key_file=path)
    keys = open_key_service(settings, FixedClock(NOW))

    assert settings.faults() == []
    assert custody_of(settings).closed
    with pytest.raises(NotStarted, match="under custody"):
        await begin(keys)


def test_the_next_key_is_tried_before_the_present_one_and_no_third_is_kept(path: Path, key: Secret[bytes]):
    custody = Custody(path)
    coming, later = Secret(secrets.token_bytes(32)), Secret(secrets.token_bytes(32))

    custody.give(key)
    custody.give(coming, beside=key)
    custody.give(later, beside=key)
    with_both, kept = custody.closed, custody.keys
    custody.give(later)

    assert [one.reveal() for one in kept] == [later.reveal(), key.reveal()]
    assert (with_both, custody.closed) == (False, True)


def test_a_file_of_a_remote_service_is_never_sealed():
    assert not custody_of(KeySettings(key_service="transit", root_key_file=Path("/nowhere"))).closed
