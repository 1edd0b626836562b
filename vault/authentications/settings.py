"""Where a card's holder may be sent to confirm a charge, and for how long they may."""

import re
from dataclasses import dataclass
from datetime import timedelta
from typing import Final

SECONDS_MIN, SECONDS_MAX = 60, 15 * 60
"""Who has less cannot find their telephone. Who had longer would confirm when their goods are not held for them any
more: a shop holds them for 20 minutes (mcp_server/checkout/stock.py; a test compares the two)."""
_ORIGIN: Final = re.compile(r"https://[a-z0-9](?:[a-z0-9.-]{0,250}[a-z0-9])?(?::[1-9][0-9]{0,4})?")


@dataclass(frozen=True, slots=True)
class AuthenticationSettings:
    """Origins are parted by commas, each `https://host`: where Stripe may send a person, and where Airwallex may.

    Stripe's is that of its documentation. Airwallex documents none; these are the hosts of its payment API, on the test
    counterparts of which its 3-D Secure pages were seen.
    """

    authentication_origins: str = "https://hooks.stripe.com"
    airwallex_authentication_origins: str = "https://pci-api.airwallex.com,https://api.airwallex.com"
    authentication_seconds: int = 15 * 60

    @property
    def origins(self) -> frozenset[str]:
        return frozenset(self.authentication_origins.split(","))

    @property
    def airwallex_origins(self) -> frozenset[str]:
        return frozenset(self.airwallex_authentication_origins.split(","))

    @property
    def lasts(self) -> timedelta:
        return timedelta(seconds=self.authentication_seconds)

    def faults(self) -> list[str]:
        """What cannot be used, by the name of its variable."""
        lists = {"AUTHENTICATION_ORIGINS": self.origins, "AIRWALLEX_AUTHENTICATION_ORIGINS": self.airwallex_origins}
        found = [
            f"{name} must be origins such as https://hooks.stripe.com, parted by commas"
            for name, origins in lists.items()
            if not all(_ORIGIN.fullmatch(origin) for origin in origins)
        ]
        if not SECONDS_MIN <= self.authentication_seconds <= SECONDS_MAX:
            found.append(
                f"AUTHENTICATION_SECONDS must be from {SECONDS_MIN} to {SECONDS_MAX}: goods are not held for longer"
            )
        return found
