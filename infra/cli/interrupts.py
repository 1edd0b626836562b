"""Ctrl-C, `kill` and a closed terminal all mean: stop in good order."""

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

STOPS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


def _interrupt(_number: int, _frame: FrameType | None) -> None:
    for number in STOPS:
        signal.signal(number, signal.SIG_IGN)  # stopping in good order is not to be interrupted again
    raise KeyboardInterrupt


@contextmanager
def stoppable() -> Iterator[None]:
    """Turn the first of these signals into KeyboardInterrupt and ignore the rest. For the main thread."""
    before = {number: signal.signal(number, _interrupt) for number in STOPS}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
