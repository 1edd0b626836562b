"""`python -m vault custody …`: the ceremonies, at a terminal, as the vault's own user on the vault's own machine.

Nothing is written before everybody has his share on paper and has typed it back; whoever leaves with Ctrl-C, or is
killed, leaves everything as it was. Exit codes: 0 done; 1 not done, the sentence says why; 2 the settings are
incomplete; 130 somebody left.
"""

import argparse
import asyncio
import contextlib
import fcntl
import sys
from collections.abc import Iterator, Mapping
from typing import Final

from infra.chassis import crashpoints, durable, logs
from infra.chassis.clock import Clock, SystemClock
from infra.chassis.keys import KeyServiceUnreachable, new_key
from infra.chassis.keys.custody import Custody
from infra.chassis.keys.ringfile import Ring, RingUnusable, Root, encode
from infra.chassis.keys.settings import KeySettings, open_key_service
from infra.chassis.settings import load
from vault.custodians import ceremony, closing, door, record, visiting
from vault.custodians.ceremony import Ceremony, CeremonyUnfit, Prepared
from vault.custodians.people import NAME, PASSPHRASE_BYTES_MAX, PASSPHRASE_BYTES_MIN, Custodian, NotProved
from vault.custodians.record import Record, RecordBroken
from vault.custodians.room import NotDone, Room
from vault.custodians.settings import CustodySettings
from vault.custodians.shamir import SHARES_MAX, THRESHOLD_MIN
from vault.custodians.sheets import Share, SheetUnreadable, write
from vault.custodians.terminal import Left, NoTerminal, Terminal
from vault.keys.commands import actor

PREFIX: Final = "vault"
TRIES_MAX: Final = 3
LEFT_EXIT: Final = 130
THRESHOLD: Final = 2
CEREMONIES: Final = frozenset({"enrol", "generate", "reshare"})


def add_custody(parser: argparse.ArgumentParser) -> None:
    verbs = parser.add_subparsers(dest="verb", required=True)
    enrolling = verbs.add_parser("enrol", help="a new custodian: his name and his passphrase")
    enrolling.add_argument("name", metavar="NAME")
    for verb, what in (
        ("generate", "put the root under custody, with a share for each of these custodians"),
        ("reshare", "new shares for these custodians; the present ones have to come, and their shares end"),
    ):
        making = verbs.add_parser(verb, help=what)
        making.add_argument("names", nargs="+", metavar="NAME")
        making.add_argument("--threshold", type=int, default=THRESHOLD, help="how many shares open the vault (2)")
    verifying = verbs.add_parser("verify", help="whether a custodian's share is the one he was given; opens nothing")
    verifying.add_argument("name", metavar="NAME")
    entering = verbs.add_parser("enter", help="give one share to the vault that runs sealed")
    entering.add_argument("name", metavar="NAME")
    verbs.add_parser("status", help="who holds shares, whether the vault is open, and whether the record is whole")


def custody(chosen: argparse.Namespace, environ: Mapping[str, str]) -> int:
    """Raises SettingsIncomplete."""
    settings = load(CustodySettings, PREFIX, environ)
    token = load(KeySettings, PREFIX, environ) if settings.key_service == "pkcs11" else None
    crashpoints.arm(settings.crash_points, sandbox=settings.sandbox)
    logs.configure("vault-custody", "ERROR")
    try:
        closing.close(settings.file.path.parent)
        if chosen.verb == "status":
            return _status(settings)
        with Terminal.taken() as terminal, _alone(settings, chosen.verb):
            _VERBS[chosen.verb](Room(settings, terminal, SystemClock(), token), chosen)
    except Left:
        sys.stdout.write("\ncustody: left; nothing was changed\n")
        return LEFT_EXIT
    except (NotDone, NoTerminal, CeremonyUnfit, NotProved, RecordBroken, RingUnusable, SheetUnreadable) as reason:
        sys.stderr.write(f"custody: {reason}\n")
        return 1
    except OSError as error:
        sys.stderr.write(f"custody: {error.strerror or type(error).__name__}\n")
        return 1
    return 0


@contextlib.contextmanager
def _alone(settings: CustodySettings, verb: str) -> Iterator[None]:
    """One ceremony at a time. Custodians may give shares at several terminals. Raises NotDone."""
    if verb not in CEREMONIES:
        yield
        return
    durable.make_folder(settings.folder)
    with (settings.folder / "lock").open("ab") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise NotDone("another ceremony is being held here") from None
        yield


def _enrol(room: Room, chosen: argparse.Namespace) -> None:
    if NAME.fullmatch(chosen.name) is None or chosen.name == record.CUSTODY:
        raise NotDone("a name has 2 to 31 small letters, digits, dots, hyphens, and is not `custody`")
    if chosen.name in room.record.check().custodians:
        raise NotDone(f"{chosen.name} is a custodian already")
    with room.hidden(f"{chosen.name}, a passphrase only you know: ", PASSPHRASE_BYTES_MAX) as passphrase:
        if len(passphrase) < PASSPHRASE_BYTES_MIN:
            raise NotDone(f"a passphrase has {PASSPHRASE_BYTES_MIN} letters or more")
        with room.hidden("the same again: ") as again:
            if again != passphrase:
                raise NotDone("the two were not the same")
        custodian = room.people.enrol(chosen.name, passphrase)
    said = {"act": "enrolled", "custodian": custodian.name, "machine": actor(), "at": _now(room.clock)}
    statement = said | {"public_key": ceremony.key_text(custodian.public_key)}
    room.record.add(record.signed(statement, {custodian.name: custodian.signing}))
    room.terminal.say(f"{custodian.name} is a custodian, without a share so far")


def _generate(room: Room, chosen: argparse.Namespace) -> None:
    file = room.settings.file
    if file.path.exists() and ceremony.ceremony_of(file.content()) is not None:
        raise NotDone("this is under custody already: `custody reshare` makes new shares")
    if not file.path.exists() and room.settings.key_service != "software":
        raise NotDone(f"{file.path.name} is not there")
    holders = _holders(room, chosen, {})
    _deal(room, prepared := ceremony.prepare(holders, chosen.threshold))
    try:
        entry = prepared.entry(
            act="generated", at=room.clock.now(), machine=actor(), under=file.path, also={}, replaces=None
        )
        ceremony.put_under(file, prepared, entry, _change(room), lambda: _new_root(room.clock))
        _finish(room, prepared)
    finally:
        prepared.wipe()


def _reshare(room: Room, chosen: argparse.Namespace) -> None:
    old, came = room.gather(room.present_ceremony())
    file = room.settings.file
    holders = _holders(room, chosen, came)
    _deal(room, prepared := ceremony.prepare(holders, chosen.threshold))
    try:
        entry = prepared.entry(
            act="reshared", at=room.clock.now(), machine=actor(), under=file.path, also=came, replaces=old
        )
        for path in visiting.doors(room.settings.folder):
            if not visiting.look(path).sealed:
                visiting.hand_over(path, old.key, prepared.key)
        ceremony.put_under_another(file, old, prepared, entry, _change(room))
        _finish(room, prepared)
    finally:
        prepared.wipe()
    room.terminal.say("the shares of before open nothing any more but old copies of the file: let the root be rotated")


def _verify(room: Room, chosen: argparse.Namespace) -> None:
    present = room.present_ceremony()
    present.holder(chosen.name)
    custodian = room.prove(chosen.name)
    share = room.share_of(chosen.name)
    try:
        present.accept(chosen.name, share)
    finally:
        share.wipe()
    said = {"act": "verified", "custodian": chosen.name, "machine": actor(), "at": _now(room.clock)}
    statement = said | {"ceremony": present.ceremony, "share": share.number, "check_value": present.check_value}
    room.record.add(record.signed(statement, {chosen.name: custodian.signing}))
    room.terminal.say(f"share {share.number} is the one {chosen.name} was given; key check value {present.check_value}")


def _enter(room: Room, chosen: argparse.Namespace) -> None:
    present = room.present_ceremony()
    number = present.holder(chosen.name).number
    sealed = [path for path in visiting.doors(room.settings.folder) if visiting.look(path).sealed]
    if not sealed:
        raise NotDone("no vault runs sealed here")
    custodian = room.prove(chosen.name)
    share = room.share_of(chosen.name)
    try:
        present.accept(chosen.name, share)
        text = write(share)
    finally:
        share.wipe()

    def made(greeting: door.Greeting) -> door.Enter:
        said = door.entering(
            present, room.clock.now(), custodian=chosen.name, number=number, once=greeting.once, machine=actor()
        )
        return door.Enter(record.signed(said, {chosen.name: custodian.signing}), text)

    answers = [visiting.enter(path, made) for path in sealed]
    refused = [answer.why for answer in answers if not answer.done]
    if refused:
        raise NotDone(refused[0])
    if any(answer.sealed for answer in answers):
        missing = max(answer.missing for answer in answers)
        room.terminal.say(f"share {number} is given; {missing} more needed, within 15 minutes")
    else:
        room.terminal.say(f"the vault is open; key check value {present.check_value}: compare it with your sheet")


def _status(settings: CustodySettings) -> int:
    room_record, file = Record(settings.folder), settings.file
    present = ceremony.settle(room_record, file.content()) if file.path.exists() else None
    checked = room_record.check()
    lines = [f"{file.path.name}: {'lies open' if present is None else 'under custody'}"]
    if present is not None:
        lines += [
            f"ceremony {present.ceremony} of {present.at:%Y-%m-%d %H:%M} UTC, key check value {present.check_value}",
            f"{present.threshold} of {len(present.shares)} shares open it",
            *(f"  share {one.number}  {one.custodian}" for one in present.shares),
        ]
    found = [visiting.look(path) for path in visiting.doors(settings.folder)]
    lines += [f"vault, process {one.process}: {_stands(one, present)}" for one in found] or ["no vault runs here"]
    lines.append(f"custodians: {', '.join(checked.custodians) or 'none'}")
    lines.append(f"record: {len(checked.entries)} entries, whole; head {record.head(checked.entries)}")
    sys.stdout.write("".join(f"{line}\n" for line in lines))
    return 0


def _stands(greeting: door.Greeting, present: Ceremony | None) -> str:
    if not greeting.sealed:
        return "open"
    given = ", ".join(map(str, greeting.given)) or "none"
    return f"sealed; shares given: {given}, needed: {present.threshold if present else 0}"


def _holders(room: Room, chosen: argparse.Namespace, came: dict[str, Custodian]) -> list[Custodian]:
    """Everybody who will hold a share proves himself first. Raises NotDone, NotProved, Left."""
    if len(set(chosen.names)) != len(chosen.names):
        raise NotDone("each share goes to another custodian")
    unknown = sorted(set(chosen.names) - set(room.record.check().custodians))
    if unknown:
        raise NotDone(f"not a custodian: {', '.join(unknown)}; `custody enrol` makes one")
    if not THRESHOLD_MIN <= chosen.threshold <= len(chosen.names) <= SHARES_MAX:
        raise NotDone(
            f"at least {THRESHOLD_MIN} shares open a vault, of at most {SHARES_MAX}, and no more than there are"
        )
    return [came.get(name) or room.prove(name) for name in chosen.names]


def _deal(room: Room, prepared: Prepared) -> None:
    """Show each custodian his share, once, and have him type it back. Raises NotDone, Left; nothing is written."""
    with _wiped_unless_done(prepared):
        _deal_out(room, prepared)


@contextlib.contextmanager
def _wiped_unless_done(prepared: Prepared) -> Iterator[None]:
    try:
        yield
    except BaseException:
        prepared.wipe()
        raise


def _deal_out(room: Room, prepared: Prepared) -> None:
    say, total = room.terminal.say, len(prepared.shares)
    for share, custodian in zip(prepared.shares, prepared.holders, strict=True):
        say("", f"{custodian.name}: your share comes next. Nobody else looks at this screen.")
        room.terminal.ask("Press Enter when you are alone. ")
        room.terminal.show_once(_sheet(prepared, share, custodian, total), "Press Enter when it is on paper. ")
        _typed_back(room, share, custodian)
        say(f"share {share.number} of {total} is on paper")
    say(
        "",
        f"key check value {prepared.check_value}: all note it",
        f"{prepared.threshold} of {total} shares open it",
    )
    if room.terminal.ask("Type yes to seal: ") != "yes":
        raise NotDone("nothing was changed")


def _sheet(prepared: Prepared, share: Share, custodian: Custodian, total: int) -> list[str]:
    prefix, *groups = write(share).split(" ")
    rows = [" ".join(groups[start : start + 6]) for start in range(0, len(groups), 6)]
    return [
        f"Undercroft custody, ceremony {prepared.ceremony.hex()}",
        f"share {share.number} of {total}, for {custodian.name}; {prepared.threshold} are needed together",
        "",
        f"    {prefix}",
        *(f"    {row}" for row in rows),
        "",
        "Write it on paper, by hand. It is shown this once.",
    ]


def _typed_back(room: Room, share: Share, custodian: Custodian) -> None:
    for left in reversed(range(TRIES_MAX)):
        try:
            again = room.share_of(custodian.name)
        except SheetUnreadable as slip:
            room.terminal.say(f"{slip}; {left} tries left")
            continue
        same = again.value == share.value and (again.number, again.ceremony) == (share.number, share.ceremony)
        again.wipe()
        if same:
            return
        room.terminal.say(f"that is another share; {left} tries left")
    raise NotDone("a share that cannot be typed back is of no use; nothing was changed")


def _finish(room: Room, prepared: Prepared) -> None:
    ceremony.settle(room.record, room.settings.file.content())
    crashpoints.reach("custody_after_record")
    if room.token is not None:
        asyncio.run(_log_in_once(room, room.token, ceremony.holding(prepared.key)))
    room.terminal.say(
        f"{room.settings.file.path.name} is under custody; key check value {prepared.check_value}",
        "Keep a copy of this file and of the custody folder elsewhere: shares without the file open nothing.",
    )


def _change(room: Room) -> ceremony.Change:
    """What was known to those who set it up is not what is put under custody, as far as that can be helped."""
    return ceremony.as_it_is if room.token is None else ceremony.with_another_pin


def _new_root(clock: Clock) -> bytes:
    return encode(Ring((Root(1, new_key(), clock.now()),)))


async def _log_in_once(room: Room, token: KeySettings, opened: Custody) -> None:
    """So that the token has its new PIN now. If it is away, the vault's next login does this."""
    keys = open_key_service(token, room.clock, opened)
    try:
        await keys.describe()
        room.terminal.say("the token has a PIN that nobody has seen; whoever has its SO PIN can still set another")
    except KeyServiceUnreachable as away:
        room.terminal.say(f"the token did not take its new PIN yet ({away}); the vault sets it when it is opened")
    finally:
        await keys.close()


def _now(clock: Clock) -> str:
    return clock.now().isoformat(timespec="seconds")


_VERBS = {"enrol": _enrol, "generate": _generate, "reshare": _reshare, "verify": _verify, "enter": _enter}
