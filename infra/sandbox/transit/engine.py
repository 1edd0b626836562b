"""The engine's keys and what is done with them. Refusals carry the status and the text a real server gives."""

import hashlib
import hmac
import secrets
import time
from base64 import b64decode, b64encode
from dataclasses import dataclass, field
from typing import Any

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

PREFIX = "vault:v"
NONCE_BYTES = 12
KEY_BYTES = 32
KEY_TYPE = "aes256-gcm96"
HASHES = {"sha2-256": hashlib.sha256, "sha2-384": hashlib.sha384, "sha2-512": hashlib.sha512}
NO_CONTEXT = (
    "missing 'context' for key derivation; the key was created using a derived key, which means additional, "
    "per-request information must be included in order to perform operations with the key"
)

Document = dict[str, Any]


class Refused(Exception):
    def __init__(self, status: int, *errors: str) -> None:
        super().__init__(status)
        self.status = status
        self.errors = list(errors)


@dataclass(slots=True)
class Key:
    name: str
    derived: bool = False
    exportable: bool = False
    allow_plaintext_backup: bool = False
    deletion_allowed: bool = False
    min_decryption_version: int = 1
    min_encryption_version: int = 0
    min_available_version: int = 0
    versions: dict[int, tuple[bytes, int]] = field(default_factory=dict)
    """Version → key and the second it was made."""

    @property
    def latest(self) -> int:
        return max(self.versions)

    def add(self) -> None:
        self.versions[max(self.versions, default=0) + 1] = (secrets.token_bytes(KEY_BYTES), int(time.time()))

    def bytes_of(self, version: int, context: str | None) -> bytes:
        key, _ = self.versions[version]
        if not self.derived:
            return key
        if not context:
            raise Refused(400, NO_CONTEXT)
        return hmac.digest(key, _decoded(context, "context"), "sha256")


class Engine:
    """`ignores_associated_data`: as servers before 1.9 do, without a word."""

    def __init__(self) -> None:
        self.keys: dict[str, Key] = {}
        self.ignores_associated_data = False

    def create(self, name: str, asked: Document) -> None:
        if asked.get("type", KEY_TYPE) != KEY_TYPE:
            raise Refused(400, f"unknown key type {asked['type']}")
        if name not in self.keys:
            self.keys[name] = Key(
                name,
                derived=bool(asked.get("derived")),
                exportable=bool(asked.get("exportable")),
                allow_plaintext_backup=bool(asked.get("allow_plaintext_backup")),
            )
            self.keys[name].add()

    def read(self, name: str) -> Document:
        key = self.keys.get(name)
        if key is None:
            raise Refused(404)
        kept = {version: made for version, (_, made) in key.versions.items() if version >= key.min_decryption_version}
        return {
            "allow_plaintext_backup": key.allow_plaintext_backup,
            "deletion_allowed": key.deletion_allowed,
            "derived": key.derived,
            "exportable": key.exportable,
            "keys": {str(version): made for version, made in kept.items()},
            "latest_version": key.latest,
            "min_available_version": key.min_available_version,
            "min_decryption_version": key.min_decryption_version,
            "min_encryption_version": key.min_encryption_version,
            "name": name,
            "supports_decryption": True,
            "supports_derivation": True,
            "supports_encryption": True,
            "supports_signing": False,
            "type": KEY_TYPE,
        }

    def rotate(self, name: str) -> None:
        self._key(name).add()

    def configure(self, name: str, asked: Document) -> None:
        key = self._key(name)
        lowest = int(asked.get("min_decryption_version") or key.min_decryption_version)
        if lowest > key.latest:
            raise Refused(400, f"cannot set min decryption version of {lowest}, latest key version is {key.latest}")
        key.min_decryption_version = lowest
        key.min_encryption_version = int(asked.get("min_encryption_version") or key.min_encryption_version)
        key.deletion_allowed = bool(asked.get("deletion_allowed", key.deletion_allowed))

    def trim(self, name: str, asked: Document) -> None:
        key, lowest = self._key(name), int(asked.get("min_available_version") or 0)
        if key.min_encryption_version == 0 or lowest > min(key.min_encryption_version, key.min_decryption_version):
            raise Refused(400, "minimum available version cannot be higher than the minimum versions in use")
        key.min_available_version = lowest
        key.versions = {version: kept for version, kept in key.versions.items() if version >= lowest}

    def delete(self, name: str) -> None:
        if not self._key(name).deletion_allowed:
            raise Refused(400, f"error deleting policy {name}: deletion is not allowed for this key")
        del self.keys[name]

    def export(self, name: str) -> Document:
        if not self._key(name).exportable:
            raise Refused(400, "key is not exportable")
        raise Refused(501, "the sandbox exports no keys")

    def seal(self, name: str, asked: Document) -> Document:
        key, version = self._key(name), self._key(name).latest
        if asked.get("plaintext") is None:
            raise Refused(400, "missing plaintext to encrypt")
        key_bytes = key.bytes_of(version, asked.get("context"))
        nonce = secrets.token_bytes(NONCE_BYTES)
        plain = _decoded(asked["plaintext"], "plaintext")
        sealed = nonce + AESGCM(key_bytes).encrypt(nonce, plain, self._associated(asked))
        return {"ciphertext": f"{PREFIX}{version}:{b64encode(sealed).decode()}", "key_version": version}

    def open(self, name: str, asked: Document, *, associated: bool = True) -> Document:
        key = self._key(name)
        version, sealed = _parse(str(asked.get("ciphertext") or ""))
        if version > key.latest:
            raise Refused(400, "invalid ciphertext: version is too new")
        if version < key.min_decryption_version:
            raise Refused(400, "ciphertext or signature version is disallowed by policy (too old)")
        key_bytes = key.bytes_of(version, asked.get("context"))
        bound = self._associated(asked) if associated else None
        try:
            plain = AESGCM(key_bytes).decrypt(sealed[:NONCE_BYTES], sealed[NONCE_BYTES:], bound)
        except (InvalidTag, ValueError):
            raise Refused(500, "1 error occurred:\n\t* cipher: message authentication failed\n\n") from None
        return {"plaintext": b64encode(plain).decode()}

    def reseal(self, name: str, asked: Document) -> Document:
        """`rewrap`, which knows nothing of associated data on any server."""
        plain = self.open(name, asked, associated=False)["plaintext"]
        return self.seal(name, {"plaintext": plain, "context": asked.get("context")})

    def data_key(self, name: str, *, shown: bool) -> Document:
        plain = b64encode(secrets.token_bytes(KEY_BYTES)).decode()
        return {**self.seal(name, {"plaintext": plain}), **({"plaintext": plain} if shown else {})}

    def mac(self, name: str, asked: Document) -> Document:
        key = self._key(name)
        if asked.get("algorithm", "sha2-256") not in HASHES:
            raise Refused(400, f"unsupported algorithm {asked['algorithm']}")
        hashed = HASHES[asked.get("algorithm", "sha2-256")]
        digest = hmac.new(key.versions[key.latest][0], _decoded(asked.get("input", ""), "input"), hashed).digest()
        return {"hmac": f"{PREFIX}{key.latest}:{b64encode(digest).decode()}"}

    def _key(self, name: str) -> Key:
        if name not in self.keys:
            raise Refused(400, "encryption key not found")
        return self.keys[name]

    def _associated(self, asked: Document) -> bytes | None:
        given = asked.get("associated_data")
        return None if not given or self.ignores_associated_data else _decoded(given, "associated_data")


def _parse(ciphertext: str) -> tuple[int, bytes]:
    if not ciphertext.startswith(PREFIX):
        raise Refused(400, "invalid ciphertext: no prefix")
    version, separator, encoded = ciphertext.removeprefix(PREFIX).partition(":")
    if not separator or not version.isdecimal():
        raise Refused(400, "invalid ciphertext: wrong number of fields")
    return int(version), _decoded(encoded, "ciphertext")


def _decoded(text: str, what: str) -> bytes:
    try:
        return b64decode(text, validate=True)
    except ValueError:
        raise Refused(400, f"failed to base64-decode {what}") from None
