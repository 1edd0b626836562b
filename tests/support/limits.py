"""Limits for tests of other things."""

from typing import Any

from sqlalchemy.ext.asyncio import AsyncEngine

from gateway.limits.limiter import Limits
from gateway.limits.rules import Limit, Scope
from infra.chassis.clock import Clock

OUT_OF_THE_WAY: dict[str, Any] = {
    f"limit_{scope}_{part}": 1_000_000
    for scope in ("tenant", "agent", "tool", "subject")
    for part in ("per_minute", "burst")
}
"""Limits that no test meets but those that set their own."""


def limits_out_of_the_way(engine: AsyncEngine, clock: Clock) -> Limits:
    return Limits(engine, clock, dict.fromkeys(Scope, Limit(1_000_000, 1_000_000)))
