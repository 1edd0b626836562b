"""All cards of a tenant, sealed for the next vault: by two custodians at a terminal, and by nobody else."""

import hashlib
import json
from collections.abc import AsyncIterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import msgspec
import pytest

from infra.chassis.keys.settings import KeySettings
from infra.dev.postgres import ServiceDatabase
from tests.sandbox.running import Sandbox
from tests.vault.batches import AMEX, MASTERCARD, VISA, Desk, card, desk
from tests.vault.bench import Bench, Person, open_bench
from tests.vault.commanding import command_of
from tests.vault.custody import CTRL_C, NAMES, Place, Typist, acts, approves, passphrase, prove
from tests.vault.keys import acts as key_acts
from tests.vault.keys import cards, change
from tests.vault.test_canaries import planted
from tests.vault.updates import opened
from vault.cleartext.batch.sealed_file import Recipient
from vault.contract import Action, TokenTerms, TokenUses
from vault.custodians.people import People
from vault.custodians.record import Record, RecordBroken, signed

GO_ON = "Type yes to go on: "


@pytest.fixture
def leaving(bench: Bench, ada: Person, tmp_path: Path) -> Desk:
    return desk(bench, tmp_path, ada)


@pytest.fixture
def coming(bench: Bench, tmp_path: Path) -> Desk:
    """The next vault: another tenant, which stands for another house as far as keys go."""
    folder = tmp_path / "next"
    folder.mkdir()
    return desk(bench, folder, Person())


async def exported(leaving: Desk, recipient: Recipient) -> tuple[Path, Any]:
    path = leaving.folder / "leaving.sealed"
    with path.open("wb") as out:
        left = await leaving.departure.run(leaving.person.tenant_id, recipient, out)
    return path, left


@pytest.mark.control("UC-T.4")
async def test_what_leaves_comes_in_again_as_it_was(leaving: Desk, coming: Desk, bench: Bench):
    terms = {"uses": "single", "currency": "USD"}
    lines = [
        card(VISA, subject_id="sub_ada", holder="Ada Byron"),
        card(MASTERCARD, subject_id="sub_ben", holder="", exp_month=1, exp_year=2031),
        card(AMEX, subject_id="sub_ben", brand_id="brd_other", terms=terms),
    ]
    await leaving.take(await leaving.file(*lines))
    tokens = {one["token_id"]: one for one in leaving.told()}

    file, left = await exported(leaving, await coming.key())
    done = await coming.take(file)

    assert (left.cards, left.unreadable, left.never_charged, done.stored, done.refused) == (3, 0, 0, 3, 0)
    for one in coming.told():
        before = tokens[one["reference"]]
        assert {name: one[name] for name in ("subject_id", "brand_id", "last4", "card_brand")} == {
            name: before[name] for name in ("subject_id", "brand_id", "last4", "card_brand")
        }
        as_it_was = await opened(bench, leaving.person, one["reference"])
        assert await opened(bench, coming.person, one["token_id"]) == as_it_was
    kept = {row["token_id"]: json.loads(row["terms"]) for row in await cards(bench.databases, coming.person.tenant_id)}
    assert [kept[one["token_id"]].get("terms") for one in coming.told() if one["last4"] == AMEX[-4:]] == [terms]
    assert not any(number.encode() in file.read_bytes() for number in (VISA, MASTERCARD, AMEX))


@pytest.mark.control("UC-T.4")
async def test_canaries_spent_cards_and_cards_that_were_never_charged_stay(
    leaving: Desk, coming: Desk, bench: Bench, ada: Person
):
    paid = await bench.paid_charge(ada)
    spent = await bench.new_token(ada, MASTERCARD, terms=TokenTerms(uses=TokenUses.SINGLE))
    assert (await bench.charge(ada.charge(spent))).json()["state"] == "approved"
    await bench.new_token(ada, AMEX)
    await planted(bench, ada)

    file, left = await exported(leaving, await coming.key())
    await coming.take(file)

    assert (left.cards, left.never_charged) == (1, 1)
    assert [one["reference"] for one in coming.told()] == [paid.token_id]


async def test_a_card_that_does_not_open_is_counted_and_the_others_leave(
    leaving: Desk, coming: Desk, bench: Bench, ada: Person
):
    await leaving.take(await leaving.file(card(VISA), card(MASTERCARD)))
    broken, whole = (one["token_id"] for one in leaving.told())
    await spoil(bench, ada, broken)

    file, left = await exported(leaving, await coming.key())
    await coming.take(file)

    assert (left.cards, left.unreadable) == (1, 1)
    assert [one["reference"] for one in coming.told()] == [whole]


async def spoil(bench: Bench, person: Person, token: str) -> None:
    sql = "UPDATE cards SET sealed_number = sealed_details WHERE token_id = :token"
    await change(bench.databases, person.tenant_id, sql, token=token)


@dataclass(frozen=True, slots=True)
class Office:
    """A vault whose root has custodians, with one card on file, and the key of the next vault."""

    place: Place
    desk: Desk
    next: Desk
    key: Path

    @property
    def out(self) -> Path:
        return self.desk.folder / "leaving.sealed"

    @property
    def asked(self) -> tuple[str, ...]:
        tenant = self.desk.person.tenant_id
        return ("tokens", "export", "--tenant", tenant, "--to", str(self.key), "--out", str(self.out))

    def done(self) -> list[dict[str, Any]]:
        """What the record says of exports and imports."""
        return [act for act in acts(self.place) if act["act"] in {"export approved", "exported", "import approved"}]

    async def came(self) -> list[str]:
        """References in the file that left, at the next vault."""
        await self.next.take(self.out)
        return [one["reference"] for one in self.next.told()]


@pytest.fixture
async def office(
    place: Place, shared_database: ServiceDatabase, processor: Sandbox, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[Office]:
    folder = tmp_path_factory.mktemp("office")
    async with open_bench(folder, shared_database, processor, keys=KeySettings(root_key_file=place.root)) as bench:
        (folder / "next").mkdir()
        leaving, following = desk(bench, folder, Person()), desk(bench, folder / "next", Person())
        key = folder / "next.key"
        key.write_bytes(msgspec.json.encode(await following.key()))
        await leaving.take(await leaving.file(card()))
        yield Office(replace(place, environment=dict(command_of(bench, folder).environment)), leaving, following, key)


def gives(typist: Typist, name: str, paper: str) -> None:
    typist.sees("Who gives one? ")
    typist.types(name)
    prove(typist, name)
    typist.sees(f"{name}, your share: ")
    typist.types(paper)


@pytest.mark.control("UC-T.4", "UC-3.6.1.2")
async def test_two_custodians_approve_what_they_are_shown_and_it_is_in_their_record(office: Office):
    recipient = json.loads(office.key.read_text())

    with office.place.sit(*office.asked) as typist:
        shown = typist.sees("After this nothing of ours guards the file.")
        approves(typist, "ada")
        approves(typist, "cleo")
        typist.sees(GO_ON)
        typist.types("yes")
        assert typist.end() == 0, typist.screen

    approved, exported = office.done()
    (told,) = office.desk.told()
    assert await office.came() == [told["token_id"]]
    assert recipient["tenant_id"] in shown
    assert approved["to_key_sha256"] in shown
    assert (approved["act"], exported["act"], exported["cards"]) == ("export approved", "exported", 1)
    assert approved["present"] == exported["present"] == ["ada", "cleo"]
    assert exported["file_sha256"] == hashlib.sha256(office.out.read_bytes()).hexdigest()
    assert office.place.run("status")[0] == 0
    tenant = office.desk.person.tenant_id
    (noted,) = [act for act in await key_acts(office.desk.bench.databases, tenant) if act[1] == "exported"]
    assert noted[2:] == (exported["batch"], "cards 1, unreadable 0")
    assert VISA not in typist.screen + office.place.record.read_text()


def the_same_twice(typist: Typist) -> None:
    approves(typist, "ada")
    typist.sees("Who approves? ")
    typist.types("ada")


def a_stranger(typist: Typist) -> None:
    approves(typist, "ada")
    typist.sees("Who approves? ")
    typist.types("mallory")


def a_wrong_passphrase(typist: Typist) -> None:
    typist.sees("Who approves? ")
    typist.types("ada")
    typist.sees("ada, your passphrase: ")
    typist.types(passphrase("ben"))


def no_yes(typist: Typist) -> None:
    approves(typist, "ada")
    approves(typist, "ben")
    typist.sees(GO_ON)
    typist.types("y")


@pytest.mark.control("UC-T.4", "UC-3.6.1.2")
async def test_without_two_different_custodians_and_a_yes_no_card_is_opened(office: Office):
    said = {
        the_same_twice: "another custodian has to come",
        a_stranger: "mallory is not a custodian",
        a_wrong_passphrase: "that is not the passphrase",
        no_yes: "nothing was done",
    }
    for way, words in said.items():
        with office.place.sit(*office.asked) as typist:
            way(typist)
            assert typist.end() == 1, typist.screen
            assert words in typist.screen
    with office.place.sit(*office.asked) as typist:
        approves(typist, "ada")
        typist.sees("Who approves? ")
        typist.presses(CTRL_C)
        assert typist.end() == 130
    piped = command_of(office.desk.bench, office.desk.folder).run(*office.asked)

    assert (piped.code, "must not be pipes" in piped.errors) == (1, True)
    assert office.done() == []
    assert not office.out.exists()


@pytest.mark.control("UC-T.4", "UC-3.6.1.2")
async def test_killed_after_the_approval_that_is_in_the_record_and_there_is_no_file(office: Office):
    with office.place.sit(*office.asked, CRASH_POINTS="export_lot_sealed") as typist:
        approves(typist, "ada")
        approves(typist, "ben")
        typist.sees(GO_ON)
        typist.types("yes")
        assert typist.end() == -9

    assert [act["act"] for act in office.done()] == ["export approved"]
    assert not office.out.exists()


@pytest.mark.control("UC-T.4", "UC-3.6.1.2")
async def test_under_custody_cards_leave_and_come_when_enough_shares_were_given(office: Office):
    file = await office.desk.file(card(MASTERCARD))
    tenant, result = office.desk.person.tenant_id, office.desk.folder / "result"
    papers = office.place.generate(*NAMES)
    taking = ("tokens", "import", str(file), "--tenant", tenant, "--brand", "brd_lamps", "--result", str(result))

    for asked in (taking, office.asked):
        with office.place.sit(*asked) as typist:
            gives(typist, "ada", papers["ada"])
            typist.sees("Who gives one? ")
            typist.presses(CTRL_C)
            assert typist.end() == 130, typist.screen
    assert (office.done(), result.exists(), office.out.exists()) == ([], False, False)
    for asked in (taking, office.asked):
        with office.place.sit(*asked) as typist:
            gives(typist, "ada", papers["ada"])
            gives(typist, "cleo", papers["cleo"])
            typist.sees(GO_ON)
            typist.types("yes")
            assert typist.end() == 0, typist.screen

    assert [(act["act"], act["present"]) for act in office.done()] == [
        ("import approved", ["ada", "cleo"]),
        ("export approved", ["ada", "cleo"]),
        ("exported", ["ada", "cleo"]),
    ]
    assert office.done()[0]["file_sha256"] == hashlib.sha256(file.read_bytes()).hexdigest()
    assert office.done()[-1]["cards"] == 2
    assert office.place.run("status")[0] == 0


def test_who_approved_is_signed_by_two_and_by_the_custody_where_it_was_opened(place: Place, tmp_path: Path):
    """A line that says otherwise breaks the record."""
    people, record = People(place.custody), Record(place.custody)
    enrolled = record.check().custodians
    ada, ben = (people.prove(name, bytearray(passphrase(name).encode()), enrolled[name]) for name in ("ada", "ben"))
    whole = place.record.read_bytes()
    said = {"act": "exported", "present": ["ada", "ben"], "ceremony": None}
    both = {"ada": ada.signing, "ben": ben.signing}
    lines = {
        "not signed by ben": signed(said, {"ada": ada.signing}),
        "fewer than 2": signed(said | {"present": ["ada", "ada"]}, both),
        "not signed by custody": signed(said | {"ceremony": "00"}, both),
    }

    record.add(signed(said, both))
    assert len(record.check().entries) == len(NAMES) + 1
    for words, entry in lines.items():
        place.record.write_bytes(whole)
        record.add(entry)
        with pytest.raises(RecordBroken, match=words):
            record.check()


async def test_no_route_and_no_grant_is_about_files_of_cards(bench: Bench):
    """A command is the only way; that nothing served imports it is an import contract (pyproject.toml)."""
    paths = (await bench.api.get("/schema/openapi.json")).json()["paths"]

    assert not [path for path in paths if "import" in path or "export" in path]
    assert not [action for action in Action if "import" in action or "export" in action]
