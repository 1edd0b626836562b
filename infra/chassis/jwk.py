"""Ed25519 keys as JWKs (RFC 7517, RFC 8037), and the file of public ones that a receiver of grants trusts."""

import base64
import binascii
import hashlib
import json
import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from infra.chassis import logs, regular
from infra.chassis.clock import Clock
from infra.chassis.secret import Secret
from infra.chassis.strict_json import NotStrictJson, decode

ALGORITHM: Final = "EdDSA"
KEY_BYTES: Final = 32
KEYS_MAX: Final = 16
"""Three are published at a time; more than a handful is no set of ours."""
MEMBERS: Final = frozenset({"kty", "crv", "x", "kid", "alg", "use", "exp"})
EXP_MAX: Final = 2**37
"""About the year 6300; a datetime ends with the year 9999."""
UNREADABLE_FOR_MAX: Final = timedelta(seconds=60)
"""A file may be caught half-written; whoever cannot read it for longer trusts nobody."""
log = logs.get_logger()
Stamp = tuple[int, int, int]


class KeyRefused(ValueError):
    """Not a public Ed25519 key for signatures. The message never repeats what was given."""


@dataclass(frozen=True, slots=True)
class PublicKey:
    """`until`: not to be trusted from then on; None for a key in use."""

    key_id: str
    key: Ed25519PublicKey
    until: datetime | None = None

    def holds(self, now: datetime) -> bool:
        return self.until is None or now < self.until

    def document(self) -> dict[str, Any]:
        """As a JWK. `exp` (seconds since 1970) is OpenID Federation's member for a key that ends."""
        ends = {"exp": int(self.until.timestamp())} if self.until else {}
        return {**members(self.key), "kid": self.key_id, "alg": ALGORITHM, "use": "sig", **ends}


def signing_key(pem: Secret[bytes]) -> Ed25519PrivateKey:
    """An Ed25519 key from PKCS #8 PEM. Raises ValueError for any other kind of key."""
    key = load_pem_private_key(pem.reveal(), password=None)
    if not isinstance(key, Ed25519PrivateKey):
        msg = "a signing key must be Ed25519"
        raise ValueError(msg)  # noqa: TRY004 - the file's content is wrong, not a type in our code
    return key


def public_jwk(key: Ed25519PrivateKey) -> dict[str, str]:
    """RFC 8037 members of the public half, no others."""
    return members(key.public_key())


def members(key: Ed25519PublicKey) -> dict[str, str]:
    return {"kty": "OKP", "crv": "Ed25519", "x": base64url(key.public_bytes_raw())}


def thumbprint(jwk: Mapping[str, str]) -> str:
    """RFC 7638 SHA-256 thumbprint of a JWK that has only its required members; used as the key id."""
    canonical = json.dumps(dict(jwk), separators=(",", ":"), sort_keys=True)
    return base64url(hashlib.sha256(canonical.encode()).digest())


def published(key: Ed25519PublicKey, until: datetime | None = None) -> PublicKey:
    return PublicKey(thumbprint(members(key)), key, until)


def key_of(document: Any) -> Ed25519PublicKey:
    """The key of exactly the members kty, crv and x. Raises KeyRefused, also for a second spelling of the same key."""
    if not isinstance(document, dict) or document.keys() != {"kty", "crv", "x"}:
        raise KeyRefused("a key has the members kty, crv and x")
    x = document["x"]
    if (document["kty"], document["crv"]) != ("OKP", "Ed25519") or not isinstance(x, str):
        raise KeyRefused("only Ed25519 keys belong here")
    try:
        raw = base64.urlsafe_b64decode(x + "=" * (-len(x) % 4))
    except (ValueError, binascii.Error):
        raise KeyRefused("x is not base64url") from None
    if len(raw) != KEY_BYTES or base64url(raw) != x:
        raise KeyRefused("x is not the one spelling of 32 bytes")
    return Ed25519PublicKey.from_public_bytes(raw)


def read_key(document: Any) -> PublicKey:
    """A published key: public, Ed25519, for signatures, named by its thumbprint. Raises KeyRefused."""
    if not isinstance(document, dict) or not document.keys() <= MEMBERS:
        raise KeyRefused("only public keys belong here")
    if document.get("alg", ALGORITHM) != ALGORITHM or document.get("use", "sig") != "sig":
        raise KeyRefused("only keys for EdDSA signatures belong here")
    key = key_of({name: value for name, value in document.items() if name in {"kty", "crv", "x"}})
    ends = document.get("exp")
    if ends is not None and (type(ends) is not int or not 0 < ends < EXP_MAX):
        raise KeyRefused("exp is seconds since 1970")
    found = published(key, None if ends is None else datetime.fromtimestamp(ends, UTC))
    if document.get("kid") != found.key_id:
        raise KeyRefused("kid is not the key's thumbprint (RFC 7638)")
    return found


def read_documents(content: bytes) -> list[Any]:
    """The members of `keys` of a JWK Set, unread. Raises KeyRefused."""
    try:
        document = decode(content)
    except NotStrictJson as error:
        raise KeyRefused(str(error)) from None
    keys = document.get("keys") if isinstance(document, dict) else None
    if not isinstance(keys, list) or not 0 < len(keys) <= KEYS_MAX:
        raise KeyRefused(f"a key set has between one and {KEYS_MAX} keys")
    return keys


def stamp(path: Path) -> Stamp | None:
    """Changes whenever the file is replaced or rewritten; None while it is missing. About 2 µs."""
    try:
        found = os.stat(path)  # noqa: PTH116 - half the time of Path.stat, and it is asked with every request
    except OSError:
        return None
    return found.st_ino, found.st_mtime_ns, found.st_size


class JwksFile:
    """Public keys from a JWKS file, read again whenever it changes: the keys rotate without a restart.

    A file with anything but public Ed25519 keys is refused at the start; later, only the offending key is, and the
    others go on. A file that cannot be read leaves the former keys for UNREADABLE_FOR_MAX, and none after that.
    """

    def __init__(self, path: Path, clock: Clock) -> None:
        """Raises KeyRefused or OSError."""
        self._path = path
        self._clock = clock
        self._stamp = stamp(path)
        self._keys = _by_id(read_key(item) for item in read_documents(regular.read(path)))
        self._unreadable_since: datetime | None = None

    def find(self, key_id: str) -> Ed25519PublicKey | None:
        """None for a key that is not in the file now, or has ended."""
        self._look()
        found, now = self._keys.get(key_id), self._clock.now()
        if self._unreadable_since is not None and now - self._unreadable_since >= UNREADABLE_FOR_MAX:
            return None
        return found.key if found is not None and found.holds(now) else None

    def _look(self) -> None:
        seen = stamp(self._path)
        if seen == self._stamp and seen is not None:
            return
        try:
            documents = read_documents(regular.read(self._path))
        except (OSError, KeyRefused) as error:
            if self._unreadable_since is None:
                self._unreadable_since = self._clock.now()
                log.warning("grant_keys_unreadable", file=self._path.name, error=type(error).__name__)
            return
        self._keys = _by_id(acceptable(documents, self._path.name))
        self._stamp, self._unreadable_since = seen, None
        log.info("grant_keys_read", file=self._path.name, keys=len(self._keys))


def acceptable(documents: Iterable[Any], name: str) -> Iterable[PublicKey]:
    """Those that may be trusted. Each other one is logged under `name`, of where it was found, and left out."""
    for document in documents:
        try:
            yield read_key(document)
        except KeyRefused as refused:
            log.warning("public_key_refused", source=name, why=str(refused))


def _by_id(keys: Iterable[PublicKey]) -> dict[str, PublicKey]:
    return {key.key_id: key for key in keys}


def base64url(data: bytes) -> str:
    """Without padding (RFC 7515)."""
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()
