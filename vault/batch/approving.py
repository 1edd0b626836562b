"""Two custodians approve what is done with all cards of a tenant; or, where the root is under their custody, open it.

They come to one terminal, see what they approve, prove themselves and sign it; it stands in the custodians' record
before a card is opened. Where the root lies open their signatures are all that is asked; whoever may read the vault's
secrets on this machine could do without this command. Where it is under custody nobody can: without enough shares
nothing opens.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from infra.chassis.keys.custody import Custody
from vault.custodians import ceremony
from vault.custodians.ceremony import Old
from vault.custodians.people import Custodian
from vault.custodians.record import APPROVERS_MIN, CUSTODY, signed
from vault.custodians.room import NotDone, Room
from vault.keys.commands import actor


@dataclass(frozen=True, slots=True)
class Approval:
    """Who came, and, where shares were given, the key they gave."""

    room: Room
    came: dict[str, Custodian]
    old: Old | None

    @property
    def custody(self) -> Custody | None:
        """What opens the root; None where it lies open."""
        return None if self.old is None else ceremony.holding(self.old.key)

    def write(self, act: str, what: dict[str, Any]) -> None:
        """Into the record, signed by all who came. Raises OSError, RecordBroken."""
        said = {"act": act, "at": self.room.clock.now().isoformat(timespec="seconds"), "machine": actor()}
        opened = {"ceremony": None if self.old is None else self.old.ceremony.ceremony}
        keys = {name: one.signing for name, one in self.came.items()}
        if self.old is not None:
            keys[CUSTODY] = ceremony.signing_key(self.old.key)
        self.room.record.add(signed({**what, **said, **opened, "present": sorted(self.came)}, keys))


def approve(room: Room, act: str, what: dict[str, Any], told: Sequence[str]) -> Approval:
    """Raises NotDone, CeremonyUnfit, NotProved, RecordBroken, SheetUnreadable, Left, OSError."""
    room.terminal.say(*told)
    file = room.settings.file
    present = ceremony.settle(room.record, file.content()) if file.path.exists() else None
    if present is None:
        approval = Approval(room, _two(room), None)
    else:
        old, came = room.gather(present)
        approval = Approval(room, came, old)
    if room.terminal.ask("Type yes to go on: ") != "yes":
        raise NotDone("nothing was done")
    approval.write(act, what)
    return approval


def _two(room: Room) -> dict[str, Custodian]:
    came: dict[str, Custodian] = {}
    while len(came) < APPROVERS_MIN:
        name = room.terminal.ask(f"{APPROVERS_MIN - len(came)} more custodians are needed. Who approves? ")
        if name in came:
            raise NotDone(f"{name} has approved already; another custodian has to come")
        came[name] = room.prove(name)
    return came
