"""The order of processors for a charge. Pure: the same routes and the same charge give the same order, every time.

A tenant's routes are rows. Those that fit the charge are taken by their position, lowest first; among those of one
position chance decides, by weight, and the charge's id is the chance (weighted rendezvous hashing: Thaler and
Ravishankar, "Using Name-Based Mappings to Increase Hit Rates", 1998). So a repeated order goes the same way, also in
another process, and what comes after the first is the order of failover. Without a route that fits it is the vault's
default alone.
"""

import hashlib
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Final

WEIGHT_MAX: Final = 1_000
POSITION_MAX: Final = 100
_CHANCES: Final = 2**64


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """What a route may look at."""

    charge_id: str
    brand_id: str
    currency: str
    card_brand: str
    amount_minor: int
    by_phone: bool = False
    """No route looks at it: it is the processor that has to allow telephone orders."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Route:
    """None fits everything. Amounts are minor units of the charge's currency, both ends included."""

    route_id: str
    position: int
    processor: str
    weight: int
    brand_id: str | None = None
    currency: str | None = None
    card_brand: str | None = None
    amount_from_minor: int | None = None
    amount_to_minor: int | None = None

    def fits(self, asked: Asked) -> bool:
        pairs = ((self.brand_id, asked.brand_id), (self.currency, asked.currency), (self.card_brand, asked.card_brand))
        if any(wanted is not None and wanted != given for wanted, given in pairs):
            return False
        least = 0 if self.amount_from_minor is None else self.amount_from_minor
        return least <= asked.amount_minor and (
            self.amount_to_minor is None or asked.amount_minor <= self.amount_to_minor
        )


def order_of(routes: Iterable[Route], asked: Asked, default: str) -> tuple[str, ...]:
    """Names of processors, each once, the one to be tried first in front. Never empty."""
    fitting = sorted((route for route in routes if route.fits(asked)), key=lambda route: route.position)
    found: dict[str, None] = {}
    for _, level in groupby(fitting, key=lambda route: route.position):
        found.update(dict.fromkeys(_drawn(asked.charge_id, list(level))))
    return tuple(found) or (default,)


def _drawn(charge_id: str, level: Sequence[Route]) -> list[str]:
    """Two routes to one processor at one position count together."""
    weights: dict[str, int] = {}
    for route in level:
        weights[route.processor] = weights.get(route.processor, 0) + route.weight
    return sorted(weights, key=lambda name: (_wait(charge_id, name, weights[name]), name))


def _wait(charge_id: str, processor: str, weight: int) -> float:
    """Like the time until the first of `weight` clocks strikes: who has more is earlier, in proportion."""
    digest = hashlib.sha256(f"{charge_id}\n{processor}".encode()).digest()
    chance = (int.from_bytes(digest[:8]) + 1) / (_CHANCES + 1)
    return -math.log(chance) / weight
