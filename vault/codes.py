"""Verification codes between intake and the first charge: in this process's memory only.

Sealed under a key made at start and never written, held for at most ten minutes, taken once, gone at any final answer
and with the process. PCI DSS 3.3.1 forbids keeping the code after the charge; here it has no way to be kept. The key
and the sealed codes lie in pages of their own (locked_pages.py): a code's place is overwritten when the code goes, and
no copy of it was ever made elsewhere, sealed or not, until it is taken.

A code belongs to one generation of a token's card. The code of a newer one takes the place of an older one's, never the
other way round, and an older one that is asked for by the newer card is destroyed.
"""

import asyncio
import contextlib
import secrets
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from infra.chassis.clock import Clock
from vault.locked_pages import LockedPages

HELD_AT_MOST: Final = timedelta(minutes=10)
CODES_MAX: Final = 10_000
"""A bound on memory; beyond it the oldest is dropped, and its charge is refused for want of a code."""
SWEEP_SECONDS: Final = 1
"""How long an expired code, which nothing takes any more, may still lie where it was."""
_KEY_BYTES: Final = 32
_NONCE_BYTES: Final = 12
_PLAIN_BYTES: Final = 8
"""The code's length, the code, zeros: three or four digits, and nobody sees which of the two."""
_SEALED_BYTES: Final = _PLAIN_BYTES + 16
_PLACE_BYTES: Final = _NONCE_BYTES + _SEALED_BYTES


class CodeTooLong(ValueError):
    """No card has such a code."""


@dataclass(frozen=True, slots=True)
class _Held:
    offset: int
    until: datetime
    generation: int


class Codes:
    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self.pages = LockedPages(_KEY_BYTES + CODES_MAX * _PLACE_BYTES)
        self._key: Final = self.pages.view[:_KEY_BYTES]
        self._key[:] = secrets.token_bytes(_KEY_BYTES)
        self._free = list(range(_KEY_BYTES, len(self.pages.view), _PLACE_BYTES))
        self._held: dict[tuple[str, str], _Held] = {}

    def keep(self, tenant_id: str, token_id: str, digits: memoryview, generation: int = 1) -> None:
        """Seals a copy; the caller overwrites his own. Raises CodeTooLong."""
        if len(digits) >= _PLAIN_BYTES:
            raise CodeTooLong
        self.forget_expired()
        self._keep_until(tenant_id, token_id, digits, self._clock.now() + HELD_AT_MOST, generation)

    def give_back(
        self, tenant_id: str, token_id: str, digits: memoryview, until: datetime, generation: int = 1
    ) -> None:
        """A code that was taken for a processor which did nothing with it; it is not held any longer for that."""
        if self._clock.now() < until:
            self._keep_until(tenant_id, token_id, digits, until, generation)
            self._held = dict(sorted(self._held.items(), key=lambda item: item[1].until))

    def _keep_until(self, tenant_id: str, token_id: str, digits: memoryview, until: datetime, generation: int) -> None:
        known = self._held.get((tenant_id, token_id))
        if known is not None and known.generation > generation:
            return
        self.forget(tenant_id, token_id)
        if not self._free and not self._held:
            return  # after forget_all; the first charge is then refused for want of the code
        if not self._free:
            self.forget(*next(iter(self._held)))
        held = _Held(self._free.pop(), until, generation)
        plain = bytearray(_PLAIN_BYTES)
        try:
            plain[0] = len(digits)
            plain[1 : 1 + len(digits)] = digits
            nonce, sealed = self._place(held)
            nonce[:] = secrets.token_bytes(_NONCE_BYTES)
            AESGCM(self._key).encrypt_into(nonce, plain, _bound_to(tenant_id, token_id, generation), sealed)
        finally:
            plain[:] = bytes(_PLAIN_BYTES)
        self._held[tenant_id, token_id] = held

    def holds(self, tenant_id: str, token_id: str, generation: int = 1) -> bool:
        held = self._held.get((tenant_id, token_id))
        return held is not None and held.generation == generation and self._clock.now() < held.until

    def until(self, tenant_id: str, token_id: str) -> datetime | None:
        """Until when a code is held, if there is one."""
        held = self._held.get((tenant_id, token_id))
        return None if held is None else held.until

    def take(self, tenant_id: str, token_id: str, generation: int = 1) -> bytearray | None:
        """The digits, once; the caller overwrites them. None when there never was a code, or it is gone."""
        self.forget(tenant_id, token_id, before=generation)
        held = self._held.get((tenant_id, token_id))
        if held is None or held.generation != generation:
            return None
        del self._held[tenant_id, token_id]
        plain = bytearray(_PLAIN_BYTES)
        try:
            if self._clock.now() >= held.until:
                return None
            nonce, sealed = self._place(held)
            AESGCM(self._key).decrypt_into(nonce, sealed, _bound_to(tenant_id, token_id, generation), plain)
            return plain[1 : 1 + plain[0]]
        finally:
            plain[:] = bytes(_PLAIN_BYTES)
            self._overwrite(held)

    def forget(self, tenant_id: str, token_id: str, *, before: int | None = None) -> None:
        """With `before`, only the code of an older generation than that one."""
        held = self._held.get((tenant_id, token_id))
        if held is not None and (before is None or held.generation < before):
            del self._held[tenant_id, token_id]
            self._overwrite(held)

    def forget_expired(self) -> None:
        """They stand in the order in which they expire, so the search ends at the first that has not."""
        now = self._clock.now()
        while self._held:
            oldest = next(iter(self._held))
            if now < self._held[oldest].until:
                return
            self.forget(*oldest)

    def forget_all(self) -> None:
        """At the end of the process: the key goes too, and nothing can be kept any more."""
        self._held.clear()
        self._free.clear()
        self.pages.wipe()

    async def run(self, stop: asyncio.Event) -> None:
        """Beside the listeners: an expired code goes at once and does not wait for anybody to ask for it."""
        while not stop.is_set():
            self.forget_expired()
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(stop.wait(), SWEEP_SECONDS)

    def _place(self, held: _Held) -> tuple[memoryview, memoryview]:
        """Where its nonce and its sealed form lie."""
        place = self.pages.view[held.offset : held.offset + _PLACE_BYTES]
        return place[:_NONCE_BYTES], place[_NONCE_BYTES:]

    def _overwrite(self, held: _Held) -> None:
        self.pages.view[held.offset : held.offset + _PLACE_BYTES] = bytes(_PLACE_BYTES)
        self._free.append(held.offset)


def _bound_to(tenant_id: str, token_id: str, generation: int) -> bytes:
    return f"{tenant_id}\n{token_id}\n{generation}".encode()
