"""What is asked of a key service that is somewhere else, and what is kept of its answers."""

import asyncio
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from infra.chassis.clock import FixedClock
from infra.chassis.keys import KeyServiceUnreachable, KeyUnusable, RingFile, SoftwareKeyService, new_key
from infra.chassis.keys.sparing import Sparing, SparingKeyService
from infra.chassis.secret import Secret
from tests.support.keys import root_file

CONTEXT = b"tenant a"


class Counted(SoftwareKeyService):
    """A real key service that counts, and waits when it is told to."""

    def __init__(self, file: RingFile, clock: FixedClock) -> None:
        super().__init__(file, clock)
        self.asked = 0
        self.goes_on = asyncio.Event()
        self.goes_on.set()

    async def wrap(self, key: Secret[bytes], context: bytes) -> bytes:
        self.asked += 1
        return await super().wrap(key, context)

    async def unwrap(self, wrapped: bytes, context: bytes) -> Secret[bytes]:
        self.asked += 1
        await self.goes_on.wait()
        return await super().unwrap(wrapped, context)


@pytest.fixture
def clock() -> FixedClock:
    return FixedClock(datetime(2026, 11, 21, 12, 0, tzinfo=UTC))


@pytest.fixture
def behind(tmp_path: Path, clock: FixedClock) -> Counted:
    return Counted(RingFile(root_file(tmp_path)), clock)


async def refused(opening: Awaitable[object]) -> bool:
    try:
        await opening
    except KeyUnusable:
        return True
    return False


async def test_a_key_is_kept_for_its_seconds_and_not_longer(behind: Counted, clock: FixedClock):
    keys = SparingKeyService(behind, clock, Sparing(seconds=60))
    wrapped = await keys.wrap(new_key(), CONTEXT)

    for seconds, asked in ((0, 2), (59, 2), (1, 3), (59, 3), (2, 4)):
        clock.advance(timedelta(seconds=seconds))
        await keys.unwrap(wrapped, CONTEXT)
        assert behind.asked == asked, seconds


async def test_with_no_seconds_nothing_is_kept(behind: Counted, clock: FixedClock):
    keys = SparingKeyService(behind, clock, Sparing(seconds=0))
    wrapped = await keys.wrap(new_key(), CONTEXT)

    for _ in range(3):
        await keys.unwrap(wrapped, CONTEXT)

    assert behind.asked == 4


async def test_a_kept_key_answers_its_own_context_only(behind: Counted, clock: FixedClock):
    keys = SparingKeyService(behind, clock, Sparing())
    wrapped = await keys.wrap(new_key(), CONTEXT)
    await keys.unwrap(wrapped, CONTEXT)

    assert await refused(keys.unwrap(wrapped, b"tenant b"))
    assert await refused(keys.unwrap(wrapped[:-1], CONTEXT + wrapped[-1:]))


async def test_a_failure_is_not_kept(behind: Counted, clock: FixedClock):
    keys = SparingKeyService(behind, clock, Sparing())
    wrapped = await behind.wrap(new_key(), CONTEXT)

    assert await refused(keys.unwrap(wrapped, b"tenant b"))
    assert await refused(keys.unwrap(wrapped, b"tenant b"))
    assert behind.asked == 3


async def test_destroying_a_version_drops_what_is_kept_and_what_is_on_its_way(behind: Counted, clock: FixedClock):
    keys = SparingKeyService(behind, clock, Sparing())
    kept, coming = await keys.wrap(new_key(), CONTEXT), await keys.wrap(new_key(), CONTEXT)
    await keys.unwrap(kept, CONTEXT)
    behind.goes_on.clear()
    on_its_way = asyncio.ensure_future(keys.unwrap(coming, CONTEXT))
    await asyncio.sleep(0)

    await keys.destroy_before(await keys.rotate())
    behind.goes_on.set()

    assert await refused(on_its_way)
    assert await refused(keys.unwrap(kept, CONTEXT))
    assert await refused(keys.unwrap(coming, CONTEXT))


async def test_many_who_want_one_key_at_once_ask_once_and_one_who_leaves_takes_it_from_nobody(
    behind: Counted, clock: FixedClock
):
    keys, key = SparingKeyService(behind, clock, Sparing()), new_key()
    wrapped = await keys.wrap(key, CONTEXT)
    behind.goes_on.clear()
    waiting = [asyncio.ensure_future(keys.unwrap(wrapped, CONTEXT)) for _ in range(20)]
    await asyncio.sleep(0)

    waiting[0].cancel()
    behind.goes_on.set()
    opened = await asyncio.gather(*waiting[1:])

    assert behind.asked == 2
    assert {one.reveal() for one in opened} == {key.reveal()}


async def test_no_more_is_asked_than_is_agreed_and_waiting_gives_it_back(behind: Counted, clock: FixedClock):
    keys = SparingKeyService(behind, clock, Sparing(per_second=5, waits_seconds=0))
    asks: list[Callable[[], Awaitable[object]]] = [lambda: keys.wrap(new_key(), CONTEXT)] * 6

    answers = await asyncio.gather(*(ask() for ask in asks), return_exceptions=True)
    clock.advance(timedelta(seconds=0.4))
    later = await asyncio.gather(*(ask() for ask in asks[:3]), return_exceptions=True)

    assert [type(one) for one in answers].count(KeyServiceUnreachable) == 1
    assert [type(one) for one in later].count(KeyServiceUnreachable) == 1
    assert behind.asked == 7


async def test_after_a_burst_requests_wait_their_turn_and_not_for_longer_than_agreed(
    behind: Counted, clock: FixedClock, monkeypatch: pytest.MonkeyPatch
):
    keys, slept = SparingKeyService(behind, clock, Sparing(per_second=10, waits_seconds=0.3)), []

    async def sleep(seconds: float) -> None:
        slept.append(round(seconds, 3))

    monkeypatch.setattr("infra.chassis.keys.sparing.asyncio.sleep", sleep)
    for _ in range(13):
        await keys.wrap(new_key(), CONTEXT)

    assert slept == [0.1, 0.2, 0.3]
    with pytest.raises(KeyServiceUnreachable, match="agreed"):
        await keys.wrap(new_key(), CONTEXT)
    clock.advance(timedelta(seconds=0.1))
    await keys.wrap(new_key(), CONTEXT)
    assert behind.asked == 14


async def test_the_longest_unused_key_goes_first(behind: Counted, clock: FixedClock):
    keys = SparingKeyService(behind, clock, Sparing(entries_max=2))
    first, second, third = [await behind.wrap(new_key(), CONTEXT) for _ in range(3)]
    for wrapped in (first, second, first, third):
        await keys.unwrap(wrapped, CONTEXT)
    asked = behind.asked

    await keys.unwrap(first, CONTEXT)
    assert behind.asked == asked
    await keys.unwrap(second, CONTEXT)
    assert behind.asked == asked + 1


async def test_what_is_no_wrap_of_ours_is_not_asked_about(behind: Counted, clock: FixedClock):
    keys = SparingKeyService(behind, clock, Sparing())

    for wrapped in (b"", b"\x02\x02\x00\x00\x00\x01x", bytes(5_000)):
        assert await refused(keys.unwrap(wrapped, CONTEXT))

    assert behind.asked == 0
