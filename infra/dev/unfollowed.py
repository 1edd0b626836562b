"""Reading and writing, as root, in folders that are a service's or everybody's: no link in them is followed.

Whoever has a folder may have put anything there, and may have been broken into: a link to a file of root's, or a second
name of one. A new file belongs to whoever has its folder.
"""

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path


def read(top: Path, name: str) -> bytes:
    """The content of a file below `top`, which is ours. Raises OSError, also for a link in its place or above it."""
    with _below(top, Path(name).parent, make=False) as folder:
        file = os.open(Path(name).name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, dir_fd=folder)
        with os.fdopen(file, "rb") as opened:
            return opened.read()


def write(top: Path, name: str, content: bytes) -> Path:
    """Replace a file below `top` in one step, also for a crash; only its owner may read it, from its first byte.

    Folders in between are made where they are missing. Raises OSError.
    """
    own, new = Path(name).name, Path(name).name + ".new"
    with _below(top, Path(name).parent, make=True) as folder:
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
    return top / name


@contextmanager
def taken(folder: Path, *owners: int) -> Iterator[int]:
    """A handle of a folder in the temporary folder, where others may have made one of its name, or a link.

    Raises OSError, PermissionError when it belongs to somebody else than one of `owners`.
    """
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        if (whose := os.fstat(handle).st_uid) not in owners:
            raise PermissionError(errno.EPERM, f"it belongs to user {whose}; remove it", str(folder))
        yield handle
    finally:
        os.close(handle)


@contextmanager
def _below(top: Path, inner: Path, *, make: bool) -> Iterator[int]:
    """A handle of a folder below `top`, with `make` made where it is missing, each step refusing links."""
    handle = os.open(top, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        for part in inner.parts:
            parent, handle = handle, (_made(handle, part) if make else _step(handle, part))
            os.close(parent)
        yield handle
    finally:
        os.close(handle)


def _step(parent: int, name: str) -> int:
    return os.open(name, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=parent)


def _made(parent: int, name: str) -> int:
    try:
        os.mkdir(name, 0o700, dir_fd=parent)
        is_new = True
    except FileExistsError:
        is_new = False
    handle = _step(parent, name)
    if is_new:
        _give_as(parent, handle)
        os.fsync(parent)
    return handle


def _give_as(folder: int, file: int) -> None:
    """Only root can, and only root has to."""
    if os.geteuid() == 0:
        whose = os.fstat(folder)
        os.fchown(file, whose.st_uid, whose.st_gid)
