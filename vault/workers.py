"""Work that goes on when the one who asked for it hangs up."""

import asyncio
from collections.abc import Coroutine
from typing import Any, TypeVar

_V = TypeVar("_V")


class Workers:
    """Holds the tasks that carry out orders, so that none is forgotten or cancelled half-way."""

    def __init__(self) -> None:
        self._under_way: set[asyncio.Task[Any]] = set()

    async def finish(self, work: Coroutine[Any, Any, _V]) -> _V:
        """The result of `work`, which runs to its end even if the caller is cancelled."""
        task = asyncio.ensure_future(work)
        self._under_way.add(task)
        task.add_done_callback(self._under_way.discard)
        return await asyncio.shield(task)

    def start(self, work: Coroutine[Any, Any, None]) -> None:
        """Have it done, and wait for nothing. `work` sees to its own failures."""
        task = asyncio.ensure_future(work)
        self._under_way.add(task)
        task.add_done_callback(self._under_way.discard)

    async def drain(self, seconds: float) -> None:
        """Wait for what is under way; what is not done then is the reconciler's after the restart."""
        if self._under_way:
            await asyncio.wait(self._under_way, timeout=seconds)
