"""What the card screen costs: a short message beside a bare regular expression and its budget, and a whole body."""

import itertools
import re
import time
from collections.abc import Callable, Sequence
from functools import partial
from typing import Final

from infra.bench.measuring import Call, Comparison, Figure, Prepare, Spread
from infra.bench.stage import measured
from infra.chassis.clock import SystemClock
from infra.chassis.screen import find_cards, luhn
from infra.chassis.screen.turns import TurnScreen
from infra.cli.console import Progress

SHORT_BAR: Final = 30.0
"""Ours: 18 was measured. The floor reads digits only, and found 27 of 100 disguises (the facts on vaults)."""
BUDGET_MICROSECONDS: Final = 100.0
"""Issue 4: a short message."""
BODY_BAR: Final = 10.0
"""Ours: 64 times the text may take 64 times the time; ten times that would not be linear."""
BODY_BYTES: Final = 64 * 1024
SAMPLES: Final = 2_000
MESSAGES: Final = (
    "Do you have the tall one in oak?",
    "I would like it delivered on Tuesday after five, and please ring the bell twice.",
    "Where is order 1182? It was promised for the 14th.",
    "call me on +1 (415) 555-0132 tomorrow between 9 and 11",
    "my card is 4242 4242 4242 4242, thanks",
    "four two four two, four two four two, four two four two, four two four two",
    "¿Cuándo llega mi pedido? Lo compré hace dos semanas.",
    "Je voudrais changer l'adresse de livraison, s'il vous plaît.",
    "Meine Lampe flackert seit gestern, was kann ich für Sie nachsehen?",
    "trace 4bf92f3577b34da6a3ce929d0e0e4736",
)
"""Of a chat: most say nothing, some say numbers, one writes a card number and one says it."""
_NUMBER: Final = re.compile(r"(?:\d[ -]?){13,19}")
_NOT_DIGITS: Final = re.compile(r"\D")


async def measure() -> list[Figure]:
    """Single calls, one message each, in turn with the floor; the whole body beside short texts of the same size."""
    short = Comparison(
        figure="chassis: the card screen, a short message",
        floor_is="one regular expression and Luhn",
        ours=_each(find_cards),
        floor=_each(_naive),
        bar=SHORT_BAR,
        unit="µs",
        rounds=200,
        calls=len(MESSAGES),
    )
    return [await measured(short), _budget(), _body()]


def _each(screen: Callable[[str], object]) -> Prepare:
    """One message after another."""
    messages = itertools.cycle(MESSAGES)

    async def prepare() -> Call:
        message = next(messages)

        async def call() -> object:
            return screen(message)

        return call

    return prepare


def _naive(text: str) -> bool:
    return any(luhn(_NOT_DIGITS.sub("", match.group())) for match in _NUMBER.finditer(text))


def _budget() -> Figure:
    """With what is kept of the conversation, as the gateway calls it. The floor is no measurement but the budget.

    In processor time, because a budget, unlike a floor measured in turn, does not grow when the machine is busy.
    """
    screen = TurnScreen(SystemClock())
    with Progress("chassis: the card screen over turns"):
        took = [_microseconds(partial(screen.read, "cnv_bench", message)) for message in _rounds(MESSAGES)]
    return Figure(
        figure="chassis: the card screen over turns, a short message",
        floor_is="the budget of issue 4, a constant",
        unit="µs",
        bar=1.0,
        ours=Spread.of(took),
        floor=Spread(median=BUDGET_MICROSECONDS, low=BUDGET_MICROSECONDS, high=BUDGET_MICROSECONDS),
    )


def _body() -> Figure:
    """A body made to be slow, beside a 64th of it taken 64 times: the ratio of a linear screen is one."""
    whole = ("six mille onze cent 4242 x " * BODY_BYTES)[:BODY_BYTES]
    part = whole[: BODY_BYTES // 64]
    with Progress("chassis: the card screen, a body of 64 KB"):
        ours = [_microseconds(lambda: find_cards(whole)) / 1_000 for _ in range(5)]
        floor = [64 * _microseconds(lambda: find_cards(part)) / 1_000 for _ in range(20)]
    return Figure(
        figure="chassis: the card screen, a body of 64 KB made to be slow",
        floor_is="a 64th of it, 64 times",
        unit="ms",
        bar=BODY_BAR,
        ours=Spread.of(ours),
        floor=Spread.of(floor),
    )


def _rounds(messages: Sequence[str]) -> Sequence[str]:
    return list(itertools.islice(itertools.cycle(messages), SAMPLES))


def _microseconds(work: Callable[[], object]) -> float:
    """Of this thread's processor time."""
    started = time.thread_time_ns()
    work()
    return (time.thread_time_ns() - started) / 1_000
