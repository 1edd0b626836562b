"""Seeing a charge through its holder's bank: who may, where they go, and what came of it.

The browser is bound as a capture's is (`vault/captures.py`): in by a grant from the door, then by a secret in its
cookie, of which only the hash is here. What a browser brings back from the bank is believed about nothing; the
processor is asked. An abandoned charge is ended by a round of the reconciler, which also sees what no event told.
"""

import asyncio
import hashlib
import hmac
import secrets
from dataclasses import dataclass
from datetime import timedelta
from typing import Final

from infra.chassis import logs
from infra.chassis.clock import Clock
from infra.chassis.crashpoints import reach
from infra.chassis.grants import Grant
from infra.chassis.problems import NotFound
from vault.authentications.asking import may_act
from vault.authentications.rows import enter, note_look, to_look_at
from vault.cleartext.processors import ProcessorRefused, ProcessorSilent
from vault.contract import ChargeState, is_identifier
from vault.outcomes import CHARGE_ENDS
from vault.processors import Processors
from vault.reconcile import Reconciler
from vault.store import RowMissing, Store
from vault.tables import ChargeRow

SECRET_BYTES: Final = 32
LOOK_EVERY: Final = timedelta(seconds=20)
"""Between two looks nobody asked for: an event, or the person who came back, is sooner."""
POLL_SECONDS: Final = 0.05
POLLS_MAX: Final = 100
"""Five seconds: an event of the processor often comes just before the person does."""
ROWS_AT_ONCE: Final = 50
SILENCES_MAX: Final = 3

log = logs.get_logger()


@dataclass(frozen=True, slots=True)
class Standing:
    """A charge as it is now. `action_url` is where its person may go; None when there is nothing to confirm."""

    row: ChargeRow
    action_url: str | None = None


class Authentications:
    def __init__(self, *, store: Store, processors: Processors, reconciler: Reconciler, clock: Clock) -> None:
        self._store = store
        self._processors = processors
        self._reconciler = reconciler
        self._clock = clock

    async def enter(self, charge_id: str, grant: Grant) -> str:
        """The cookie that makes this browser the charge's. Raises NotFound, also for one that waits for nobody."""
        secret = secrets.token_urlsafe(SECRET_BYTES)
        async with self._store.transaction(grant.tenant_id) as tx:
            row = await tx.charge(charge_id)
            if row is None or (row.brand_id, row.subject_id) != (grant.brand_id, grant.subject_id):
                raise NotFound
            if not await enter(tx, row, _hash(secret), self._clock.now()):
                raise NotFound
        reach("authentication_entered")
        log.info("authentication_entered", charge_id=charge_id)
        return f"{grant.tenant_id}.{secret}"

    async def of_browser(self, charge_id: str, cookie: str) -> ChargeRow | None:
        """The charge, if the cookie is the one its browser was given. The path names no tenant, so the cookie does."""
        tenant_id, _, secret = cookie.partition(".")
        if not secret or not is_identifier(tenant_id):
            return None
        async with self._store.transaction(tenant_id) as tx:
            row = await tx.charge(charge_id)
        if row is None or row.browser_hash is None or not hmac.compare_digest(row.browser_hash, _hash(secret)):
            return None
        return row

    async def look(self, row: ChargeRow) -> Standing:
        """Ask the processor about a charge that waits, and write its end down, if it has one.

        Where somebody else is writing it at this moment, that is waited for, but not for long. Raises ProcessorRefused
        and ProcessorSilent.
        """
        if row.state != ChargeState.NEEDS_ACTION or row.processor_ref is None:
            return Standing(row)
        payment = await self._processors.of(row.processor).look_up_payment(row.processor_ref)
        reach("authentication_looked_up")
        if may_act(row, payment, self._clock.now()):
            return Standing(row, payment.action_url)
        row = await self._reconciler.end_charge(row.tenant_id, row.charge_id)
        for _ in range(POLLS_MAX):
            if row.state != ChargeState.NEEDS_ACTION or row.worked_until is None:
                break
            await asyncio.sleep(POLL_SECONDS)
            async with self._store.transaction(row.tenant_id) as tx:
                row = await tx.charge(row.charge_id) or row
        return Standing(row)

    async def run_tenant(self, tenant_id: str) -> int:
        """A round of the reconciler: how many came to an end. Gives up after some silences, until the next round."""
        now = self._clock.now()
        async with self._store.transaction(tenant_id) as tx:
            waiting = await to_look_at(tx, now, now - LOOK_EVERY, ROWS_AT_ONCE)
        ends = silences = 0
        for charge_id in waiting:
            if silences < SILENCES_MAX:
                silent, ended = await self._look_by_itself(tenant_id, charge_id)
                silences, ends = silences + silent, ends + ended
        return ends

    async def _look_by_itself(self, tenant_id: str, charge_id: str) -> tuple[bool, bool]:
        """Whether the processor was silent, and whether the charge came to an end."""
        async with self._store.transaction(tenant_id) as tx:
            row = await tx.charge(charge_id)
        if row is None:
            raise RowMissing("charge")
        try:
            standing = await self.look(row)
        except (ProcessorRefused, ProcessorSilent) as error:
            log.warning("authentication_not_looked_up", charge_id=charge_id, error=type(error).__name__)
            await self._note_look(tenant_id, charge_id)
            return True, False
        if standing.action_url is None:
            ended = standing.row.state in CHARGE_ENDS
            return not ended, ended
        await self._note_look(tenant_id, charge_id)
        return False, False

    async def _note_look(self, tenant_id: str, charge_id: str) -> None:
        """Those that were not looked at come first next time, also when this one could not be."""
        async with self._store.transaction(tenant_id) as tx:
            await note_look(tx, charge_id, self._clock.now())


def _hash(secret: str) -> bytes:
    return hashlib.sha256(secret.encode()).digest()
