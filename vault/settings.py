"""Everything the vault is told at start. Secrets are read from the files the environment names."""

from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

from infra.chassis.keys.settings import KeySettings
from infra.chassis.secret import Secret
from infra.chassis.settings import Bind, SettingsIncomplete
from infra.chassis.walls.settings import WallSettings
from vault.authentications.asking import Asking
from vault.authentications.settings import AuthenticationSettings
from vault.keys.settings import LifecycleSettings
from vault.outbox.settings import OutboxSettings
from vault.processors import ProcessorSettings
from vault.updating.settings import UpdaterSettings

PREFIX = "vault"
PROCESSOR_TIMEOUT_SECONDS = 6
"""One call to the processor. Three make a charge; a caller that waits less asks again with the same charge_id."""

FORWARD_TIMEOUT_SECONDS = 6
"""A destination's whole answer. With its name looked up before (2 s) that ends before the gateway has waited 10 s."""


@dataclass(frozen=True, slots=True)
class Settings:
    """`door_origin` is the gateway's public origin: only its door page may open a capture.

    `custody_folder`: what custodians keep, beside the root file unless said. `open_root`: outside of a sandbox, serve
    though the root file lies open. `crash_points` is for tests: infra.chassis.crashpoints. `forward_credentials`: the
    folder with `<tenant_id>/<destination_id>`, what proves us to the destinations of forwards.
    """

    bind: Bind
    page_bind: Bind
    webhook_bind: Bind
    page_url: str
    database_url: Secret[str]
    grant_jwks_file: Path
    grant_issuer: str
    door_origin: str
    fingerprint_key: Secret[bytes]
    processor_url: str
    processor_key: Secret[str]
    webhook_secret: Secret[str]
    keys: KeySettings
    outbox: OutboxSettings
    processor_timeout_seconds: int = PROCESSOR_TIMEOUT_SECONDS
    log_level: str = "INFO"
    custody_folder: Path | None = None
    open_root: bool = False
    sandbox: bool = False
    crash_points: str = ""
    forward_credentials: Path | None = None
    forward_timeout_seconds: int = FORWARD_TIMEOUT_SECONDS
    lifecycle: LifecycleSettings = field(default_factory=LifecycleSettings)
    processors: ProcessorSettings = field(default_factory=ProcessorSettings)
    updater: UpdaterSettings = field(default_factory=UpdaterSettings)
    authentications: AuthenticationSettings = field(default_factory=AuthenticationSettings)
    walls: WallSettings = field(default_factory=WallSettings)

    @property
    def page_origin(self) -> str:
        parts = urlsplit(self.page_url)
        return f"{parts.scheme}://{parts.netloc}"

    @property
    def asking(self) -> Asking:
        return Asking(self.page_origin, self.authentications.lasts)

    @property
    def action_origins(self) -> frozenset[str]:
        """Where a card's holder may be sent to their bank. A sandbox's processor stands for the bank, too."""
        own = {self.processor_url.rstrip("/")} if self.sandbox else frozenset()
        return self.authentications.origins | own

    @property
    def airwallex_action_origins(self) -> frozenset[str]:
        """As above, of the second processor."""
        own = {self.processors.airwallex_url.rstrip("/")} if self.sandbox and self.processors.has_airwallex else set()
        return self.authentications.airwallex_origins | own

    def refuse_plain_http(self) -> None:
        """Card pages and card numbers over plain HTTP are for the sandbox only. Raises SettingsIncomplete."""
        addresses = {"PAGE_URL": self.page_url, "DOOR_ORIGIN": self.door_origin, "PROCESSOR_URL": self.processor_url}
        if self.processors.has_airwallex:
            addresses["AIRWALLEX_URL"] = self.processors.airwallex_url
        if self.updater.is_connected:
            addresses["UPDATER_URL"] = self.updater.updater_url
            addresses["UPDATER_LOGIN_URL"] = self.updater.updater_login_url
        plain = [name for name, url in addresses.items() if not url.startswith("https://")]
        if plain and not self.sandbox:
            raise SettingsIncomplete("; ".join(f"UNDERCROFT_VAULT_{name} must be https" for name in plain))


@dataclass(frozen=True, slots=True)
class StoreSettings:
    """What commands need that look into the database, or write what the serving process may write too."""

    database_url: Secret[str]


@dataclass(frozen=True, slots=True)
class OwnerSettings:
    """What `python -m vault migrate` needs; the serving process is never given this."""

    owner_database_url: Secret[str]
