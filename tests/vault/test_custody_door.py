"""The door of a sealed vault: what it takes from whom, what it forgets, and what half of it leaves behind."""

import asyncio
import json
import os
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import msgspec
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from infra.chassis.clock import FixedClock
from infra.chassis.keys import KeyServiceUnfit, RootSealed, SoftwareKeyService, new_key
from infra.chassis.keys.custody import Custody, is_sealed_file
from infra.chassis.keys.ringfile import RingFile
from infra.chassis.sealing import seal_under
from infra.chassis.secret import Secret
from tests.support.keys import root_file
from tests.support.waiting import wait_until
from tests.vault.custody import short_folder
from vault.custodians import ceremony, record, sheets, visiting
from vault.custodians.ceremony import Ceremony, CeremonyUnfit, Prepared
from vault.custodians.door import HANDOVER, Answer, Door, Enter, Greeting, Handover, entering
from vault.custodians.people import Custodian
from vault.custodians.record import Record
from vault.custodians.settings import CustodySettings

NOW = datetime(2026, 11, 21, 20, 0, tzinfo=UTC)
CONTEXT = b"tests/vault/test_custody_door"
NAMES = ("ada", "ben", "cleo")
PROCESS_NEVER = 4_194_305  # Linux numbers no process above 2^22


@dataclass(slots=True)
class Sealed:
    """A root under custody, a process that has not its key, and what the custodians have."""

    folder: Path
    path: Path
    clock: FixedClock
    custody: Custody
    keys: SoftwareKeyService
    people: dict[str, Custodian]
    prepared: Prepared
    papers: dict[str, str]
    ceremony: Ceremony
    greetings: list[Greeting] = field(default_factory=list)

    @property
    def socket(self) -> Path:
        return next(self.folder.glob("door-*.sock"))

    async def visit(self, wish: Any) -> Answer:
        """`wish` is bytes, or a function of the greeting."""
        reader, writer = await asyncio.open_unix_connection(str(self.socket))
        try:
            greeting = msgspec.json.decode(await reader.readline(), type=Greeting)
            self.greetings.append(greeting)
            said = wish(greeting) if callable(wish) else wish
            writer.write(said if isinstance(said, bytes) else msgspec.json.encode(said) + b"\n")
            return msgspec.json.decode(await reader.readline(), type=Answer)
        finally:
            writer.close()

    async def enter(self, name: str, paper: str | None = None, **changes: Any) -> Answer:
        return await self.visit(lambda greeting: self.wish(name, greeting, paper, **changes))

    def wish(self, name: str, greeting: Greeting, paper: str | None = None, **changes: Any) -> Enter:
        """What `custody enter` sends, with some of the statement said otherwise before it is signed."""
        number = NAMES.index(name) + 1
        said = entering(
            self.ceremony, self.clock.now(), custodian=name, number=number, once=greeting.once, machine="tests"
        )
        signer = self.people[changes.pop("signer", name)]
        entry = record.signed(said | changes, {name: signer.signing})
        return Enter(entry, self.papers[name] if paper is None else paper)

    def acts(self) -> list[str]:
        return [entry.statement["act"] for entry in Record(self.folder).check().entries]


def enrolled(folder: Path, *names: str) -> dict[str, Custodian]:
    people = {name: Custodian(name, Ed25519PrivateKey.generate()) for name in names}
    for one in people.values():
        said = {"act": "enrolled", "custodian": one.name, "public_key": ceremony.key_text(one.public_key)}
        Record(folder).add(record.signed(said, {one.name: one.signing}))
    return people


@asynccontextmanager
async def standing(sealed: Sealed) -> AsyncIterator[Door]:
    """The door, open for visits."""
    settings = CustodySettings(root_key_file=sealed.path, custody_folder=sealed.folder)
    door, stop = Door(settings, sealed.custody, sealed.keys, sealed.clock), asyncio.Event()
    running = asyncio.ensure_future(door.run(stop))
    try:
        await wait_until(lambda: bool(list(sealed.folder.glob("door-*.sock"))))
        yield door
    finally:
        stop.set()
        await running
    assert list(sealed.folder.glob("door-*.sock")) == []


@pytest.fixture
async def sealed(tmp_path: Path) -> AsyncIterator[Sealed]:
    clock, path = FixedClock(NOW), root_file(tmp_path)
    with short_folder() as folder:
        people = enrolled(folder, *NAMES)
        prepared = ceremony.prepare(list(people.values()), 2)
        papers = {one.name: sheets.write(prepared.shares[at]) for at, one in enumerate(people.values())}
        entry = prepared.entry(act="generated", at=NOW, machine="tests", under=path, also={}, replaces=None)
        ceremony.put_under(RingFile(path), prepared, entry, ceremony.as_it_is, bytes)
        held = ceremony.settle(Record(folder), path.read_bytes())
        assert held is not None
        custody = Custody(path)
        keys = SoftwareKeyService(RingFile(path, custody), clock)
        yield Sealed(folder, path, clock, custody, keys, people, prepared, papers, held)


@pytest.mark.control("UC-3.6.1.2")
async def test_two_custodians_open_it_and_it_is_written_who_gave_which_share(sealed: Sealed):
    async with standing(sealed) as door:
        with pytest.raises(RootSealed):
            await sealed.keys.wrap(new_key(), CONTEXT)
        first = await sealed.enter("cleo")
        still = sealed.custody.closed
        second = await sealed.enter("ada")

        assert (first.done, first.sealed, first.missing, still) == (True, True, 1, True)
        assert (second.done, second.sealed, second.missing) == (True, False, 0)
        assert door.opened.is_set()
        assert await sealed.keys.wrap(new_key(), CONTEXT)
    assert sealed.acts() == ["enrolled"] * 3 + ["generated", "entered", "entered", "opened"]
    entered = [entry.statement for entry in Record(sealed.folder).check().entries][-3:]
    assert [(one.get("custodian"), one.get("share"), one.get("shares")) for one in entered] == [
        ("cleo", 3, None),
        ("ada", 1, None),
        (None, None, [1, 3]),
    ]


@pytest.mark.control("UC-3.6.1.2")
async def test_one_custodian_alone_opens_nothing_however_often_he_comes(sealed: Sealed):
    async with standing(sealed):
        first = await sealed.enter("ada")
        again = await sealed.enter("ada")
        with_bens_paper = await sealed.enter("ada", sealed.papers["ben"])
        as_ben = await sealed.enter("ben", signer="ada")

    assert first.done
    assert (again.done, "another custodian has to come" in again.why) == (False, True)
    assert "ada has share 1" in with_bens_paper.why
    assert "not signed by ben" in as_ben.why
    assert sealed.custody.closed
    assert sealed.acts().count("entered") == 1


async def test_what_one_visitor_signed_is_of_no_use_to_the_next(sealed: Sealed):
    async with standing(sealed):
        taken: list[bytes] = []

        def overheard(greeting: Greeting) -> bytes:
            taken.append(msgspec.json.encode(sealed.wish("ada", greeting)) + b"\n")
            return b"nothing\n"

        await sealed.visit(overheard)
        replayed = await sealed.visit(taken[0])

    assert (replayed.done, "another visit" in replayed.why) == (False, True)
    assert sealed.acts()[-1] == "generated"


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"ceremony": "0000000000"}, "another ceremony"),
        ({"act": "verified"}, "another visit or another ceremony"),
        ({"share": 2}, "not signed by ada"),
        ({"custodian": "ben"}, "not signed by ben"),
        ({"custodian": "mallory"}, "mallory has no share"),
        ({"custodian": None}, "None has no share"),
    ],
)
async def test_a_statement_that_says_something_else_is_refused(sealed: Sealed, changes: dict[str, Any], why: str):
    async with standing(sealed):
        answer = await sealed.enter("ada", **changes)

    assert (answer.done, why in answer.why) == (False, True), answer.why
    assert sealed.acts()[-1] == "generated"


@pytest.mark.parametrize(
    "line",
    [
        b"\n",
        b"{}\n",
        b'{"type":"enter"}\n',
        b"[" * 4000 + b"\n",
        b'{"type":"enter","entry":{"statement":[],"signatures":{}},"share":""}\n',
        b'{"type":"handover","sealed":"AAAA"}\n',
        b"\xff\xfe\n",
    ],
)
async def test_what_is_no_wish_is_refused_and_changes_nothing(sealed: Sealed, line: bytes):
    async with standing(sealed):
        answer = await sealed.visit(line)
        after = await sealed.enter("ada")

    assert (answer.done, answer.sealed) == (False, True)
    assert after.done


async def test_a_line_without_end_and_a_visitor_who_leaves_do_no_harm(sealed: Sealed):
    async with standing(sealed):
        reader, writer = await asyncio.open_unix_connection(str(sealed.socket))
        await reader.readline()
        writer.write(b"x" * 100_000)
        assert await reader.read() == b""
        writer.close()
        _, gone = await asyncio.open_unix_connection(str(sealed.socket))
        gone.close()

        assert (await sealed.enter("ada")).done


@pytest.mark.control("UC-3.6.1.2")
async def test_a_share_nobody_follows_is_forgotten(sealed: Sealed):
    async with standing(sealed) as door:
        await sealed.enter("ada")
        gathered = door._gathered  # noqa: SLF001 - nothing shows the values a door remembers
        shares = list(gathered.shares.values()) if gathered else []
        sealed.clock.advance(timedelta(minutes=15))
        later = await sealed.enter("ben")

        assert (later.done, later.sealed, later.missing) == (True, True, 1)
        assert [any(one.value) for one in shares] == [False]
        assert (await sealed.enter("ada")).sealed is False


async def test_a_key_service_that_does_not_prove_itself_leaves_the_vault_sealed(
    sealed: Sealed, monkeypatch: pytest.MonkeyPatch
):
    async def unfit(_self: SoftwareKeyService) -> None:
        raise KeyServiceUnfit("the key service opens a key where it does not belong")

    async with standing(sealed) as door:
        with monkeypatch.context() as patched:
            patched.setattr(SoftwareKeyService, "prove", unfit)
            await sealed.enter("ada")
            refused = await sealed.enter("ben")

        assert (refused.done, refused.sealed, "stays sealed" in refused.why) == (False, True, True)
        assert not door.opened.is_set()
        assert "opened" not in sealed.acts()
        await sealed.enter("ada")
        assert (await sealed.enter("ben")).sealed is False


async def test_a_key_service_that_hangs_until_the_visit_is_over_leaves_the_vault_sealed(
    sealed: Sealed, monkeypatch: pytest.MonkeyPatch
):
    async def hangs(_self: SoftwareKeyService) -> None:
        await asyncio.Event().wait()

    async with standing(sealed) as door:
        await sealed.enter("ada")
        with monkeypatch.context() as patched:
            patched.setattr(SoftwareKeyService, "prove", hangs)
            patched.setattr("vault.custodians.door.VISIT_SECONDS_MAX", 0.2)
            with pytest.raises(msgspec.DecodeError):  # the door hangs up
                await sealed.enter("ben")

        assert sealed.custody.closed
        assert not door.opened.is_set()
        assert "opened" not in sealed.acts()


async def test_an_opening_that_cannot_be_written_down_does_not_happen(sealed: Sealed, monkeypatch: pytest.MonkeyPatch):
    add = Record.add

    def full(self: Record, entry: record.Entry, **how: bool) -> None:
        if entry.statement["act"] == "opened":
            raise OSError("the record's disk is full")
        add(self, entry, **how)

    async with standing(sealed) as door:
        with monkeypatch.context() as patched:
            patched.setattr(Record, "add", full)
            await sealed.enter("ada")
            refused = await sealed.enter("ben")

        assert (refused.done, refused.sealed, sealed.custody.closed) == (False, True, True)
        assert not door.opened.is_set()
        await sealed.enter("ada")
        assert (await sealed.enter("ben")).sealed is False


async def test_a_file_whose_ceremony_was_changed_is_not_opened(sealed: Sealed):
    """Somebody who may write the file names himself a custodian of it, and signs with a custody of his own."""
    mallory = enrolled(sealed.folder, "mallory", "trudy")
    theirs = ceremony.prepare(list(mallory.values()), 2)
    entry = theirs.entry(act="generated", at=NOW, machine="tests", under=sealed.path, also={}, replaces=None)
    document = json.loads(sealed.path.read_bytes())
    document["ceremony"] = msgspec.to_builtins(entry)
    sealed.path.write_bytes(json.dumps(document, separators=(",", ":")).encode())
    sealed.ceremony = msgspec.convert(entry.statement, Ceremony)

    def wish(name: str, number: int) -> Any:
        def made(greeting: Greeting) -> Enter:
            said = entering(sealed.ceremony, NOW, custodian=name, number=number, once=greeting.once, machine="tests")
            return Enter(record.signed(said, {name: mallory[name].signing}), sheets.write(theirs.shares[number - 1]))

        return made

    async with standing(sealed):
        await sealed.visit(wish("mallory", 1))
        answer = await sealed.visit(wish("trudy", 2))

    assert (answer.done, answer.sealed, "the file was changed" in answer.why) == (False, True, True)


@pytest.mark.control("UC-3.6.1.2")
async def test_an_opened_vault_rotates_its_root_and_the_file_stays_sealed(sealed: Sealed):
    async with standing(sealed):
        await sealed.enter("ada")
        await sealed.enter("ben")
    wrapped = await sealed.keys.wrap(new_key(), CONTEXT)

    await sealed.keys.rotate()
    await sealed.keys.unwrap(wrapped, CONTEXT)
    await sealed.keys.destroy_before(2)

    assert is_sealed_file(sealed.path)
    assert [str(one.state) for one in (await sealed.keys.describe()).versions] == ["destroyed", "active"]
    stranger = SoftwareKeyService(RingFile(sealed.path), sealed.clock)
    with pytest.raises(RootSealed):
        await stranger.rotate()


async def test_the_next_key_is_taken_from_who_has_the_present_one_and_from_nobody_else(sealed: Sealed):
    coming = Secret(bytes(32))
    async with standing(sealed):
        early = await sealed.visit(Handover(seal_under(sealed.prepared.key, HANDOVER, bytes(32), HANDOVER)))
        await sealed.enter("ada")
        await sealed.enter("ben")
        stranger = await sealed.visit(Handover(seal_under(coming, HANDOVER, bytes(32), HANDOVER)))
        known = await sealed.visit(Handover(seal_under(sealed.prepared.key, HANDOVER, bytes(32), HANDOVER)))

    assert [early.done, stranger.done, known.done] == [False, False, True]
    assert [key.reveal() for key in sealed.custody.keys] == [bytes(32), sealed.prepared.key.reveal()]
    assert not sealed.custody.closed


async def test_reshared_in_vain_twice_over_a_vault_that_is_open_stays_open(sealed: Sealed):
    """Killed after the next key was handed over, before the file was replaced; and once more."""
    async with standing(sealed):
        await sealed.enter("ada")
        await sealed.enter("ben")
        for coming in (bytes(32), bytes(31) + b"1"):
            taken = await sealed.visit(Handover(seal_under(sealed.prepared.key, HANDOVER, coming, HANDOVER)))
            assert taken.done

    assert not sealed.custody.closed


async def test_a_door_that_does_not_answer_is_left_and_one_that_nobody_stands_behind_is_taken_away(
    sealed: Sealed, monkeypatch: pytest.MonkeyPatch
):
    left, busy = sealed.folder / f"door-{PROCESS_NEVER}.sock", sealed.folder / "door-2.sock"
    opening = sealed.folder / f"door-{os.getpid()}.sock"
    with (
        socket.socket(socket.AF_UNIX) as killed,
        socket.socket(socket.AF_UNIX) as starting,
        socket.socket(socket.AF_UNIX) as listening,
    ):
        killed.bind(str(left))
        starting.bind(str(opening))
        listening.bind(str(busy))
        listening.listen()
        monkeypatch.setattr(visiting, "VISIT_SECONDS_MAX", 0.05)

        assert visiting.doors(sealed.folder) == [busy]
        with pytest.raises(CeremonyUnfit, match="does not answer"):
            visiting.look(busy)
    assert (left.exists(), opening.exists(), busy.exists()) == (False, True, True)
