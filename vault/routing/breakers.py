"""A circuit breaker for each processor: one that does not answer goes to the end of the line and is tried now and then.

It never keeps a charge from the only processor there is. It lives in this process; another one finds out for itself.
"""

from collections.abc import Awaitable, Sequence
from datetime import datetime, timedelta
from typing import Final, TypeVar

from infra.chassis import logs
from infra.chassis.clock import Clock
from vault.cleartext.pan import CardDetails, VerificationCode
from vault.cleartext.processors import (
    Dispute,
    Payment,
    PaymentOrder,
    Processor,
    ProcessorEvent,
    ProcessorRefused,
    ProcessorSilent,
    RefundRequest,
    RefundResult,
)
from vault.counters import Counters

SILENCES_MAX: Final = 5
"""Silences in a row after which it is open. One lost answer is no outage; five in a row under load are."""
TRIED_EVERY: Final = timedelta(seconds=30)
_V = TypeVar("_V")

log = logs.get_logger()


class Breaker:
    def __init__(self, name: str, clock: Clock) -> None:
        self._name = name
        self._clock = clock
        self._silences = 0
        self._trial_at: datetime | None = None

    @property
    def is_open(self) -> bool:
        return self._trial_at is not None

    def would_let_through(self) -> bool:
        """Whether it may be tried before the others; while it is open one charge may, every `TRIED_EVERY`."""
        return self._trial_at is None or self._clock.now() >= self._trial_at

    def lets_through(self) -> bool:
        """The same, of whoever is about to call it: while it is open, that is the one trial."""
        if not self.would_let_through():
            return False
        if self._trial_at is not None:
            self._trial_at = self._clock.now() + TRIED_EVERY
        return True

    def answered(self) -> None:
        if self._trial_at is not None:
            log.info("processor_answers_again", processor=self._name)
        self._silences, self._trial_at = 0, None

    def was_silent(self) -> None:
        self._silences += 1
        if self._silences >= SILENCES_MAX:
            if self._trial_at is None:
                log.warning("processor_does_not_answer", processor=self._name)
            self._trial_at = self._clock.now() + TRIED_EVERY


class Watched:
    """A processor whose answers and silences are counted, and told to its breaker."""

    def __init__(self, name: str, processor: Processor, clock: Clock, counters: Counters) -> None:
        self.breaker = Breaker(name, clock)
        self._name = name
        self._processor = processor
        self._calls = counters.processor_calls
        counters.processor_open.labels(name).set_function(lambda: float(self.breaker.is_open))

    async def open_payment(self, order: PaymentOrder) -> str:
        return await self._count(self._processor.open_payment(order))

    async def present_card(self, key: str, card: CardDetails, code: VerificationCode | None) -> str:
        return await self._count(self._processor.present_card(key, card, code))

    async def confirm_payment(
        self, key: str, ref: str, method_ref: str, *, by_phone: bool = False, return_url: str | None = None
    ) -> Payment:
        confirmed = self._processor.confirm_payment(key, ref, method_ref, by_phone=by_phone, return_url=return_url)
        return await self._count(confirmed)

    async def look_up_payment(self, ref: str) -> Payment:
        return await self._count(self._processor.look_up_payment(ref))

    async def find_payments(self, tenant_id: str, charge_id: str) -> list[Payment]:
        return await self._count(self._processor.find_payments(tenant_id, charge_id))

    async def settle_payment(self, key: str, ref: str, amount_minor: int, currency: str) -> Payment:
        return await self._count(self._processor.settle_payment(key, ref, amount_minor, currency))

    async def cancel_payment(self, ref: str, key: str | None = None) -> None:
        await self._count(self._processor.cancel_payment(ref, key))

    async def disputes_of(self, ref: str) -> list[Dispute]:
        return await self._count(self._processor.disputes_of(ref))

    async def refund(self, request: RefundRequest) -> RefundResult:
        return await self._count(self._processor.refund(request))

    async def find_refund(self, request: RefundRequest) -> RefundResult | None:
        return await self._count(self._processor.find_refund(request))

    def read_event(self, body: bytes, signature: str | None) -> ProcessorEvent:
        return self._processor.read_event(body, signature)

    async def close(self) -> None:
        await self._processor.close()

    async def _count(self, call: Awaitable[_V]) -> _V:
        """A refusal is an answer: whoever refuses is there."""
        try:
            result = await call
        except ProcessorSilent:
            self._calls.labels(self._name, "silent").inc()
            self.breaker.was_silent()
            raise
        except ProcessorRefused:
            self._calls.labels(self._name, "refused").inc()
            self.breaker.answered()
            raise
        self._calls.labels(self._name, "answered").inc()
        self.breaker.answered()
        return result


def in_line(order: Sequence[str], breakers: dict[str, Breaker]) -> tuple[str, ...]:
    """The same processors, those that do not answer behind the others. One alone is not asked whether it may.

    Looked at and not used up: between here and the call an order may still be refused, and a trial that is granted and
    not made would be missing where it could be. Who comes to the call asks again.
    """
    if len(order) == 1:
        return tuple(order)
    front: list[str] = []
    last: list[str] = []
    for name in order:
        breaker = breakers.get(name)
        waits = breaker is not None and breaker.is_open and (bool(front) or not breaker.would_let_through())
        (last if waits else front).append(name)
    return (*front, *last)
