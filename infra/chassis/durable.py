"""Files that must still be there after the power went: their bytes on the disk, and their names in their folders too.

`fsync` of a file says nothing of the name it has: that is the folder's, and is flushed with it (fsync(2), "does not
necessarily ensure that the entry in the directory containing the file has also reached disk").
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO


def flush_folder(folder: Path) -> None:
    """What was created, renamed or removed in it is so after a crash too. Raises OSError."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def make_folder(folder: Path) -> None:
    """As `mkdir -p`, each new one for its owner only and flushed in the one above. Raises OSError."""
    missing = [one for one in (folder, *folder.parents) if not one.exists()]
    for one in reversed(missing):
        one.mkdir(mode=0o700, exist_ok=True)  # somebody else may be quicker
        flush_folder(one.parent)


def replace(path: Path, content: bytes, *, mode: int = 0o600) -> Path:
    """The file's whole content in one step: after a crash the old or the new stands there, never a part.

    It is its owner's only from the first byte; `mode` is given before there is one. Raises OSError.
    """
    with replacing(path, mode=mode) as file:
        file.write(content)
    return path


@contextmanager
def replacing(path: Path, *, mode: int = 0o600) -> Iterator[BinaryIO]:
    """As `replace`, for what is written piece by piece: it takes its place when the block ends without an error."""
    new = path.with_name(path.name + ".new")
    new.unlink(missing_ok=True)
    descriptor = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        with os.fdopen(descriptor, "wb") as file:
            os.fchmod(descriptor, mode)
            yield file
            file.flush()
            os.fsync(descriptor)
    except BaseException:
        new.unlink(missing_ok=True)
        raise
    new.replace(path)
    flush_folder(path.parent)


def remove(path: Path) -> None:
    """Gone, also after a crash; nothing happens when it was not there. Raises OSError."""
    path.unlink(missing_ok=True)
    flush_folder(path.parent)
