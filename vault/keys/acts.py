"""What was done to keys and cards: who, when, what, and how it ended. The database only lets it be added to."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from infra.chassis.ids import new_id
from vault.store import Tx

HOUSE: Final = "*"
"""Acts about the root belong to no tenant. No tenant can be called this (contract.Identifier)."""
VAULT: Final = "vault"
"""Who acts where nobody asked for it: the ring and the job."""


@dataclass(frozen=True, slots=True)
class Act:
    """`what` names the thing, `outcome` what became of it; neither can hold digits of a card."""

    tenant_id: str
    act_id: str
    at: datetime
    actor: str
    act: str
    what: str
    outcome: str


async def note(tx: Tx, now: datetime, *, actor: str, act: str, what: str, outcome: str | Mapping[str, int]) -> None:
    """In the transaction of what was done; `outcome` may be counts by name."""
    sql = """INSERT INTO key_acts (tenant_id, act_id, at, actor, act, what, outcome)
        VALUES (:tenant_id, :act_id, :at, :actor, :act, :what, :outcome)"""
    text = outcome if isinstance(outcome, str) else ", ".join(f"{name} {count}" for name, count in outcome.items())
    await tx.run(sql, {"act_id": new_id("act"), "at": now, "actor": actor, "act": act, "what": what, "outcome": text})


async def acts(tx: Tx, limit: int) -> list[Act]:
    """The newest, oldest of them first."""
    sql = """SELECT * FROM (SELECT * FROM key_acts WHERE tenant_id = :tenant_id ORDER BY at DESC, act_id LIMIT :limit) a
        ORDER BY at, act_id"""
    return [Act(**row) for row in (await tx.run(sql, {"limit": limit})).mappings()]
