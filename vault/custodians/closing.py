"""A ceremony's process is closed to others before anybody types into it, and only then becomes the vault's user.

Shares, passphrases and the key they give lie in its memory. A vault that was broken into is the same user, and may read
the memory of every process of its user that is dumpable, as each is from its first instruction. So where root holds the
ceremony the process is root until nobody may look into it; a change of user without a new program leaves it so
(prctl(2), PR_SET_DUMPABLE). Who starts it as the vault's user leaves the second until it is closed: whoever attached
himself in that time is found (proc_pid_status(5), TracerPid), whoever only opened its memory is not.
"""

import errno
import os
import sys
from pathlib import Path
from typing import Final

from infra.chassis.walls import process
from infra.chassis.walls.unavailable import Unavailable
from vault.keys.commands import actor

ROOT: Final = 0
STATUS: Final = Path("/proc/self/status")


class NotClosed(PermissionError):
    """Somebody could look into this process, or does. Its `strerror` says why."""


def close(folder: Path | None, *, keep_groups: bool = False) -> None:
    """No core file, dumpable to nobody, memory locked; then the user whose `folder` is, where root started us.

    `keep_groups`: of those it was started in, all but root's; who needs the database comes to it by one. Without a
    folder, or before there is one, it stays who it is. Memory that cannot be locked is said to whoever sits there, and
    stops nothing.
    Raises NotClosed and OSError.
    """
    actor()  # who began it, while we still are he
    _dumpable_to_nobody()
    try:
        process.lock_memory()
    except Unavailable as reason:
        sys.stderr.write(f"what is typed and opened here may be swapped out: {reason}\n")
    if os.geteuid() == ROOT and folder is not None and folder.exists() and (whose := folder.stat()).st_uid != ROOT:
        os.setgroups([group for group in os.getgroups() if group != ROOT] if keep_groups else [])
        os.setgid(whose.st_gid)
        os.setuid(whose.st_uid)
        _dumpable_to_nobody()  # fs.suid_dumpable may have said otherwise


def _dumpable_to_nobody() -> None:
    try:
        process.forbid_core_files()
        process.forbid_dumps()
    except Unavailable as reason:
        raise NotClosed(errno.EPERM, f"others could read the memory of this process: {reason}") from None
    lines = dict(line.partition(":")[::2] for line in STATUS.read_text(encoding="utf-8").splitlines())
    if tracer := int(lines["TracerPid"]):
        raise NotClosed(errno.EPERM, f"process {tracer} is debugging this one")
