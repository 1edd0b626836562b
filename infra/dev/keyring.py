"""Every key and password of a house on one machine: made once, each in a file only the owner may read.

One folder a service, and a service is told of its own folder only; where it has an operating-system user of its own it
can read no other. What belongs to the databases' owners lies in the folder `owner`, which is the runner's. Nothing here
is for production, where keys come from a key service and passwords from a secret store.
"""

import json
import secrets
from collections.abc import Callable, Iterable
from datetime import UTC, datetime
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, load_pem_private_key

from infra.chassis.clock import SystemClock
from infra.chassis.durable import make_folder
from infra.chassis.jwk import published
from infra.chassis.ring import SigningRing
from infra.dev import unfollowed
from infra.sandbox.carrier import new_carrier

ROOT_KEY_BYTES = 32
DATABASE_SERVICES = ("gateway", "vault", "memory", "mcp_server")

Maker = Callable[[], bytes]


def _ed25519() -> bytes:
    return Ed25519PrivateKey.generate().private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())


def _key() -> bytes:
    return secrets.token_bytes(ROOT_KEY_BYTES)


def _password() -> bytes:
    return secrets.token_urlsafe(32).encode()


def _texting_account() -> bytes:
    return f"AC{secrets.token_hex(16)}:{secrets.token_hex(16)}".encode()


MADE: dict[str, Maker] = {
    "gateway/keys/bearer.pem": _ed25519,
    "gateway/keys/bearer.next.pem": _ed25519,
    "gateway/keys/grant.pem": _ed25519,
    "gateway/keys/grant.next.pem": _ed25519,
    "gateway/keys/sender.pem": _ed25519,
    "gateway/keys/record.pem": _ed25519,
    "gateway/keys/contact.key": _key,
    "gateway/texting.account": _texting_account,
    "gateway/keys/openid/sandbox.pem": _ed25519,
    "vault/root.key": _key,
    "vault/fingerprint.key": _key,
    "vault/outbox.key": _key,
    "vault/processor.key": lambda: b"sk_test_" + secrets.token_hex(24).encode(),
    "vault/webhook.secret": lambda: b"whsec_" + secrets.token_hex(24).encode(),
    "memory/root.key": _key,
    "mcp_server/client.pem": _ed25519,
    "mcp_server/state.key": _key,
    **{f"{service}/app.password": _password for service in DATABASE_SERVICES},
    **{f"owner/{service}/owner.password": _password for service in DATABASE_SERVICES},
}
COPIED = {
    "courier/outbox.key": "vault/outbox.key",
    "sandbox/api.key": "vault/processor.key",
    "sandbox/webhook.secret": "vault/webhook.secret",
    "sandbox/texting.account": "gateway/texting.account",
}
GRANT_KEY_READERS = ("vault", "memory")


class Keyring:
    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def path(self, name: str) -> Path:
        return self.folder / name

    def make(self, agents: Iterable[str]) -> None:
        """Make what is missing, with a key for each agent. What is there stays: a kept house opens its own data."""
        for name, maker in {**MADE, **{f"agents/{agent}.pem": _ed25519 for agent in agents}}.items():
            if not self.path(name).exists():
                self.write(name, maker())
        if not self.path("sandbox/carrier.pem").exists():
            trusted, key = new_carrier(datetime.now(UTC))
            for name, content in trusted.items():
                self.write(f"gateway/carriers/{name}", content)
            self.write("sandbox/carrier.pem", key)  # last: whoever is killed before does it all again
        for name, source in COPIED.items():
            self.write(name, self.read(source))
        self.publish_grant_keys()

    def publish_grant_keys(self) -> None:
        """Hand the gateway's public keys, current, next and retiring, to those who check grants.

        Whoever rotates the gateway's keys does this afterwards; elsewhere it is a copy of its `grant-jwks.json`.
        """
        keys = SigningRing.open(self.path("gateway/keys"), "grant").now().jwks(SystemClock().now())
        for service in GRANT_KEY_READERS:
            self.write(f"{service}/grant.jwks", json.dumps(keys).encode())

    def password(self, service: str, role: str) -> str:
        """Read the database password of `<service>_<role>`, role being `owner` or `app`."""
        return self.read(f"{_of_role(service, role)}.password").decode("ascii")

    def read(self, name: str) -> bytes:
        """The content of a file; never of one that a service put a link to in its place."""
        return unfollowed.read(self.folder, name)

    def private_key(self, name: str) -> Ed25519PrivateKey:
        key = load_pem_private_key(self.read(name), password=None)
        if not isinstance(key, Ed25519PrivateKey):
            raise TypeError(f"{name} is not an Ed25519 key")
        return key

    def public_jwk(self, name: str) -> dict[str, str]:
        """Describe the public half for others; the key id is its RFC 7638 thumbprint."""
        document = published(self.private_key(name).public_key()).document()
        return {member: str(value) for member, value in document.items()}

    def password_file(self, service: str, role: str, reader: str = "") -> Path:
        """Write the password in libpq's form, so that the database URL a service is given holds no secret.

        It lies in the folder of `reader`, or else where the role's own things do.
        """
        line = f"*:*:*:{service}_{role}:{self.password(service, role)}\n"
        return self.write(f"{_of_role(reader or service, role)}.pgpass", line.encode())

    def database_url(self, service: str, role: str, url: str, reader: str = "") -> Path:
        """Write where the database is, for this role, beside its password."""
        return self.write(f"{_of_role(reader or service, role)}.url", url.encode())

    def write(self, name: str, content: bytes) -> Path:
        """Replace a file in one step, also for a crash; it belongs to whoever has its folder, and is his alone."""
        make_folder(self.folder)
        return unfollowed.write(self.folder, name, content)


def _of_role(service: str, role: str) -> str:
    return f"owner/{service}/{role}" if role == "owner" else f"{service}/{role}"
