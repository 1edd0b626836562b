"""Rolling windows: how much was taken in the last hours or days, and when some of it falls out of them. Pure."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from typing import Final

WINDOW_SECONDS_USUAL: Final = 30 * 86_400
"""The table takes one hour to 31 days: longer ones would have each decision count more rows than they are worth."""
CAP_MINOR_MAX: Final = 1_000_000_000_000
COUNT_MAX: Final = 10_000
"""What a mandate without a limit has for one (a threshold for approvals too).

Purchases cannot come to more than COUNT_MAX of the largest. So every mandate has all its limits, and a missing one is a
mistake and not a permission.
"""
TAKINGS_MAX: Final = 200
"""How many takings are looked at to find out when there is room again; with more of them nobody is told."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Window:
    """At most `cap_minor` and at most `count_max` purchases within any `seconds`."""

    seconds: int = WINDOW_SECONDS_USUAL
    cap_minor: int = CAP_MINOR_MAX
    count_max: int = COUNT_MAX


@dataclass(frozen=True, slots=True)
class Taking:
    """Money held or posted, counted from the moment it was reserved."""

    at: datetime
    amount_minor: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Taken:
    """What counts at one moment: in the day (UTC) of that moment, and in the window that ends with it."""

    today_minor: int
    in_window_minor: int
    bought_in_window: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Relief:
    """The first moment at which there is room again, and what will count then if nothing more is taken."""

    at: datetime
    taken: Taken


def taken_at(takings: Sequence[Taking], moment: datetime, window_seconds: int) -> Taken:
    """The window is open at its beginning: what was reserved exactly `window_seconds` ago has left it."""
    begins = moment - timedelta(seconds=window_seconds)
    inside = [taking.amount_minor for taking in takings if taking.at > begins]
    today = [taking.amount_minor for taking in takings if day_of(taking.at) == day_of(moment)]
    return Taken(today_minor=sum(today), in_window_minor=sum(inside), bought_in_window=len(inside))


def relief(
    takings: Sequence[Taking], amount_minor: int, *, day_cap_minor: int, window: Window, now: datetime
) -> Relief | None:
    """When this amount would fit, in whole seconds as policies count; None when it never will, or not for certain."""
    if len(takings) > TAKINGS_MAX:
        return None
    leaving = {_whole(taking.at + timedelta(seconds=window.seconds)) for taking in takings}
    midnight = datetime.combine(day_of(now) + timedelta(days=1), datetime.min.time(), UTC)
    for moment in sorted(moment for moment in leaving | {midnight} if moment > now):
        taken = taken_at(takings, moment, window.seconds)
        if (
            taken.today_minor + amount_minor <= day_cap_minor
            and taken.in_window_minor + amount_minor <= window.cap_minor
            and taken.bought_in_window < window.count_max
        ):
            return Relief(at=moment, taken=taken)
    return None


def day_of(moment: datetime) -> date:
    """The day that a day cap counts: by UTC, for everybody the same."""
    return moment.astimezone(UTC).date()


def _whole(moment: datetime) -> datetime:
    cut = moment.astimezone(UTC).replace(microsecond=0)
    return cut if cut == moment else cut + timedelta(seconds=1)
