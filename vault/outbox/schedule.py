"""When a delivery is tried again. Pure, and the same for the same dispatch: what varies is drawn from its ids.

Pauses grow from seconds to hours; a day after an event was owed it is given up: it then is a dead letter.
"""

import hashlib
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from typing import Final

PAUSE_FIRST: Final = timedelta(seconds=5)
PAUSE_GROWS: Final[int] = 3
PAUSE_MAX: Final = timedelta(hours=4)
GIVE_UP_AFTER: Final = timedelta(hours=24)
"""With the pauses above twelve to twenty attempts."""
RETRY_AFTER_MAX: Final = timedelta(hours=6)
"""A receiver may ask for more patience than this; it does not get it."""
REST_FIRST: Final = timedelta(seconds=5)
REST_MAX: Final = timedelta(minutes=5)
_EXPONENT_MAX: Final = 16


def pause(attempt: int, about: str) -> timedelta:
    """After the attempt of that number (1 is the first): between half of the pause and all of it."""
    whole: timedelta = min(PAUSE_FIRST * PAUSE_GROWS ** min(attempt - 1, _EXPONENT_MAX), PAUSE_MAX)
    return whole * _spread(f"{about} {attempt}")


def next_attempt(
    now: datetime, *, attempt: int, about: str, owed_since: datetime, retry_after: timedelta | None
) -> datetime | None:
    """When to try again; None when it is given up. The last attempt is at the end of the day, or when asked for."""
    deadline = owed_since + GIVE_UP_AFTER
    if now >= deadline:
        return None
    usual = min(now + pause(attempt, about), deadline)
    return usual if retry_after is None else max(usual, now + retry_after)


def rest(failures: int, about: str) -> timedelta:
    """How long an endpoint that did not answer so many times in a row is left in peace, all its events together."""
    whole: timedelta = min(REST_FIRST * 2 ** min(failures - 1, _EXPONENT_MAX), REST_MAX)
    return whole * _spread(f"{about} {failures}")


def retry_after(value: str | None, now: datetime) -> timedelta | None:
    """Of the header (RFC 9110, 10.2.3: seconds or a date), at most RETRY_AFTER_MAX; None for anything else."""
    if value is None:
        return None
    text = value.strip()
    if text.isascii() and text.isdigit():
        return min(timedelta(seconds=int(text[:9])), RETRY_AFTER_MAX)
    try:
        moment = parsedate_to_datetime(text)
    except (ValueError, OverflowError):
        return None
    wait = moment.replace(tzinfo=moment.tzinfo or UTC) - now
    return min(max(wait, timedelta()), RETRY_AFTER_MAX)


def _spread(seed: str) -> float:
    """From 0.5 up to 1, evenly: those that failed together do not come back together."""
    drawn = int.from_bytes(hashlib.sha256(seed.encode()).digest()[:8], "big")
    return 0.5 + drawn / 2**65
