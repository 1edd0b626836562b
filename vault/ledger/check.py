"""The ledger compared with what it is about: sums made again from charges, refunds and disputes, charge by charge.

It is a second and dumber telling: what an account of one charge must come to is said here as a sum over states, not as
postings. Whoever edits a row or an entry past the vault is named by charge and account.
"""

from collections.abc import AsyncIterator, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

from vault.ledger.accounts import Account
from vault.store import Store, Tx

PAGE: Final = 1_000


@dataclass(frozen=True, slots=True)
class Difference:
    """One thing that does not agree. Prints as a line."""

    about: str
    what: str

    def __str__(self) -> str:
        return f"{self.about}: {self.what}"


@dataclass(frozen=True, slots=True)
class Checked:
    """`unfinished` orders have no outcome yet and so nothing to compare."""

    charges: int
    unfinished: int
    differences: tuple[Difference, ...]


@dataclass(frozen=True, slots=True)
class Balance:
    currency: str
    account: str
    amount_minor: int


async def check(store: Store, tenant_id: str) -> Checked:
    """Compare one tenant's ledger with its money, page by page; nothing is locked meanwhile."""
    charges = 0
    differences: list[Difference] = []
    async for row in _charges(store, tenant_id):
        charges += 1
        differences.extend(_compare(row))
    async with store.transaction(tenant_id) as tx:
        unfinished = int((await tx.run(_UNFINISHED, {})).scalar_one())
        odd = (await tx.run(_UNBALANCED, {})).mappings().all()
    differences += [Difference(one["source_id"], f"posting {one['event']} does not balance") for one in odd]
    return Checked(charges, unfinished, tuple(differences))


async def balances(tx: Tx, charge_id: str | None) -> list[Balance]:
    """Of a tenant, or of one charge with its refunds and disputes."""
    return [Balance(**row) for row in (await tx.run(_BALANCES, {"charge_id": charge_id})).mappings()]


def _compare(row: Mapping[str, Any]) -> Iterator[Difference]:
    expected = _expected(row)
    for account in Account:
        found = int(row["posted"].get(account.value, 0))
        if found != expected[account]:
            said = f"{account.value} is {found} in the ledger and {expected[account]} by its states"
            yield Difference(row["charge_id"], said)
    if row["refunded_minor"] != row["refunded"]:
        said = f"refunded_minor is {row['refunded_minor']} and its refunds come to {row['refunded']}"
        yield Difference(row["charge_id"], said)
    if row["foreign_postings"]:
        yield Difference(row["charge_id"], "is posted in another currency than its own")


def _expected(row: Mapping[str, Any]) -> dict[Account, int]:
    held = row["amount_minor"] if row["state"] == "held" else 0
    taken, refunded, disputed = row["taken_minor"], int(row["refunded"]), int(row["disputed"])
    return {
        Account.PROCESSOR_RECEIVABLE: taken - refunded - disputed,
        Account.SALES: -taken,
        Account.REFUNDS: refunded,
        Account.DISPUTES: disputed,
        Account.HELD_FUNDS: held,
        Account.HOLD_CLAIMS: -held,
    }


async def _charges(store: Store, tenant_id: str) -> AsyncIterator[Mapping[str, Any]]:
    after = ""
    while True:
        async with store.transaction(tenant_id) as tx:
            page = (await tx.run(_CHARGES, {"after": after, "limit": PAGE})).mappings().all()
        for row in page:
            yield dict(row)
        if len(page) < PAGE:
            return
        after = page[-1]["charge_id"]


_CHARGES: Final = """
SELECT c.charge_id, c.state, c.amount_minor, c.taken_minor, c.refunded_minor,
    (SELECT coalesce(sum(r.amount_minor), 0) FROM refunds r
        WHERE r.tenant_id = c.tenant_id AND r.charge_id = c.charge_id AND r.state = 'refunded') AS refunded,
    (SELECT coalesce(sum(d.amount_minor), 0) FROM disputes d
        WHERE d.tenant_id = c.tenant_id AND d.charge_id = c.charge_id AND d.state IN ('open', 'lost')) AS disputed,
    (SELECT coalesce(jsonb_object_agg(account, total), '{}') FROM (
        SELECT e.account, sum(e.amount_minor) AS total
        FROM postings p JOIN entries e USING (tenant_id, source_id, event)
        WHERE p.tenant_id = c.tenant_id AND p.charge_id = c.charge_id GROUP BY e.account) sums) AS posted,
    EXISTS (SELECT 1 FROM postings p WHERE p.tenant_id = c.tenant_id AND p.charge_id = c.charge_id
        AND p.currency <> c.currency) AS foreign_postings
FROM charges c WHERE c.tenant_id = :tenant_id AND c.charge_id > :after ORDER BY c.charge_id LIMIT :limit"""
_UNFINISHED: Final = """
SELECT count(*) FROM (
    SELECT 1 FROM charges WHERE tenant_id = :tenant_id AND state IN ('intended', 'unknown', 'needs_action')
    UNION ALL SELECT 1 FROM refunds WHERE tenant_id = :tenant_id AND state IN ('intended', 'unknown')
    UNION ALL SELECT 1 FROM hold_ends WHERE tenant_id = :tenant_id AND state IN ('intended', 'unknown')) open_ones"""
_UNBALANCED: Final = """
SELECT p.source_id, p.event FROM postings p LEFT JOIN entries e USING (tenant_id, source_id, event)
WHERE p.tenant_id = :tenant_id GROUP BY p.source_id, p.event
HAVING coalesce(sum(e.amount_minor), 0) <> 0 OR count(e.account) < 2"""
_BALANCES: Final = """
SELECT p.currency, e.account, CAST(sum(e.amount_minor) AS bigint) AS amount_minor
FROM postings p JOIN entries e USING (tenant_id, source_id, event)
WHERE p.tenant_id = :tenant_id AND (CAST(:charge_id AS text) IS NULL OR p.charge_id = :charge_id)
GROUP BY p.currency, e.account ORDER BY p.currency, e.account"""
