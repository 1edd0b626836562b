"""Named places at which a test has the process killed, to see what a crash exactly there leaves behind.

Nothing happens at a place unless the settings of a sandbox arm it; outside of a sandbox an armed place refuses the
start.
"""

import os
import signal

from infra.chassis.settings import SettingsIncomplete

_left: dict[str, int] = {}
"""How often each armed place may still be reached; the process ends when that is no more."""


def arm(places: str, *, sandbox: bool) -> None:
    """`places`: `name`, or `name:3` to die there the third time, parted by commas. Raises SettingsIncomplete."""
    if places and not sandbox:
        raise SettingsIncomplete("a crash point is armed, which is for the sandbox only")
    _left.clear()
    for place in filter(None, places.split(",")):
        name, _, times = place.partition(":")
        if not name.isidentifier() or (times and not times.isdigit()):
            raise SettingsIncomplete("a crash point is written name or name:3")
        _left[name] = int(times or 1)


def reach(name: str) -> None:
    """Ends the process by SIGKILL where `name` is armed: no handler runs, nothing is flushed, no transaction closed."""
    if name in _left:
        _left[name] -= 1
        if _left[name] <= 0:
            os.kill(os.getpid(), signal.SIGKILL)
