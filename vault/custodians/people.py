"""The custodians: each has a signing key that only his passphrase opens, and by which he proves himself.

One file each, `<custody folder>/custodians/<name>.json`:

    {"undercroft_custodian": 1, "name": "ada", "public_key": "<base64>", "salt": "<base64>", "sealed_key": "<base64>"}

`sealed_key` is a body of infra/chassis/sealing.py, label "undercroft custodian 1", over the Ed25519 private key. The
key that seals it is Argon2id of the passphrase (RFC 9106; 46 MiB, one pass, one lane: the first of the settings OWASP's
password storage page gives as equal), so whoever copies the file still has to guess, slowly, and has then no share yet.

Two names are two passphrases and two keys. That they are two people is for those to see who stand in the room.
"""

import hmac
import re
import secrets
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import msgspec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.kdf.argon2 import Argon2id

from infra.chassis.durable import make_folder, replace
from infra.chassis.sealing import SealBroken, joined, open_under, seal_under
from infra.chassis.secret import Secret

NAME: Final = re.compile(r"[a-z][a-z0-9._-]{1,30}")
PASSPHRASE_BYTES_MIN: Final = 12
"""PCI DSS 8.3.6 asks for 12 characters."""
PASSPHRASE_BYTES_MAX: Final = 256
LABEL: Final = b"undercroft custodian 1"
SALT_BYTES: Final = 16
_PASSES, _LANES, _MEMORY_KIB = 1, 1, 46 * 1024
_FILE_BYTES_MAX: Final = 4096


class NotProved(Exception):
    """An unknown name and a wrong passphrase are told apart: who is a custodian is no secret in this room."""


class _Kept(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    undercroft_custodian: int
    name: str
    public_key: bytes
    salt: bytes
    sealed_key: bytes


@dataclass(frozen=True, slots=True)
class Custodian:
    """One who has just proved himself. `signing` is his for as long as this process lives, and no longer."""

    name: str
    signing: Ed25519PrivateKey

    @property
    def public_key(self) -> bytes:
        return self.signing.public_key().public_bytes_raw()


class People:
    """The custodians' files. Who is a custodian, and with which public key, the record says."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder / "custodians"

    def enrol(self, name: str, passphrase: bytearray) -> Custodian:
        """A new custodian, as soon as the record says so; until then his file may be written again. Raises OSError."""
        make_folder(self._folder)
        custodian, salt = Custodian(name, Ed25519PrivateKey.generate()), secrets.token_bytes(SALT_BYTES)
        key = custodian.signing.private_bytes_raw()
        sealed = seal_under(_stretched(passphrase, salt), LABEL, key, _bound(name, custodian.public_key))
        content = msgspec.json.encode(_Kept(1, name, custodian.public_key, salt, sealed))
        replace(self._path(name), content)
        return custodian

    def prove(self, name: str, passphrase: bytearray, public_key: bytes) -> Custodian:
        """The custodian `name`, enrolled with `public_key`, if this is his passphrase. Raises NotProved."""
        try:
            content = self._path(name).read_bytes()[:_FILE_BYTES_MAX]
            kept = msgspec.json.decode(content, type=_Kept)
        except (OSError, msgspec.MsgspecError):
            raise NotProved(f"there is no custodian {name} here, or his file is damaged") from None
        bound = _bound(name, kept.public_key)
        try:
            raw = open_under(_stretched(passphrase, kept.salt), LABEL, kept.sealed_key, bound)
            custodian = Custodian(name, Ed25519PrivateKey.from_private_bytes(raw))
        except (SealBroken, ValueError):
            raise NotProved("that is not the passphrase") from None
        if not hmac.compare_digest(custodian.public_key, public_key):
            raise NotProved(f"the key in {name}'s file is not the one the record says was enrolled")
        return custodian

    def _path(self, name: str) -> Path:
        """Raises NotProved for what cannot be a name, and so for any way out of the folder."""
        if NAME.fullmatch(name) is None:
            raise NotProved("a custodian's name has 2 to 31 small letters, digits, dots, hyphens")
        return self._folder / f"{name}.json"


def _stretched(passphrase: bytearray, salt: bytes) -> Secret[bytes]:
    derive = Argon2id(salt=salt, length=32, iterations=_PASSES, lanes=_LANES, memory_cost=_MEMORY_KIB)
    return Secret(derive.derive(bytes(passphrase)))


def _bound(name: str, public_key: bytes) -> bytes:
    return joined(LABEL, name.encode(), public_key)
