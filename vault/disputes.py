"""Disputes: what a card's bank did about a charge, as the processor shows it when asked. Each is recorded once.

An event never moves a dispute. It makes us look, and what was seen is written only if it is a step forward: two looks
that are written in the wrong order end in the newer state.
"""

from dataclasses import dataclass
from datetime import datetime
from typing import Final

from infra.chassis import logs
from infra.chassis.clock import Clock
from infra.chassis.crashpoints import reach
from vault.cleartext.processors import Dispute, DisputeStanding
from vault.ledger.accounts import Event, Happened
from vault.ledger.posting import write_down
from vault.outbox.events import DisputeData
from vault.outbox.telling import tell_dispute
from vault.processors import Processors
from vault.states import Mover, may_move
from vault.store import RowMissing, Store, Tx
from vault.tables import ChargeRow

EVENTS: Final = {
    DisputeStanding.INQUIRY: (),
    DisputeStanding.CLOSED: (),
    DisputeStanding.OPEN: (Event.WITHDRAWN,),
    DisputeStanding.LOST: (Event.WITHDRAWN,),
    DisputeStanding.WON: (Event.WITHDRAWN, Event.REINSTATED),
}
"""What has happened to the money by the time a dispute is in a state; each is posted once."""
log = logs.get_logger()


@dataclass(frozen=True, slots=True)
class DisputeRow:
    """`state` is a member of DisputeStanding."""

    tenant_id: str
    dispute_ref: str
    charge_id: str
    amount_minor: int
    currency: str
    state: str
    opened_at: datetime
    updated_at: datetime


class Disputes:
    def __init__(self, *, store: Store, processors: Processors, clock: Clock) -> None:
        self._store = store
        self._processors = processors
        self._clock = clock

    async def look(self, charge: ChargeRow) -> None:
        """Ask the processor about the disputes of a charge that took money. Raises what the processor raises."""
        if charge.processor_ref is None:
            raise RowMissing("processor reference")
        found = await self._processors.of(charge.processor).disputes_of(charge.processor_ref)
        reach("disputes_seen")
        for dispute in found:
            await self._record(charge, dispute)
            reach("dispute_recorded")

    async def _record(self, charge: ChargeRow, seen: Dispute) -> None:
        now = self._clock.now()
        async with self._store.transaction(charge.tenant_id) as tx:
            if await tx.charge_for_update(charge.charge_id) is None:
                raise RowMissing("charge")
            known = await _dispute(tx, seen.ref)
            if known is None:
                await tx.run(_INSERT, _row(charge, seen, now))
                posted: tuple[Event, ...] = ()
            elif not may_move("disputes", known.state, seen.standing, Mover.RECONCILER):
                return
            else:
                await tx.run(_MOVE, {"dispute_ref": seen.ref, "state": seen.standing.value, "now": now})
                posted = EVENTS[DisputeStanding(known.state)]
            reach("dispute_written")
            for event in EVENTS[seen.standing]:
                if event not in posted:
                    await write_down(tx, _happened(charge, known, seen, event, now))
            await tell_dispute(tx, _told(charge, seen), now)
        log.info("dispute", charge_id=charge.charge_id, dispute_ref=seen.ref, state=seen.standing.value)


async def disputed_minor(tx: Tx, charge_id: str) -> int:
    """What cards' banks have taken back of a charge and not given again."""
    return int((await tx.run(_TAKEN_BACK, {"charge_id": charge_id})).scalar_one())


async def _dispute(tx: Tx, dispute_ref: str) -> DisputeRow | None:
    found = (await tx.run(_DISPUTE, {"dispute_ref": dispute_ref})).mappings().first()
    return None if found is None else DisputeRow(**found)


def _row(charge: ChargeRow, seen: Dispute, now: datetime) -> dict[str, object]:
    return {
        "dispute_ref": seen.ref,
        "charge_id": charge.charge_id,
        "amount_minor": seen.amount_minor,
        "currency": seen.currency,
        "state": seen.standing.value,
        "now": now,
    }


def _happened(charge: ChargeRow, known: DisputeRow | None, seen: Dispute, event: Event, now: datetime) -> Happened:
    """What is posted is the amount first recorded, so that what was withdrawn is what is reinstated."""
    return Happened(
        event=event,
        source_id=seen.ref,
        charge_id=charge.charge_id,
        currency=seen.currency if known is None else known.currency,
        amount_minor=seen.amount_minor if known is None else known.amount_minor,
        at=now,
    )


def _told(charge: ChargeRow, seen: Dispute) -> DisputeData:
    return DisputeData(
        dispute_ref=seen.ref,
        charge_id=charge.charge_id,
        state=seen.standing.value,
        amount_minor=seen.amount_minor,
        currency=seen.currency,
    )


_DISPUTE: Final = "SELECT * FROM disputes WHERE tenant_id = :tenant_id AND dispute_ref = :dispute_ref"
_INSERT: Final = """
INSERT INTO disputes (tenant_id, dispute_ref, charge_id, amount_minor, currency, state, opened_at, updated_at)
VALUES (:tenant_id, :dispute_ref, :charge_id, :amount_minor, :currency, :state, :now, :now)"""
_MOVE: Final = """UPDATE disputes SET state = :state, updated_at = :now
    WHERE tenant_id = :tenant_id AND dispute_ref = :dispute_ref"""
_TAKEN_BACK: Final = """SELECT coalesce(sum(amount_minor), 0) FROM disputes
    WHERE tenant_id = :tenant_id AND charge_id = :charge_id AND state IN ('open', 'lost')"""
