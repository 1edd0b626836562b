"""The month of cards stored before there was a column for it, read from their sealed details by the job, once."""

from datetime import date
from typing import Final

from infra.chassis import crashpoints, logs
from vault.at_once import stored_card
from vault.cleartext.opening import CardReplaced, CardShredded, Opener
from vault.envelope import SealBroken
from vault.keys.ring import KeyRing
from vault.store import Store, Tx

BATCH: Final = 100

log = logs.get_logger()


class Months:
    def __init__(self, store: Store, ring: KeyRing) -> None:
        self._store = store
        self._opener = Opener(store, ring)

    async def fill_in(self, tenant_id: str) -> int:
        """How many got their month. A card that does not open stays without one, and is never purged for its age."""
        filled, after = 0, ""
        while True:
            async with self._store.transaction(tenant_id) as tx:
                tokens = await cards_without_month(tx, after=after, limit=BATCH)
            if not tokens:
                return filled
            for token_id in tokens:
                filled += await self._fill_in_one(tenant_id, token_id)
            after = tokens[-1]
            crashpoints.reach("months_batch_filled_in")

    async def _fill_in_one(self, tenant_id: str, token_id: str) -> bool:
        card = await stored_card(self._store, tenant_id, token_id)
        if card is None:
            return False
        try:
            good_through = await self._opener.month(card)
        except (CardReplaced, CardShredded, SealBroken) as error:
            log.warning("month_not_read", tenant_id=tenant_id, token_id=token_id, error=type(error).__name__)
            return False
        async with self._store.transaction(tenant_id) as tx:
            await note_month(tx, token_id, good_through)
        return True


async def cards_without_month(tx: Tx, *, after: str, limit: int) -> list[str]:
    sql = """SELECT token_id FROM cards WHERE tenant_id = :tenant_id AND good_through IS NULL
        AND shredded_at IS NULL AND token_id > :after ORDER BY token_id LIMIT :limit"""
    return list((await tx.run(sql, {"after": after, "limit": limit})).scalars())


async def note_month(tx: Tx, token_id: str, good_through: date) -> None:
    sql = """UPDATE cards SET good_through = :good_through
        WHERE tenant_id = :tenant_id AND token_id = :token_id AND good_through IS NULL AND shredded_at IS NULL"""
    await tx.run(sql, {"token_id": token_id, "good_through": good_through})
