"""A signing key that rotates: next → current → retiring → gone, as files of one folder that running processes watch.

`<purpose>.pem` signs. `<purpose>.next.pem` is only published, so that receivers know it before it signs.
`<purpose>.retiring.jwks` holds public halves that still check what they signed, each until its `exp`; the private half
is destroyed when it retires. A process looks at the files' stamps each time it needs a key (three `stat`, about 6 µs)
and reads them again when one changed: no signal, no restart, no moment at which two files do not fit together.
"""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from functools import cached_property
from pathlib import Path
from typing import Any, Self

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from infra.chassis import logs, regular
from infra.chassis.jwk import PublicKey, published, read_documents, read_key, signing_key, stamp
from infra.chassis.secret import Secret

READS_MAX = 5
"""A rotation changes three files; a reader that meets it in the middle reads again."""
log = logs.get_logger()


@dataclass(frozen=True, slots=True)
class Signing:
    """What signs and what checks, at one moment."""

    key: Ed25519PrivateKey
    own: PublicKey
    others: tuple[PublicKey, ...] = ()
    """The next one and those that retire."""

    @classmethod
    def of(cls, key: Ed25519PrivateKey, *others: PublicKey) -> Self:
        return cls(key, published(key.public_key()), others)

    @property
    def key_id(self) -> str:
        return self.own.key_id

    def public(self, key_id: str, now: datetime) -> Ed25519PublicKey | None:
        """None for a key that is not ours, or gone."""
        return next((item.key for item in self.published(now) if item.key_id == key_id), None)

    def published(self, now: datetime) -> list[PublicKey]:
        """In the order current, next, retiring; each key once."""
        others = (item for item in self.others if item.holds(now) and item.key_id != self.key_id)
        return [self.own, *others]

    def jwks(self, now: datetime) -> dict[str, list[dict[str, Any]]]:
        """RFC 7517: the public halves, for those who check."""
        return {"keys": [item.document() for item in self.published(now)]}


@dataclass(frozen=True)
class KeyFiles:
    folder: Path
    purpose: str

    @cached_property
    def current(self) -> Path:
        return self.folder / f"{self.purpose}.pem"

    @cached_property
    def next(self) -> Path:
        return self.folder / f"{self.purpose}.next.pem"

    @cached_property
    def retiring(self) -> Path:
        return self.folder / f"{self.purpose}.retiring.jwks"

    def stamps(self) -> tuple[Any, ...]:
        return stamp(self.current), stamp(self.next), stamp(self.retiring)

    def read(self) -> Signing:
        """Raises OSError without a current key, ValueError for a file that holds anything else than it should."""
        key = signing_key(Secret(regular.read(self.current)))
        following = [published(signing_key(Secret(regular.read(self.next))).public_key())] if self.next.exists() else []
        return Signing.of(key, *following, *self.read_retiring())

    def read_retiring(self) -> list[PublicKey]:
        """Also those that have ended since. Raises as `read`."""
        if not self.retiring.exists():
            return []
        return [read_key(item) for item in read_documents(regular.read(self.retiring))]


class SigningRing:
    """The keys of one purpose, always as the folder has them now. Without files, they stay as they are."""

    def __init__(self, signing: Signing, files: KeyFiles | None = None) -> None:
        self._signing = signing
        self._files = files
        self._stamps = files.stamps() if files is not None else ()

    @classmethod
    def open(cls, folder: Path, purpose: str) -> Self:
        """Raises OSError or ValueError when the files cannot be used: the process does not start with them."""
        files = KeyFiles(folder, purpose)
        before = files.stamps()
        ring = cls(files.read(), files)
        ring._stamps = before
        return ring

    def now(self) -> Signing:
        """When the files cannot be read any more, what they last said holds; the log says so."""
        if self._files is not None and self._files.stamps() != self._stamps:
            self._reload(self._files)
        return self._signing

    def _reload(self, files: KeyFiles) -> None:
        for _ in range(READS_MAX):
            before = files.stamps()
            read = _read_or_none(files.read, files.purpose)
            if files.stamps() != before:
                continue
            self._stamps = before
            if read is not None:
                self._signing = read
                log.info("signing_keys_read", purpose=files.purpose, key_id=read.key_id, others=len(read.others))
            return


def _read_or_none(read: Callable[[], Signing], purpose: str) -> Signing | None:
    try:
        return read()
    except (OSError, ValueError) as error:
        log.warning("signing_keys_unreadable", purpose=purpose, error=type(error).__name__)
        return None
