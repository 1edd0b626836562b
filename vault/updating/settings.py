"""The card updater this vault is connected to, if any: a group of the vault's settings."""

from dataclasses import dataclass
from pathlib import Path
from typing import Final

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from infra.chassis.clock import Clock
from infra.chassis.secret import Secret
from vault.cleartext.updaters.checkout import CheckoutUpdater

KEY_BITS_MIN: Final = 2048
"""NIST SP 800-131A rev. 2, table 5: less is disallowed."""
SECONDS_MAX: Final = 86_400
DAILY_MAX: Final = 1_000_000
NEEDED: Final = (
    "updater_url",
    "updater_login_url",
    "updater_client_id",
    "updater_client_secret_file",
    "updater_key_file",
)


@dataclass(frozen=True, slots=True)
class UpdaterSettings:
    """All of it is given, or nothing. Even then nobody's cards are sent before their tenant turned it on.

    `updater_login_url` is where a bearer is had; cards go to `updater_url` only. `updater_key_file`: the RSA key under
    which new numbers come. `updater_every_seconds`: from one round to the next. `updater_daily_max`: inquiries about
    the cards of one tenant within 24 hours; each costs money.
    """

    updater_url: str = ""
    updater_login_url: str = ""
    updater_client_id: str = ""
    updater_client_secret_file: Path | None = None
    updater_key_file: Path | None = None
    updater_every_seconds: int = 60
    updater_daily_max: int = 1_000

    @property
    def is_connected(self) -> bool:
        return bool(self.updater_url)

    def faults(self) -> list[str]:
        """What is missing or cannot be used, by the name of its variable."""
        given = [name for name in NEEDED if getattr(self, name)]
        if given and len(given) < len(NEEDED):
            return [f"{name.upper()} is missing" for name in NEEDED if name not in given]
        wrong = []
        if not 1 <= self.updater_every_seconds <= SECONDS_MAX:
            wrong.append(f"UPDATER_EVERY_SECONDS must be from 1 to {SECONDS_MAX}")
        if not 1 <= self.updater_daily_max <= DAILY_MAX:
            wrong.append(f"UPDATER_DAILY_MAX must be from 1 to {DAILY_MAX}")
        if given and not _content(self.updater_client_secret_file):
            wrong.append("UPDATER_CLIENT_SECRET_FILE cannot be used")
        if given and not _is_key(_content(self.updater_key_file)):
            wrong.append(f"UPDATER_KEY_FILE must be an RSA key of {KEY_BITS_MIN} bits or more, as PEM")
        return wrong


def build_updater(settings: UpdaterSettings, timeout_seconds: float, clock: Clock) -> CheckoutUpdater | None:
    """Of settings without faults; None where there is none."""
    if not settings.is_connected:
        return None
    return CheckoutUpdater(
        url=settings.updater_url,
        login_url=settings.updater_login_url,
        client_id=settings.updater_client_id,
        client_secret=Secret(_content(settings.updater_client_secret_file).decode().strip()),
        key=Secret(_content(settings.updater_key_file)),
        timeout_seconds=timeout_seconds,
        clock=clock,
    )


def _content(path: Path | None) -> bytes:
    """Empty where there is nothing to read."""
    try:
        return b"" if path is None else path.read_bytes().strip()
    except OSError:
        return b""


def _is_key(pem: bytes) -> bool:
    try:
        key = load_pem_private_key(pem, None)
    except (ValueError, TypeError, UnsupportedAlgorithm):
        return False
    return isinstance(key, RSAPrivateKey) and key.key_size >= KEY_BITS_MIN
