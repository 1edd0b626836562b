"""The environment of each process: what this service must know, and nothing of any other's."""

import os
import sys
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

from infra.chassis.walls.settings import ANY
from infra.dev.keyring import Keyring
from infra.dev.ports import HOST, Ports
from vault.scrubbing import OVERWRITTEN

ROOT = Path(__file__).resolve().parents[2]
BRANDS = ROOT / "mcp_server" / "brands"
MCP_CLIENT_ID = "mcp_main"
TEXTING_FROM = "+15005550006"
"""The SMS company's own test number."""
LIMITS_OUT_OF_THE_WAY = {
    f"LIMIT_{scope}_{part}": "1000000"
    for scope in ("TENANT", "AGENT", "TOOL", "SUBJECT")
    for part in ("PER_MINUTE", "BURST")
}
"""One machine's house is for demos, tests and benchmarks, where one agent makes all requests there are."""
TAPPED = ("gateway", "vault", "memory", "mcp_server")
"""Listeners the demo records. Never the vault's page and never its leg to the processor: card numbers pass there."""


@dataclass(frozen=True, slots=True)
class Address:
    """Where a process binds, and the URL others use; they differ when a wiretap stands between."""

    bind_port: int
    url: str

    @property
    def bind(self) -> str:
        return f"{HOST}:{self.bind_port}"


def addresses(ports: Ports, inner: dict[str, int]) -> dict[str, Address]:
    """By listener name; `inner` holds the ports of the tapped ones."""
    return {name: Address(inner.get(name, port), f"http://{HOST}:{port}") for name, port in ports.named().items()}


@dataclass(frozen=True, slots=True)
class Environment:
    folder: Path
    keyring: Keyring
    addresses: dict[str, Address]
    databases: dict[str, str]
    """Service → the part of its database URL after the role: where, without who and without a password."""
    log_level: str
    gateway_workers: int = 1
    close_ports: bool = False
    """Whether the vault may connect only where its settings say; see `walls_folder` for what it reports."""

    known_by_peer: frozenset[str] = frozenset()
    """Services whose database asks the kernel who comes: they are given no password."""

    @property
    def walls_folder(self) -> Path:
        return self.folder / "walls"

    def of(self, service: str) -> dict[str, str]:
        """What `python -m <service>` is given to serve."""
        own: dict[str, str] = {
            "gateway": self._gateway,
            "vault": self._vault,
            "memory": self._memory,
            "mcp_server": self._mcp_server,
            "sandbox": self._sandbox,
        }[service]()
        if service in self.databases:
            own |= self._database("DATABASE_URL", service, "app")
        allocators = dict(OVERWRITTEN) if service == "vault" else {}
        return basic() | allocators | _prefixed(service, {**own, "SANDBOX": "true", "LOG_LEVEL": self.log_level})

    def of_owner(self, service: str) -> dict[str, str]:
        """What migrating and provisioning are given besides: the owner's way into the database."""
        return self.of(service) | _prefixed(service, self._database("OWNER_DATABASE_URL", service, "owner"))

    def _database(self, setting: str, service: str, role: str, reader: str = "") -> dict[str, str]:
        """`reader`: in whose folder it lies, if that is not the service's."""
        url = f"postgresql+asyncpg://{service}_{role}@{self.databases[service]}"
        if service not in self.known_by_peer:
            url += f"&passfile={quote(str(self.keyring.password_file(service, role, reader)))}"
        return {f"{setting}_FILE": str(self.keyring.database_url(service, role, url, reader))}

    def _gateway(self) -> dict[str, str]:
        return {
            "BIND": self.addresses["gateway"].bind,
            "PUBLIC_URL": self.addresses["gateway"].url,
            "AUTHZEN_BIND": self.addresses["authzen"].bind,
            "AUTHZEN_URL": self.addresses["authzen"].url,
            "VAULT_URL": self.addresses["vault"].url,
            "VAULT_PAGE_URL": self.addresses["vault_page"].url,
            "MEMORY_URL": self.addresses["memory"].url,
            "INBOX_URL": self.addresses["inbox"].url,
            "TEXTING_URL": self.addresses["inbox"].url,
            "TEXTING_ACCOUNT_FILE": self._secret("gateway/texting.account"),
            "TEXTING_FROM": TEXTING_FROM,
            "KEYS_FOLDER": self._secret("gateway/keys"),
            "CARRIERS_FOLDER": self._secret("gateway/carriers"),
            "WORKERS": str(self.gateway_workers),
            **LIMITS_OUT_OF_THE_WAY,
        }

    def _vault(self) -> dict[str, str]:
        return {
            "BIND": self.addresses["vault"].bind,
            "PAGE_BIND": self.addresses["vault_page"].bind,
            "WEBHOOK_BIND": self.addresses["vault_webhooks"].bind,
            "PAGE_URL": self.addresses["vault_page"].url,
            "GRANT_JWKS_FILE": self._secret("vault/grant.jwks"),
            "GRANT_ISSUER": self.addresses["gateway"].url,
            "DOOR_ORIGIN": self.addresses["gateway"].url,
            "ROOT_KEY_FILE": self._secret("vault/root.key"),
            "FINGERPRINT_KEY_FILE": self._secret("vault/fingerprint.key"),
            "OUTBOX_KEY_FILE": self._secret("vault/outbox.key"),
            "PROCESSOR_URL": self.addresses["processor"].url,
            "PROCESSOR_KEY_FILE": self._secret("vault/processor.key"),
            "WEBHOOK_SECRET_FILE": self._secret("vault/webhook.secret"),
            "PHONE_PROCESSORS": "stripe",
            "OUTBOX_COURIER": "false" if self.close_ports else "true",
            "WALLS_CONNECTS": self._other_companies() if self.close_ports else ANY,
            "WALLS_FILE": str(self.walls_folder / "vault" / "walls.json"),
        }

    def of_courier(self) -> dict[str, str]:
        """What `python -m vault courier` is given: of the vault's secrets its database's and the one it signs with."""
        wanted = {f"UNDERCROFT_VAULT_{name}" for name in ("SANDBOX", "LOG_LEVEL")}
        own = {"OUTBOX_KEY_FILE": self._secret("courier/outbox.key")}
        own |= self._database("DATABASE_URL", "vault", "app", reader="courier")
        given = {name: value for name, value in self.of("vault").items() if name in wanted}
        return basic() | given | _prefixed("vault", own)

    def _memory(self) -> dict[str, str]:
        return {
            "BIND": self.addresses["memory"].bind,
            "GRANT_JWKS_FILE": self._secret("memory/grant.jwks"),
            "GRANT_ISSUER": self.addresses["gateway"].url,
            "ROOT_KEY_FILE": self._secret("memory/root.key"),
        }

    def _mcp_server(self) -> dict[str, str]:
        return {
            "BIND": self.addresses["mcp_server"].bind,
            "PUBLIC_URL": self.addresses["mcp_server"].url,
            "GATEWAY_URL": self.addresses["gateway"].url,
            "ISSUER": self.addresses["gateway"].url,
            "CLIENT_ID": MCP_CLIENT_ID,
            "CLIENT_KEY_FILE": self._secret("mcp_server/client.pem"),
            "STATE_KEY_FILE": self._secret("mcp_server/state.key"),
            "BRANDS_FOLDER": str(BRANDS),
        }

    def _sandbox(self) -> dict[str, str]:
        return {
            "BIND": self.addresses["processor"].bind,
            "INBOX_BIND": self.addresses["inbox"].bind,
            "STATE_FOLDER": str(self.folder / "sandbox"),
            "WEBHOOK_URL": f"{self.addresses['vault_webhooks'].url}/webhooks/stripe",
            "WEBHOOK_SECRET_FILE": self._secret("sandbox/webhook.secret"),
            "API_KEY_FILE": self._secret("sandbox/api.key"),
            "TEXTING_ACCOUNT_FILE": self._secret("sandbox/texting.account"),
            "OPENID_CLIENTS_FILE": self._secret("sandbox/openid-clients.json"),
            "CARRIER_KEY_FILE": self._secret("sandbox/carrier.pem"),
            "MOTO": "true",
        }

    def _other_companies(self) -> str:
        """Ports of the sandbox, which plays all of them."""
        return ",".join(str(self.addresses[name].bind_port) for name in ("processor", "inbox"))

    def _secret(self, name: str) -> str:
        return str(self.keyring.path(name))


def basic() -> dict[str, str]:
    """What any Python program needs. Nothing of the caller's environment passes but where programs are."""
    python = {name: value for name, value in os.environ.items() if name in {"PYTHONWARNINGS", "PYTHONDEVMODE"}}
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", os.defpath)])
    return {"PATH": path, "LANG": "C.UTF-8", "PYTHONUNBUFFERED": "1", **python}


def _prefixed(service: str, values: dict[str, str]) -> dict[str, str]:
    return {f"UNDERCROFT_{service.upper()}_{name}": value for name, value in values.items()}
