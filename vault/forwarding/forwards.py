"""Forwards: a stored card is sent to a registered destination, at most once for each order.

    tx1  intention (the forward_id is the idempotency key)     killed after it: nobody knows, so it ends as unknown
    →    name looked up, card opened, filled in, sent          silent or broken off: unknown
    tx2  outcome; never rewritten

Unlike a charge there is nobody to look it up with, so unknown is an end: it is written down, told to whoever asks, and
the card is not sent again under this id. No transaction is open while the destination is called.
"""

import hashlib
from datetime import timedelta
from typing import Final

from infra.chassis import logs
from infra.chassis.clock import Clock
from infra.chassis.crashpoints import reach
from infra.chassis.problems import NotFound
from vault.canaries import Canaries, CanaryUse
from vault.cleartext.forwarding.carrying import Carried, Carrier, Errand
from vault.cleartext.forwarding.template import Template, read_template
from vault.contract import ForwardOrder, ForwardReason, ForwardState, ForwardView, Withheld, may_be_forwarded
from vault.counters import Counters
from vault.envelope import SealBroken
from vault.errors import ForwardIdReused
from vault.forwarding import rows
from vault.forwarding.rows import Destination, Ending, ForwardRow
from vault.store import RowMissing, Store
from vault.tables import CardRow
from vault.terms import terms_of
from vault.unreadable import raise_alarm
from vault.workers import Workers

INTENDED: Final = "intended"
SEND_WITHIN: Final = timedelta(seconds=8)
"""Of the intention: looking the name up (2 s) and opening the card. Later nothing is sent any more, so that nobody is
told a carrier was lost who then sends; its key is fetched before, and in memory as a rule."""
MARGIN_SECONDS: Final = 2
"""Between the last moment a carrier waits for the destination and the moment it is taken for lost."""

log = logs.get_logger()


class Forwards:
    def __init__(
        self,
        *,
        store: Store,
        carrier: Carrier,
        canaries: Canaries,
        clock: Clock,
        counters: Counters,
        workers: Workers,
        timeout_seconds: float,
    ) -> None:
        self._store = store
        self._carrier = carrier
        self._canaries = canaries
        self._clock = clock
        self._counters = counters
        self._workers = workers
        self._carried_within = SEND_WITHIN + timedelta(seconds=timeout_seconds + MARGIN_SECONDS)

    async def forward(self, order: ForwardOrder, actor: str) -> ForwardView:
        """Carry an order out once, however often it is given. `actor` is the client that its grant names.

        Raises NotFound for what is missing, withdrawn, another's or not for this agent alike; ForwardIdReused,
        TemplateRefused and CardNumberRefused; KeyServiceUnreachable before anything is written down.
        """
        sha256 = hashlib.sha256(order.template.encode()).digest()
        async with self._store.transaction(order.tenant_id) as tx:
            known = await rows.forward(tx, order.forward_id)
            destination = await rows.destination(tx, order.destination_id)
            card = await tx.card(order.token_id)
        if known is not None:
            return await self._of_others(known, order, actor, sha256)
        if self._canaries.is_canary(order.tenant_id, order.token_id):
            self._canaries.raise_alarm(_canary_use(order, actor))
            raise NotFound
        if destination is None or not _may(destination, order, actor):
            raise NotFound
        if card is None or (card.brand_id, card.subject_id) != (order.brand_id, order.subject_id):
            raise NotFound
        template = read_template(order.template, destination.body, destination.fields)
        await self._carrier.fetch_key(card)
        now = self._clock.now()
        async with self._store.transaction(order.tenant_id) as tx:
            row = await rows.insert_forward(
                tx, order, template_sha256=sha256, actor=actor, now=now, worked_until=now + self._carried_within
            )
            known = row or await rows.forward(tx, order.forward_id)
        if row is not None:
            return await self._workers.finish(self._carry_out(row, card, destination, template))
        if known is None:
            raise RowMissing("forward")
        return await self._of_others(known, order, actor, sha256)

    async def _of_others(self, row: ForwardRow, order: ForwardOrder, actor: str, sha256: bytes) -> ForwardView:
        """How an order that was given before stands. Its answer was for the one who gave it then."""
        if not _same(row, order, actor, sha256):
            raise ForwardIdReused
        if row.state != INTENDED:
            return _view(row, Carried(ForwardState(row.state), withheld=Withheld.NOT_KEPT))
        if row.worked_until is None or self._clock.now() < row.worked_until:
            return ForwardView(forward_id=row.forward_id, state=ForwardState.UNKNOWN, reason=ForwardReason.UNDER_WAY)
        return await self._close(row, Carried(ForwardState.UNKNOWN, ForwardReason.CARRIER_LOST))

    async def _carry_out(
        self, row: ForwardRow, card: CardRow, destination: Destination, template: Template
    ) -> ForwardView:
        reach("forward_intended")
        try:
            limited = not may_be_forwarded(terms_of(card), agent_id=row.actor, now=self._clock.now())
        except SealBroken:
            return await self._close(row, Carried(ForwardState.FAILED, ForwardReason.CARD_UNREADABLE))
        if limited:
            return await self._close(row, Carried(ForwardState.FAILED, ForwardReason.TOKEN_LIMITED))
        carried = await self._carrier.carry(
            card, destination, template, Errand(row.forward_id, row.created_at + SEND_WITHIN)
        )
        reach("forward_carried")
        return await self._close(row, carried)

    async def _close(self, row: ForwardRow, carried: Carried) -> ForwardView:
        ending = Ending(
            state=carried.state.value,
            reason=None if carried.reason is None else carried.reason.value,
            http_status=carried.http_status,
            withheld=None if carried.withheld is None else carried.withheld.value,
            redactions=0 if carried.shown is None else carried.shown.redactions,
        )
        if carried.reason is ForwardReason.CARD_UNREADABLE:
            raise_alarm(
                self._counters,
                act="forward",
                reference=row.forward_id,
                tenant_id=row.tenant_id,
                token_id=row.token_id,
            )
        async with self._store.transaction(row.tenant_id) as tx:
            closed = await rows.close_forward(tx, row.forward_id, ending, self._clock.now())
            stands = closed or await rows.forward(tx, row.forward_id)
        if stands is None:
            raise RowMissing("forward")
        if closed is not None:
            self._counters.forwards.labels(stands.state).inc()
            log.info("forward", destination_id=row.destination_id, actor=row.actor, forward_id=row.forward_id,
                     state=stands.state, reason=stands.reason, withheld=stands.withheld)  # fmt: skip
        return _view(stands, carried)


def _canary_use(order: ForwardOrder, actor: str) -> CanaryUse:
    return CanaryUse(
        tenant_id=order.tenant_id,
        token_id=order.token_id,
        act="forward",
        reference=order.forward_id,
        brand_id=order.brand_id,
        subject_id=order.subject_id,
        agent_id=actor,
    )


def _may(destination: Destination, order: ForwardOrder, actor: str) -> bool:
    """The registration lets this agent send a card of this brand there."""
    if destination.withdrawn_at is not None or destination.brand_id != order.brand_id:
        return False
    return actor in destination.agents


def _same(row: ForwardRow, order: ForwardOrder, actor: str, sha256: bytes) -> bool:
    named = ("brand_id", "subject_id", "destination_id", "token_id")
    if any(getattr(row, name) != getattr(order, name) for name in named):
        return False
    return (row.actor, row.template_sha256) == (actor, sha256)


def _view(row: ForwardRow, carried: Carried) -> ForwardView:
    """`row` says what happened; an answer is shown only to the one who got it."""
    shown = carried.shown if row.state == ForwardState.FORWARDED else None
    withheld = carried.withheld if carried.withheld is Withheld.NOT_KEPT else row.withheld
    has_answer = row.state == ForwardState.FORWARDED
    return ForwardView(
        forward_id=row.forward_id,
        state=ForwardState(row.state),
        reason=None if row.reason is None else ForwardReason(row.reason),
        http_status=row.http_status,
        content_type=None if shown is None else shown.content_type,
        headers={} if shown is None else shown.headers,
        body=None if shown is None else shown.body,
        redactions=row.redactions,
        withheld=None if withheld is None or not has_answer else Withheld(withheld),
    )
