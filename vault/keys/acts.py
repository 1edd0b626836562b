"""What was done to keys and cards: who, when, what, and how it ended. The database only lets it be added to."""

from collections.abc import Mapping
from datetime import datetime
from typing import Final

from infra.chassis.ids import new_id
from vault.store import Tx

VAULT: Final = "vault"
"""Who acts where nobody asked for it: the ring and the job."""


async def note(tx: Tx, now: datetime, *, actor: str, act: str, what: str, outcome: str | Mapping[str, int]) -> None:
    """In the transaction of what was done; `outcome` may be counts by name."""
    sql = """INSERT INTO key_acts (tenant_id, act_id, at, actor, act, what, outcome)
        VALUES (:tenant_id, :act_id, :at, :actor, :act, :what, :outcome)"""
    text = outcome if isinstance(outcome, str) else ", ".join(f"{name} {count}" for name, count in outcome.items())
    await tx.run(sql, {"act_id": new_id("act"), "at": now, "actor": actor, "act": act, "what": what, "outcome": text})
