"""How far the sealer is behind while sixteen callers decide: the oldest decision that no checkpoint covers yet."""

import asyncio
from collections.abc import Sequence

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from infra.bench.load import press
from infra.bench.measuring import BenchFailed, Figure, Spread
from infra.bench.talk import Conversation
from infra.chassis.engine import create_engine, tenant_transaction
from infra.chassis.secret import Secret
from infra.cli.console import Progress

PROMISED_MS = 1_000.0
"""Issue 3: at most a second behind."""
BAR = 1.0
LOOK_SECONDS = 0.05


async def measure(at: Conversation, *, callers: int, seconds: float, rounds: int) -> Figure:
    """The worst moment of each round; the figure is the median of those. Raises BenchFailed."""
    engine = create_engine(Secret(at.house.databases["gateway"].app_dsn), pool_size=1)
    try:
        with Progress(f"gateway: the record behind {callers} callers"):
            call = await at.enquiry()
            await press(call, callers=callers, seconds=1.0)
            worst = []
            for _ in range(rounds):
                loaded = asyncio.create_task(press(call, callers=callers, seconds=seconds))
                worst.append(await _worst_while(loaded, engine, at.tenant_id))
                await loaded
    finally:
        await engine.dispose()
    return lag_figure(f"gateway: the record behind its decisions, {callers} callers", worst)


def lag_figure(figure: str, worst_ms: Sequence[float]) -> Figure:
    """Raises BenchFailed when nothing was ever seen that was not sealed yet: then nobody looked at the right thing."""
    if not all(worst_ms):
        raise BenchFailed("no decision was seen before it was sealed, so its waiting was not measured")
    floor_is = (
        "the second that is promised; ours is the oldest decision without a place, at the worst moment of a round"
    )
    promised = Spread(median=PROMISED_MS, low=PROMISED_MS, high=PROMISED_MS)
    return Figure(figure=figure, floor_is=floor_is, unit="ms", bar=BAR, ours=Spread.of(worst_ms), floor=promised)


async def oldest_unsealed_ms(engine: AsyncEngine, tenant_id: str) -> float:
    """How long ago the oldest committed entry without a place was recorded; 0 when all have one."""
    async with tenant_transaction(engine, tenant_id) as tx:
        return float((await tx.execute(_OLDEST, {"tenant_id": tenant_id})).scalar_one())


async def _worst_while(loaded: "asyncio.Task[object]", engine: AsyncEngine, tenant_id: str) -> float:
    worst = 0.0
    while not loaded.done():
        worst = max(worst, await oldest_unsealed_ms(engine, tenant_id))
        await asyncio.sleep(LOOK_SECONDS)
    return worst


# As the sealer looks for them (gateway.record.store): from where it knows that nothing older can be left.
_OLDEST = text(
    "SELECT coalesce(max(extract(epoch FROM clock_timestamp() - e.recorded_at)) * 1000, 0)::float8"
    " FROM record_entries e WHERE e.tenant_id = :tenant_id AND e.transaction_id >= coalesce((SELECT settled_below"
    " FROM record_checkpoints WHERE tenant_id = :tenant_id ORDER BY tree_size DESC LIMIT 1), 0)"
    " AND NOT EXISTS (SELECT 1 FROM record_leaves l WHERE l.tenant_id = e.tenant_id AND l.entry_id = e.entry_id"
    " OFFSET 0)"
)
