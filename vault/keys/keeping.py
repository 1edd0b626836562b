"""What keeps keys and cards, built by hand: the same for the serving vault and for the command line."""

from dataclasses import dataclass

from infra.chassis.clock import Clock
from infra.chassis.keys import KeyService
from vault.keys.lifecycle import Lifecycle
from vault.keys.purging import Purging
from vault.keys.resealing import Resealing
from vault.keys.ring import KeyRing
from vault.keys.rotation import Rotation
from vault.keys.rounds import Rounds
from vault.keys.settings import LifecycleSettings
from vault.keys.shredding import Shredding
from vault.store import Store


@dataclass(frozen=True, slots=True)
class Keeping:
    store: Store
    keys: KeyService
    clock: Clock
    ring: KeyRing
    rotation: Rotation
    shredding: Shredding
    rounds: Rounds
    purging: Purging
    lifecycle: Lifecycle


def build_keeping(store: Store, keys: KeyService, clock: Clock, settings: LifecycleSettings) -> Keeping:
    ring = KeyRing(store, keys, clock, settings)
    resealing = Resealing(store=store, ring=ring, clock=clock)
    rotation = Rotation(store=store, ring=ring, resealing=resealing, clock=clock, settings=settings)
    shredding = Shredding(store=store, clock=clock)
    rounds = Rounds(store=store, keys=keys, ring=ring, resealing=resealing, clock=clock)
    purging = Purging(store=store, clock=clock, settings=settings)
    lifecycle = Lifecycle(
        store=store,
        keys=keys,
        ring=ring,
        rotation=rotation,
        shredding=shredding,
        rounds=rounds,
        purging=purging,
        clock=clock,
        settings=settings,
    )
    return Keeping(store, keys, clock, ring, rotation, shredding, rounds, purging, lifecycle)
