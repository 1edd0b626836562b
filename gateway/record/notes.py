"""Signed notes and checkpoints: C2SP `signed-note` and `tlog-checkpoint`. We sign with type 0x01 (Ed25519).

A note is text ending in a newline, an empty line, and signature lines `— name base64(key id || signature)`. Lines of
keys we do not know (witnesses) are passed over, as the specification demands.
"""

import base64
import binascii
import hashlib
import re
from collections.abc import Callable
from dataclasses import dataclass

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

ED25519 = b"\x01"
COSIGNATURE = b"\x04"
"""A witness's Ed25519 signature with a time: C2SP tlog-cosignature."""
KEY_ID_BYTES = 4
SIGNATURE_PREFIX = "\u2014 "
NOTE_LENGTH_MAX = 128 * 1024
"""The specification wants at least 16 signatures of up to 5 kB read, which base64 makes 107 kB. Ours has 300 bytes."""
SIZE_MAX = 2**63 - 1
"""What Go's readers of checkpoints count to, and our database."""
_CHECKPOINT = re.compile(r"([^\n]+)\n(0|[1-9][0-9]{0,18})\n([A-Za-z0-9+/]{43}=)\n((?:[^\n]+\n)*)")
_NAME = re.compile(r"[^\s+]+")


class NoteRefused(Exception):
    """Not a note, not a checkpoint, or not signed by the key it should be signed by."""


@dataclass(frozen=True, slots=True)
class Checkpoint:
    origin: str
    size: int
    root: bytes

    @property
    def text(self) -> str:
        return f"{self.origin}\n{self.size}\n{base64.b64encode(self.root).decode()}\n"


@dataclass(frozen=True, slots=True)
class SignatureLine:
    """`text` is the line itself with its newline; `signature` what follows the key id."""

    name: str
    key_id: bytes
    signature: bytes
    text: str


def key_id(name: str, key: Ed25519PublicKey, *, kind: bytes = ED25519) -> bytes:
    return hashlib.sha256(name.encode() + b"\n" + kind + key.public_bytes_raw()).digest()[:KEY_ID_BYTES]


def verifier_key(name: str, key: Ed25519PublicKey, *, kind: bytes = ED25519) -> str:
    """The form in which verifiers of notes take keys: `name+hex(key id)+base64(type || key)`."""
    material = base64.b64encode(kind + key.public_bytes_raw()).decode()
    return f"{name}+{key_id(name, key, kind=kind).hex()}+{material}"


def read_verifier_key(text: str, *, kind: bytes = ED25519) -> tuple[str, Ed25519PublicKey]:
    """Name and key. Raises NoteRefused for another kind of key, and when the key id is not this key's."""
    try:
        name, identifier, encoded = text.split("+", 2)
        decoded = base64.b64decode(encoded, validate=True)
        key = Ed25519PublicKey.from_public_bytes(decoded[1:])
    except ValueError:
        raise NoteRefused from None
    if decoded[:1] != kind or not _NAME.fullmatch(name) or identifier != key_id(name, key, kind=kind).hex():
        raise NoteRefused
    return name, key


def sign_note(text: str, *, name: str, key: Ed25519PublicKey, sign: Callable[[bytes], bytes]) -> str:
    """`text` with one signature. Raises NoteRefused for a text or a name that no note may have."""
    if not text.endswith("\n") or _has_control(text) or not _NAME.fullmatch(name):
        raise NoteRefused
    signature = base64.b64encode(key_id(name, key) + sign(text.encode())).decode()
    return f"{text}\n{SIGNATURE_PREFIX}{name} {signature}\n"


def split_note(note: str) -> tuple[str, list[SignatureLine]]:
    """Text and signature lines; nothing is verified yet. Raises NoteRefused for what is no note."""
    if len(note) > NOTE_LENGTH_MAX or _has_control(note):
        raise NoteRefused
    body, separator, signatures = note.rpartition("\n\n")
    if not separator or not signatures.endswith("\n"):
        raise NoteRefused
    return f"{body}\n", [_signature(line) for line in signatures[:-1].split("\n")]


def open_note(note: str, *, name: str, key: Ed25519PublicKey) -> str:
    """The text, once a signature by this key under this name was found and holds. Raises NoteRefused."""
    text, signatures = split_note(note)
    known = [line.signature for line in signatures if (line.name, line.key_id) == (name, key_id(name, key))]
    if not known:
        raise NoteRefused
    for signature in known:
        _check(signature, text, key)
    return text


def checkpoint_of(text: str) -> Checkpoint:
    """Raises NoteRefused. Extension lines are allowed and not looked at."""
    found = _CHECKPOINT.fullmatch(text)
    if found is None or int(found[2]) > SIZE_MAX:
        raise NoteRefused
    return Checkpoint(origin=found[1], size=int(found[2]), root=base64.b64decode(found[3]))


def _signature(line: str) -> SignatureLine:
    """Raises NoteRefused."""
    name, space, encoded = line.removeprefix(SIGNATURE_PREFIX).partition(" ")
    if not line.startswith(SIGNATURE_PREFIX) or not space or not _NAME.fullmatch(name):
        raise NoteRefused
    try:
        decoded = base64.b64decode(encoded, validate=True)
    except (binascii.Error, ValueError):
        raise NoteRefused from None
    if len(decoded) <= KEY_ID_BYTES or base64.b64encode(decoded).decode() != encoded:
        raise NoteRefused
    return SignatureLine(name, decoded[:KEY_ID_BYTES], decoded[KEY_ID_BYTES:], f"{line}\n")


def _check(signature: bytes, text: str, key: Ed25519PublicKey) -> None:
    try:
        key.verify(signature, text.encode())
    except InvalidSignature:
        raise NoteRefused from None


def _has_control(text: str) -> bool:
    return any(character < " " and character != "\n" for character in text)
