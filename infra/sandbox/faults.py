"""Switches that make the processor fail the way processors do, and the waiting room of held connections."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace
from enum import Enum, StrEnum

HOLD_SECONDS_MAX = 300.0  # longer than any client waits; a forgotten hold still ends
FAULTS_MAX = 100


class Fault(StrEnum):
    """What goes wrong. Those named for the charge can be aimed at any other operation as well.

    A late one is taken in and carried out when it is released, long after its client has given up, if that is so.
    """

    TIMEOUT_BEFORE_CHARGE = "timeout_before_charge"
    TIMEOUT_DURING_CHARGE = "timeout_during_charge"
    TIMEOUT_AFTER_CHARGE = "timeout_after_charge"
    LATE_CHARGE = "late_charge"
    ERROR_500 = "error_500"
    ERROR_500_AFTER_CHARGE = "error_500_after_charge"
    ERROR_503 = "error_503"
    RATE_LIMIT = "rate_limit"
    NOT_JSON = "not_json"
    ECHO_CARD_NUMBER = "echo_card_number"
    ECHO_IN_HEADERS = "echo_in_headers"
    ECHO_IN_HTML = "echo_in_html"
    ECHO_IN_REDIRECT = "echo_in_redirect"
    ECHO_IN_ACTION = "echo_in_action"
    DUPLICATE_WEBHOOK = "duplicate_webhook"


class Aim(StrEnum):
    """What a fault hits besides a single operation's name."""

    CHARGE = "charge"
    CARD = "card"
    WEBHOOK = "webhook"
    ANY = "any"


ECHOES = frozenset({Fault.ECHO_CARD_NUMBER, Fault.ECHO_IN_HEADERS, Fault.ECHO_IN_HTML, Fault.ECHO_IN_REDIRECT})
"""The processor says the number it was sent: in a message, in headers, in a page of its proxy, in where to go next.

`ECHO_IN_ACTION` does what it was asked, and says the number in the page to which a card's holder is to be sent.
"""
_DEFAULT_AIM = {**dict.fromkeys((*ECHOES, Fault.ECHO_IN_ACTION), Aim.CARD), Fault.DUPLICATE_WEBHOOK: Aim.WEBHOOK}
_FIXED_AIM = frozenset(_DEFAULT_AIM)


@dataclass(frozen=True, slots=True)
class Switch:
    """A fault, what it is aimed at, and how many more times it strikes."""

    fault: Fault
    aim: str
    times: int


class Faults:
    """Kept in RAM: a restarted processor works."""

    def __init__(self, operation_names: frozenset[str], *, without: frozenset[Fault] = frozenset()) -> None:
        """`without`: what this processor cannot do wrong."""
        self._aims = operation_names | {Aim.CHARGE, Aim.ANY}
        self._without = without
        self._switches: list[Switch] = []
        self.down = False

    @property
    def switches(self) -> tuple[Switch, ...]:
        return tuple(self._switches)

    def add(self, fault: Fault, *, times: int, aim: str | None) -> Switch:
        """Raises ValueError for a fault it cannot have, and for an aim that there is not or that does not suit it."""
        if fault in self._without:
            raise ValueError("fault")
        default = _DEFAULT_AIM.get(fault, Aim.CHARGE)
        if aim is not None and (aim not in self._aims or fault in _FIXED_AIM):
            raise ValueError("operation")
        if len(self._switches) >= FAULTS_MAX:
            raise ValueError("too many faults")
        switch = Switch(fault, aim or default, times)
        self._switches.append(switch)
        return switch

    def clear(self) -> None:
        self._switches.clear()

    def take(self, *aims: str) -> Fault | None:
        """The first switch that hits one of these aims, used up by one."""
        for place, switch in enumerate(self._switches):
            if switch.aim in aims:
                if switch.times == 1:
                    del self._switches[place]
                else:
                    self._switches[place] = replace(switch, times=switch.times - 1)
                return switch.fault
        return None


async def never() -> None:
    """Of a client whose going nobody looks at."""
    await asyncio.Event().wait()


class HoldEnd(Enum):
    """Why a held request went on."""

    RELEASED = "released"
    CLIENT_GONE = "client_gone"
    CLOSING = "closing"
    TOO_LONG = "too_long"


class WaitingRoom:
    """Holds requests until their client gives up, somebody releases them, or the process stops."""

    def __init__(self) -> None:
        self._release = asyncio.Event()
        self._closing = asyncio.Event()
        self.held = 0

    async def hold(self, client_gone: Callable[[], Awaitable[None]]) -> HoldEnd:
        waits = {
            asyncio.ensure_future(client_gone()): HoldEnd.CLIENT_GONE,
            asyncio.ensure_future(self._release.wait()): HoldEnd.RELEASED,
            asyncio.ensure_future(self._closing.wait()): HoldEnd.CLOSING,
        }
        self.held += 1
        try:
            done, _ = await asyncio.wait(waits, timeout=HOLD_SECONDS_MAX, return_when=asyncio.FIRST_COMPLETED)
        finally:
            self.held -= 1
            for wait in waits:
                wait.cancel()
        return waits[done.pop()] if done else HoldEnd.TOO_LONG

    def release(self) -> int:
        """Let everybody who waits go on; says how many."""
        released = self.held
        self._release.set()
        self._release = asyncio.Event()
        return released

    def close(self) -> None:
        self._closing.set()
