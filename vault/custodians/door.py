"""Where a sealed vault is given shares: a socket in the custody folder, for its own user and root.

One a process, `door-<pid>.sock`; a custodian's terminal goes to each. A visit is three lines of JSON: what the door
says of itself with a number used once, what the visitor wants, the answer. A share counts when its custodian has signed
that number, it is bit by bit the one he was given, and he has not been here before; it is then in the record, who gives
it and when. With the last one needed the key is put together, has to open the file, and the key service is proved as at
any start; only then is the vault open. Shares that are not followed by enough others are forgotten.
"""

import asyncio
import contextlib
import hmac
import os
import secrets
import socket
import struct
from datetime import datetime, timedelta
from typing import Final

import msgspec

from infra.chassis import logs
from infra.chassis.clock import Clock
from infra.chassis.durable import make_folder
from infra.chassis.keys import KeyService, KeyServiceUnfit, KeyServiceUnreachable
from infra.chassis.keys.custody import Custody
from infra.chassis.keys.ringfile import RingUnusable
from infra.chassis.sealing import SealBroken, open_under
from infra.chassis.secret import Secret
from vault.custodians.ceremony import (
    Ceremony,
    CeremonyUnfit,
    Gathered,
    check_value,
    key_bytes,
    settle,
    signing_key,
)
from vault.custodians.record import CUSTODY, Entry, Record, RecordBroken, signed, signed_by
from vault.custodians.settings import CustodySettings
from vault.custodians.sheets import SheetUnreadable, read, wipe

VISIT_SECONDS_MAX: Final = 30
LINE_BYTES_MAX: Final = 8192
REMEMBERED_FOR: Final = timedelta(minutes=15)
"""How long a share waits for the others: custodians who come to one terminal after the other need minutes."""
LOOK_SECONDS: Final = 5.0
HANDOVER: Final = b"undercroft custody handover 1"

log = logs.get_logger()


class Enter(msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag="enter"):
    """A custodian's signed statement that he gives this share, here and now."""

    entry: Entry
    share: str


class Handover(msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag="handover"):
    """The next custody key, sealed under the present one: from who has just put that together."""

    sealed: bytes


class Ask(msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag="ask"):
    """Only what the door says of itself."""


class Greeting(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    once: str
    sealed: bool
    given: list[int]
    process: int


class Answer(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """`why` when it was refused. `missing`: how many shares are still needed, of those that began to come in."""

    done: bool
    sealed: bool
    missing: int
    why: str = ""


Wish = Enter | Handover | Ask


class Door:
    def __init__(self, settings: CustodySettings, custody: Custody, keys: KeyService, clock: Clock) -> None:
        self._settings = settings
        self._custody = custody
        self._keys = keys
        self._clock = clock
        self._record = Record(settings.folder)
        self._gathered: Gathered | None = None
        self._last = clock.now()
        self._one_at_a_time = asyncio.Lock()
        self.opened = asyncio.Event()

    async def run(self, stop: asyncio.Event) -> None:
        """Be there until told to stop; forget shares that wait too long."""
        path = self._settings.folder / f"door-{os.getpid()}.sock"
        try:
            make_folder(path.parent)
            path.unlink(missing_ok=True)
            server = await asyncio.start_unix_server(self._visited, str(path), limit=LINE_BYTES_MAX)
        except OSError as error:
            if self._custody.closed:
                raise
            log.warning("custody_door_not_open", error=type(error).__name__, why=str(error))
            await stop.wait()
            return
        try:
            async with server:
                while not stop.is_set():
                    self.forget_what_waits_too_long()
                    with contextlib.suppress(TimeoutError):
                        await asyncio.wait_for(stop.wait(), LOOK_SECONDS)
        finally:
            path.unlink(missing_ok=True)

    def forget_what_waits_too_long(self) -> None:
        if self._gathered is not None and self._clock.now() - self._last >= REMEMBERED_FOR:
            self._forget_shares()

    async def _visited(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            if _comes_from_us(writer):
                await asyncio.wait_for(self._visit(reader, writer), VISIT_SECONDS_MAX)
        except (TimeoutError, OSError, ValueError) as error:
            log.warning("custody_visit_broken_off", error=type(error).__name__)
        finally:
            writer.close()

    async def _visit(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        once = secrets.token_hex(16)
        self.forget_what_waits_too_long()
        given = sorted(self._gathered.shares) if self._gathered is not None else []
        await _send(writer, Greeting(once, self._custody.closed, given, os.getpid()))
        line = await reader.readline()
        async with self._one_at_a_time:
            await _send(writer, await self._answered(line, once))

    async def _answered(self, line: bytes, once: str) -> Answer:
        try:
            return await self._granted(msgspec.json.decode(line, type=Wish), once)
        except msgspec.MsgspecError:
            why = "that is no wish this door knows"
        except (CeremonyUnfit, SheetUnreadable, RecordBroken, RingUnusable) as unfit:
            why = str(unfit)
        except OSError as error:
            self._forget_shares()
            why = f"the record or the file cannot be used ({type(error).__name__}); what was given is forgotten"
        log.warning("custody_refused", why=why)
        return Answer(done=False, sealed=self._custody.closed, missing=self._missing(), why=why)

    async def _granted(self, wish: Wish, once: str) -> Answer:
        if isinstance(wish, Enter):
            await self._enter(wish, once)
        elif isinstance(wish, Handover):
            self._take_over(wish)
        return Answer(done=True, sealed=self._custody.closed, missing=self._missing())

    async def _enter(self, wish: Enter, once: str) -> None:
        """Raises CeremonyUnfit, SheetUnreadable, RecordBroken, RingUnusable, OSError."""
        ceremony = settle(self._record, self._settings.file.content())
        if ceremony is None or not self._custody.closed:
            raise CeremonyUnfit("this vault is not sealed")
        if self._gathered is None or self._gathered.ceremony != ceremony:
            self._forget_shares()
            self._gathered = Gathered(ceremony)
        custodian = _proved(wish.entry, ceremony, once)
        typed = bytearray(wish.share.encode())
        try:
            share = read(typed)
            self._gathered.take(custodian, share)
        finally:
            wipe(typed)
        try:
            self._record.add(wish.entry)
        except BaseException:  # what is not in the record was not given
            self._gathered.take_back(share)
            raise
        self._last = self._clock.now()
        log.info("custody_share_given", custodian=custodian, ceremony=ceremony.ceremony, missing=self._missing())
        if not self._gathered.missing:
            await self._open(self._gathered, self._gathered.ceremony)

    async def _open(self, gathered: Gathered, ceremony: Ceremony) -> None:
        numbers = sorted(gathered.shares)
        try:
            key = gathered.combined()
        finally:
            self._forget_shares()
        self._custody.try_out(key)
        try:
            await self._prove_open(key, ceremony, numbers)
        except BaseException:  # also a visit that takes too long, and a record that cannot be written
            self._custody.forget()
            raise
        self._custody.give(key)
        log.info("custody_opened", ceremony=ceremony.ceremony, shares=numbers, check_value=ceremony.check_value)
        self.opened.set()

    async def _prove_open(self, key: Secret[bytes], ceremony: Ceremony, numbers: list[int]) -> None:
        """It opens the file, the key service works, and that stands in the record. Raises CeremonyUnfit, OSError."""
        if self._custody.sealed:
            raise CeremonyUnfit("the key of this ceremony does not open the file: the file was changed")
        try:
            await self._keys.prove()
        except (KeyServiceUnfit, KeyServiceUnreachable) as error:
            raise CeremonyUnfit(f"the vault stays sealed: {error}") from None
        statement = _statement("opened", ceremony, self._clock.now()) | {"shares": numbers, "process": os.getpid()}
        self._record.add(signed(statement, {CUSTODY: signing_key(key)}))

    def _take_over(self, wish: Handover) -> None:
        """Nothing happens to who cannot seal under a key we have. Raises CeremonyUnfit."""
        for key in self._custody.keys:
            with contextlib.suppress(SealBroken):
                self._custody.give(Secret(open_under(key, HANDOVER, wish.sealed, HANDOVER)), beside=key)
                log.info("custody_key_handed_over", check_value=check_value(key))
                return
        raise CeremonyUnfit("this vault has not the key of the present ceremony")

    def _missing(self) -> int:
        return 0 if self._gathered is None else self._gathered.missing

    def _forget_shares(self) -> None:
        if self._gathered is not None:
            self._gathered.wipe()
        self._gathered = None


def entering(
    ceremony: Ceremony, now: datetime, *, custodian: str, number: int, once: str, machine: str
) -> dict[str, object]:
    """What a custodian signs when he gives his share to one door."""
    said = {"custodian": custodian, "share": number, "once": once, "machine": machine}
    return _statement("entered", ceremony, now) | said


def _statement(act: str, ceremony: Ceremony, now: datetime) -> dict[str, object]:
    return {
        "act": act,
        "at": now.isoformat(timespec="seconds"),
        "ceremony": ceremony.ceremony,
        "check_value": ceremony.check_value,
    }


def _proved(entry: Entry, ceremony: Ceremony, once: str) -> str:
    """The custodian who signed this statement for this very visit. Raises CeremonyUnfit."""
    said = entry.statement
    holder = ceremony.holder(str(said.get("custodian")))
    of_this_visit = said.get("act") == "entered" and said.get("ceremony") == ceremony.ceremony
    if not of_this_visit or not hmac.compare_digest(str(said.get("once")).encode(), once.encode()):
        raise CeremonyUnfit("that was signed for another visit or another ceremony")
    if said.get("share") != holder.number or not signed_by(entry, holder.custodian, key_bytes(holder.public_key)):
        raise CeremonyUnfit(f"that is not signed by {holder.custodian}")
    return holder.custodian


def _comes_from_us(writer: asyncio.StreamWriter) -> bool:
    """Our own user or root, where the system says who it is (Linux); elsewhere the folder's rights have to do."""
    asked = getattr(socket, "SO_PEERCRED", None)
    if asked is None:
        return True
    packed = writer.get_extra_info("socket").getsockopt(socket.SOL_SOCKET, asked, struct.calcsize("3i"))
    return struct.unpack("3i", packed)[1] in {0, os.geteuid()}


async def _send(writer: asyncio.StreamWriter, said: Greeting | Answer) -> None:
    writer.write(msgspec.json.encode(said) + b"\n")
    await writer.drain()
