"""Two things timed in turn: ours, and the floor it stands on. What each costs alone says little on a noisy machine."""

import statistics
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field

Call = Callable[[], Awaitable[object]]
Prepare = Callable[[], Awaitable[Call]]
"""Makes one call ready outside the timing (a fresh grant, a signed-in person); what it answers is timed, once."""

SECONDS_MAX = 12.0
"""For one comparison, so that a slow machine measures less often instead of longer."""
ROUNDS_MIN = 3
UNITS = {"µs": 1_000.0, "ms": 1_000_000.0}
"""Nanoseconds in each."""


class BenchFailed(RuntimeError):
    """Something answered what it should not have: there is no figure. The message says what."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """`bar`: the largest ratio of the two medians that holds. A round is `calls` of ours, then `calls` of the floor."""

    figure: str
    floor_is: str
    ours: Prepare
    floor: Prepare
    bar: float
    unit: str = "ms"
    rounds: int = 40
    calls: int = 5


@dataclass(frozen=True, slots=True, kw_only=True)
class Spread:
    """The median and the middle eight tenths of single calls, in the figure's unit."""

    median: float
    low: float
    high: float

    @classmethod
    def of(cls, samples: Sequence[float]) -> "Spread":
        """From two samples or more."""
        tenths = statistics.quantiles(samples, n=10, method="inclusive")
        return cls(median=statistics.median(samples), low=tenths[0], high=tenths[-1])


@dataclass(frozen=True, slots=True, kw_only=True)
class Figure:
    figure: str
    floor_is: str
    unit: str
    bar: float
    ours: Spread
    floor: Spread

    @property
    def ratio(self) -> float:
        return self.ours.median / self.floor.median

    @property
    def held(self) -> bool:
        return self.ratio <= self.bar


@dataclass(slots=True)
class Side:
    """One of the two, and how many nanoseconds each of its calls took."""

    prepare: Prepare
    took: list[int] = field(default_factory=list)

    async def once(self) -> None:
        call = await self.prepare()
        started = time.perf_counter_ns()
        await call()
        self.took.append(time.perf_counter_ns() - started)

    def spread(self, unit: str) -> Spread:
        return Spread.of([nanoseconds / UNITS[unit] for nanoseconds in self.took])


async def measure(comparison: Comparison, show: Callable[[str], None]) -> Figure:
    """Alternate the two, round by round; a first round, in which pools fill and statements are planned, is not counted.

    Raises what a call raises: a failed call is no measurement.
    """
    ours, floor = Side(comparison.ours), Side(comparison.floor)
    await _round(ours, floor, comparison.calls)
    ours.took.clear()
    floor.took.clear()
    started = time.monotonic()
    for number in range(1, comparison.rounds + 1):
        await _round(ours, floor, comparison.calls)
        show(f"round {number} of {comparison.rounds}")
        if number >= ROUNDS_MIN and time.monotonic() - started > SECONDS_MAX:
            break
    return Figure(
        figure=comparison.figure,
        floor_is=comparison.floor_is,
        unit=comparison.unit,
        bar=comparison.bar,
        ours=ours.spread(comparison.unit),
        floor=floor.spread(comparison.unit),
    )


async def _round(ours: Side, floor: Side, calls: int) -> None:
    for side in (ours, floor):
        for _ in range(calls):
            await side.once()
