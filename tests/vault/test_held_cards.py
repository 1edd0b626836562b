"""Cards that wait for the one call that carries them (Airwallex): gone when their minute is over, whoever comes."""

import asyncio
from datetime import UTC, datetime, timedelta

from infra.chassis.clock import FixedClock
from tests.support.waiting import wait_until
from tests.vault.processor_rigs import typed
from vault.cleartext.processors.held import HELD_AT_MOST, HeldCards


async def test_a_held_card_nobody_takes_goes_at_its_time_though_no_other_card_comes():
    clock = FixedClock(datetime.now(UTC))
    held, stop = HeldCards(clock), asyncio.Event()
    refs = [held.hold(*typed("4242424242424242")) for _ in range(2)]
    running = asyncio.ensure_future(held.run(stop))
    clock.advance(HELD_AT_MOST - timedelta(microseconds=1))
    taken = held.take(refs[0])

    clock.advance(timedelta(microseconds=1))
    await wait_until(lambda: len(held) == 0)
    stop.set()
    await running

    assert taken is not None
    assert held.take(refs[1]) is None


async def test_a_vault_that_ends_holds_no_card_any_more():
    held = HeldCards(FixedClock(datetime.now(UTC)))
    ref = held.hold(*typed("4242424242424242"))

    held.forget_all()

    assert (len(held), held.take(ref)) == (0, None)
