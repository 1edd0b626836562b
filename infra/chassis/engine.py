"""The database engine, and the one way into a transaction: with the tenant set, so that row-level security holds."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, create_async_engine

from infra.chassis.secret import Secret

POOL_SIZE = 10
"""Connections of one process; four services of two workers stay far below PostgreSQL's default of 100."""


def create_engine(url: Secret[str], *, pool_size: int = POOL_SIZE) -> AsyncEngine:
    """`url` is `postgresql+asyncpg://…`. Errors hide parameters: a value must not travel in an exception's text."""
    return create_async_engine(
        url.reveal(),
        pool_size=pool_size,
        max_overflow=pool_size,
        pool_pre_ping=True,
        hide_parameters=True,
        connect_args={"server_settings": {"application_name": "undercroft"}, "timeout": 5, "command_timeout": 15},
    )


@asynccontextmanager
async def tenant_transaction(engine: AsyncEngine, tenant_id: str) -> AsyncIterator[AsyncConnection]:
    """One transaction in which only this tenant's rows exist.

    The setting is local to the transaction: a session-level one on a pooled connection has shown another subject's
    rows (facts/memory.md).
    """
    async with engine.begin() as tx:
        await tx.execute(text("SELECT set_config('undercroft.tenant', :tenant, true)"), {"tenant": tenant_id})
        yield tx


@asynccontextmanager
async def directory_transaction(engine: AsyncEngine) -> AsyncIterator[AsyncConnection]:
    """A transaction with no tenant: sees the few tables without row-level security and no tenant's row."""
    async with engine.begin() as tx:
        yield tx


async def answers(engine: AsyncEngine) -> bool:
    """For readiness."""
    async with engine.connect() as connection:
        await connection.execute(text("SELECT 1"))
    return True
