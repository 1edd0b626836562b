"""What recalls were prepared: opened memories, held in this process's memory alone, for seconds, for one use.

Nothing here is written anywhere. A process that dies or restarts has nothing prepared, and every recall works without.
"""

import asyncio
from collections import Counter, OrderedDict
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final, NamedTuple

from infra.chassis.clock import Clock
from memory.contract import PREPARATION_TTL_SECONDS, MemoryView
from memory.rank import rank_counted, wanted_stems

CHARACTERS_MAX: Final = 32_000_000
"""Of all texts together: three subjects with everything they can have, or a thousand with 200 ordinary memories."""
PENDING_MAX: Final = 1_000
SWEEP_EVERY_SECONDS: Final = 1
TTL: Final = timedelta(seconds=PREPARATION_TTL_SECONDS)


class Whose(NamedTuple):
    tenant_id: str
    brand_id: str
    subject_id: str


@dataclass(frozen=True, slots=True, repr=False)
class Opened:
    """A subject's memories at one brand up to a tier, newest first, with what ranking them needs.

    No repr: what is in here must not reach a log.
    """

    memories: Sequence[MemoryView]
    counted: Sequence[Counter[str]]
    digests: Mapping[int, bytes]
    tier_max: int
    said: tuple[str, ...] = ()
    ranked: Sequence[int] = ()
    """The order of all places for the stems `said` so far."""

    @property
    def characters(self) -> int:
        return sum(len(memory.text) for memory in self.memories)

    def digests_up_to(self, tier_max: int) -> dict[int, bytes]:
        return {tier: digest for tier, digest in self.digests.items() if tier <= tier_max}

    def best(self, query: str, tier_max: int, limit: int) -> list[MemoryView]:
        """What `rank` chooses among the memories up to `tier_max`."""
        wanted = wanted_stems(query)
        if wanted == self.said and tier_max == self.tier_max:
            return [self.memories[place] for place in self.ranked[:limit]]
        seen = [place for place, memory in enumerate(self.memories) if memory.tier <= tier_max]
        chosen = rank_counted(wanted, [self.counted[place] for place in seen], limit)
        return [self.memories[seen[place]] for place in chosen]


@dataclass(slots=True, repr=False)
class _Held:
    preparation_id: str
    ends_at: datetime
    opened: Opened | None = None
    """None while it is being opened."""


class Preparations:
    """One for a subject at a brand. Each method is one step of the event loop, so no lock is needed."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._held: OrderedDict[Whose, _Held] = OrderedDict()
        self._characters = 0

    def begin(self, whose: Whose, preparation_id: str) -> None:
        """Takes the place of an earlier one. A recall or a forgetting in between ends it before it is kept."""
        self.drop(whose)
        while len(self._held) >= PENDING_MAX:
            self.drop(next(iter(self._held)))
        self._held[whose] = _Held(preparation_id, self._clock.now() + TTL)

    def keep(self, whose: Whose, preparation_id: str, opened: Opened) -> None:
        held = self._held.get(whose)
        if held is None or held.preparation_id != preparation_id or held.opened is not None:
            return
        if opened.characters > CHARACTERS_MAX:
            self.drop(whose)
            return
        held.opened = opened
        self._characters += opened.characters
        while self._characters > CHARACTERS_MAX:
            self.drop(next(other for other in self._held if other != whose))

    def take(self, whose: Whose, preparation_id: str) -> Opened | None:
        """Whatever is held for `whose` is gone afterwards; answered only if it is this very one, ready and in time."""
        held = self._held.get(whose)
        self.drop(whose)
        if held is None or held.preparation_id != preparation_id or held.ends_at <= self._clock.now():
            return None
        return held.opened

    def drop(self, whose: Whose) -> None:
        held = self._held.pop(whose, None)
        if held is not None and held.opened is not None:
            self._characters -= held.opened.characters

    def drop_subject(self, tenant_id: str, subject_id: str) -> None:
        for whose in [whose for whose in self._held if (whose.tenant_id, whose.subject_id) == (tenant_id, subject_id)]:
            self.drop(whose)

    def drop_expired(self) -> None:
        now = self._clock.now()
        for whose in [whose for whose, held in self._held.items() if held.ends_at <= now]:
            self.drop(whose)

    def __len__(self) -> int:
        return len(self._held)

    async def sweep(self, stop: asyncio.Event) -> None:
        """Every second until `stop`: what nobody came back for does not stay."""
        while not stop.is_set():
            self.drop_expired()
            with suppress(TimeoutError):
                await asyncio.wait_for(stop.wait(), SWEEP_EVERY_SECONDS)
