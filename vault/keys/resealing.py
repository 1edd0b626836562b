"""Moving cards from retired tenant keys to the active one, while they are read and charged.

A card keeps its record key: that key is opened under the old version and sealed under the new one, and the hidden
fingerprint is made anew. No number is opened. Giving each card a new record key instead would open every number, and
gain nothing: whoever knew the old record key had the number already, and it is still the same number.

A batch is read, sealed outside of any transaction, and written card by card only where the wrapped key is still the one
that was read; so a card that was charged, shredded or moved meanwhile keeps what it has. How far a version is stands in
`key_moves`. A killed mover is followed by the next one, which finds what is left by the version in the rows themselves.
"""

from dataclasses import dataclass
from typing import Final

from infra.chassis import crashpoints, logs
from infra.chassis.clock import Clock
from infra.chassis.secret import Secret
from vault.batch.import_keys import move
from vault.envelope import SealBroken, open_sealed, seal
from vault.fingerprint import hidden
from vault.keys import rows
from vault.keys.acts import VAULT, note
from vault.keys.ring import KeyRing
from vault.keys.rows import Move, UnderKey
from vault.keys.states import KeyDestroyed, KeyRetired, KeyState
from vault.places import RECORD_KEY_VERSION, place
from vault.store import Store

BATCH: Final = 200
"""About 3 ms of sealing, and as many row locks for as long as one statement takes."""

log = logs.get_logger()


@dataclass(frozen=True, slots=True)
class Moved:
    """`stuck` cards do not open, so that their version cannot be destroyed; `busy`: another process is at it."""

    cards: int = 0
    stuck: int = 0
    destroyed: tuple[int, ...] = ()
    busy: bool = False


class Resealing:
    def __init__(self, *, store: Store, ring: KeyRing, clock: Clock, batch: int | None = None) -> None:
        self._store = store
        self._ring = ring
        self._clock = clock
        self._batch = batch or BATCH

    async def move_all(self, tenant_id: str) -> Moved:
        """Every card to the active version; each retired version is destroyed once nothing is left under it."""
        async with self._store.alone(f"re-sealing {tenant_id}") as ours:
            if not ours:
                return Moved(busy=True)
            cards, stuck, destroyed = 0, 0, list[int]()
            for version in await self._retired(tenant_id):
                try:
                    moved = await self._empty(tenant_id, version)
                except KeyDestroyed:  # the whole tenant was shredded: there is nothing to move any more
                    break
                cards, stuck = cards + moved.cards, stuck + moved.stuck
                destroyed += moved.destroyed
            return Moved(cards, stuck, tuple(destroyed))

    async def _retired(self, tenant_id: str) -> list[int]:
        async with self._store.transaction(tenant_id) as tx:
            return [key.version for key in await rows.tenant_keys(tx) if key.state is KeyState.RETIRED]

    async def _empty(self, tenant_id: str, version: int) -> Moved:
        """One pass over the cards under a version, from where a killed one was, and a second over what is left."""
        total = Moved()
        for _ in range(2):
            moved = await self._pass(tenant_id, version)
            total = Moved(total.cards + moved.cards, moved.stuck)
            await move(self._store, self._ring, tenant_id, version)
            crashpoints.reach("rotation_emptied")
            async with self._store.transaction(tenant_id) as tx:
                now = self._clock.now()
                emptied = await rows.destroy_emptied(tx, version, now)
                await rows.end_pass(tx, version, emptied=emptied, now=now)
                if emptied:
                    await note(tx, now, actor=VAULT, act="destroyed", what=f"key {version}", outcome="empty")
            if emptied:
                crashpoints.reach("rotation_destroyed")
                log.info("tenant_key_destroyed", tenant_id=tenant_id, version=version, moved=total.cards)
                return Moved(total.cards, 0, (version,))
        log.warning("tenant_key_not_emptied", tenant_id=tenant_id, version=version, stuck=total.stuck)
        return total

    async def _pass(self, tenant_id: str, version: int) -> Moved:
        async with self._store.transaction(tenant_id) as tx:
            after = await rows.begin_move(tx, version, self._clock.now())
        cards = stuck = 0
        while True:
            async with self._store.transaction(tenant_id) as tx:
                batch = await rows.cards_under(tx, version, after=after, limit=self._batch)
            if not batch:
                return Moved(cards, stuck)
            moved, broken = await self._move(tenant_id, version, batch)
            after, cards, stuck = batch[-1].token_id, cards + moved, stuck + broken
            crashpoints.reach("rotation_batch_moved")

    async def _move(self, tenant_id: str, version: int, batch: list[UnderKey]) -> tuple[int, int]:
        """How many were moved, and how many do not open."""
        former = await self._ring.opening_key(tenant_id, version)
        while True:
            active, key = await self._ring.sealing_keys(tenant_id, len(batch))
            moves = [move for card in batch if (move := _moved(tenant_id, card, former, active, key)) is not None]
            crashpoints.reach("rotation_batch_sealed")
            now, broken = self._clock.now(), len(batch) - len(moves)
            try:
                with rows.telling_refusals():
                    async with self._store.transaction(tenant_id) as tx:
                        if not await rows.hold_retired(tx, version):
                            raise KeyDestroyed
                        count = await rows.move_cards(tx, moves)
                        last = batch[-1].token_id
                        await rows.note_move(tx, version, after=last, moved=count, stuck=broken, now=now)
            except KeyRetired:
                continue  # somebody rotated once more: to the newest, then
            return count, broken


def _moved(tenant_id: str, card: UnderKey, former: Secret[bytes], version: int, key: Secret[bytes]) -> Move | None:
    """None when the card does not open: it is left as it is, for somebody to look at."""
    at = place(tenant_id, card.token_id, "record_key")
    at_fingerprint = place(tenant_id, card.token_id, "fingerprint")
    try:
        record_key = Secret(open_sealed(former, card.wrapped_key, at))
        if card.sealed_fingerprint is None:  # stored before fingerprints were hidden
            fingerprint = card.fingerprint
        else:
            fingerprint = open_sealed(record_key, card.sealed_fingerprint, at_fingerprint)
    except SealBroken:
        log.warning("card_does_not_open", tenant_id=tenant_id, token_id=card.token_id)
        return None
    return Move(
        token_id=card.token_id,
        former=card.wrapped_key,
        former_fingerprint=card.fingerprint,
        wrapped_key=seal(key, version, record_key.reveal(), at),
        fingerprint=hidden(key, fingerprint),
        sealed_fingerprint=seal(record_key, RECORD_KEY_VERSION, fingerprint, at_fingerprint),
    )
