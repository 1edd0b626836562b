"""The statements about charges that wait for a person."""

from datetime import datetime, timedelta
from typing import Final

from vault.store import Tx
from vault.tables import ChargeRow

LATE_MAX: Final = timedelta(minutes=5)


async def enter(tx: Tx, whose: ChargeRow, browser_hash: bytes, now: datetime) -> bool:
    """Make a browser the charge's. False when it does not wait for its person any more."""
    row = {"charge_id": whose.charge_id, "browser_hash": browser_hash, "now": now}
    return (await tx.run(_ENTER, row)).first() is not None


async def to_look_at(tx: Tx, now: datetime, unseen_since: datetime, limit: int) -> list[str]:
    """Ids of charges that wait, with their time up or not looked at for a while; longest untouched first.

    One whose time is up and that could not be ended waits a quarter of how long it has been up, LATE_MAX at most.
    """
    row = {"now": now, "since": unseen_since, "most": LATE_MAX, "limit": limit}
    return list((await tx.run(_TO_LOOK_AT, row)).scalars())


async def note_look(tx: Tx, charge_id: str, now: datetime) -> None:
    """It still waits, or its processor did not say; the next look is later, and others come first."""
    await tx.run(_NOTE_LOOK, {"charge_id": charge_id, "now": now})


async def let_go(tx: Tx, row: ChargeRow) -> None:
    """Stop working on a charge that goes on waiting, unless somebody else has taken it over."""
    await tx.run(_LET_GO, {"charge_id": row.charge_id, "ours_until": row.worked_until})


_ENTER: Final = """
UPDATE charges SET browser_hash = :browser_hash WHERE tenant_id = :tenant_id AND charge_id = :charge_id
    AND state = 'needs_action' AND action_until > :now RETURNING charge_id"""
_TO_LOOK_AT: Final = """
SELECT charge_id FROM charges WHERE tenant_id = :tenant_id AND state = 'needs_action'
    AND (worked_until IS NULL OR worked_until <= :now)
    AND CASE WHEN action_until > :now THEN updated_at <= :since
        ELSE updated_at + least((updated_at - action_until) / 4, CAST(:most AS interval)) <= :now END
ORDER BY updated_at LIMIT :limit"""
_NOTE_LOOK: Final = """
UPDATE charges SET updated_at = :now
WHERE tenant_id = :tenant_id AND charge_id = :charge_id AND state = 'needs_action'"""
_LET_GO: Final = """
UPDATE charges SET worked_until = NULL WHERE tenant_id = :tenant_id AND charge_id = :charge_id
    AND state = 'needs_action' AND worked_until = :ours_until"""
