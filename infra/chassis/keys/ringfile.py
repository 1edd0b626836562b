"""The software root: a file with one key for each version, replaced in one step by whoever rotates.

    {"undercroft_root_ring": 1,
     "versions":  [{"version": 2, "key": "<32 bytes, base64>", "created_at": "2026-11-21T17:00:00Z"}],
     "destroyed": [{"version": 1, "destroyed_at": "2026-11-21T18:00:00Z"}]}

A file of exactly 32 bytes is a ring of one version, number 1: what roots were before they had versions. It becomes a
ring file with the first rotation. Either may lie sealed under a custody key (custody.py), and stays so when it changes.

Writing: one at a time (`<name>.lock`), to a new file, flushed to the disk, renamed over the old, the folder flushed.
Then the old file, which has the name `<name>.old` meanwhile, is overwritten, flushed and removed; one that a killed
writer left is by the next. Limits: a file system that copies on write, a flash disk's spare blocks, a snapshot or a
backup of this file may keep what was overwritten.
"""

import fcntl
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path
from typing import Final, Self

import msgspec

from infra.chassis.durable import flush_folder
from infra.chassis.jwk import Stamp, stamp
from infra.chassis.keys.custody import Custody, SealedFileDamaged
from infra.chassis.keys.protocol import KEY_BYTES, CannotDestroy, RootVersion, VersionState, new_key
from infra.chassis.secret import Secret

READS_MAX: Final = 50
"""Each further read means that the file was replaced between two system calls."""
RING_BYTES_MAX: Final = 1 << 20
OTHERS_MAY: Final = 0o027
"""Write for the group, anything for others: a root file that open is not used."""


class RingUnusable(ValueError):
    """The root file does not hold what a root file holds, or others may read it. Says which, never what is in it."""


class _Kept(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    version: int
    key: bytes
    created_at: datetime | None = None


class _Gone(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    version: int
    destroyed_at: datetime


class _Document(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    undercroft_root_ring: int
    versions: list[_Kept]
    destroyed: list[_Gone]


@dataclass(frozen=True, slots=True)
class Root:
    version: int
    key: Secret[bytes]
    created_at: datetime | None


@dataclass(frozen=True, slots=True)
class Ring:
    """All versions of the root, `kept` in ascending order and never empty; of the `destroyed` only number and time."""

    kept: tuple[Root, ...]
    destroyed: tuple[tuple[int, datetime], ...] = ()

    @property
    def newest(self) -> Root:
        return self.kept[-1]

    def key(self, version: int) -> Secret[bytes] | None:
        return next((root.key for root in self.kept if root.version == version), None)

    def rotated(self, now: datetime) -> Self:
        return replace(self, kept=(*self.kept, Root(self.newest.version + 1, new_key(), now)))

    def without_those_before(self, version: int, now: datetime) -> Self:
        """Raises CannotDestroy when none would be left."""
        kept = tuple(root for root in self.kept if root.version >= version)
        if not kept:
            raise CannotDestroy("the newest version of a root is never destroyed: rotate first")
        gone = tuple((root.version, now) for root in self.kept if root.version < version)
        return replace(self, kept=kept, destroyed=(*self.destroyed, *gone))

    def described(self) -> tuple[RootVersion, ...]:
        gone = [RootVersion(version, VersionState.DESTROYED, destroyed_at=at) for version, at in self.destroyed]
        kept = [RootVersion(root.version, VersionState.RETIRED, root.created_at) for root in self.kept[:-1]]
        return (*gone, *kept, RootVersion(self.newest.version, VersionState.ACTIVE, self.newest.created_at))


def encode(ring: Ring) -> bytes:
    """The file's content, in clear."""
    kept = [_Kept(root.version, root.key.reveal(), root.created_at) for root in ring.kept]
    return msgspec.json.encode(_Document(1, kept, [_Gone(version, at) for version, at in ring.destroyed]))


def decode(content: bytes) -> Ring:
    """Raises RingUnusable."""
    if len(content) == KEY_BYTES:
        return Ring((Root(1, Secret(content), None),))
    try:
        document = msgspec.json.decode(content, type=_Document)
    except msgspec.MsgspecError:
        raise RingUnusable("the root file holds neither 32 bytes nor a ring of versions") from None
    numbers = [gone.version for gone in document.destroyed] + [kept.version for kept in document.versions]
    whole = all(len(kept.key) == KEY_BYTES for kept in document.versions)
    ascending = numbers == sorted(set(numbers)) and all(number > 0 for number in numbers)
    if document.undercroft_root_ring != 1 or not document.versions or not whole or not ascending:
        raise RingUnusable("the ring of versions in the root file is damaged")
    kept = tuple(Root(one.version, Secret(one.key), one.created_at) for one in document.versions)
    return Ring(kept, tuple((one.version, one.destroyed_at) for one in document.destroyed))


class RingFile:
    """The ring as its file has it now. All methods block, for as long as a rotation takes at most.

    `custody` opens what lies sealed; without one, a sealed file raises Sealed wherever its ring is asked for.
    """

    def __init__(self, path: Path, custody: Custody | None = None) -> None:
        self.path = path
        self._custody = custody or Custody(path)

    def stamp(self) -> Stamp | None:
        """Changes whenever the file is replaced; None while there is none."""
        return stamp(self.path)

    def read(self) -> Ring:
        """Raises OSError, RingUnusable, Sealed."""
        return self._ring(self.content())

    def change(self, how: Callable[[Ring], Ring]) -> Ring:
        """Replace the ring by what `how` makes of it, and return that. Killed at any point, the old or the new stands.

        Raises OSError, RingUnusable, Sealed, and what `how` raises.
        """
        with self._alone():
            before = self.content()
            ring = how(self._ring(before))
            self._replace(self._custody.as_before(before, encode(ring)))
        return ring

    def rewrite(self, how: Callable[[bytes], bytes]) -> None:
        """As `change`, of the file's content as it lies there. Raises OSError, RingUnusable, and what `how` raises."""
        with self._alone():
            self._replace(how(self.content()))

    def create(self, content: bytes) -> None:
        """The first content of a file that is not there. Raises FileExistsError."""
        with self._alone():
            if self.path.exists():
                raise FileExistsError(str(self.path))
            new = self._write_new(content, 0o600)
            new.replace(self.path.resolve())
            flush_folder(new.parent)

    def _ring(self, content: bytes) -> Ring:
        try:
            return decode(self._custody.clear(content))
        except SealedFileDamaged as damaged:
            raise RingUnusable(str(damaged)) from None

    def content(self) -> bytes:
        """What the file holds, sealed or not. Raises OSError, RingUnusable."""
        for _ in range(READS_MAX):
            with self.path.open("rb") as file:
                fcntl.flock(file, fcntl.LOCK_SH)  # whoever overwrites an old file waits for those who read it
                found = os.fstat(file.fileno())
                if not _is_there(found, self.path):
                    continue  # replaced since we opened it, and maybe overwritten
                if found.st_mode & OTHERS_MAY:
                    raise RingUnusable("the root file may be read or written by others: chmod 600")
                return file.read(RING_BYTES_MAX)
        raise RingUnusable("the root file is replaced faster than it can be read")

    @contextmanager
    def _alone(self) -> Iterator[None]:
        """One writer at a time; a killed one lets go by itself."""
        descriptor = os.open(self._beside(".lock"), os.O_RDWR | os.O_CREAT, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            yield
        finally:
            os.close(descriptor)

    def _replace(self, content: bytes) -> None:
        """The old file keeps a name until it is overwritten: a killed writer leaves nothing that nobody can reach."""
        real, old = self.path.resolve(), self._beside(".old")
        _wipe(old, unless=real)
        old.hardlink_to(real)
        new = self._write_new(content, real.stat().st_mode & 0o777)  # a group that may read it still may
        new.replace(real)
        flush_folder(real.parent)
        _wipe(old, unless=real)
        flush_folder(real.parent)

    def _write_new(self, content: bytes, mode: int) -> Path:
        new = self._beside(".new")
        _wipe(new, unless=self.path)
        descriptor = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "wb") as file:
            os.fchmod(descriptor, mode)
            file.write(content)
            file.flush()
            os.fsync(descriptor)
        return new

    def _beside(self, ending: str) -> Path:
        """Beside the file itself, where `path` is a link to it."""
        real = self.path.resolve()
        return real.with_name(real.name + ending)


def _wipe(path: Path, *, unless: Path) -> None:
    """Overwrite and remove what is at `path`, when nobody reads it any more. Of `unless` itself only that name goes."""
    try:
        with path.open("r+b") as file:
            if not _is_there(os.fstat(file.fileno()), unless):
                fcntl.flock(file, fcntl.LOCK_EX)
                _overwrite(file.fileno())
    except FileNotFoundError:
        return
    path.unlink()


def _is_there(found: os.stat_result, path: Path) -> bool:
    """Whether `path` names this very file."""
    try:
        now = path.stat()
    except FileNotFoundError:
        return False
    return (now.st_dev, now.st_ino) == (found.st_dev, found.st_ino)


def _overwrite(descriptor: int) -> None:
    """Zeros over every byte, and on the disk."""
    length = os.fstat(descriptor).st_size
    os.pwrite(descriptor, bytes(length), 0)
    os.fsync(descriptor)
