"""Everything the gateway is told at start, and the keys it signs and seals with."""

from dataclasses import dataclass
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from gateway.bearers import signing_key
from gateway.limits.rules import Limit, Scope
from infra.chassis import regular
from infra.chassis.ring import SigningRing
from infra.chassis.secret import Secret
from infra.chassis.settings import Bind, SettingsIncomplete

PREFIX = "gateway"
CONTACT_KEY_BYTES = 32
WORKERS_MAX = 32
"""Each keeps up to 20 connections to PostgreSQL; more than a handful needs a larger `max_connections` there."""


@dataclass(frozen=True, slots=True)
class Settings:
    """`keys_folder`: bearer.pem, grant.pem, sender.pem and record.pem (Ed25519, PKCS #8), and contact.key (32 bytes).

    Beside bearer.pem and grant.pem stand the files of their rotation (`python -m gateway keys`).

    `carriers_folder` holds the trusted roots and the certificates of carriers (see passports.Carriers).
    `texting_…` is the SMS company: where its API is, `ACCOUNT:PASSWORD` there, and the number that texts come from.

    A folder `openid` in it holds what the gateway proves itself with at OpenID providers (factors/credentials.py).
    """

    bind: Bind
    public_url: str
    database_url: Secret[str]
    vault_url: str
    vault_page_url: str
    memory_url: str
    inbox_url: str
    texting_url: str
    texting_account: Secret[str]
    texting_from: str
    keys_folder: Path
    carriers_folder: Path
    log_level: str = "INFO"
    sandbox: bool = False
    workers: int = 1
    """Processes that answer on `bind`; from two on, one more watches them."""
    authzen_bind: Bind | None = None
    """Where enforcement points are listened to; without it there is no such listener."""
    authzen_url: str = ""
    limit_tenant_per_minute: int = 30_000
    limit_tenant_burst: int = 3_000
    """Half a thousand requests a second: about what one process on two cores decides (infra/bench/README.md)."""
    limit_agent_per_minute: int = 12_000
    limit_agent_burst: int = 1_200
    """Two hundred a second: a thousand dialogues at once that each ask every five seconds."""
    limit_tool_per_minute: int = 12_000
    limit_tool_burst: int = 1_200
    """As for an agent: so that one operation cannot use up a tenant's whole share."""
    limit_subject_per_minute: int = 120
    limit_subject_burst: int = 60
    """Twice a second, and a minute's worth of a busy dialogue at once."""

    @property
    def limits(self) -> dict[Scope, Limit]:
        """What holds for a tenant that has no limits of its own."""
        return {
            Scope.TENANT: Limit(self.limit_tenant_per_minute, self.limit_tenant_burst),
            Scope.AGENT: Limit(self.limit_agent_per_minute, self.limit_agent_burst),
            Scope.TOOL: Limit(self.limit_tool_per_minute, self.limit_tool_burst),
            Scope.SUBJECT: Limit(self.limit_subject_per_minute, self.limit_subject_burst),
        }

    def refuse_senseless_limits(self) -> None:
        """Raises SettingsIncomplete."""
        wrong = [scope.value for scope, limit in self.limits.items() if not limit.makes_sense]
        if wrong:
            raise SettingsIncomplete(
                "; ".join(f"UNDERCROFT_GATEWAY_LIMIT_{name.upper()}_… is out of range" for name in wrong)
            )

    def refuse_odd_workers(self) -> None:
        """Raises SettingsIncomplete."""
        if not 1 <= self.workers <= WORKERS_MAX:
            raise SettingsIncomplete(f"UNDERCROFT_GATEWAY_WORKERS must be 1 to {WORKERS_MAX}")

    def refuse_plain_http(self) -> None:
        """People's browsers meet us over plain HTTP in the sandbox only. Raises SettingsIncomplete."""
        addresses = {"PUBLIC_URL": self.public_url, "VAULT_PAGE_URL": self.vault_page_url}
        if self.authzen_bind is not None:
            addresses["AUTHZEN_URL"] = self.authzen_url
        plain = [name for name, url in addresses.items() if not url.startswith("https://")]
        if plain and not self.sandbox:
            raise SettingsIncomplete("; ".join(f"UNDERCROFT_GATEWAY_{name} must be https" for name in plain))


@dataclass(frozen=True, slots=True)
class OwnerSettings:
    """What migrating and provisioning need; the serving process is never given this."""

    owner_database_url: Secret[str]


@dataclass(frozen=True, slots=True)
class KeySettings:
    """What `python -m gateway keys` needs."""

    keys_folder: Path


@dataclass(frozen=True, slots=True)
class RecordSettings:
    """What `python -m gateway record` needs."""

    database_url: Secret[str]
    keys_folder: Path


@dataclass(frozen=True, slots=True)
class ReplaySettings:
    """What deciding again needs: no key."""

    database_url: Secret[str]


@dataclass(frozen=True, slots=True)
class Keys:
    """One key for one purpose: who steals one cannot do what another is for. `sender` proves who sends a grant."""

    bearer: SigningRing
    grant: SigningRing
    sender: SigningRing
    record: Ed25519PrivateKey
    contact: Secret[bytes]


def load_keys(folder: Path) -> Keys:
    """Raises SettingsIncomplete, naming every file that is missing or of the wrong kind."""
    wrong: list[str] = []
    rings: dict[str, SigningRing] = {}
    for purpose in ("bearer", "grant", "sender"):
        try:
            rings[purpose] = SigningRing.open(folder, purpose)
        except (OSError, ValueError) as error:
            wrong.append(f"{purpose}.pem in UNDERCROFT_GATEWAY_KEYS_FOLDER cannot be used ({type(error).__name__})")
    record = _record_key(folder, wrong)
    try:
        contact = regular.read(folder / "contact.key")
    except OSError:
        contact = b""
    if len(contact) != CONTACT_KEY_BYTES:
        wrong.append("contact.key in UNDERCROFT_GATEWAY_KEYS_FOLDER must hold 32 bytes")
    if wrong or record is None:
        raise SettingsIncomplete("; ".join(wrong))
    return Keys(rings["bearer"], rings["grant"], rings["sender"], record, Secret(contact))


def _record_key(folder: Path, wrong: list[str]) -> Ed25519PrivateKey | None:
    try:
        return signing_key(Secret(regular.read(folder / "record.pem")))
    except (OSError, ValueError) as error:
        wrong.append(f"record.pem in UNDERCROFT_GATEWAY_KEYS_FOLDER cannot be used ({type(error).__name__})")
        return None
