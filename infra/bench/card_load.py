"""Cards typed at sixteen pages at once: how many a second, how long the slowest hundredth waits, what each costs.

One vault process answers all of them, so what it does in a second it does with one core. The database and the asking
share the machine's others.

How many: each caller sends the next card as soon as its last was answered. How long: the callers together send 500 a
second, which is what is promised, and a card's time runs from the moment it was to be sent, so one that had to wait for
a free caller has waited. Sent without a pause, sixteen cards always wait for each other: at 500 a second 32 ms each.

The database's statistics are renewed first. Without any, as in a new database until its autovacuum comes within a
minute, PostgreSQL takes all indexes for equal and reads every card of the tenant for each that it stores.
"""

import asyncio
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Final

import psutil

from infra.bench.card_forms import open_forms
from infra.bench.load import Load
from infra.bench.measuring import UNITS, Call, Figure, Spread
from infra.bench.stage import Door
from infra.bench.stored_cards import sql
from infra.cli.console import Progress
from infra.dev.house import House

CALLERS: Final = 16
CARDS: Final = 2_500
"""Of one round."""
ROUNDS: Final = 3
TAIL_BAR_MS: Final = 15.0
PER_SECOND: Final = 500
EACH_BAR_MS: Final = 2.0
"""Issue 4: five hundred a second of one core."""
AT_THE_BAR: Final = 1.0


@dataclass(frozen=True, slots=True)
class Pressed:
    """What callers saw, and the seconds of processor time the vault's process spent on it."""

    load: Load
    processor_seconds: float

    @property
    def processor_ms(self) -> float:
        """For each card."""
        return self.processor_seconds * 1_000 / len(self.load.took)


async def measure(house: House, page: Door) -> list[Figure]:
    vault = psutil.Process(house.pids["vault"])
    with Progress(f"vault: {ROUNDS * CARDS:,} cards from {CALLERS} callers") as progress:
        await _press(vault, await open_forms(house, page, CARDS // 5))
        sql(house, "ANALYZE")
        rounds = []
        for number in range(1, ROUNDS + 1):
            forms = await open_forms(house, page, CARDS)
            rounds.append(await _press(vault, forms))
            progress.show(f"round {number}: {rounds[-1].load.per_second:.0f} a second")
    with Progress(f"vault: {ROUNDS * CARDS:,} cards from {CALLERS} callers, {PER_SECOND} a second") as progress:
        paced = []
        for number in range(1, ROUNDS + 1):
            forms = await open_forms(house, page, CARDS)
            paced.append(await pace(forms, per_second=PER_SECOND))
            progress.show(f"round {number}: 99 of 100 within {_ms(paced[-1].p99):.1f} ms")
    return figures_of(rounds, paced)


def figures_of(rounds: Sequence[Pressed], paced: Sequence[Load]) -> list[Figure]:
    """Of two rounds or more of each."""
    core = "2 ms: 500 cards a second of one core"
    return [
        _promised(
            f"vault: time for each card tokenised, {CALLERS} connections",
            core,
            EACH_BAR_MS,
            [1_000 / pressed.load.per_second for pressed in rounds],
        ),
        _promised(
            "vault: processor time of its process for each card tokenised",
            core,
            EACH_BAR_MS,
            [pressed.processor_ms for pressed in rounds],
        ),
        _promised(
            f"vault: 99th percentile of tokenising, {CALLERS} connections, {PER_SECOND} a second",
            "15 ms, as promised",
            TAIL_BAR_MS,
            [_ms(load.p99) for load in paced],
        ),
    ]


async def _press(vault: psutil.Process, forms: Sequence[Call]) -> Pressed:
    """Each caller sends the next form as soon as its last one was answered, until there are no more."""
    calls, took = [*forms], list[int]()

    async def send() -> None:
        with suppress(IndexError):
            while True:
                call = calls.pop()
                begun = time.perf_counter_ns()
                await call()
                took.append(time.perf_counter_ns() - begun)

    before, started = _processor_seconds(vault), time.monotonic()
    await asyncio.gather(*[send() for _ in range(CALLERS)])
    load = Load(took, time.monotonic() - started)
    return Pressed(load, _processor_seconds(vault) - before)


async def pace(forms: Sequence[Call], *, per_second: float) -> Load:
    """The n-th card is sent n / `per_second` seconds after the start, or as soon as a caller is free after that.

    Raises what a call raises.
    """
    calls, took = enumerate(forms), list[int]()
    started = time.perf_counter_ns()

    async def send() -> None:
        for number, call in calls:
            due = started + round(number * 1_000_000_000 / per_second)
            await asyncio.sleep(max(0, due - time.perf_counter_ns()) / 1_000_000_000)
            await call()
            took.append(time.perf_counter_ns() - due)

    await asyncio.gather(*[send() for _ in range(CALLERS)])
    return Load(took, (time.perf_counter_ns() - started) / 1_000_000_000)


def _ms(nanoseconds: float) -> float:
    return nanoseconds / UNITS["ms"]


def _processor_seconds(process: psutil.Process) -> float:
    times = process.cpu_times()
    return float(times.user + times.system)


def _promised(figure: str, floor_is: str, promised_ms: float, ours_ms: Sequence[float]) -> Figure:
    floor = Spread(median=promised_ms, low=promised_ms, high=promised_ms)
    return Figure(figure=figure, floor_is=floor_is, unit="ms", bar=AT_THE_BAR, ours=Spread.of(ours_ms), floor=floor)
