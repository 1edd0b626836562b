"""The shared side of the buckets: one row each, from which processes draw leases of tokens.

A row says when its bucket will be full again (the generic cell rate algorithm, ITU-T I.371): tokens there are the burst
less what has still to flow in. Drawing moves that moment on, handing back moves it back; nothing is ever rounded up.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from gateway.limits.rules import Limit
from infra.chassis.engine import tenant_transaction


@dataclass(frozen=True, slots=True)
class Draw:
    """`wanted` tokens of a bucket, and `returned` ones that were drawn before and not used in time."""

    key: str
    limit: Limit
    wanted: int
    returned: int

    @property
    def row(self) -> str:
        """A changed limit begins with a full bucket: what one limit has taken means nothing in the terms of another."""
        return f"{self.key} {self.limit.per_minute}/{self.limit.burst}"


@dataclass(frozen=True, slots=True)
class Drawn:
    """`granted` may be fewer than wanted. `full_at_us`: microseconds since 1970."""

    granted: int
    full_at_us: int


async def draw(engine: AsyncEngine, tenant_id: str, draws: Sequence[Draw], now_us: int) -> dict[str, Drawn]:
    """By key. Raises DatabaseUnreachable.

    Rows are locked in one order for one statement, and the commit waits for no disk: what a crash of the database
    forgets is under a second of accounting. Missing rows are made in a transaction that holds no other, or two
    processes that meet a new bucket could wait for each other.
    """
    drawn = await _draw(engine, tenant_id, draws, now_us)
    missing = [item for item in draws if item.key not in drawn]
    if missing:
        async with tenant_transaction(engine, tenant_id) as tx:
            await tx.execute(_NEW, {"tenant_id": tenant_id, "keys": [item.row for item in missing], "now": now_us})
        drawn |= await _draw(engine, tenant_id, missing, now_us)
    return drawn


async def forget_full(tx: AsyncConnection, tenant_id: str, now_us: int) -> None:
    """A full bucket says as much as none."""
    await tx.execute(_FORGET, {"tenant_id": tenant_id, "now": now_us})


async def known_tenants(tx: AsyncConnection) -> list[str]:
    return list((await tx.execute(_TENANTS)).scalars())


async def _draw(engine: AsyncEngine, tenant_id: str, draws: Sequence[Draw], now_us: int) -> dict[str, Drawn]:
    values = {
        "tenant_id": tenant_id,
        "now": now_us,
        "keys": [item.row for item in draws],
        "costs": [item.limit.cost_us for item in draws],
        "bursts": [item.limit.burst for item in draws],
        "wanted": [item.wanted for item in draws],
        "returned": [item.returned for item in draws],
    }
    async with tenant_transaction(engine, tenant_id) as tx:
        await tx.execute(_NO_WAIT)
        rows = (await tx.execute(_DRAW, values)).all()
    keys = {item.row: item.key for item in draws}
    return {keys[row.bucket]: Drawn(row.granted, row.full_at_us) for row in rows}


_NO_WAIT = text("SET LOCAL synchronous_commit = off")
_NEW = text(
    "INSERT INTO rate_buckets (tenant_id, bucket, full_at_us, granted)"
    " SELECT :tenant_id, key, :now, 0 FROM unnest(CAST(:keys AS text[])) AS key ORDER BY key ON CONFLICT DO NOTHING"
)
_FORGET = text(
    "DELETE FROM rate_buckets WHERE tenant_id = :tenant_id AND bucket IN (SELECT bucket FROM rate_buckets"
    " WHERE tenant_id = :tenant_id AND full_at_us <= :now FOR UPDATE SKIP LOCKED)"
)
_TENANTS = text("SELECT tenant_id FROM tenants ORDER BY tenant_id")
_BASE: Final = "greatest(CAST(:now AS bigint), b.full_at_us - k.returned * k.cost)"
_GRANTED: Final = f"least(k.wanted, greatest(0, (k.burst * k.cost - ({_BASE} - CAST(:now AS bigint))) / k.cost))"
_DRAW = text(
    f"""
    WITH k AS (
        SELECT * FROM unnest(CAST(:keys AS text[]), CAST(:costs AS bigint[]), CAST(:bursts AS bigint[]),
            CAST(:wanted AS bigint[]), CAST(:returned AS bigint[])) AS k (key, cost, burst, wanted, returned)
    ), locked AS (
        SELECT bucket FROM rate_buckets WHERE tenant_id = :tenant_id AND bucket = ANY(CAST(:keys AS text[]))
        ORDER BY bucket FOR NO KEY UPDATE
    )
    UPDATE rate_buckets b SET full_at_us = {_BASE} + {_GRANTED} * k.cost, granted = {_GRANTED}
    FROM k JOIN locked ON locked.bucket = k.key
    WHERE b.tenant_id = :tenant_id AND b.bucket = k.key
    RETURNING b.bucket, b.granted, b.full_at_us
    """  # noqa: S608 - constants only
)
