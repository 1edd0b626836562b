"""A part of a processor for each of some processes, so that more of them is more capacity whatever else runs here.

On a machine of two cores two workers, the database and the load all want the same two, and what two workers could do is
not seen. Linux control groups hold each worker to a share, as a container's limit does; the rest stays free for the
others.
"""

import contextlib
import secrets
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final

PERIOD_MICROSECONDS: Final = 10_000
"""Ten times shorter than the default, so that a stopped worker waits for milliseconds."""
_FIRST_VERSION: Final = Path("/sys/fs/cgroup/cpu")
_SECOND_VERSION: Final = Path("/sys/fs/cgroup")


class CapacityNotOurs(Exception):
    """This machine does not let us limit processes: that takes Linux and the right to make control groups."""


@contextlib.contextmanager
def limited(pids: Sequence[int], *, percent: int) -> Iterator[None]:
    """Each process, with all its threads, gets `percent` of one core and no more. Raises CapacityNotOurs."""
    made: list[Path] = []
    try:
        try:
            for pid in pids:
                made.append(_group())
                _limit(made[-1], percent)
                (made[-1] / "cgroup.procs").write_text(str(pid))
        except OSError as error:
            raise CapacityNotOurs from error
        yield
    finally:
        for group in made:
            _dissolve(group)


def _group() -> Path:
    root = _FIRST_VERSION if (_FIRST_VERSION / "cgroup.procs").exists() else _SECOND_VERSION
    group = root / f"undercroft-bench-{secrets.token_hex(4)}"
    group.mkdir()
    return group


def _limit(group: Path, percent: int) -> None:
    quota = PERIOD_MICROSECONDS * percent // 100
    if group.parent == _FIRST_VERSION:
        (group / "cpu.cfs_period_us").write_text(str(PERIOD_MICROSECONDS))
        (group / "cpu.cfs_quota_us").write_text(str(quota))
    else:
        (group / "cpu.max").write_text(f"{quota} {PERIOD_MICROSECONDS}")


def _dissolve(group: Path) -> None:
    """What still runs in it goes back to where it came from: a group with processes cannot be removed."""
    with contextlib.suppress(OSError):
        for pid in (group / "cgroup.procs").read_text().split():
            with contextlib.suppress(OSError):
                (group.parent / "cgroup.procs").write_text(pid)
        group.rmdir()
