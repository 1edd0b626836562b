"""Shredding: the keys of a card, or of all a tenant has stored, are destroyed; what they sealed never opens again.

At once, the card's row loses its wrapped record key and everything that was sealed; it keeps brand, last four and its
charges. Final it is after a round (rounds.py): only then nothing that exists opens what an older dump still holds.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from infra.chassis import crashpoints, logs
from infra.chassis.clock import Clock
from infra.chassis.ids import new_id
from vault.keys import rows
from vault.keys.acts import note
from vault.outbox.telling import tell_shredded
from vault.store import Store, Tx

BATCH: Final = 200
EMPTIED: Final = """wrapped_key = '', sealed_number = '', sealed_details = '', sealed_fingerprint = '',
    fingerprint = '', shredded_at = :now"""
SPENT: Final = """FROM charges h JOIN cards c ON c.tenant_id = h.tenant_id AND c.token_id = h.token_id
    WHERE h.tenant_id = :tenant_id AND h.single_use AND h.state IN ('approved', 'settled') AND h.updated_at < :before
        AND c.shredded_at IS NULL"""
"""Charges that are ends and leave the token no other (the index `one_charge_a_single_use`); their cards as `c`."""

log = logs.get_logger()


class NothingToShred(LookupError):
    """No such card or tenant, or it was shredded before."""


@dataclass(frozen=True, slots=True)
class Shredded:
    """One order to shred. `token_id` None: all the tenant had. Final since `final_at`, or not yet.

    With the cause `replaced` it is the card that was under the token then, and not the one that took its place.
    """

    shredding_id: str
    token_id: str | None
    cause: str
    ordered_by: str
    ordered_at: datetime
    through_version: int
    round_id: str | None
    final_at: datetime | None


class Shredding:
    def __init__(self, *, store: Store, clock: Clock) -> None:
        self._store = store
        self._clock = clock

    async def shred_card(self, tenant_id: str, token_id: str, actor: str) -> str:
        """The id of the shredding. From here on the card cannot be charged. Raises NothingToShred."""
        now = self._clock.now()
        async with self._store.transaction(tenant_id) as tx:
            through = await rows.newest_for_shredding(tx)
            if not await _empty(tx, [token_id], now):
                raise NothingToShred
            (shredding_id,) = await order(tx, [token_id], cause="ordered", actor=actor, through=through, now=now)
            await note(tx, now, actor=actor, act="shredded", what=f"card {token_id}", outcome=shredding_id)
            await tell_shredded(tx, [token_id], "ordered", now)
        crashpoints.reach("shred_card_done")
        log.info("card_shredded", tenant_id=tenant_id, token_id=token_id)
        return shredding_id

    async def shred_tenant(self, tenant_id: str, actor: str) -> str:
        """As `shred_card` for every card the tenant has: its keys go first, all at once, then the rows are emptied.

        The tenant may store cards again afterwards, under a new key. Raises NothingToShred.
        """
        now = self._clock.now()
        async with self._store.transaction(tenant_id) as tx:
            through = await rows.newest_for_change(tx)
            if not await rows.destroy_all(tx, now):
                raise NothingToShred
            (shredding_id,) = await order(tx, [None], cause="ordered", actor=actor, through=through, now=now)
            await note(tx, now, actor=actor, act="shredded", what="all cards", outcome=shredding_id)
        crashpoints.reach("shred_tenant_keys_destroyed")
        log.info("tenant_shredded", tenant_id=tenant_id)
        await self.finish(tenant_id)
        return shredding_id

    async def finish(self, tenant_id: str) -> int:
        """Empty the rows whose key was destroyed over them, also what a killed shredding left; how many there were."""
        emptied = 0
        while True:
            async with self._store.transaction(tenant_id) as tx:
                orphans = await _orphans(tx, BATCH)
                now = self._clock.now()
                await _empty(tx, orphans, now)
                await tell_shredded(tx, orphans, "ordered", now)
            if not orphans:
                return emptied
            emptied += len(orphans)
            crashpoints.reach("shred_tenant_batch_emptied")


async def order(
    tx: Tx, tokens: Sequence[str | None], *, cause: str, actor: str, through: int, now: datetime
) -> list[str]:
    """Write shreddings down, in the transaction that does them.

    Every version of the tenant's key up to `through` may once have sealed these cards, and has to go with them.
    """
    sql = """INSERT INTO shreddings (tenant_id, shredding_id, token_id, cause, ordered_by, ordered_at, through_version)
        SELECT :tenant_id, id, token, :cause, :actor, :now, :through
        FROM unnest(CAST(:ids AS text[]), CAST(:tokens AS text[])) AS given (id, token)"""
    ids = [new_id("shd") for _ in tokens]
    row = {"ids": ids, "tokens": list(tokens), "cause": cause, "actor": actor, "now": now, "through": through}
    await tx.run(sql, row)
    return ids


async def shreddings(tx: Tx) -> list[Shredded]:
    sql = """SELECT shredding_id, token_id, cause, ordered_by, ordered_at, through_version, round_id, final_at
        FROM shreddings WHERE tenant_id = :tenant_id ORDER BY ordered_at, shredding_id"""
    return [Shredded(**row) for row in (await tx.run(sql, {})).mappings()]


async def empty_expired(tx: Tx, before: datetime, now: datetime, limit: int) -> list[str]:
    """Empty cards whose month ended before the day of `before`; their tokens.

    The month is asked again of the row that is emptied: it may have got another card since it was found.
    """
    sql = f"""UPDATE cards SET {EMPTIED} WHERE tenant_id = :tenant_id AND shredded_at IS NULL
            AND good_through < :before AND token_id IN (
            SELECT token_id FROM cards WHERE tenant_id = :tenant_id AND shredded_at IS NULL
                AND good_through < :before ORDER BY token_id LIMIT :limit)
        RETURNING token_id"""  # noqa: S608 - our own words
    return list((await tx.run(sql, {"before": before.date(), "now": now, "limit": limit})).scalars())


async def empty_spent(tx: Tx, before: datetime, now: datetime, after: str, limit: int) -> list[str]:
    """Empty cards for one charge that was made and not changed since `before`; their tokens, after the one named.

    Such a charge stays one, and no second is let through beside it: nothing asks for the card again. Money goes back
    without it.
    """
    sql = f"""UPDATE cards SET {EMPTIED} WHERE tenant_id = :tenant_id AND shredded_at IS NULL AND token_id IN (
            SELECT h.token_id {SPENT} AND h.token_id > :after ORDER BY h.token_id LIMIT :limit)
        RETURNING token_id"""  # noqa: S608 - our own words
    given = {"before": before, "now": now, "after": after, "limit": limit}
    return sorted((await tx.run(sql, given)).scalars())


async def count_spent(tx: Tx, before: datetime) -> int:
    return int((await tx.run(f"SELECT count(*) {SPENT}", {"before": before})).scalar_one())


async def _empty(tx: Tx, tokens: Sequence[str], now: datetime) -> int:
    sql = f"""UPDATE cards SET {EMPTIED} WHERE tenant_id = :tenant_id AND shredded_at IS NULL
        AND token_id = ANY(CAST(:tokens AS text[]))"""  # noqa: S608 - our own words
    return (await tx.run(sql, {"tokens": list(tokens), "now": now})).rowcount


async def _orphans(tx: Tx, limit: int) -> list[str]:
    sql = """SELECT c.token_id FROM tenant_keys k
        JOIN cards c ON c.tenant_id = k.tenant_id AND c.key_version = k.version AND c.shredded_at IS NULL
        WHERE k.tenant_id = :tenant_id AND k.state = 'destroyed' LIMIT :limit"""
    return list((await tx.run(sql, {"limit": limit})).scalars())
