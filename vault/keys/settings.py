"""How long keys and cards live: a group of the vault's settings."""

from dataclasses import dataclass
from datetime import timedelta

DAYS_MAX = 730
"""NIST SP 800-57 part 1 rev. 5, table 1: a key that wraps keys is used for two years at most."""
SEALS_MAX = 2**40
"""Each seal has a key of its own (infra/chassis/sealing.py), so the bound is 2^80 and not the 2^32 of random GCM
nonces."""
SEALS_MIN = 10_000
"""Re-sealing counts too. A ceiling near the number of a tenant's cards would rotate without end."""
MONTHS_MAX = 120
ROUND_HOURS_MAX = 720


@dataclass(frozen=True, slots=True)
class LifecycleSettings:
    """Cryptoperiods of tenant keys and of the root, seals of one version, what waits for a round, what is kept.

    `shred_round_hours`: from a shredding to the round that makes it final, at most (and as long as that takes).
    `card_months_kept` are counted from the end of the month printed on the card.
    """

    tenant_key_days: int = 365
    tenant_key_seals_max: int = 1_000_000_000
    root_key_days: int = 365
    shred_round_hours: int = 24
    card_months_kept: int = 3
    capture_days_kept: int = 30
    event_days_kept: int = 90
    inquiry_days_kept: int = 90

    @property
    def tenant_key_period(self) -> timedelta:
        return timedelta(days=self.tenant_key_days)

    def faults(self) -> list[str]:
        """Numbers outside of what is sensible, by the name of their variable."""
        ranges = {
            "TENANT_KEY_DAYS": (1, self.tenant_key_days, DAYS_MAX),
            "TENANT_KEY_SEALS_MAX": (SEALS_MIN, self.tenant_key_seals_max, SEALS_MAX),
            "ROOT_KEY_DAYS": (1, self.root_key_days, DAYS_MAX),
            "SHRED_ROUND_HOURS": (1, self.shred_round_hours, ROUND_HOURS_MAX),
            "CARD_MONTHS_KEPT": (0, self.card_months_kept, MONTHS_MAX),
            "CAPTURE_DAYS_KEPT": (1, self.capture_days_kept, DAYS_MAX),
            "EVENT_DAYS_KEPT": (30, self.event_days_kept, DAYS_MAX),
            "INQUIRY_DAYS_KEPT": (40, self.inquiry_days_kept, DAYS_MAX),
        }
        return [
            f"{name} must be from {least} to {most}"
            for name, (least, given, most) in ranges.items()
            if not least <= given <= most
        ]
