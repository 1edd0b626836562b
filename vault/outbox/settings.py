"""The outbox: a group of the vault's settings."""

from dataclasses import dataclass

from infra.chassis.secret import Secret

KEY_BYTES = 32
DAYS_MIN = 30
"""Longer than the four weeks in which an expired card is told of once (telling.py)."""
DAYS_MAX = 730


@dataclass(frozen=True, slots=True)
class OutboxSettings:
    """`outbox_key` is what every endpoint's keys are derived from, 32 bytes.

    `outbox_courier`: this process delivers. A vault that may not reach the internet does not; `python -m vault courier`
    does it elsewhere. Events nobody is owed any more are kept for `outbox_days_kept`, given up ones for
    `outbox_dead_days_kept`.
    """

    outbox_key: Secret[bytes]
    outbox_courier: bool = True
    outbox_days_kept: int = 30
    outbox_dead_days_kept: int = 90

    def faults(self) -> list[str]:
        """Numbers outside of what is sensible, by the name of their variable."""
        wrong = []
        if len(self.outbox_key.reveal()) != KEY_BYTES:
            wrong.append(f"OUTBOX_KEY_FILE must hold {KEY_BYTES} bytes")
        if not DAYS_MIN <= self.outbox_days_kept <= DAYS_MAX:
            wrong.append(f"OUTBOX_DAYS_KEPT must be from {DAYS_MIN} to {DAYS_MAX}")
        if not self.outbox_days_kept <= self.outbox_dead_days_kept <= DAYS_MAX:
            wrong.append(f"OUTBOX_DEAD_DAYS_KEPT must be from OUTBOX_DAYS_KEPT to {DAYS_MAX}")
        return wrong
