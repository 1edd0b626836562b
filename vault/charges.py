"""Charges: intention, processor, outcome. Money is written down before it moves, and no transaction waits for anybody.

    tx1  intention (the charge_id is the idempotency key)         crash after it: nothing was sent, ends as never_sent
    →    open a payment, unconfirmed                              crash after it: as above, nobody can confirm it
    tx2  the processor's reference                                crash after it: the reconciler cancels it
    →    present the card, confirm                                crash or silence: unknown, the reconciler looks it up
    tx3  outcome, its posting in the ledger

Where a tenant's routes name more than one processor, a charge goes to the next in line when the one before provably
did not act: it never opened a payment that anybody could confirm, or it cancelled what it had opened and said so. From
`confirm` on nobody follows: silence is unknown, and a refusal of the card is the bank's.

A hold goes the same way; at its end the money is held instead of taken (`vault/holds`). Where the card's bank wants to
ask its holder first, the charge waits for them (`vault/authentications`). Between any two steps there is a crash point,
at which a test has the process killed.

Whoever works on a charge holds it until `worked_until`; only after that may the reconciler or another caller take over.
Who was overtaken before tx2 goes no further. A final outcome is never rewritten.
"""

import asyncio
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Final

from infra.chassis import logs
from infra.chassis.clock import Clock
from infra.chassis.crashpoints import reach
from infra.chassis.problems import NotFound, Problem
from vault.authentications.asking import Asking, may_act
from vault.canaries import Canaries, CanaryUse
from vault.cleartext.processors import (
    CardRefused,
    PaymentOrder,
    PaymentState,
    ProcessorRefused,
    ProcessorSilent,
)
from vault.cleartext.tokenise import Cards
from vault.codes import Codes
from vault.contract import ChargeOrder, ChargeReason, ChargeState, ChargeView, HoldOrder
from vault.counters import Counters
from vault.disputes import disputed_minor
from vault.errors import ChargeIdReused, PurchaseCharged
from vault.failures import FAILURES, OURS, before_confirming, why_not_sent
from vault.leftovers import look_for_payment
from vault.outcomes import CHARGE_ENDS, Outcomes
from vault.processors import Processors
from vault.reconcile import Reconciler
from vault.routing.rows import insert_attempt, move_on, routes_of
from vault.routing.rules import Asked
from vault.states import Mover
from vault.store import Store
from vault.tables import CardRow, ChargeRow
from vault.terms import is_order_by_phone
from vault.token_use import TokenUse, intend_within_terms
from vault.unreadable import raise_charge_alarm
from vault.workers import Workers

POLL_SECONDS: Final = 0.05
CALLS_BEFORE_NAMED: Final = 1
CALLS_AFTER_NAMED: Final = 2
MARGIN_SECONDS: Final = 2
"""Between the last moment a worker waits for the processor and the moment somebody else may take over."""

HOW_IT_IS_ASKED: Final = frozenset({"person_present", "begin"})
"""What of an order may differ when it is given again."""

log = logs.get_logger()


class DidNotAct(Exception):
    """A processor has charged nothing, and nothing it holds can be charged any more."""

    def __init__(self, row: ChargeRow, reason: ChargeReason) -> None:
        """`row` as it stood when the processor had done nothing."""
        super().__init__(reason.value)
        self.row = row
        self.reason = reason


class _KeyWanted(Exception):
    """The card's key is with the key service, which is not called while a transaction is open."""

    def __init__(self, card: CardRow) -> None:
        super().__init__()
        self.card = card


@dataclass(frozen=True, slots=True)
class Ours:
    """A charge that is ours to carry out: its card, and who is next in line.

    With a refusal the token's terms do not allow it, or no processor such an order, or it is too late to begin it, and
    it ends as failed.
    """

    card: CardRow
    others: list[str]
    refusal: ChargeReason | None


class Charges:
    def __init__(
        self,
        *,
        store: Store,
        cards: Cards,
        codes: Codes,
        canaries: Canaries,
        processors: Processors,
        reconciler: Reconciler,
        outcomes: Outcomes,
        clock: Clock,
        workers: Workers,
        counters: Counters,
        processor_timeout_seconds: float,
        asking: Asking,
    ) -> None:
        self._asking = asking
        self._store = store
        self._counters = counters
        self._cards = cards
        self._codes = codes
        self._canaries = canaries
        self._processors = processors
        self._reconciler = reconciler
        self._clock = clock
        self._outcomes = outcomes
        self._workers = workers
        self._call_time = timedelta(seconds=processor_timeout_seconds)

    async def charge(self, order: ChargeOrder, agent_id: str) -> ChargeView:
        """Carry out an order once, however often it is given: to charge, or if it is a HoldOrder, to hold.

        `agent_id` is who asked, as the grant says. Raises NotFound, ChargeIdReused and PurchaseCharged; and
        KeyServiceUnreachable before anything is written, so that the same order may be given again.
        """
        try:
            row, ours = await self._intend(order, agent_id)
        except Problem:
            if self._canaries.is_canary(order.tenant_id, order.token_id):
                self._canaries.raise_alarm(_canary_use(order, agent_id))
            raise
        ended = await (self._of_others(row) if ours is None else self._to_the_end(row, ours))
        return await shown(self._store, ended)

    async def _intend(self, order: ChargeOrder, agent_id: str) -> tuple[ChargeRow, Ours | None]:
        """The charge's row; with its card when the intention is new and therefore ours to carry out."""
        try:
            return await self._write_intention(order, agent_id)
        except _KeyWanted as wanted:
            await self._cards.fetch_key(wanted.card)
            return await self._write_intention(order, agent_id, key_fetched=True)

    async def _write_intention(
        self, order: ChargeOrder, agent_id: str, *, key_fetched: bool = False
    ) -> tuple[ChargeRow, Ours | None]:
        """Raises _KeyWanted, with nothing written, when the key service has to be asked first."""
        now = self._clock.now()
        async with self._store.transaction(order.tenant_id) as tx:
            known = await tx.charge(order.charge_id)
            if known is None:
                card = await tx.card(order.token_id)
                canary = self._canaries.is_canary(order.tenant_id, order.token_id)
                if canary or card is None or not _is_of(card, order):
                    raise NotFound
                if order.begin and not key_fetched and not self._cards.key_at_hand(card):
                    raise _KeyWanted(card)
                until = self._until(now, CALLS_BEFORE_NAMED)
                asked = _asked(order, card)
                first, *others = self._processors.in_line_for(await routes_of(tx), asked)
                use = TokenUse(order, agent_id, now, until, first, asked.by_phone)
                made, refusal = await intend_within_terms(tx, card, use)
                if made is not None:
                    await insert_attempt(tx, made, now)
                    too_late = None if order.begin else ChargeReason.NEVER_SENT
                    return made, Ours(card, others, too_late or refusal or self._processors.refusal(first, asked))
                known = await tx.charge(order.charge_id)
        if known is None:
            raise PurchaseCharged
        if not _same(known, order):
            raise ChargeIdReused
        return known, None

    async def _to_the_end(self, row: ChargeRow, ours: Ours) -> ChargeRow:
        """Go on when the caller hangs up: an order once written down is not left lying."""
        return await self._workers.finish(self._carry_out(row, ours))

    async def _of_others(self, row: ChargeRow) -> ChargeRow:
        """The outcome somebody else is working on; after their time is up, found out here, or waited for once more."""
        while row.state not in CHARGE_ENDS:
            if row.worked_until is not None and self._clock.now() < row.worked_until:
                await asyncio.sleep(POLL_SECONDS)
                async with self._store.transaction(row.tenant_id) as tx:
                    row = await tx.charge(row.charge_id) or row
                continue
            row = await self._reconciler.end_charge(row.tenant_id, row.charge_id)
            if row.worked_until is None:
                break
        return row

    async def _carry_out(self, row: ChargeRow, ours: Ours) -> ChargeRow:
        reach("charge_intended")
        refusal = ours.refusal or await why_not_sent(ours.card, self._cards, self._codes)
        if refusal is not None:
            return await self._close(row, ChargeState.FAILED, refusal)
        while True:
            try:
                return await self._attempt(row, ours.card, others_follow=bool(ours.others))
            except DidNotAct as failure:
                if not ours.others:
                    return await self._close(row, ChargeState.FAILED, failure.reason)
                moved = await self._move_on(failure.row, ours.others.pop(0), failure.reason)
                if moved is None:
                    return await self._as_it_stands(row)
                row = moved

    async def _attempt(self, row: ChargeRow, card: CardRow, *, others_follow: bool) -> ChargeRow:
        """With the processor whose turn it is. Raises DidNotAct, after which another one may be tried."""
        if others_follow and not self._processors.may_be_tried(row.processor):
            raise DidNotAct(row, ChargeReason.PROCESSOR_UNREACHABLE)
        try:
            ref = await self._processors.of(row.processor).open_payment(_payment_order(row, self._return_url(row)))
        except CardRefused as refused:
            return await self._close(row, ChargeState.DECLINED, refused.reason)
        except (ProcessorRefused, ProcessorSilent) as failure:
            raise DidNotAct(row, before_confirming(failure)[1]) from None
        reach("charge_opened")
        now = self._clock.now()
        until = self._until(now, CALLS_AFTER_NAMED)
        async with self._store.transaction(row.tenant_id) as tx:
            named = await tx.name_charge(row, ref, now, until)
        if not named:  # taken over or ended meanwhile; only we could have confirmed this payment, and shall not
            await self._cancel_left_open(row, ref)
            return await self._as_it_stands(row)
        reach("charge_named")
        return await self._present_and_confirm(replace(row, worked_until=until), card, ref, others_follow=others_follow)

    async def _present_and_confirm(self, row: ChargeRow, card: CardRow, ref: str, *, others_follow: bool) -> ChargeRow:
        """Until `confirm_payment` nothing can have been charged, so every failure before it is final."""
        try:
            processor = self._processors.of(row.processor)
            method_ref = await self._cards.present(card, _key(row, "card"), processor, others_follow=others_follow)
            reach("charge_presented")
            await self._cards.refuse_replaced(card)
        except FAILURES as failure:
            if others_follow and not isinstance(failure, (*OURS, CardRefused)):
                await self._take_back(row, ref, before_confirming(failure)[1])
            return await self._give_up(row, ref, *before_confirming(failure))
        try:
            confirmed = processor.confirm_payment(
                _key(row, "confirm"), ref, method_ref, by_phone=row.by_phone, return_url=self._return_url(row)
            )
            payment = await confirmed
        except CardRefused as refused:
            return await self._close(row, ChargeState.DECLINED, refused.reason)
        except (ProcessorRefused, ProcessorSilent):
            return await self._leave_to_reconciler(row)
        reach("charge_confirmed")
        if may_act(row, payment, self._clock.now()):
            return await self._close(row, ChargeState.NEEDS_ACTION, None)
        if payment.state is not (PaymentState.HELD if row.held_first else PaymentState.SUCCEEDED):
            return await self._leave_to_reconciler(row)
        return await self._close(row, ChargeState.HELD if row.held_first else ChargeState.APPROVED, None)

    async def _take_back(self, row: ChargeRow, ref: str, reason: ChargeReason) -> None:
        """Raises DidNotAct once the processor says that its payment is cancelled; comes back when it does not."""
        try:
            await self._processors.of(row.processor).cancel_payment(ref)
        except (ProcessorRefused, ProcessorSilent):
            return
        reach("attempt_cancelled")
        raise DidNotAct(row, reason)

    async def _move_on(self, row: ChargeRow, processor: str, reason: ChargeReason) -> ChargeRow | None:
        """The charge, given to the next processor; None when somebody else has taken it over meanwhile."""
        now = self._clock.now()
        async with self._store.transaction(row.tenant_id) as tx:
            moved = await move_on(tx, row, processor, reason.value, now, self._until(now, CALLS_BEFORE_NAMED))
        if moved is not None:
            self._counters.failovers.labels(processor).inc()
            log.warning("charge_moved_on", charge_id=row.charge_id, to=processor, reason=reason.value)
            reach("charge_moved_on")
        return moved

    async def _as_it_stands(self, row: ChargeRow) -> ChargeRow:
        async with self._store.transaction(row.tenant_id) as tx:
            return await tx.charge(row.charge_id) or row

    async def _leave_to_reconciler(self, row: ChargeRow) -> ChargeRow:
        unknown = await self._close(row, ChargeState.UNKNOWN, None)
        self._reconciler.nudge()
        return unknown

    async def _give_up(self, row: ChargeRow, ref: str, state: ChargeState, reason: ChargeReason) -> ChargeRow:
        closed = await self._close(row, state, reason)
        reach("charge_given_up")
        await self._cancel_left_open(row, ref)
        return closed

    async def _cancel_left_open(self, row: ChargeRow, ref: str) -> None:
        """What does not go now is looked for again (leftovers.py)."""
        try:
            await self._processors.of(row.processor).cancel_payment(ref)
        except (ProcessorRefused, ProcessorSilent) as error:
            log.warning("payment_left_open", charge_id=row.charge_id, error=type(error).__name__)
            async with self._store.transaction(row.tenant_id) as tx:
                await look_for_payment(tx, row.charge_id, row.processor, self._clock.now())

    async def _close(self, row: ChargeRow, state: ChargeState, reason: ChargeReason | None) -> ChargeRow:
        if reason is ChargeReason.CARD_UNREADABLE:
            raise_charge_alarm(self._counters, row)
        return await self._outcomes.close_charge(row, state, reason, by=Mover.CARRIER)

    def _return_url(self, row: ChargeRow) -> str | None:
        """None when there is nobody to send to their bank; banks do not ask about what was ordered on the telephone."""
        return self._asking.return_url(row.charge_id) if row.person_present and not row.by_phone else None

    def _until(self, now: datetime, calls: int) -> datetime:
        return now + calls * self._call_time + timedelta(seconds=MARGIN_SECONDS)


async def shown(store: Store, row: ChargeRow) -> ChargeView:
    """A charge as it stands, its disputes included."""
    if row.state not in {ChargeState.APPROVED, ChargeState.SETTLED}:
        return view_of(row)
    async with store.transaction(row.tenant_id) as tx:
        return view_of(row, await disputed_minor(tx, row.charge_id))


def view_of(row: ChargeRow, disputed: int = 0) -> ChargeView:
    """An intention not yet ended is unknown to whoever asks."""
    return ChargeView(
        charge_id=row.charge_id,
        state=ChargeState.UNKNOWN if row.state == "intended" else ChargeState(row.state),
        amount_minor=row.amount_minor,
        currency=row.currency,
        refunded_minor=row.refunded_minor,
        reason=None if row.reason is None else ChargeReason(row.reason),
        taken_minor=row.taken_minor,
        disputed_minor=disputed,
        hold_until=row.hold_until if row.state == ChargeState.HELD else None,
        action_until=row.action_until if row.state == ChargeState.NEEDS_ACTION else None,
        card_brand=row.card_brand,
        last4=row.last4,
    )


def _is_of(card: CardRow, order: ChargeOrder) -> bool:
    return (card.brand_id, card.subject_id) == (order.brand_id, order.subject_id)


def _canary_use(order: ChargeOrder, agent_id: str) -> CanaryUse:
    return CanaryUse(
        tenant_id=order.tenant_id,
        token_id=order.token_id,
        act="hold" if isinstance(order, HoldOrder) else "charge",
        reference=order.charge_id,
        brand_id=order.brand_id,
        subject_id=order.subject_id,
        agent_id=agent_id,
        purchase_id=order.purchase_id,
    )


def _same(row: ChargeRow, order: ChargeOrder) -> bool:
    if row.held_first != isinstance(order, HoldOrder):
        return False
    names = [name for name in order.__struct_fields__ if name not in HOW_IT_IS_ASKED]
    return all(getattr(row, name) == getattr(order, name) for name in names)


def _asked(order: ChargeOrder, card: CardRow) -> Asked:
    return Asked(
        charge_id=order.charge_id,
        brand_id=order.brand_id,
        currency=order.currency,
        card_brand=card.card_brand,
        amount_minor=order.amount_minor,
        by_phone=is_order_by_phone(card),
    )


def _payment_order(row: ChargeRow, return_url: str | None) -> PaymentOrder:
    return PaymentOrder(
        key=_key(row, "open"),
        tenant_id=row.tenant_id,
        charge_id=row.charge_id,
        amount_minor=row.amount_minor,
        currency=row.currency,
        hold=row.held_first,
        by_phone=row.by_phone,
        return_url=return_url,
    )


def _key(row: ChargeRow, step: str) -> str:
    """The processor's idempotency key of one step: ours, durable, the same after a restart."""
    return f"{row.tenant_id}:{row.charge_id}:{step}"
