"""The one call every outcome makes in its own transaction. What else must stand or fall with an outcome hangs here."""

from typing import Final

from vault.ledger.accounts import Happened, entries_of
from vault.store import Tx

_POST: Final = """
WITH posted AS (
    INSERT INTO postings (tenant_id, source_id, event, charge_id, currency, posted_at)
    VALUES (:tenant_id, :source_id, :event, :charge_id, :currency, :at)
    RETURNING tenant_id, source_id, event)
INSERT INTO entries (tenant_id, source_id, event, account, amount_minor)
SELECT posted.*, entry.account, entry.amount
FROM posted, unnest(CAST(:accounts AS text[]), CAST(:amounts AS bigint[])) entry (account, amount)
"""
"""The primary key lets each event of a source be posted once; at the commit the database adds the entries up."""


async def write_down(tx: Tx, happened: Happened) -> None:
    """Post an outcome to the ledger, in the transaction that writes the outcome. Called for every outcome once."""
    entries = entries_of(happened)
    if entries:
        row = {
            "source_id": happened.source_id,
            "event": happened.event.value,
            "charge_id": happened.charge_id,
            "currency": happened.currency,
            "at": happened.at,
            "accounts": [account.value for account, _ in entries],
            "amounts": [amount for _, amount in entries],
        }
        await tx.run(_POST, row)
