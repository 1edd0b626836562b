"""Every key and password of a house on one machine: made once, each in a file only the owner may read.

One folder a service, and a service is told of its own folder only; where it has an operating-system user of its own it
can read no other. What belongs to the databases' owners lies in the folder `owner`, which is the runner's. Nothing here
is for production, where keys come from a key service and passwords from a secret store.
"""

import json
import os
import secrets
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, load_pem_private_key

from infra.chassis.clock import SystemClock
from infra.chassis.durable import make_folder
from infra.chassis.jwk import published
from infra.chassis.ring import SigningRing
from infra.sandbox.carrier import write_carrier

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
            write_carrier(self.path("gateway/carriers"), self.path("sandbox/carrier.pem"), datetime.now(UTC))
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
        with _below(self.folder, Path(name).parent) as folder:
            file = os.open(Path(name).name, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=folder)
            with os.fdopen(file, "rb") as opened:
                return opened.read()

    def private_key(self, name: str) -> Ed25519PrivateKey:
        key = load_pem_private_key(self.path(name).read_bytes(), password=None)
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
        """Replace a file in one step, also for a crash; only the owner may read it, from its first byte.

        As infra.chassis.durable does, but in a folder that may be a service's: no link in it is followed, and the file
        belongs to whoever has the folder.
        """
        make_folder(self.folder)
        own, new = Path(name).name, Path(name).name + ".new"
        with _below(self.folder, Path(name).parent) as folder:
            with suppress(FileNotFoundError):
                os.unlink(new, dir_fd=folder)
            file = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600, dir_fd=folder)
            with os.fdopen(file, "wb") as opened:
                _give_as(folder, opened.fileno())
                opened.write(content)
                opened.flush()
                os.fsync(opened.fileno())
            os.replace(new, own, src_dir_fd=folder, dst_dir_fd=folder)
            os.fsync(folder)
        return self.path(name)


def _of_role(service: str, role: str) -> str:
    return f"owner/{service}/{role}" if role == "owner" else f"{service}/{role}"


@contextmanager
def _below(top: Path, inner: Path) -> Iterator[int]:
    """A handle of a folder below `top`, made where it is missing, each step refusing links."""
    handle = os.open(top, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        for part in inner.parts:
            parent, handle = handle, _step(handle, part)
            os.close(parent)
        yield handle
    finally:
        os.close(handle)


def _step(parent: int, name: str) -> int:
    try:
        os.mkdir(name, 0o700, dir_fd=parent)
        is_new = True
    except FileExistsError:
        is_new = False
    handle = os.open(name, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=parent)
    if is_new:
        _give_as(parent, handle)
        os.fsync(parent)
    return handle


def _give_as(folder: int, file: int) -> None:
    """Only root can, and only root has to."""
    if os.geteuid() == 0:
        whose = os.fstat(folder)
        os.fchown(file, whose.st_uid, whose.st_gid)
