"""What the vault asks of a card updater, in our words: whether a stored card has become another one.

The updater is another company, which asks the card networks (Visa Account Updater, Mastercard Automatic Billing Updater
and their like). No text of it comes through here: an answer is one of `Outcome`, or a number and a month that are still
to be looked at (`checking.py`).
"""

from dataclasses import dataclass, field
from enum import StrEnum
from typing import Protocol

from vault.cleartext.pan import CardDetails, CardNumber


class Outcome(StrEnum):
    """How an inquiry about a card ended."""

    UPDATED = "updated"
    CLOSED = "closed"
    """The issuer closed the account and opened no other; the card cannot be charged any more."""
    UP_TO_DATE = "up_to_date"
    OPTED_OUT = "opted_out"
    """The holder does not want merchants to be told."""
    NOT_PARTICIPATING = "not_participating"
    """Its issuer tells nobody."""
    NOT_KNOWN = "not_known"
    NOT_TAKEN = "not_taken"
    """The updater does not answer for this card at all."""
    WITHHELD = "withheld"
    """There is another number, and this vault's contract with the updater does not show it."""
    IMPLAUSIBLE = "implausible"
    """What came cannot be this card's successor, or did not open; the card stays as it was."""
    OVERTAKEN = "overtaken"
    """Another card was put under the token meanwhile, or it was shredded."""
    UNREADABLE = "unreadable"
    """The stored card does not open; nothing was asked."""


@dataclass(frozen=True, slots=True, eq=False)
class Renewed:
    """What the updater says of a card. `another`: that it has another number; else, that it has another month.

    Nothing of it is believed before `checking.successor` has looked at it. None is what was not said.
    """

    another: bool
    number: CardNumber | None
    exp_month: int | None
    exp_year: int | None
    first_digits: str | None = field(repr=False)
    last4: str | None = field(repr=False)

    def wipe(self) -> None:
        if self.number is not None:
            self.number.wipe()


class UpdaterSilent(Exception):
    """No answer, or none that can be relied on. Asking again does no harm."""


class UpdaterBusy(Exception):
    """Not now: it took nothing in. `seconds` until it wants to be asked again."""

    def __init__(self, seconds: int) -> None:
        super().__init__(str(seconds))
        self.seconds = seconds


class Implausible(Exception):
    """An answer that is not acted on. `doubt` is one of ours, and never a value."""

    def __init__(self, doubt: str) -> None:
        super().__init__(doubt)
        self.doubt = doubt


class CardUpdater(Protocol):
    async def ask(self, card: CardDetails) -> Renewed | Outcome:
        """Whoever is given something `Renewed` wipes it. Raises UpdaterSilent, UpdaterBusy, Implausible."""
        ...

    async def close(self) -> None: ...
