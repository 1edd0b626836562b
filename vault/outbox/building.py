"""The outbox, built by hand: the same for the serving vault, for a courier of its own and for the command line."""

from dataclasses import dataclass

from prometheus_client import CollectorRegistry

from infra.chassis.clock import Clock
from vault.names import Names, NamesResolver
from vault.outbox.caretaking import Caretaker
from vault.outbox.counters import OutboxCounters
from vault.outbox.courier import Courier
from vault.outbox.endpoints import Endpoints
from vault.outbox.sending import Sender
from vault.outbox.settings import OutboxSettings
from vault.outbox.signing import EndpointKeys
from vault.store import Store


@dataclass(frozen=True, slots=True)
class Outbox:
    endpoints: Endpoints
    courier: Courier
    caretaker: Caretaker


def build_outbox(
    *, store: Store, settings: OutboxSettings, clock: Clock, registry: CollectorRegistry, sandbox: bool, names: Names
) -> Outbox:
    keys, counters = EndpointKeys(settings.outbox_key), OutboxCounters(registry)
    sender = Sender(sandbox=sandbox, resolver=NamesResolver(names))
    return Outbox(
        endpoints=Endpoints(store=store, keys=keys, clock=clock, sandbox=sandbox),
        courier=Courier(store=store, keys=keys, sender=sender, clock=clock, counters=counters),
        caretaker=Caretaker(store=store, clock=clock, settings=settings, counters=counters),
    )
