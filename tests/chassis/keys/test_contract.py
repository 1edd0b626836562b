"""What every key service keeps, whoever runs it. Each test runs over all of them."""

import asyncio
import base64
import logging
import traceback
from collections.abc import Awaitable, Callable, Iterator

import pytest

from infra.chassis.keys import (
    CannotDestroy,
    KeyServiceUnreachable,
    KeyUnusable,
    VersionState,
    new_key,
)
from infra.chassis.secret import Secret
from tests.chassis.keys.worlds import World

CONTEXT = b"undercroft vault tenant key\ntnt_a\n1"
LOST = "ignore::pytest.PytestUnraisableExceptionWarning"
"""python-pkcs11 prints when an open search cannot be ended, because the session it belonged to is gone."""
UNKNOWN_VERSION = 9_999


async def refused(opening: Awaitable[Secret[bytes]]) -> bool:
    try:
        await opening
    except KeyUnusable:
        return True
    return False


def changed(wrapped: bytes, at: int) -> bytes:
    return wrapped[:at] + bytes([wrapped[at] ^ 1]) + wrapped[at + 1 :]


def as_version(wrapped: bytes, version: int) -> bytes:
    return wrapped[:2] + version.to_bytes(4, "big") + wrapped[6:]


@pytest.mark.control("UC-3.5")
async def test_a_wrapped_key_opens_in_its_context_and_in_no_other(world: World):
    key = new_key()
    wrapped = await world.keys.wrap(key, CONTEXT)

    assert (await world.same.unwrap(wrapped, CONTEXT)).reveal() == key.reveal()
    assert key.reveal() not in wrapped
    for context in (b"", CONTEXT[:-1], CONTEXT + b"\n", CONTEXT.replace(b"tnt_a", b"tnt_b"), b"x" * 5_000):
        assert await refused(world.keys.unwrap(wrapped, context)), context


@pytest.mark.control("UC-3.5")
async def test_no_region_of_a_wrap_can_be_changed_cut_or_made_longer(world: World):
    wrapped = await world.keys.wrap(new_key(), CONTEXT)
    places = sorted({*range(10), *range(10, len(wrapped), 7), *range(len(wrapped) - 4, len(wrapped))})
    attempts = [changed(wrapped, at) for at in places] + [wrapped[:length] for length in (0, *places)]

    opened = [
        attempt for attempt in [*attempts, wrapped + b"\0"] if not await refused(world.keys.unwrap(attempt, CONTEXT))
    ]

    assert opened == []


@pytest.mark.control("UC-3.5")
async def test_another_root_of_the_same_kind_does_not_open_it(world: World):
    wrapped = await world.keys.wrap(new_key(), CONTEXT)

    assert await refused(world.other.unwrap(wrapped, CONTEXT))


async def test_another_services_wrap_is_refused_by_its_name(world: World):
    wrapped = await world.keys.wrap(new_key(), CONTEXT)
    kinds = {wrapped[1]}
    others = [wrapped[:1] + bytes([kind]) + wrapped[2:] for kind in {0, 1, 2, 3, 4, 5, 255} - kinds]

    for other in (*others, b"\x03" + wrapped[1:], b"\x00" + wrapped[1:]):
        assert await refused(world.keys.unwrap(other, CONTEXT))
        with pytest.raises(KeyUnusable):
            world.keys.version_of(other)


async def test_what_is_too_large_or_no_key_is_not_taken(world: World):
    wrapped = await world.keys.wrap(new_key(), CONTEXT)

    assert await refused(world.keys.unwrap(wrapped + bytes(2_000), CONTEXT))
    for key, context in (
        (bytes(31), CONTEXT),
        (bytes(33), CONTEXT),
        (b"", CONTEXT),
        (bytes(32), b""),
        (bytes(32), b"x" * 1_025),
    ):
        with pytest.raises(ValueError, match="32 bytes"):
            await world.keys.wrap(Secret(key), context)


@pytest.mark.control("UC-3.6.1")
async def test_after_a_rotation_the_newest_version_wraps_and_the_older_ones_still_open(world: World):
    first = await world.keys.wrap(new_key(), CONTEXT)

    version = await world.keys.rotate()

    second = await world.same.wrap(new_key(), CONTEXT)
    described = (await world.keys.describe()).versions
    assert [world.keys.version_of(one) for one in (first, second)] == [version - 1, version]
    assert not await refused(world.same.unwrap(first, CONTEXT))
    assert not await refused(world.keys.unwrap(second, CONTEXT))
    assert [(one.version, one.state) for one in described[-2:]] == [
        (version - 1, VersionState.RETIRED),
        (version, VersionState.ACTIVE),
    ]


@pytest.mark.control("UC-3.5")
async def test_a_wrap_cannot_be_passed_off_as_another_versions_or_an_unknown_ones(world: World):
    first = await world.keys.wrap(new_key(), CONTEXT)
    version = await world.keys.rotate()
    second = await world.keys.wrap(new_key(), CONTEXT)

    for forged in (as_version(first, version), as_version(second, version - 1), as_version(first, UNKNOWN_VERSION)):
        assert await refused(world.keys.unwrap(forged, CONTEXT))


@pytest.mark.control("UC-3.6.1")
async def test_a_destroyed_version_opens_nothing_any_more_and_the_newest_is_never_destroyed(world: World):
    first = await world.keys.wrap(new_key(), CONTEXT)
    version = await world.keys.rotate()
    second = await world.keys.wrap(new_key(), CONTEXT)
    if not world.shreds:
        with pytest.raises(CannotDestroy):
            await world.keys.destroy_before(version)
        return

    await world.keys.destroy_before(version)
    await world.keys.destroy_before(version)
    with pytest.raises(CannotDestroy):
        await world.keys.destroy_before(version + 1)

    assert [await refused(each.unwrap(first, CONTEXT)) for each in (world.keys, world.same)] == [True, True]
    assert not await refused(world.keys.unwrap(second, CONTEXT))
    states = {one.version: one.state for one in (await world.keys.describe()).versions}
    assert (states[version - 1], states[version]) == (VersionState.DESTROYED, VersionState.ACTIVE)


async def test_fifty_wraps_at_once_each_open_to_their_own_key(world: World):
    keys = [new_key() for _ in range(50)]

    wrapped = await asyncio.gather(*(world.keys.wrap(key, CONTEXT) for key in keys))
    opened = await asyncio.gather(*(world.keys.unwrap(one, CONTEXT) for one in wrapped))

    assert [one.reveal() for one in opened] == [key.reveal() for key in keys]
    assert len(set(wrapped)) == 50


@pytest.mark.filterwarnings(LOST)
async def test_a_service_that_is_away_says_nothing_about_keys_and_serves_again_when_it_is_back(world: World):
    wrapped = await world.keys.wrap(new_key(), CONTEXT)
    world.take_away()

    asked: list[Callable[[], Awaitable[object]]] = [
        lambda: world.keys.unwrap(wrapped, CONTEXT),
        lambda: world.keys.wrap(new_key(), CONTEXT),
        world.keys.describe,
        world.keys.prove,
    ]
    for ask in asked:
        with pytest.raises(KeyServiceUnreachable):
            await ask()
    world.bring_back()

    assert not await refused(world.keys.unwrap(wrapped, CONTEXT))


async def test_a_service_that_keeps_the_contract_passes_the_probe(world: World):
    await world.keys.prove()

    assert not await refused(world.keys.unwrap(await world.keys.wrap(new_key(), CONTEXT), CONTEXT))


@pytest.mark.control("UC-3.6")
@pytest.mark.filterwarnings(LOST)
async def test_no_secret_is_in_an_error_a_description_or_a_log(
    world: World, caplog: pytest.LogCaptureFixture, capsys: pytest.CaptureFixture[str]
):
    caplog.set_level(logging.DEBUG)
    key = new_key()
    wrapped = await world.keys.wrap(key, CONTEXT)
    said = [
        repr(world.keys),
        str(world.keys),
        repr(await world.keys.describe()),
        repr(await world.keys.unwrap(wrapped, CONTEXT)),
    ]

    said += [
        await what_is_said(world.keys.unwrap(changed(wrapped, len(wrapped) - 1), CONTEXT)),
        await what_is_said(world.keys.unwrap(wrapped, b"another")),
    ]
    world.take_away()
    said += [await what_is_said(world.keys.unwrap(wrapped, CONTEXT)), await what_is_said(world.keys.wrap(key, CONTEXT))]
    world.bring_back()

    texts = "\n".join([*said, caplog.text, *capsys.readouterr()]).encode()
    assert len(said) == 8
    assert [form for secret in (key.reveal(), *world.secrets) for form in spelled(secret) if form in texts] == []


async def what_is_said(failing: Awaitable[object]) -> str:
    with pytest.raises((KeyUnusable, KeyServiceUnreachable)) as refusal:
        await failing
    return "".join(traceback.format_exception(refusal.value))


def spelled(secret: bytes) -> Iterator[bytes]:
    yield secret
    yield secret.hex().encode()
    yield base64.b64encode(secret).rstrip(b"=")
    yield base64.urlsafe_b64encode(secret).rstrip(b"=")
    yield repr(secret)[2:-1].encode()
