"""The statements about held money and about the orders that end a hold."""

from dataclasses import dataclass
from datetime import datetime
from typing import Final

from vault.store import Tx
from vault.tables import ChargeRow


@dataclass(frozen=True, slots=True)
class HoldEndRow:
    """An order to end a hold. `kind` is `settle` or `void`; a void is for the whole amount."""

    tenant_id: str
    end_id: str
    charge_id: str
    kind: str
    amount_minor: int
    currency: str
    state: str
    created_at: datetime
    updated_at: datetime
    worked_until: datetime | None


async def hold_end(tx: Tx, end_id: str) -> HoldEndRow | None:
    row = (await tx.run(_HOLD_END, {"end_id": end_id})).mappings().first()
    return None if row is None else HoldEndRow(**row)


async def insert_hold_end(tx: Tx, row: HoldEndRow) -> bool:
    """The intention. False when another end of the hold is under way or done, or the id is taken."""
    values = {
        "end_id": row.end_id,
        "charge_id": row.charge_id,
        "kind": row.kind,
        "amount_minor": row.amount_minor,
        "currency": row.currency,
        "now": row.created_at,
        "worked_until": row.worked_until,
    }
    return (await tx.run(_INSERT_HOLD_END, values)).first() is not None


async def claim_hold_end(tx: Tx, end_id: str, now: datetime, worked_until: datetime) -> HoldEndRow | None:
    """An unfinished order nobody is at work on, now ours until `worked_until`."""
    row = {"end_id": end_id, "now": now, "worked_until": worked_until}
    found = (await tx.run(_CLAIM_HOLD_END, row)).mappings().first()
    return None if found is None else HoldEndRow(**found)


async def unattended_hold_ends(tx: Tx, now: datetime, limit: int) -> list[str]:
    """Ids, longest untouched first."""
    return list((await tx.run(_UNATTENDED, {"now": now, "limit": limit})).scalars())


async def holds_to_look_at(tx: Tx, now: datetime, limit: int) -> list[str]:
    """Charges held past their time, with no order to end them under way."""
    return list((await tx.run(_TO_LOOK_AT, {"now": now, "limit": limit})).scalars())


async def look_again(tx: Tx, charge_id: str, at: datetime) -> None:
    await tx.run(_LOOK_AGAIN, {"charge_id": charge_id, "at": at})


async def close_hold(tx: Tx, charge_id: str, state: str, taken_minor: int, now: datetime) -> ChargeRow | None:
    """None when the hold had ended already."""
    row = {"charge_id": charge_id, "state": state, "taken_minor": taken_minor, "now": now}
    found = (await tx.run(_CLOSE_HOLD, row)).mappings().first()
    return None if found is None else ChargeRow(**found)


async def close_hold_end(tx: Tx, charge: ChargeRow, now: datetime) -> None:
    """The order under way came out as the hold did: done when the hold ended as it wanted, failed otherwise."""
    row = {"charge_id": charge.charge_id, "charge_state": charge.state, "taken_minor": charge.taken_minor, "now": now}
    await tx.run(_CLOSE_HOLD_END, row)


_HOLD_END: Final = "SELECT * FROM hold_ends WHERE tenant_id = :tenant_id AND end_id = :end_id"
_INSERT_HOLD_END: Final = """
INSERT INTO hold_ends (tenant_id, end_id, charge_id, kind, amount_minor, currency, state, created_at, updated_at,
    worked_until)
VALUES (:tenant_id, :end_id, :charge_id, :kind, :amount_minor, :currency, 'intended', :now, :now, :worked_until)
ON CONFLICT DO NOTHING RETURNING end_id"""
_CLAIM_HOLD_END: Final = """
UPDATE hold_ends SET worked_until = :worked_until, updated_at = :now
WHERE tenant_id = :tenant_id AND end_id = :end_id AND state IN ('intended', 'unknown')
    AND (worked_until IS NULL OR worked_until <= :now) RETURNING *"""
_UNATTENDED: Final = """
SELECT end_id FROM hold_ends WHERE tenant_id = :tenant_id AND state IN ('intended', 'unknown')
    AND (worked_until IS NULL OR worked_until <= :now) ORDER BY updated_at LIMIT :limit"""
_TO_LOOK_AT: Final = """
SELECT charge_id FROM charges c WHERE tenant_id = :tenant_id AND state = 'held' AND hold_until <= :now
    AND NOT EXISTS (SELECT 1 FROM hold_ends e WHERE e.tenant_id = c.tenant_id AND e.charge_id = c.charge_id
        AND e.state IN ('intended', 'unknown'))
ORDER BY hold_until LIMIT :limit"""
_LOOK_AGAIN: Final = """
UPDATE charges SET hold_until = :at WHERE tenant_id = :tenant_id AND charge_id = :charge_id AND state = 'held'"""
_CLOSE_HOLD: Final = """
UPDATE charges SET state = :state, taken_minor = :taken_minor, updated_at = :now, worked_until = NULL
WHERE tenant_id = :tenant_id AND charge_id = :charge_id AND state = 'held' RETURNING *"""
_CLOSE_HOLD_END: Final = """
UPDATE hold_ends SET updated_at = :now, worked_until = NULL, state = CASE
    WHEN kind = 'settle' AND :charge_state = 'settled' AND amount_minor = :taken_minor THEN 'done'
    WHEN kind = 'void' AND :charge_state = 'voided' THEN 'done' ELSE 'failed' END
WHERE tenant_id = :tenant_id AND charge_id = :charge_id AND state IN ('intended', 'unknown')"""
