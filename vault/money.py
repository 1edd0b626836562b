"""Everything that moves money, built by hand: charges, holds, refunds, disputes, and who ends what was left open."""

from dataclasses import dataclass

from infra.chassis.clock import Clock
from vault.authentications.answering import Authentications
from vault.authentications.asking import Asking
from vault.canaries import Canaries
from vault.charges import Charges
from vault.cleartext.tokenise import Cards
from vault.codes import Codes
from vault.counters import Counters
from vault.disputes import Disputes
from vault.holds.ending import HoldEnds
from vault.holds.keeping import HoldKeeper
from vault.inbox import Events, Inbox
from vault.leftovers import Leftovers
from vault.never_sent import NeverSent
from vault.outcomes import Outcomes
from vault.processors import Processors
from vault.reconcile import Reconciler
from vault.refunds import Refunds
from vault.store import Store
from vault.workers import Workers


@dataclass(frozen=True, slots=True)
class Money:
    charges: Charges
    authentications: Authentications
    holds: HoldEnds
    refunds: Refunds
    inbox: Inbox
    reconciler: Reconciler


def build_money(
    *,
    store: Store,
    cards: Cards,
    codes: Codes,
    canaries: Canaries,
    processors: Processors,
    clock: Clock,
    counters: Counters,
    workers: Workers,
    timeout_seconds: float,
    asking: Asking,
) -> Money:
    outcomes = Outcomes(store=store, codes=codes, clock=clock, counters=counters, action_lasts=asking.lasts)
    reconciler = Reconciler(
        store=store,
        processors=processors,
        outcomes=outcomes,
        codes=codes,
        never_sent=NeverSent(store, cards, counters),
        clock=clock,
        processor_timeout_seconds=timeout_seconds,
    )
    keeper = HoldKeeper(
        store=store, processors=processors, outcomes=outcomes, clock=clock, processor_timeout_seconds=timeout_seconds
    )
    disputes = Disputes(store=store, processors=processors, clock=clock)
    authentications = Authentications(store=store, processors=processors, reconciler=reconciler, clock=clock)
    events = Events(store=store, reconciler=reconciler, keeper=keeper, disputes=disputes, clock=clock)
    reconciler.also(keeper, authentications, events, Leftovers(store, processors, clock, counters))
    return Money(
        charges=Charges(
            store=store,
            cards=cards,
            codes=codes,
            canaries=canaries,
            processors=processors,
            reconciler=reconciler,
            outcomes=outcomes,
            clock=clock,
            workers=workers,
            counters=counters,
            processor_timeout_seconds=timeout_seconds,
            asking=asking,
        ),
        authentications=authentications,
        holds=HoldEnds(
            store=store,
            keeper=keeper,
            reconciler=reconciler,
            clock=clock,
            workers=workers,
            processor_timeout_seconds=timeout_seconds,
        ),
        refunds=Refunds(
            store=store, reconciler=reconciler, clock=clock, workers=workers, processor_timeout_seconds=timeout_seconds
        ),
        inbox=Inbox(store=store, processors=processors, reconciler=reconciler, clock=clock, counters=counters),
        reconciler=reconciler,
    )
