"""Statements that are each a transaction of their own, asked on the driver itself: one round trip.

SQLAlchemy's pool needs twice the processor time to hand out a connection that the driver needs to ask a statement
(ADR 0035). So here connections are kept that the engine made and set up like its own, and that were taken out of its
pool. They end with it: `engine.dispose()` closes them.
"""

import asyncio
import time
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Final

import asyncpg
from sqlalchemy import Engine, event
from sqlalchemy.ext.asyncio import AsyncEngine
from sqlalchemy.util import await_only, greenlet_spawn

from infra.chassis.engine import (
    IDLE_SECONDS_MAX,
    DatabaseUnreachable,
    StatementRefused,
    is_away,
    reaching_database,
)

CONNECTIONS_MAX: Final = 20
"""Besides those of the engine's pool. Each does one statement at a time, so more callers than that wait."""
WAIT_SECONDS_MAX: Final = 30.0
"""For one of them to be free; as long as SQLAlchemy waits for one of its own."""


@dataclass(slots=True)
class _Kept:
    driver: Any
    used_at: float


class AtOnce:
    """Of one engine, in its event loop. Makes no connection before it is asked for something."""

    def __init__(self, engine: AsyncEngine, *, connections_max: int = CONNECTIONS_MAX) -> None:
        self._engine = engine
        self._room = asyncio.Semaphore(connections_max)
        self._free: list[_Kept] = []
        self._era = 0
        event.listen(engine.sync_engine, "engine_disposed", self._close)

    async def fetch(self, statement: str, *values: Any) -> list[Any]:
        """The rows of `statement`, whose values are `$1` and so on.

        No tenant is set: what is called is a function that sets one. Raises StatementRefused and DatabaseUnreachable.
        """
        with reaching_database():
            await self._enter()
            try:
                return await self._ask(await self._connection(), statement, values)
            finally:
                self._room.release()

    async def _enter(self) -> None:
        if not self._room.locked():
            await self._room.acquire()
            return
        async with asyncio.timeout(WAIT_SECONDS_MAX):
            await self._room.acquire()

    async def _connection(self) -> Any:
        """The one used last. After a second of lying idle it is tried first; if it died, so may have all others."""
        if self._free:
            kept = self._free.pop()
            if time.monotonic() - kept.used_at <= IDLE_SECONDS_MAX or await _answers(kept.driver):
                return kept.driver
            self._drop_free()
        pooled = await self._engine.raw_connection()
        driver = pooled.driver_connection
        await greenlet_spawn(pooled.detach)
        return driver

    async def _ask(self, driver: Any, statement: str, values: tuple[Any, ...]) -> list[Any]:
        era = self._era
        try:
            return list(await driver.fetch(statement, *values))
        except (asyncpg.PostgresError, asyncpg.InterfaceError) as error:
            if driver.is_closed():
                raise DatabaseUnreachable from error
            if is_away(error):
                raise
            raise StatementRefused(error) from None
        finally:
            self._put_back(driver, era)

    def _put_back(self, driver: Any, era: int) -> None:
        """Also after a caller was cancelled: the driver tells the server, and whoever comes next waits for that."""
        if driver.is_closed():
            self._drop_free()
        elif era != self._era:
            driver.terminate()
        else:
            self._free.append(_Kept(driver, time.monotonic()))

    def _drop_free(self) -> None:
        while self._free:
            self._free.pop().driver.terminate()

    def _close(self, _engine: Engine) -> None:
        """On the engine's own event, which `AsyncEngine.dispose` raises where its awaiting is allowed."""
        self._era += 1
        while self._free:
            await_only(self._free.pop().driver.close())


async def _answers(driver: Any) -> bool:
    """One round trip. Who does not answer, or is not waited for, is let go of."""
    answered = False
    try:
        with suppress(asyncpg.PostgresError, asyncpg.InterfaceError, OSError):
            await driver.execute("SELECT 1")
            answered = True
    finally:
        if not answered:
            driver.terminate()
    return answered
