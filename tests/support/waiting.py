"""Waiting for a condition with a deadline, never for a length of time."""

import asyncio
import inspect
import time
from collections.abc import Awaitable, Callable

POLL_SECONDS, POLL_SECONDS_MAX = 0.02, 0.1
"""At first, and when it takes longer: who looks all the time takes the processor from what is waited for."""
BUSY_SECONDS_MAX = 90.0
"""For what an idle machine does in a moment. No test that passes waits for it."""


async def wait_until(condition: Callable[[], bool | Awaitable[bool]], seconds: float = BUSY_SECONDS_MAX) -> None:
    """Return as soon as `condition` (a function, plain or async) is true; fail the test when it was not in time."""
    deadline, pause = time.monotonic() + seconds, POLL_SECONDS
    while True:
        answer = condition()
        if await answer if inspect.isawaitable(answer) else answer:
            return
        assert time.monotonic() < deadline, f"not true within {seconds} s: {condition}"
        await asyncio.sleep(pause)
        pause = min(pause * 1.25, POLL_SECONDS_MAX)
