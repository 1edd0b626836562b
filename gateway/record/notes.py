"""Signed notes and checkpoints: C2SP `signed-note` and `tlog-checkpoint`, signature type 0x01 (Ed25519).

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
KEY_ID_BYTES = 4
SIGNATURE_PREFIX = "\u2014 "
NOTE_LENGTH_MAX = 64 * 1024
"""The specification wants at least 16 signatures of up to 5 kB read; ours with one is under 300 characters."""
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


def key_id(name: str, key: Ed25519PublicKey) -> bytes:
    return hashlib.sha256(name.encode() + b"\n" + ED25519 + key.public_bytes_raw()).digest()[:KEY_ID_BYTES]


def verifier_key(name: str, key: Ed25519PublicKey) -> str:
    """The form in which verifiers of notes take keys: `name+hex(key id)+base64(type || key)`."""
    return f"{name}+{key_id(name, key).hex()}+{base64.b64encode(ED25519 + key.public_bytes_raw()).decode()}"


def sign_note(text: str, *, name: str, key: Ed25519PublicKey, sign: Callable[[bytes], bytes]) -> str:
    """`text` with one signature. Raises NoteRefused for a text or a name that no note may have."""
    if not text.endswith("\n") or _has_control(text) or not _NAME.fullmatch(name):
        raise NoteRefused
    signature = base64.b64encode(key_id(name, key) + sign(text.encode())).decode()
    return f"{text}\n{SIGNATURE_PREFIX}{name} {signature}\n"


def open_note(note: str, *, name: str, key: Ed25519PublicKey) -> str:
    """The text, once a signature by this key under this name was found and holds. Raises NoteRefused."""
    if len(note) > NOTE_LENGTH_MAX or _has_control(note):
        raise NoteRefused
    body, separator, signatures = note.rpartition("\n\n")
    text = f"{body}\n"
    if not separator or not signatures.endswith("\n"):
        raise NoteRefused
    ours = [signature for signature in map(_signature, signatures[:-1].split("\n")) if signature[0] == name]
    known = [signature for _, identifier, signature in ours if identifier == key_id(name, key)]
    if not known:
        raise NoteRefused
    for signature in known:
        _check(signature, text, key)
    return text


def checkpoint_of(text: str) -> Checkpoint:
    """Raises NoteRefused. Extension lines are allowed and not looked at."""
    found = _CHECKPOINT.fullmatch(text)
    if found is None:
        raise NoteRefused
    return Checkpoint(origin=found[1], size=int(found[2]), root=base64.b64decode(found[3]))


def _signature(line: str) -> tuple[str, bytes, bytes]:
    """Name, key id and signature of a line. Raises NoteRefused."""
    name, space, encoded = line.removeprefix(SIGNATURE_PREFIX).partition(" ")
    if not line.startswith(SIGNATURE_PREFIX) or not space or not _NAME.fullmatch(name):
        raise NoteRefused
    try:
        decoded = base64.b64decode(encoded, validate=True)
    except (binascii.Error, ValueError):
        raise NoteRefused from None
    if len(decoded) <= KEY_ID_BYTES or base64.b64encode(decoded).decode() != encoded:
        raise NoteRefused
    return name, decoded[:KEY_ID_BYTES], decoded[KEY_ID_BYTES:]


def _check(signature: bytes, text: str, key: Ed25519PublicKey) -> None:
    try:
        key.verify(signature, text.encode())
    except InvalidSignature:
        raise NoteRefused from None


def _has_control(text: str) -> bool:
    return any(character < " " and character != "\n" for character in text)
