"""Statements about routes and about attempts: each time a charge was given to a processor is a row.

At most one attempt of a charge is live (by unique index), and only the live one's processor can be the charge's. One
that is given up did not act and never comes back; that happens only while the charge is still an intention.
"""

from dataclasses import dataclass
from datetime import datetime
from typing import Final

from vault.leftovers import look_for_payment
from vault.routing.rules import Route
from vault.store import Tx
from vault.tables import ChargeRow


@dataclass(frozen=True, slots=True)
class AttemptRow:
    attempt: int
    processor: str
    processor_ref: str | None
    state: str
    reason: str | None
    started_at: datetime
    ended_at: datetime | None


async def routes_of(tx: Tx) -> list[Route]:
    return [Route(**row) for row in (await tx.run(_ROUTES, {})).mappings()]


async def add_route(tx: Tx, route: Route) -> None:
    await tx.run(_ADD_ROUTE, {name: getattr(route, name) for name in Route.__dataclass_fields__})


async def remove_route(tx: Tx, route_id: str) -> bool:
    """False when there is none."""
    return (await tx.run(_REMOVE_ROUTE, {"route_id": route_id})).first() is not None


async def insert_attempt(tx: Tx, row: ChargeRow, now: datetime) -> None:
    """The charge's next, live from now on."""
    await tx.run(_INSERT_ATTEMPT, {"charge_id": row.charge_id, "processor": row.processor, "now": now})


async def attempts_of(tx: Tx, charge_id: str) -> list[AttemptRow]:
    return [AttemptRow(**row) for row in (await tx.run(_ATTEMPTS, {"charge_id": charge_id})).mappings()]


async def move_on(
    tx: Tx, row: ChargeRow, processor: str, reason: str, now: datetime, worked_until: datetime
) -> ChargeRow | None:
    """Give up the live attempt and begin one with `processor`. None when somebody else has taken over the charge.

    Whoever takes over writes another `worked_until` first, so that an unchanged one means that nobody has.
    """
    whose = {"charge_id": row.charge_id, "until": row.worked_until}
    if (await tx.run(_STILL_OURS, whose)).first() is None:
        return None
    given = {"charge_id": row.charge_id, "processor": processor, "now": now}
    await tx.run(_GIVE_UP, {**given, "reason": reason})
    await look_for_payment(tx, row.charge_id, row.processor, now)
    await tx.run(_INSERT_ATTEMPT, given)
    moved = (await tx.run(_MOVE, {**given, "worked_until": worked_until})).mappings().one()
    return ChargeRow(**moved)


_COLUMNS: Final = (
    "route_id, position, processor, weight, brand_id, currency, card_brand, amount_from_minor, amount_to_minor"
)
_ROUTES: Final = f"SELECT {_COLUMNS} FROM payment_routes WHERE tenant_id = :tenant_id ORDER BY position, route_id"  # noqa: S608 - a constant
_ADD_ROUTE: Final = f"""
INSERT INTO payment_routes (tenant_id, {_COLUMNS}) VALUES (:tenant_id, :route_id, :position, :processor, :weight,
    :brand_id, :currency, :card_brand, :amount_from_minor, :amount_to_minor)"""  # noqa: S608 - a constant
_REMOVE_ROUTE: Final = """
DELETE FROM payment_routes WHERE tenant_id = :tenant_id AND route_id = :route_id RETURNING route_id"""
_ATTEMPTS: Final = """
SELECT attempt, processor, processor_ref, state, reason, started_at, ended_at FROM charge_attempts
WHERE tenant_id = :tenant_id AND charge_id = :charge_id ORDER BY attempt"""
_INSERT_ATTEMPT: Final = """
INSERT INTO charge_attempts (tenant_id, charge_id, attempt, processor, state, started_at)
SELECT :tenant_id, :charge_id, 1 + count(*), :processor, 'live', :now FROM charge_attempts
WHERE tenant_id = :tenant_id AND charge_id = :charge_id"""
_STILL_OURS: Final = """
SELECT 1 FROM charges WHERE tenant_id = :tenant_id AND charge_id = :charge_id AND state = 'intended'
    AND worked_until = :until FOR UPDATE"""
_GIVE_UP: Final = """
UPDATE charge_attempts SET state = 'given_up', reason = :reason, ended_at = :now
WHERE tenant_id = :tenant_id AND charge_id = :charge_id AND state = 'live'"""
_MOVE: Final = """
UPDATE charges SET processor = :processor, processor_ref = NULL, updated_at = :now, worked_until = :worked_until
WHERE tenant_id = :tenant_id AND charge_id = :charge_id RETURNING *"""
