"""Several callers at once: how long answers take then, and how many there are in a second."""

import asyncio
import statistics
import time
from collections.abc import Sequence
from dataclasses import dataclass

from infra.bench.measuring import UNITS, Call, Figure, Spread

HUNDREDTHS = 100


@dataclass(frozen=True, slots=True)
class Load:
    """What `callers` that each ask again as soon as they are answered saw. `took` in nanoseconds, one a request."""

    took: Sequence[int]
    seconds: float

    @property
    def median(self) -> float:
        return statistics.median(self.took)

    @property
    def p99(self) -> float:
        return statistics.quantiles(self.took, n=HUNDREDTHS, method="inclusive")[-1]

    @property
    def per_second(self) -> float:
        return len(self.took) / self.seconds


async def press(call: Call, *, callers: int, seconds: float) -> Load:
    """Answers under way at the end are not counted. Raises what a call raises."""
    took: list[int] = []
    started = time.monotonic()
    end = started + seconds

    async def ask() -> None:
        while time.monotonic() < end:
            begun = time.perf_counter_ns()
            await call()
            if time.monotonic() < end:
                took.append(time.perf_counter_ns() - begun)

    await asyncio.gather(*[ask() for _ in range(callers)])
    return Load(took, seconds)


def tail_figure(figure: str, loads: Sequence[Load], bar: float) -> Figure:
    """The 99th percentile beside the median of the same requests."""
    return _beside(
        figure,
        "the median of the same requests",
        ours=[load.p99 for load in loads],
        floor=[load.median for load in loads],
        bar=bar,
    )


def scaling_figure(figure: str, floor_is: str, more: Sequence[Load], one: Sequence[Load], bar: float) -> Figure:
    """Time for each answered request with more workers beside the time with one."""
    return _beside(
        figure,
        floor_is,
        ours=[UNITS["ms"] * 1_000 / load.per_second for load in more],
        floor=[UNITS["ms"] * 1_000 / load.per_second for load in one],
        bar=bar,
    )


def _beside(figure: str, floor_is: str, *, ours: Sequence[float], floor: Sequence[float], bar: float) -> Figure:
    return Figure(figure=figure, floor_is=floor_is, unit="ms", bar=bar, ours=_spread(ours), floor=_spread(floor))


def _spread(nanoseconds: Sequence[float]) -> Spread:
    return Spread.of([value / UNITS["ms"] for value in nanoseconds])
