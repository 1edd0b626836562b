"""Ends what was left open: a crash, a time-out, a processor that was down. Asks the processor, never guesses.

A charge whose payment has no name with us yet is searched for at the processor by our own ids: the answer that named
it may have been lost. Whatever is found is looked up: succeeded is approved, held is held; anything that could still be
confirmed is cancelled first, and only then called failed or declined, so that a confirmation still on its way finds
nothing to charge. Nothing found is nothing sent: a payment is confirmed only after its name was written down.

A payment that waits for the card's holder at their bank is left alone until their time is up, then cancelled likewise.
Whoever looks in between (a round, an event, the person who came back) looks here, so its end is written once.
"""

import asyncio
from datetime import timedelta
from typing import Final, Protocol

from infra.chassis import logs
from infra.chassis.clock import Clock
from infra.chassis.crashpoints import reach
from vault.authentications.asking import may_act
from vault.cleartext.processors import (
    Payment,
    PaymentState,
    ProcessorRefused,
    ProcessorSilent,
    RefundResult,
    RefundStanding,
)
from vault.codes import Codes
from vault.contract import ChargeReason, ChargeState, RefundState
from vault.never_sent import NeverSent
from vault.outcomes import Outcomes
from vault.processors import Processors
from vault.refund_keys import key_since, note_asking, nothing_under_way, refund_request
from vault.states import Mover
from vault.store import RowMissing, Store
from vault.tables import ChargeRow, RefundRow

INTERVAL_SECONDS: Final = 2
ROWS_AT_ONCE: Final = 50
CALLS_MAX: Final = 4
"""Searching, looking up, cancelling and looking up again is the longest way to an end."""
MARGIN_SECONDS: Final = 2
SILENCES_MAX: Final = 3
"""A processor that does not answer three times is left in peace until the next round."""
GRANTS_KEPT: Final = timedelta(hours=2)
FORGET_GRANTS_EVERY: Final = timedelta(minutes=10)
REFUND_STATES: Final = {
    RefundStanding.SUCCEEDED: RefundState.REFUNDED,
    RefundStanding.PENDING: RefundState.UNKNOWN,
    RefundStanding.FAILED: RefundState.FAILED,
}

_FURTHEST: Final = (PaymentState.SUCCEEDED, PaymentState.HELD, PaymentState.PROCESSING)
log = logs.get_logger()
Outcome = tuple[ChargeState, ChargeReason | None]


class Round(Protocol):
    """What else is gone through tenant by tenant: holds, events of the processor."""

    async def run_tenant(self, tenant_id: str) -> int:
        """How much came to an end."""
        ...


class Reconciler:
    def __init__(
        self,
        *,
        store: Store,
        processors: Processors,
        outcomes: Outcomes,
        codes: Codes,
        never_sent: NeverSent,
        clock: Clock,
        processor_timeout_seconds: float,
    ) -> None:
        self._store = store
        self._processors = processors
        self._outcomes = outcomes
        self._codes = codes
        self._never_sent = never_sent
        self._clock = clock
        self._lease = timedelta(seconds=CALLS_MAX * processor_timeout_seconds + MARGIN_SECONDS)
        self._nudged = asyncio.Event()
        self._forget_grants_at = clock.now()
        self._rounds: list[Round] = []

    def also(self, *rounds: Round) -> None:
        """Go through these as well in every round."""
        self._rounds += rounds

    def nudge(self) -> None:
        """Do not wait for the next round."""
        self._nudged.set()

    async def run(self, stop: asyncio.Event) -> None:
        while not stop.is_set():
            try:
                await self.run_once()
            except Exception as error:  # noqa: BLE001 - a round that fails, for want of a database say, is tried again
                log.warning("reconcile_round_failed", error=type(error).__name__)
            await _first_of(stop, self._nudged, INTERVAL_SECONDS)
            self._nudged.clear()

    async def run_once(self) -> int:
        """One round over all tenants; how many charges and refunds came to an end."""
        self._codes.forget_expired()
        tenants = await self._store.tenants()
        await self._forget_grants(tenants)
        return sum([await self._run_tenant(tenant_id) for tenant_id in tenants])

    async def _forget_grants(self, tenants: list[str]) -> None:
        """Those long expired: they could not be replayed any more."""
        now = self._clock.now()
        if now < self._forget_grants_at:
            return
        self._forget_grants_at = now + FORGET_GRANTS_EVERY
        for tenant_id in tenants:
            async with self._store.transaction(tenant_id) as tx:
                await tx.forget_grants_expired_before(now - GRANTS_KEPT)

    async def _run_tenant(self, tenant_id: str) -> int:
        now = self._clock.now()
        async with self._store.transaction(tenant_id) as tx:
            charges = await tx.unattended_charges(now, ROWS_AT_ONCE)
            refunds = await tx.unattended_refunds(now, ROWS_AT_ONCE)
        ends = silences = 0
        for charge_id in charges:
            if silences < SILENCES_MAX:
                left_open = (await self.end_charge(tenant_id, charge_id)).state == ChargeState.UNKNOWN
                silences, ends = silences + left_open, ends + (not left_open)
        for refund_id in refunds:
            if silences < SILENCES_MAX:
                left_open = (await self.end_refund(tenant_id, refund_id)).state == RefundState.UNKNOWN
                silences, ends = silences + left_open, ends + (not left_open)
        return ends + sum([await one.run_tenant(tenant_id) for one in self._rounds])

    async def end_charge(self, tenant_id: str, charge_id: str) -> ChargeRow:
        """The charge, ended if the processor says how; as it stands if somebody is at work on it."""
        now = self._clock.now()
        async with self._store.transaction(tenant_id) as tx:
            claimed = await tx.claim_charge(charge_id, now, now + self._lease)
            stands = claimed or await tx.charge(charge_id)
        if stands is None:
            raise RowMissing("charge")
        if claimed is None:
            return stands
        reach("reconcile_claimed")
        try:
            state, reason = await self._find_out(claimed)
        except (ProcessorRefused, ProcessorSilent) as error:
            log.warning("charge_still_unknown", charge_id=charge_id, error=type(error).__name__)
            state, reason = ChargeState.UNKNOWN, None
        if reason is ChargeReason.NEVER_SENT:
            reason = await self._never_sent.why(claimed)
        reach("reconcile_found_out")
        if claimed.state == ChargeState.NEEDS_ACTION and state in {ChargeState.UNKNOWN, ChargeState.NEEDS_ACTION}:
            return await self._outcomes.keep_waiting(claimed)
        return await self._outcomes.close_charge(claimed, state, reason, by=Mover.RECONCILER)

    async def _find_out(self, row: ChargeRow) -> Outcome:
        ref = row.processor_ref or await self._search(row)
        if ref is None:
            return ChargeState.FAILED, ChargeReason.NEVER_SENT
        processor = self._processors.of(row.processor)
        payment = await processor.look_up_payment(ref)
        reach("reconcile_looked_up")
        if may_act(row, payment, self._clock.now()):
            return ChargeState.NEEDS_ACTION, None
        if _stands(payment, held_first=row.held_first):
            return _outcome_of(row, payment)
        try:
            await processor.cancel_payment(ref)
        except ProcessorRefused:
            return _outcome_of(row, await processor.look_up_payment(ref))
        reach("reconcile_cancelled")
        return _outcome_when_cancelled(row, payment)

    async def _search(self, row: ChargeRow) -> str | None:
        """The name of a charge's payment, when the answer that told it was lost; None when there is no payment.

        Our keys make one payment a charge. Should there be more, the one that got furthest is ours and the others are
        cancelled. A processor that refuses to search is no reason to wait for ever: see the first lines of this file.
        """
        try:
            processor = self._processors.of(row.processor)
            found = await processor.find_payments(row.tenant_id, row.charge_id)
        except ProcessorRefused:
            log.warning("charge_not_searchable", charge_id=row.charge_id)
            return None
        if not found:
            return None
        ours, *others = sorted(found, key=lambda payment: payment.state not in _FURTHEST)
        for other in others:
            if other.state is not PaymentState.CANCELLED:
                await processor.cancel_payment(other.ref)
        now = self._clock.now()
        async with self._store.transaction(row.tenant_id) as tx:
            await tx.name_charge(row, ours.ref, now, now + self._lease)
        reach("reconcile_named")
        return ours.ref

    async def end_refund(self, tenant_id: str, refund_id: str) -> RefundRow:
        """As `end_charge`. A refund the processor does not know is asked for again (refund_keys.py)."""
        now = self._clock.now()
        async with self._store.transaction(tenant_id) as tx:
            claimed = await tx.claim_refund(refund_id, now, now + self._lease)
            row = await tx.refund(refund_id)
        if row is None:
            raise RowMissing("refund")
        if not claimed:
            return row
        try:
            result = await self._processors.of(row.processor).find_refund(refund_request(row))
        except (ProcessorRefused, ProcessorSilent) as error:
            log.warning("refund_still_unknown", refund_id=refund_id, error=type(error).__name__)
            return await self._outcomes.close_refund(row, RefundState.UNKNOWN, None, by=Mover.RECONCILER)
        reach("reconcile_refund_looked_up")
        if result is None:
            return await self._ask_again(row)
        return await self._note_refund(row, result, by=Mover.RECONCILER)

    async def _ask_again(self, row: RefundRow) -> RefundRow:
        """For a refund the processor does not know by our id, under a key that cannot make a second one."""
        now = self._clock.now()
        since = key_since(row, now)
        if since is None:
            log.warning("refund_not_asked_again_yet", refund_id=row.refund_id)
            return await self._outcomes.close_refund(row, RefundState.UNKNOWN, None, by=Mover.RECONCILER)
        async with self._store.transaction(row.tenant_id) as tx:
            ours = await note_asking(tx, row, since, now)
            stands = await tx.refund(row.refund_id)
        if stands is None:
            raise RowMissing("refund")
        return await self.ask_for_refund(stands, by=Mover.RECONCILER, earlier=row) if ours else stands

    async def ask_for_refund(self, row: RefundRow, *, by: Mover, earlier: RefundRow | None = None) -> RefundRow:
        """`earlier`: how it stood when it was asked for before. A refusal now says nothing about that request."""
        try:
            result = await self._processors.of(row.processor).refund(refund_request(row))
        except ProcessorRefused:
            if earlier is None or nothing_under_way(earlier, row.asked_at):
                return await self._outcomes.close_refund(row, RefundState.FAILED, None, by=by)
            log.warning("refund_refused_but_may_be_made", refund_id=row.refund_id)
            return await self._outcomes.close_refund(row, RefundState.UNKNOWN, None, by=by, asked_at=earlier.asked_at)
        except ProcessorSilent:
            return await self._outcomes.close_refund(row, RefundState.UNKNOWN, None, by=by)
        reach("refund_asked")
        return await self._note_refund(row, result, by=by)

    async def _note_refund(self, row: RefundRow, result: RefundResult, *, by: Mover) -> RefundRow:
        return await self._outcomes.close_refund(row, REFUND_STATES[result.standing], result.ref, by=by)


def _stands(payment: Payment, *, held_first: bool) -> bool:
    """Whether it is to be left as it is. Money held for an order to take it at once is let go of."""
    if payment.state is PaymentState.HELD:
        return held_first
    return payment.state in {PaymentState.SUCCEEDED, PaymentState.PROCESSING, PaymentState.CANCELLED}


def _outcome_of(row: ChargeRow, payment: Payment) -> Outcome:
    """What a payment nobody can change any more means; unknown while it is still under way.

    A hold that was settled by somebody else meanwhile was held first; the keeper of holds sees the rest.
    """
    if row.held_first and payment.state in {PaymentState.HELD, PaymentState.SUCCEEDED}:
        return ChargeState.HELD, None
    if payment.state is PaymentState.SUCCEEDED:
        return ChargeState.APPROVED, None
    if payment.state is PaymentState.CANCELLED:
        return _outcome_when_cancelled(row, payment)
    return ChargeState.UNKNOWN, None


def _outcome_when_cancelled(row: ChargeRow, payment: Payment) -> Outcome:
    """`payment` as it was before, or as whoever cancelled it left it: one that waited for a person ran out of time."""
    if payment.reason is not None:
        return ChargeState.DECLINED, payment.reason
    if row.state == ChargeState.NEEDS_ACTION:
        return ChargeState.DECLINED, ChargeReason.AUTHENTICATION_EXPIRED
    if payment.state is PaymentState.NEEDS_AUTHENTICATION:
        return ChargeState.DECLINED, ChargeReason.AUTHENTICATION_REQUIRED
    return ChargeState.FAILED, ChargeReason.NEVER_SENT


async def _first_of(stop: asyncio.Event, nudged: asyncio.Event, seconds: float) -> None:
    waits = [asyncio.ensure_future(stop.wait()), asyncio.ensure_future(nudged.wait())]
    try:
        await asyncio.wait(waits, timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for wait in waits:
            wait.cancel()
