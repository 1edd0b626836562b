"""A round of the root: after it, nothing that exists opens what was shredded before it, in whatever dump it still lies.

Emptying a row is not enough. A dump taken before still holds the card's record key under the tenant's key, and that one
under the root; with today's root and that dump the card would open. So, step by step, each of which can be repeated:

    tenants   each tenant with something shredded gets a new key, its cards move, the old key is destroyed
    root      the key service makes a new root version
    rewrap    every tenant key is wrapped anew under it, and opened again to be sure
    floor     from here on the database takes no tenant key that is wrapped under an older root
    verify    as rewrap: what came in while it was under way; then none is left
    destroy   the key service destroys the older root versions: what only they open never opens again
    finish    the shreddings are called final

The step stands in `root_rounds`; a killed round is gone on with where it was. What still opens a dump is a copy of the
root made before the round, wherever somebody kept one. Such copies are not ours to destroy.
"""

import asyncio
import hmac
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from infra.chassis import crashpoints, logs
from infra.chassis.clock import Clock
from infra.chassis.ids import new_id
from infra.chassis.keys import CannotDestroy, KeyService, KeyUnusable
from vault.keys import rows
from vault.keys.acts import HOUSE, VAULT, note
from vault.keys.resealing import Resealing
from vault.keys.ring import KeyRing, context
from vault.keys.rows import TenantKeyRow
from vault.keys.states import KeyState, RootChanged
from vault.store import RowMissing, Store, Tx

BUSY_TRIES: Final = 120
BUSY_SECONDS: Final = 0.5
"""Another process may be moving a tenant's cards just then; a minute is many batches."""
PASSES_MAX: Final = 3
FINAL: Final = "final"
NOT_DESTROYED: Final = "the key service did not destroy the older root versions"

log = logs.get_logger()


class RoundBlocked(RuntimeError):
    """The round stays at its step until somebody has looked; says what stands in its way. Nothing was destroyed."""


@dataclass(frozen=True, slots=True)
class Round:
    """`root_version`: the one that wraps since. `outcome` is FINAL, or says why what was shredded is not."""

    round_id: str
    cause: str
    ordered_by: str
    started_at: datetime
    step: str
    root_version: int | None
    updated_at: datetime
    finished_at: datetime | None
    outcome: str | None


class Rounds:
    def __init__(self, *, store: Store, keys: KeyService, ring: KeyRing, resealing: Resealing, clock: Clock) -> None:
        self._store = store
        self._keys = keys
        self._ring = ring
        self._resealing = resealing
        self._clock = clock
        self._steps = {
            "tenants": self._tenants,
            "root": self._root,
            "rewrap": self._rewrap,
            "floor": self._floor,
            "verify": self._verify,
            "destroy": self._destroy,
            "finish": self._finish,
        }

    async def run(self, cause: str, actor: str) -> Round | None:
        """Go through a round, or go on with the one that was begun. None: another process is at it.

        Raises RoundBlocked, and what the key service raises; it is then gone on with the next time.
        """
        async with self._store.alone("a round of the root") as ours:
            if not ours:
                return None
            one = await self.open_round() or await self._begin(cause, actor)
            while one.finished_at is None:
                await self._steps[one.step](one)
                one = await self._read(one.round_id)
            return one

    async def open_round(self) -> Round | None:
        async with self._store.transaction(HOUSE) as tx:
            found = await rounds(tx)
        return next((one for one in found if one.finished_at is None), None)

    async def _begin(self, cause: str, actor: str) -> Round:
        now, round_id = self._clock.now(), new_id("rnd")
        sql = """INSERT INTO root_rounds (round_id, cause, ordered_by, started_at, step, updated_at)
            VALUES (:round_id, :cause, :actor, :now, 'tenants', :now)"""
        async with self._store.transaction(HOUSE) as tx:
            await tx.run(sql, {"round_id": round_id, "cause": cause, "actor": actor, "now": now})
            await note(tx, now, actor=actor, act="round begun", what=round_id, outcome=cause)
        crashpoints.reach("round_begun")
        return await self._read(round_id)

    async def _tenants(self, one: Round) -> None:
        for tenant_id in await self._store.tenants():
            await self._renew(tenant_id)
            async with self._store.transaction(tenant_id) as tx:
                await _claim_shreddings(tx, one.round_id)
            crashpoints.reach("round_tenant_done")
        await self._go_on(one, "root")

    async def _renew(self, tenant_id: str) -> None:
        """A new key, if what was shredded may have been sealed under the one there is; the older ones destroyed."""
        async with self._store.transaction(tenant_id) as tx:
            through = await _shredded_through(tx)
            keys = await rows.tenant_keys(tx)
        if not any(key.version <= through and key.state is not KeyState.DESTROYED for key in keys):
            return
        newest = keys[-1].version
        if newest <= through:
            await self._ring.make_next(tenant_id, newest)
        for _ in range(BUSY_TRIES):
            moved = await self._resealing.move_all(tenant_id)
            if not moved.busy:
                return
            await asyncio.sleep(BUSY_SECONDS)
        raise RoundBlocked("another process has been moving a tenant's cards all along")

    async def _root(self, one: Round) -> None:
        version = await self._keys.rotate()
        crashpoints.reach("round_root_made")
        await self._go_on(one, "rewrap", root_version=version)

    async def _rewrap(self, one: Round) -> None:
        await self._wrap_all_anew(_root_of(one))
        await self._go_on(one, "floor")

    async def _floor(self, one: Round) -> None:
        sql = "UPDATE root_floor SET version = :version WHERE version < :version"
        async with self._store.transaction(HOUSE) as tx:
            await tx.run(sql, {"version": _root_of(one)})
        crashpoints.reach("round_floor_raised")
        await self._go_on(one, "verify")

    async def _verify(self, one: Round) -> None:
        for _ in range(PASSES_MAX):
            if not await self._wrap_all_anew(_root_of(one)):
                await self._go_on(one, "destroy")
                return
        raise RoundBlocked("tenant keys under an older root keep coming")

    async def _destroy(self, one: Round) -> None:
        outcome = FINAL
        try:
            await self._keys.destroy_before(_root_of(one))
        except CannotDestroy as error:
            outcome = NOT_DESTROYED
            log.warning("root_not_destroyed", round_id=one.round_id, error=type(error).__name__)
        crashpoints.reach("round_root_destroyed")
        await self._go_on(one, "finish", outcome=outcome)

    async def _finish(self, one: Round) -> None:
        now, final = self._clock.now(), 0
        for tenant_id in await self._store.tenants() if one.outcome == FINAL else []:
            async with self._store.transaction(tenant_id) as tx:
                count = await _make_final(tx, one.round_id, now)
                if count:
                    await note(tx, now, actor=VAULT, act="final", what=one.round_id, outcome={"shreddings": count})
            final += count
        crashpoints.reach("round_shreddings_final")
        sql = "UPDATE root_rounds SET finished_at = :now, updated_at = :now WHERE round_id = :round_id"
        async with self._store.transaction(HOUSE) as tx:
            await tx.run(sql, {"round_id": one.round_id, "now": now})
            outcome = f"{one.outcome}; root {one.root_version}"
            await note(tx, now, actor=one.ordered_by, act="round finished", what=one.round_id, outcome=outcome)
        log.info("round_finished", round_id=one.round_id, final=one.outcome == FINAL, shreddings=final)

    async def _wrap_all_anew(self, root_version: int) -> int:
        """How many tenant keys were under an older root. Raises RoundBlocked when one of them does not open."""
        count = 0
        for tenant_id in await self._store.tenants():
            async with self._store.transaction(tenant_id) as tx:
                keys = await rows.tenant_keys(tx)
            for key in keys:
                if key.wrapped_key is not None and key.root_version < root_version:
                    await self._wrap_anew(key, key.wrapped_key)
                    count += 1
                    crashpoints.reach("round_key_rewrapped")
        return count

    async def _wrap_anew(self, key: TenantKeyRow, former: bytes) -> None:
        bound_to = context(key.tenant_id, key.version)
        try:
            plain = await self._keys.unwrap(former, bound_to)
            wrapped = await self._keys.wrap(plain, bound_to)
            again = await self._keys.unwrap(wrapped, bound_to)
        except KeyUnusable:
            raise RoundBlocked(f"key {key.version} of {key.tenant_id} does not open") from None
        if not hmac.compare_digest(plain.reveal(), again.reveal()):
            raise RoundBlocked(f"key {key.version} of {key.tenant_id} came back as another")
        try:
            with rows.telling_refusals():
                async with self._store.transaction(key.tenant_id) as tx:
                    await rows.replace_wrap(tx, key, wrapped, self._keys.version_of(wrapped))
        except RootChanged:
            return  # a still newer root: the next pass finds this key again

    async def _go_on(
        self, one: Round, step: str, *, root_version: int | None = None, outcome: str | None = None
    ) -> None:
        sql = """UPDATE root_rounds SET step = :step, updated_at = :now, outcome = coalesce(:outcome, outcome),
                root_version = coalesce(:root_version, root_version)
            WHERE round_id = :round_id"""
        row = {
            "round_id": one.round_id,
            "step": step,
            "now": self._clock.now(),
            "root_version": root_version,
            "outcome": outcome,
        }
        async with self._store.transaction(HOUSE) as tx:
            await tx.run(sql, row)
        crashpoints.reach(f"round_before_{step}")

    async def _read(self, round_id: str) -> Round:
        async with self._store.transaction(HOUSE) as tx:
            found = await rounds(tx)
        return next(one for one in found if one.round_id == round_id)


async def rounds(tx: Tx) -> list[Round]:
    """All there were, oldest first."""
    sql = """SELECT round_id, cause, ordered_by, started_at, step, root_version, updated_at, finished_at, outcome
        FROM root_rounds ORDER BY started_at"""
    return [Round(**row) for row in (await tx.run(sql, {})).mappings()]


async def oldest_not_final(tx: Tx) -> datetime | None:
    """When the shredding was ordered that waits longest for a round."""
    sql = "SELECT min(ordered_at) FROM shreddings WHERE tenant_id = :tenant_id AND final_at IS NULL"
    found: datetime | None = (await tx.run(sql, {})).scalar_one()
    return found


async def _shredded_through(tx: Tx) -> int:
    """The newest version that may have sealed something that was shredded and is not final; 0 if there is none."""
    sql = "SELECT coalesce(max(through_version), 0) FROM shreddings WHERE tenant_id = :tenant_id AND final_at IS NULL"
    return int((await tx.run(sql, {})).scalar_one())


async def _claim_shreddings(tx: Tx, round_id: str) -> None:
    """Those of which every key that may have sealed them is destroyed; the others wait for another round."""
    sql = """UPDATE shreddings s SET round_id = :round_id
        WHERE tenant_id = :tenant_id AND final_at IS NULL AND NOT EXISTS (
            SELECT 1 FROM tenant_keys k WHERE k.tenant_id = s.tenant_id AND k.version <= s.through_version
                AND k.state <> 'destroyed')"""
    await tx.run(sql, {"round_id": round_id})


async def _make_final(tx: Tx, round_id: str, now: datetime) -> int:
    sql = """UPDATE shreddings SET final_at = :now
        WHERE tenant_id = :tenant_id AND round_id = :round_id AND final_at IS NULL"""
    return (await tx.run(sql, {"round_id": round_id, "now": now})).rowcount


def _root_of(one: Round) -> int:
    if one.root_version is None:
        raise RowMissing("the round's root version")
    return one.root_version
