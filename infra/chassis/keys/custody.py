"""A root file, or the file of a token's PIN, that lies sealed under a key its custodians have shares of.

    {"undercroft_sealed": 1, "ceremony": {…}, "sealed": "<base64>"}

`sealed` is a body of infra/chassis/sealing.py, label "undercroft custody 1", over what the file held before. `ceremony`
says who has to come; no secret, and bound in, byte for byte as it stands there.

The custody key is nowhere but in the memory of a process that was given enough shares. Such a process writes the file
again, when it rotates the root say, under the same key and with the same ceremony.
"""

from pathlib import Path
from typing import Final

import msgspec

from infra.chassis.jwk import Stamp, stamp
from infra.chassis.sealing import SealBroken, joined, open_under, seal_under
from infra.chassis.secret import Secret

LABEL: Final = b"undercroft custody 1"
BEGINS: Final = b'{"undercroft_sealed":'


class Sealed(Exception):
    """The file is under custody, and no key that opens it is here."""


class SealedFileDamaged(ValueError):
    """It begins like a sealed file and is none."""


class Document(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    undercroft_sealed: int
    ceremony: msgspec.Raw
    sealed: bytes


def read(content: bytes) -> Document | None:
    """None when `content` lies open. Raises SealedFileDamaged."""
    if not content.startswith(BEGINS):
        return None
    try:
        document = msgspec.json.decode(content, type=Document)
    except msgspec.MsgspecError:
        raise SealedFileDamaged("the sealed file is damaged") from None
    if document.undercroft_sealed != 1:
        raise SealedFileDamaged("the sealed file is of another version")
    return document


def is_sealed_file(path: Path) -> bool:
    """Raises OSError, SealedFileDamaged."""
    return read(path.read_bytes()) is not None


def seal(key: Secret[bytes], ceremony: bytes, content: bytes) -> bytes:
    """What the file holds from now on. `ceremony` is a JSON value."""
    sealed = seal_under(key, LABEL, content, joined(LABEL, ceremony))
    return msgspec.json.encode(Document(1, msgspec.Raw(ceremony), sealed))


class Custody:
    """The custody keys a process was given, and whether they open `path`; None for a root in no file of ours."""

    def __init__(self, path: Path | None = None) -> None:
        self.path = path
        self._keys: tuple[Secret[bytes], ...] = ()
        self._seen: tuple[Stamp, bool] | None = None
        self._on_trial = False

    def try_out(self, key: Secret[bytes]) -> None:
        """This key alone opens files from now on. We stay closed until `give`: the key service is yet to be proved."""
        self.give(key)
        self._on_trial = True

    def give(self, key: Secret[bytes], *, beside: Secret[bytes] | None = None) -> None:
        """From now on this key is tried first. `beside`: the present one, while the file is not yet under the next."""
        self._keys = (key,) if beside is None else (key, beside)
        self._seen, self._on_trial = None, False

    def forget(self) -> None:
        self._keys, self._seen, self._on_trial = (), None, False

    @property
    def keys(self) -> tuple[Secret[bytes], ...]:
        """Newest first."""
        return self._keys

    @property
    def closed(self) -> bool:
        """Whether nothing is to be served: the file is sealed for us, or what opens it is only being tried out."""
        return self._on_trial or self.sealed

    @property
    def sealed(self) -> bool:
        """Whether the file is sealed for us, now: 2 µs while nobody touches it. One that is missing is not sealed."""
        now = None if self.path is None else stamp(self.path)
        if now is None or self.path is None:
            return False
        if self._seen is None or self._seen[0] != now:
            self._seen = (now, self._is_closed(self.path))
        return self._seen[1]

    async def answers(self) -> bool:
        """For readiness: whether what is under custody can be used."""
        return not self.closed

    def clear(self, content: bytes) -> bytes:
        """What lies in a file, opened if it is sealed. Raises Sealed, SealedFileDamaged."""
        document = read(content)
        return content if document is None else self._opened(document)[1]

    def as_before(self, before: bytes, clear: bytes) -> bytes:
        """What a file is to hold instead of `before`: sealed if that was, under the same key. Raises Sealed."""
        document = read(before)
        return clear if document is None else seal(self._opened(document)[0], bytes(document.ceremony), clear)

    def _opened(self, document: Document) -> tuple[Secret[bytes], bytes]:
        bound = joined(LABEL, bytes(document.ceremony))
        for key in self._keys:
            try:
                return key, open_under(key, LABEL, document.sealed, bound)
            except SealBroken:
                continue
        raise Sealed

    def _is_closed(self, path: Path) -> bool:
        """What cannot be read is for the key service to say."""
        try:
            self.clear(path.read_bytes())
        except Sealed:
            return True
        except (OSError, SealedFileDamaged):
            return False
        return False
