"""Verification codes between intake and the first charge: in this process's memory only.

Sealed under a key made at start and never written, held for at most ten minutes, taken once, gone at any final answer
and with the process. PCI DSS 3.3.1 forbids keeping the code after the charge; here it has no way to be kept.
"""

import secrets
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from infra.chassis.clock import Clock

HELD_AT_MOST: Final = timedelta(minutes=10)
CODES_MAX: Final = 10_000
"""A bound on memory; beyond it the oldest is dropped, and its charge is refused for want of a code."""
_NONCE_BYTES: Final = 12


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class _Held:
    nonce: bytes
    sealed: bytes
    until: datetime


class Codes:
    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._aead = AESGCM(AESGCM.generate_key(256))
        self._held: dict[tuple[str, str], _Held] = {}

    def keep(self, tenant_id: str, token_id: str, digits: memoryview) -> None:
        self.forget_expired()
        self._keep_until(tenant_id, token_id, digits, self._clock.now() + HELD_AT_MOST)

    def give_back(self, tenant_id: str, token_id: str, digits: memoryview, until: datetime) -> None:
        """A code that was taken for a processor which did nothing with it; it is not held any longer for that."""
        if self._clock.now() < until:
            self._keep_until(tenant_id, token_id, digits, until)
            self._held = dict(sorted(self._held.items(), key=lambda item: item[1].until))

    def _keep_until(self, tenant_id: str, token_id: str, digits: memoryview, until: datetime) -> None:
        self.forget(tenant_id, token_id)
        while len(self._held) >= CODES_MAX:
            del self._held[next(iter(self._held))]
        nonce = secrets.token_bytes(_NONCE_BYTES)
        sealed = self._aead.encrypt(nonce, digits, _place(tenant_id, token_id))
        self._held[tenant_id, token_id] = _Held(nonce, sealed, until)

    def holds(self, tenant_id: str, token_id: str) -> bool:
        held = self._held.get((tenant_id, token_id))
        return held is not None and self._clock.now() < held.until

    def until(self, tenant_id: str, token_id: str) -> datetime | None:
        """Until when a code is held, if there is one."""
        held = self._held.get((tenant_id, token_id))
        return None if held is None else held.until

    def take(self, tenant_id: str, token_id: str) -> bytearray | None:
        """The digits, once; the caller overwrites them. None when there never was a code, or it is gone."""
        held = self._held.pop((tenant_id, token_id), None)
        if held is None or self._clock.now() >= held.until:
            return None
        return bytearray(self._aead.decrypt(held.nonce, held.sealed, _place(tenant_id, token_id)))

    def forget(self, tenant_id: str, token_id: str) -> None:
        self._held.pop((tenant_id, token_id), None)

    def forget_expired(self) -> None:
        """They stand in the order in which they expire, so the search ends at the first that has not."""
        now = self._clock.now()
        while self._held:
            oldest = next(iter(self._held))
            if now < self._held[oldest].until:
                return
            del self._held[oldest]


def _place(tenant_id: str, token_id: str) -> bytes:
    return f"{tenant_id}\n{token_id}".encode()
