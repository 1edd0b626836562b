"""Where custodians come together: one terminal, at which each proves himself and gives what he has."""

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass

from infra.chassis.clock import Clock
from infra.chassis.keys.settings import KeySettings
from vault.custodians import ceremony
from vault.custodians.ceremony import Ceremony, Gathered, Old
from vault.custodians.people import PASSPHRASE_BYTES_MAX, Custodian, NotProved, People
from vault.custodians.record import Record
from vault.custodians.settings import CustodySettings
from vault.custodians.sheets import Share, read, wipe
from vault.custodians.terminal import Terminal


class NotDone(Exception):
    """The sentence says why."""


@dataclass(frozen=True, slots=True)
class Room:
    """Where a ceremony is held: its settings, its terminal, its time."""

    settings: CustodySettings
    terminal: Terminal
    clock: Clock
    token: KeySettings | None
    """Where it is not the root itself that is under custody, but the PIN of the token that has it."""

    @property
    def people(self) -> People:
        return People(self.settings.folder)

    @property
    def record(self) -> Record:
        return Record(self.settings.folder)

    def present_ceremony(self) -> Ceremony:
        """Raises NotDone, CeremonyUnfit, RecordBroken."""
        found = ceremony.settle(self.record, self.settings.file.content()) if self.settings.file.path.exists() else None
        if found is None:
            raise NotDone(f"{self.settings.file.path.name} is not under custody: `custody generate` puts it there")
        return found

    def prove(self, name: str) -> Custodian:
        """A custodian of the record who knows his passphrase. Raises NotProved, RecordBroken, Left."""
        enrolled = self.record.check().custodians
        if name not in enrolled:
            raise NotProved(f"{name} is not a custodian; `custody enrol` makes one")
        with self.hidden(f"{name}, your passphrase: ", PASSPHRASE_BYTES_MAX) as passphrase:
            return self.people.prove(name, passphrase, enrolled[name])

    def share_of(self, name: str) -> Share:
        """What a custodian types off his sheet. Raises SheetUnreadable, Left."""
        with self.hidden(f"{name}, your share: ") as typed:
            return read(typed)

    def gather(self, present: Ceremony) -> tuple[Old, dict[str, Custodian]]:
        """Enough custodians give their shares; the key of the ceremony, and who came.

        Raises CeremonyUnfit, NotProved, RecordBroken, SheetUnreadable, Left.
        """
        came: dict[str, Custodian] = {}
        gathered = Gathered(present)
        try:
            while gathered.missing:
                name = self.terminal.ask(f"{gathered.missing} more of the present shares are needed. Who gives one? ")
                present.holder(name)
                custodian = self.prove(name)
                gathered.take(name, self.share_of(name))
                came[name] = custodian
            return Old(present, gathered.combined()), came
        finally:
            gathered.wipe()

    @contextlib.contextmanager
    def hidden(self, question: str, bytes_max: int | None = None) -> Iterator[bytearray]:
        typed = self.terminal.ask_hidden(question)
        try:
            if bytes_max is not None and len(typed) > bytes_max:
                raise NotDone(f"that is longer than {bytes_max} letters")
            yield typed
        finally:
            wipe(typed)
