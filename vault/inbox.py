"""Events of the processor: signed, taken once each, and believed in nothing but where to look."""

from infra.chassis.clock import Clock
from vault.cleartext.processors import EventRefused, Processor, ProcessorEvent
from vault.counters import Counters
from vault.errors import WebhookRefused
from vault.reconcile import Reconciler
from vault.store import Store


class Inbox:
    def __init__(
        self, *, store: Store, processor: Processor, reconciler: Reconciler, clock: Clock, counters: Counters
    ) -> None:
        self._store = store
        self._processor = processor
        self._reconciler = reconciler
        self._clock = clock
        self._counters = counters

    async def take(self, body: bytes, signature: str | None) -> None:
        """Raises WebhookRefused. Late, repeated and reordered events do no harm: the processor is asked again."""
        try:
            event = self._processor.read_event(body, signature)
        except EventRefused:
            self._counters.webhooks.labels("refused").inc()
            raise WebhookRefused from None
        fresh = await self._note(event)
        self._counters.webhooks.labels("taken" if fresh else "ignored").inc()
        if fresh:
            self._reconciler.nudge()

    async def _note(self, event: ProcessorEvent) -> bool:
        """Whether the event is about one of our tenants and came for the first time."""
        if event.tenant_id is None:
            return False
        async with self._store.transaction(event.tenant_id) as tx:
            return await tx.has_tenant() and await tx.insert_event(event.event_id, event.kind, self._clock.now())
