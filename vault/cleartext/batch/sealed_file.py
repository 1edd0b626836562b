"""A file of cards, sealed before it travels to who alone can open it. Byte by byte: vault/FORMAT.md, "File of cards".

HPKE (RFC 9180, base mode) seals a key drawn for this one file; under that key each chunk is a body as everywhere here
(infra/chassis/sealing.py), bound to the file's head, its own number and whether it is the last. So nobody on the way
can take a chunk out, put one twice, exchange two, cut the end off, bring one from another file, or make one; and the
whole file opens for one tenant and one key only. What base mode does not say is who sealed it: anybody who has the
public key can make a whole file. So both ends show its SHA-256, to be compared by another way.
"""

import os
import secrets
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Annotated, BinaryIO, Final

import msgspec
from cryptography.exceptions import InvalidTag

from infra.chassis import strict_json
from infra.chassis.canonical import canonical_json
from infra.chassis.ids import new_id
from infra.chassis.sealing import OVERHEAD_BYTES, SealBroken, joined, open_under, seal_under
from infra.chassis.secret import Secret
from vault.cleartext.hpke import ENC_BYTES, SUITES, PrivateKey, SealSuite, public_key
from vault.contract import Identifier, Moment

BEGINS: Final = b"undercroft cards\x01"
LABEL: Final = b"undercroft cards 1"
SUITE_BYTES: Final = {SealSuite.X_WING: b"\x01", SealSuite.X25519: b"\x02"}
NOTICE_BYTES_MAX: Final = 512
"""Three ids of at most 64 letters and their names are under 300."""
KEY_BYTES: Final = 32
HPKE_TAG_BYTES: Final = 16
CHUNK_BYTES_MAX: Final = 1 << 16
"""Of lines. What is held of a file at any time is one chunk."""
LINE_BYTES_MAX: Final = 4096
"""A card with a long name and all terms is under 1,000."""
FILE_BYTES_MAX: Final = 1 << 31
"""Some ten million cards; who has more sends two files."""
KEY_FILE_BYTES_MAX: Final = 8192
MORE, LAST = b"\x00", b"\x01"


class SealedFileRefused(ValueError):
    """Says why, and nothing that is in the file. What it held was not used."""


class Recipient(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """To whom a file is sealed; no secret. After `good_until` its vault opens no file with it."""

    undercroft_cards_key: Annotated[int, msgspec.Meta(ge=1, le=1)] = 1
    tenant_id: Identifier
    key_id: Identifier
    suite: SealSuite
    public_key: bytes
    good_until: Moment


class Notice(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """What stands in clear at the head of a file, and is bound to all of it."""

    batch_id: Identifier
    key_id: Identifier
    tenant_id: Identifier


@dataclass(frozen=True, slots=True)
class Head:
    """`bound` is everything before the sealed key: what that key and every chunk are bound to."""

    suite: SealSuite
    notice: Notice
    bound: bytes
    sealed_key: bytes


def recipient_of(content: bytes) -> Recipient:
    """A recipient's key as its vault gave it out. Raises SealedFileRefused."""
    try:
        found = msgspec.convert(strict_json.decode(content[: KEY_FILE_BYTES_MAX + 1]), Recipient)
        public_key(found.suite, found.public_key)
    except (strict_json.NotStrictJson, msgspec.ValidationError, ValueError):
        raise SealedFileRefused("that is not a key to seal cards with") from None
    return found


class SealedWriter:
    """Lines in, sealed file out; a chunk at a time is in memory. Without `end` there is no file anybody opens."""

    def __init__(self, out: BinaryIO, recipient: Recipient) -> None:
        self.batch_id = new_id("bat")
        notice = Notice(batch_id=self.batch_id, key_id=recipient.key_id, tenant_id=recipient.tenant_id)
        told = canonical_json(notice)
        self._out = out
        self._bound = BEGINS + SUITE_BYTES[recipient.suite] + len(told).to_bytes(2, "big") + told
        self._key = Secret(secrets.token_bytes(KEY_BYTES))
        self._lines = bytearray()
        self._number = 0
        to = public_key(recipient.suite, recipient.public_key)
        sealed_key = SUITES[recipient.suite].encrypt(self._key.reveal(), to, info=joined(LABEL, self._bound))
        out.write(self._bound + sealed_key)

    def add(self, line: bytes) -> None:
        """One line, without its end. Raises ValueError for what is no line."""
        if len(line) > LINE_BYTES_MAX or b"\n" in line:
            raise ValueError("that is not one line")
        if len(self._lines) + len(line) + 1 > CHUNK_BYTES_MAX:
            self._seal(MORE)
        self._lines += line
        self._lines += b"\n"

    def end(self) -> None:
        """Also a file without lines has its last chunk."""
        self._seal(LAST)

    def _seal(self, kind: bytes) -> None:
        with memoryview(self._lines) as lines:
            body = seal_under(self._key, LABEL, lines, _place(self._bound, self._number, kind))
        self._out.write(kind + len(body).to_bytes(4, "big") + body)
        self._lines[:] = bytes(len(self._lines))
        self._lines.clear()
        self._number += 1


def read_head(file: BinaryIO) -> Head:
    """Raises SealedFileRefused."""
    if os.fstat(file.fileno()).st_size > FILE_BYTES_MAX:
        raise SealedFileRefused(f"the file is larger than {FILE_BYTES_MAX} bytes")
    begins = _exactly(file, len(BEGINS) + 3)
    suite = {number: name for name, number in SUITE_BYTES.items()}.get(begins[len(BEGINS) : len(BEGINS) + 1])
    length = int.from_bytes(begins[-2:], "big")
    if not begins.startswith(BEGINS) or suite is None or length > NOTICE_BYTES_MAX:
        raise SealedFileRefused("that is not a file of cards, or one of another version")
    told = _exactly(file, length)
    try:
        notice = msgspec.convert(strict_json.decode(told), Notice)
    except (strict_json.NotStrictJson, msgspec.ValidationError):
        raise SealedFileRefused("the head of the file cannot be read") from None
    return Head(suite, notice, begins + told, _exactly(file, ENC_BYTES[suite] + KEY_BYTES + HPKE_TAG_BYTES))


def open_key(head: Head, private: PrivateKey) -> Secret[bytes]:
    """The file's own key. Raises SealedFileRefused."""
    try:
        return Secret(SUITES[head.suite].decrypt(head.sealed_key, private, info=joined(LABEL, head.bound)))
    except (InvalidTag, ValueError):  # the second for what is no point of the curve
        raise SealedFileRefused("the file was sealed for somebody else, or was changed on the way") from None


def lines_of(file: BinaryIO, head: Head, key: Secret[bytes]) -> Iterator[bytes]:
    """Every line, from where `read_head` left the file to its very end; a chunk is opened when it is come to.

    Raises SealedFileRefused, at any line: whoever must not begin with half a file goes through it twice.
    """
    number, kind = 0, MORE
    while kind == MORE:
        kind, length = _exactly(file, 1), int.from_bytes(_exactly(file, 4), "big")
        if kind not in {MORE, LAST} or length > CHUNK_BYTES_MAX + OVERHEAD_BYTES:
            raise SealedFileRefused(f"chunk {number} was changed on the way")
        try:
            lines = open_under(key, LABEL, _exactly(file, length), _place(head.bound, number, kind))
        except SealBroken:
            raise SealedFileRefused(f"chunk {number} was changed on the way, or is not in its place") from None
        if lines and not lines.endswith(b"\n"):
            raise SealedFileRefused(f"chunk {number} does not end with a line")
        yield from lines.split(b"\n")[:-1]
        number += 1
    if file.read(1):
        raise SealedFileRefused("something follows the end of the file")


def _place(bound: bytes, number: int, kind: bytes) -> bytes:
    return joined(bound, number.to_bytes(8, "big"), kind)


def _exactly(file: BinaryIO, length: int) -> bytes:
    found = file.read(length)
    if len(found) != length:
        raise SealedFileRefused("the end of the file is missing")
    return found


def is_good(recipient: Recipient, now: datetime) -> bool:
    return now < recipient.good_until
