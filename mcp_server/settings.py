"""What mcp_server is told at start, read once from the environment."""

from dataclasses import dataclass
from pathlib import Path

from infra.chassis.secret import Secret
from infra.chassis.settings import Bind, SettingsIncomplete

PREFIX = "MCP_SERVER"
STATE_KEY_BYTES_MIN = 32


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """`public_url` is where assistants find us, `gateway_url` where we find the gateway, `issuer` its public name."""

    bind: Bind
    public_url: str
    database_url: Secret[str]
    gateway_url: str
    issuer: str
    client_id: str
    client_key_file: Path
    """PKCS #8 PEM of an Ed25519 or P-256 key: proves us to the gateway. Read again whenever it changes."""
    state_key: Secret[bytes]
    """Seals what a client carries for us between two calls; the same on every process of this service."""
    brands_folder: Path
    log_level: str = "INFO"
    sandbox: bool = False
    """Only a sandbox may be reached over http, or call a gateway whose public name is http."""


@dataclass(frozen=True, slots=True, kw_only=True)
class MigrateSettings:
    owner_database_url: Secret[str]


def check(settings: Settings) -> Settings:
    """Raises SettingsIncomplete when the values together cannot be used."""
    wrong = []
    for name, url in (("PUBLIC_URL", settings.public_url), ("ISSUER", settings.issuer)):
        if not url.startswith("https://") and not (settings.sandbox and url.startswith("http://")):
            wrong.append(f"UNDERCROFT_{PREFIX}_{name} must be an https address")
        if url.endswith("/"):
            wrong.append(f"UNDERCROFT_{PREFIX}_{name} must not end in a slash")
    if len(settings.state_key.reveal()) < STATE_KEY_BYTES_MIN:
        wrong.append(f"UNDERCROFT_{PREFIX}_STATE_KEY_FILE holds fewer than {STATE_KEY_BYTES_MIN} bytes")
    if not settings.client_key_file.is_file():
        wrong.append(f"UNDERCROFT_{PREFIX}_CLIENT_KEY_FILE is no file")
    if wrong:
        raise SettingsIncomplete("; ".join(wrong))
    return settings
