"""Reading files of folders that others may put something into: what is no regular file is refused, and nobody waits.

Opening a named pipe waits until somebody writes into it (fifo(7)), and a device may never end: a start would hang
there, and a service that reads its keys again would stand still.
"""

import errno
import os
import stat
from pathlib import Path
from typing import Final

BYTES_MAX: Final = 4 * 1024 * 1024
"""No key, certificate or list of keys comes near it."""


def read(path: Path) -> bytes:
    """The file's content. Raises OSError, also for what is no regular file or holds more than BYTES_MAX."""
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    with os.fdopen(descriptor, "rb") as file:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise OSError(errno.EINVAL, "not a regular file", str(path))
        content = file.read(BYTES_MAX + 1)
    if len(content) > BYTES_MAX:
        raise OSError(errno.EFBIG, os.strerror(errno.EFBIG), str(path))
    return content
