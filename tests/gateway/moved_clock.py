"""Time that tests may move."""

from datetime import UTC, datetime, timedelta


class MovedClock:
    """The real time, moved: the services behind the gateway keep their own clocks and check its grants by them."""

    def __init__(self) -> None:
        self._moved = timedelta()

    def now(self) -> datetime:
        return datetime.now(UTC) + self._moved

    def advance(self, by: timedelta) -> None:
        self._moved += by
