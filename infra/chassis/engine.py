"""The database engine, and the one way into a transaction: with the tenant set, so that row-level security holds."""

import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import Any, Final

from sqlalchemy import Engine, event, text
from sqlalchemy.exc import DBAPIError, InvalidatePoolError
from sqlalchemy.exc import TimeoutError as PoolExhausted
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, create_async_engine

from infra.chassis import logs
from infra.chassis.problems import Problem
from infra.chassis.secret import Secret

POOL_SIZE = 10
"""Connections of one process; four services of two workers stay far below PostgreSQL's default of 100."""
IDLE_SECONDS_MAX: Final = 1.0
"""A connection that lay idle for longer is tried before it is used.

Trying costs three round trips, which at every checkout was a quarter of what a decision asks of the database. Whoever
is handed a connection that died within this second gets DatabaseUnreachable, and all of them are then made anew.
"""
CONNECT_SECONDS_MAX, COMMAND_SECONDS_MAX = 5, 15
"""For a connection to be made, and for one statement to be answered; read whenever an engine is made."""
AWAY_CLASSES: Final = frozenset({"08", "53", "57"})
"""Of SQLSTATE: connection lost, no room or too many connections, shut down or starting up."""
_SET_TENANT = text("SELECT set_config('undercroft.tenant', :tenant, true)")
log = logs.get_logger()


class DatabaseUnreachable(Problem):
    """Nothing was answered; what was asked for is not done, or nobody can say so yet. Asking again is safe."""

    status = 503
    code = "database_unreachable"
    detail = "The database needed for this is not answering; try again."

    def __init__(self) -> None:
        super().__init__(headers={"Retry-After": "2"})


class StatementRefused(Exception):
    """The database or its driver refused a statement; `sqlstate` says why. Their words may repeat a row or a value."""

    def __init__(self, error: Exception) -> None:
        self.sqlstate = str(getattr(error, "sqlstate", None) or "")
        super().__init__(f"{type(error).__name__} {self.sqlstate}".strip())


def create_engine(url: Secret[str], *, pool_size: int = POOL_SIZE) -> AsyncEngine:
    """`url` is `postgresql+asyncpg://…`. Errors hide parameters: a value must not travel in an exception's text."""
    engine = create_async_engine(
        url.reveal(),
        pool_size=pool_size,
        max_overflow=pool_size,
        hide_parameters=True,
        connect_args={
            "server_settings": {"application_name": "undercroft"},
            "timeout": CONNECT_SECONDS_MAX,
            "command_timeout": COMMAND_SECONDS_MAX,
        },
    )
    _try_idle_connections(engine.sync_engine)
    return engine


def _try_idle_connections(engine: Engine) -> None:
    """On the pool's own events; InvalidatePoolError makes it drop every connection it holds and take a new one."""

    def used(_connection: Any, record: Any) -> None:
        record.info["used_at"] = time.monotonic()

    def try_idle(connection: Any, record: Any, _proxy: Any) -> None:
        if time.monotonic() - record.info["used_at"] <= IDLE_SECONDS_MAX:
            return
        try:
            engine.dialect.do_ping(connection)
        except Exception as error:
            raise InvalidatePoolError from error

    event.listen(engine, "connect", used)
    event.listen(engine, "checkin", used)
    event.listen(engine, "checkout", try_idle)


@asynccontextmanager
async def tenant_transaction(engine: AsyncEngine, tenant_id: str) -> AsyncIterator[AsyncConnection]:
    """One transaction in which only this tenant's rows exist.

    The setting is local to the transaction: a session-level one on a pooled connection has shown another subject's
    rows (facts/memory.md). Raises DatabaseUnreachable.
    """
    with reaching_database():
        async with engine.begin() as tx:
            await tx.execute(_SET_TENANT, {"tenant": tenant_id})
            yield tx


@asynccontextmanager
async def directory_transaction(engine: AsyncEngine) -> AsyncIterator[AsyncConnection]:
    """A transaction with no tenant: sees the few tables without row-level security and no tenant's row.

    Raises DatabaseUnreachable.
    """
    with reaching_database():
        async with engine.begin() as tx:
            yield tx


@contextmanager
def reaching_database() -> Iterator[None]:
    """Raises DatabaseUnreachable in place of what the driver says when there is no database to talk to."""
    try:
        yield
    except Exception as error:
        if not is_away(error):
            raise
        log.warning("database_unreachable", error=type(error).__name__)
        raise DatabaseUnreachable from error


def is_away(error: Exception) -> bool:
    """Whether the database is to blame and not the statement. While connecting, errors are the driver's own."""
    if isinstance(error, DBAPIError) and error.connection_invalidated:
        return True
    state = getattr(error.orig if isinstance(error, DBAPIError) else error, "sqlstate", None)
    return isinstance(error, OSError | PoolExhausted) or (isinstance(state, str) and state[:2] in AWAY_CLASSES)


async def answers(engine: AsyncEngine) -> bool:
    """For readiness."""
    async with engine.connect() as connection:
        await connection.execute(text("SELECT 1"))
    return True
