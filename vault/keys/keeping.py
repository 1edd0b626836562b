"""What keeps keys and cards, built by hand: the same for the serving vault and for the command line."""

from dataclasses import dataclass

from infra.chassis.clock import Clock
from infra.chassis.keys import KeyService
from vault.keys.lifecycle import Lifecycle
from vault.keys.resealing import Resealing
from vault.keys.ring import KeyRing
from vault.keys.rotation import Rotation
from vault.keys.settings import LifecycleSettings
from vault.store import Store


@dataclass(frozen=True, slots=True)
class Keeping:
    store: Store
    keys: KeyService
    ring: KeyRing
    rotation: Rotation
    lifecycle: Lifecycle


def build_keeping(store: Store, keys: KeyService, clock: Clock, settings: LifecycleSettings) -> Keeping:
    ring = KeyRing(store, keys, clock, settings)
    resealing = Resealing(store=store, ring=ring, clock=clock)
    rotation = Rotation(store=store, ring=ring, resealing=resealing, clock=clock, settings=settings)
    return Keeping(
        store=store,
        keys=keys,
        ring=ring,
        rotation=rotation,
        lifecycle=Lifecycle(store=store, ring=ring, rotation=rotation),
    )
