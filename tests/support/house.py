"""A running house for tests. `infra.dev.house.House` says what it offers."""

from collections.abc import Sequence
from pathlib import Path

from infra.dev.house import SERVICES, House, Options
from infra.dev.ports import Ports


def throwaway_house(folder: Path, services: Sequence[str] = SERVICES, *, wiretap: bool = False) -> House:
    """Make a house, not started: use it in a `with`. Its data need not survive the machine."""
    return House(folder, Ports.free(), Options(services=services, wiretap=wiretap, durable=False))
