"""Cards between being presented and the one call that carries them, for a processor that takes both in one call.

Sealed under a key made at start and never written, taken once, for a minute at most: what is presented is confirmed
right away, or not at all. What nobody takes goes when its minute is over, whether or not another card comes.
"""

import asyncio
import contextlib
import secrets
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Final

from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from infra.chassis.clock import Clock
from infra.chassis.ids import new_id
from vault.cleartext.pan import CardDetails, CardNumber, VerificationCode

HELD_AT_MOST: Final = timedelta(minutes=1)
SWEEP_SECONDS: Final = 1
"""How long one past its time may still lie here."""
CARDS_MAX: Final = 1_000
"""A bound on memory; beyond it the oldest is dropped, and its charge ends as never sent."""
_NONCE_BYTES: Final = 12
_BETWEEN: Final = b"\n"


@dataclass(frozen=True, slots=True, eq=False)
class _Held:
    nonce: bytes
    sealed: bytes
    exp_month: int
    exp_year: int
    holder: str = field(repr=False)
    until: datetime


@dataclass(frozen=True, slots=True, eq=False)
class HeldCard:
    """Whoever takes one wipes it."""

    details: CardDetails
    code: VerificationCode | None

    def wipe(self) -> None:
        self.details.number.wipe()
        if self.code is not None:
            self.code.wipe()


class HeldCards:
    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._aead = AESGCM(AESGCM.generate_key(256))
        self._held: dict[str, _Held] = {}

    def hold(self, card: CardDetails, code: VerificationCode | None) -> str:
        """A reference by which it is taken, once."""
        self.forget_expired()
        while len(self._held) >= CARDS_MAX:
            del self._held[next(iter(self._held))]
        ref, nonce = new_id("hld"), secrets.token_bytes(_NONCE_BYTES)
        digits = _BETWEEN.join((bytes(card.number.reveal()), b"" if code is None else bytes(code.reveal())))
        self._held[ref] = _Held(
            nonce=nonce,
            sealed=self._aead.encrypt(nonce, digits, ref.encode()),
            exp_month=card.exp_month,
            exp_year=card.exp_year,
            holder=card.holder,
            until=self._clock.now() + HELD_AT_MOST,
        )
        return ref

    def take(self, ref: str) -> HeldCard | None:
        """None when it was taken before, or not in time."""
        held = self._held.pop(ref, None)
        if held is None or self._clock.now() >= held.until:
            return None
        number, _, code = self._aead.decrypt(held.nonce, held.sealed, ref.encode()).partition(_BETWEEN)
        return HeldCard(
            CardDetails(
                number=CardNumber(number.decode("ascii")),
                exp_month=held.exp_month,
                exp_year=held.exp_year,
                holder=held.holder,
            ),
            VerificationCode(code.decode("ascii")) if code else None,
        )

    async def run(self, stop: asyncio.Event) -> None:
        """Beside the listeners: let go of each at its time."""
        while not stop.is_set():
            self.forget_expired()
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(stop.wait(), SWEEP_SECONDS)

    def __len__(self) -> int:
        """How many are held, those past their time included until they are swept."""
        return len(self._held)

    def forget_all(self) -> None:
        """At the end of the process."""
        self._held.clear()

    def forget_expired(self) -> None:
        """All are held equally long, so the oldest expire first."""
        now = self._clock.now()
        while self._held:
            oldest = next(iter(self._held))
            if now < self._held[oldest].until:
                return
            del self._held[oldest]
