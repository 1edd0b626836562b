"""Cards of another vault, by the file: each line once and with a result, whole files or none of them."""

import json
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from infra.chassis.ids import new_id
from tests.vault.batches import AMEX, DINERS, MASTERCARD, VISA, Desk, card, desk, sealed, written
from tests.vault.bench import Bench, Person, rows
from tests.vault.commanding import command_of
from tests.vault.keys import acts
from vault.cleartext.batch import sealed_file
from vault.cleartext.batch.importing import ImportBusy
from vault.cleartext.batch.sealed_file import SealedFileRefused
from vault.cleartext.batch.sending import digest_of
from vault.cleartext.hpke import SealSuite
from vault.keys.ring import HELD_FOR

KILLED = -9


@pytest.fixture
def taking(bench: Bench, ada: Person, tmp_path: Path) -> Desk:
    return desk(bench, tmp_path, ada)


@pytest.mark.control("UC-T.4")
@pytest.mark.parametrize("suite", list(SealSuite))
async def test_cards_of_a_file_are_on_file_and_charged_without_a_code(taking: Desk, bench: Bench, suite: SealSuite):
    subjects = [new_id("sub") for _ in range(3)]
    numbers = dict(zip(subjects, (VISA, AMEX, DINERS), strict=True))
    lines = [card(number, subject_id=subject, reference=subject[4:12]) for subject, number in numbers.items()]

    done = await taking.take(await taking.file(*lines, suite=suite))

    told = taking.told()
    assert (done.stored, done.there, done.refused) == (3, 0, 0)
    assert [one["reference"] for one in told] == [line["reference"] for line in lines]
    assert [one["last4"] for one in told] == [number[-4:] for number in numbers.values()]
    for one in told[:2]:
        order = replace(taking.person, subject_id=one["subject_id"]).charge(one["token_id"])
        assert (await bench.charge(order)).json()["state"] == "approved"
    events = await taking.rows("outbox_events")
    stored = {event["about"] for event in events if event["kind"] == "card.stored"}
    assert stored == {one["token_id"] for one in told}
    noted = [act[1:] for act in await acts(bench.databases, taking.person.tenant_id)]
    assert ("imported", done.batch_id, "stored 3, there 0, refused 0") in noted
    assert not any(number in taking.result.read_text() for number in numbers.values())


REFUSED: list[tuple[dict[str, Any] | bytes, str, bool]] = [
    (card("4242424242424241"), "number_invalid", True),
    (card("4242 4242 4242 4242"), "number_invalid", True),
    (card("42424242"), "number_incomplete", True),
    (card(exp_year=2020), "expiry_past", True),
    (card(exp_year=2090), "expiry_too_far", True),
    (card(exp_month=13), "expiry_invalid", True),
    (card(holder=VISA), "holder_invalid", True),
    (card("", exp_year=2020), "number_missing,expiry_past", True),
    (card(cvc="123"), "code_given", True),
    (card(**{"Security-Code": ""}), "code_given", True),
    (card(pin="1234"), "code_given", True),
    (card(colour="red"), "line_unreadable", True),
    (card(exp_month="12"), "line_unreadable", True),
    (card(subject_id="ada"), "line_unreadable", True),
    (card(terms={"uses": "twice"}), "line_unreadable", True),
    (card(terms={"amount_max_minor": 100}), "line_unreadable", True),
    (card(reference=VISA), "reference_like_a_card", False),
    (card(reference=f"old {VISA[:4]} {VISA[4:8]}-{VISA[8:]}"), "reference_like_a_card", False),
    (b'{"number": "1", "number": "2"}', "line_unreadable", False),
    (b"\xff\xfe", "line_unreadable", False),
    (b"[]", "line_unreadable", False),
    (b"", "line_unreadable", False),
]


@pytest.mark.control("UC-T.4")
async def test_bad_lines_say_why_and_do_not_stop_good_ones(taking: Desk, capfd: pytest.CaptureFixture[str]):
    good = card(MASTERCARD, reference="good")

    done = await taking.take(await taking.file(good, *(line for line, _, _ in REFUSED), good))

    told = taking.told()
    assert (done.stored, done.there, done.refused) == (1, 1, len(REFUSED))
    assert [",".join(one.get("refused", ())) for one in told] == ["", *(reasons for _, reasons, _ in REFUSED), ""]
    assert [one["reference"] is not None for one in told[1:-1]] == [shown for _, _, shown in REFUSED]
    assert told[0]["token_id"] == told[-1]["token_id"]
    kept = str([await taking.rows(name) for name in ("card_imports", "card_import_lines", "cards", "outbox_events")])
    said = capfd.readouterr()
    assert VISA not in kept + taking.result.read_text() + said.out + said.err


@pytest.mark.control("UC-T.4")
async def test_the_same_file_again_changes_nothing_and_tells_the_same(taking: Desk, bench: Bench):
    file = await taking.file(card(), card(MASTERCARD), card("1"))
    first = await taking.take(file)
    before, told = await everything(taking), taking.result.read_bytes()
    bench.clock.advance(timedelta(hours=1))

    again = await taking.take(file)

    assert again == first
    assert (await everything(taking), taking.result.read_bytes()) == (before, told)


async def everything(taking: Desk) -> list[Any]:
    tables = ("card_imports", "card_import_lines", "cards", "outbox_events", "key_acts")
    return [await taking.rows(name) for name in tables]


async def test_a_card_that_is_there_gets_its_token_and_one_that_differs_another(taking: Desk):
    first, changed = card(reference="a"), card(reference="b", exp_year=2039)
    single = card(reference="c", terms={"uses": "single"})
    lines = [first, changed, single, card(reference="d", subject_id="sub_ben"), card(reference="e", brand_id="brd_x")]
    await taking.take(await taking.file(first))
    (earlier,) = taking.told()
    taking.bench.clock.advance(timedelta(seconds=1))

    done = await taking.take(await taking.file(*lines))

    told = taking.told()
    assert (done.stored, done.there) == (4, 1)
    assert [one["was_there"] for one in told] == [True, False, False, False, False]
    assert told[0]["token_id"] == earlier["token_id"]
    assert len({one["token_id"] for one in told}) == len(lines)
    rows = {row["token_id"]: row for row in await taking.rows("cards")}
    named = [rows[one["token_id"]]["earlier_token_id"] for one in told]
    assert named == [None, earlier["token_id"], earlier["token_id"], None, None]
    assert rows[told[4]["token_id"]]["brand_id"] == "brd_x"


async def test_a_card_that_was_typed_and_never_charged_is_no_card_on_file(taking: Desk, bench: Bench, ada: Person):
    typed = await bench.new_token(ada)

    done = await taking.take(await taking.file(card(subject_id=ada.subject_id)))

    (told,) = taking.told()
    assert (done.stored, told["was_there"], told["token_id"] == typed) == (1, False, False)
    assert (await bench.charge(ada.charge(told["token_id"]))).json()["state"] == "approved"


async def test_the_terms_of_a_line_hold(taking: Desk, bench: Bench, ada: Person):
    terms = {"currency": "USD", "amount_max_minor": 100}
    await taking.take(await taking.file(card(subject_id=ada.subject_id, terms=terms)))
    (told,) = taking.told()

    answers = [(await bench.charge(ada.charge(told["token_id"], amount_minor=one))).json() for one in (101, 100)]

    assert [(one["state"], one["reason"]) for one in answers] == [
        ("failed", "token_not_for_amount"),
        ("approved", None),
    ]


def cut(content: bytes) -> bytes:
    return content[:-1]


def flipped(content: bytes) -> bytes:
    return content[:-40] + bytes([content[-40] ^ 1]) + content[-39:]


def followed(content: bytes) -> bytes:
    return content + b"\x00"


@pytest.mark.control("UC-T.4")
@pytest.mark.parametrize("harm", [cut, flipped, followed])
async def test_a_file_that_was_changed_is_refused_before_there_is_a_row(taking: Desk, harm: Any):
    """The harm is at its end: whoever took lines as they come would have stored the first ones."""
    file = await taking.file(*[card()] * 600)
    file.write_bytes(harm(file.read_bytes()))

    with pytest.raises(SealedFileRefused):
        await taking.take(file)

    assert [await taking.rows(name) for name in ("card_imports", "card_import_lines", "cards")] == [[], [], []]
    assert not taking.result.exists()


async def test_a_file_for_another_tenant_or_key_or_one_that_ended_or_is_too_large_is_refused_whole(
    taking: Desk, bench: Bench, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    other = desk(bench, tmp_path, Person())
    theirs, key = await other.key(), await taking.key(days=1)
    lines = written(card())
    as_ours = sealed(tmp_path / "renamed", replace_struct(theirs, tenant_id=taking.person.tenant_id), lines)
    swapped = sealed(tmp_path / "swapped", replace_struct(theirs, key_id=key.key_id, tenant_id=key.tenant_id), lines)
    good = sealed(tmp_path / "good", key, lines)
    refused = {
        "another tenant's": taking.take(sealed(tmp_path / "theirs", theirs, lines)),
        "not here": taking.take(as_ours),
        "somebody else": taking.take(swapped),
    }
    for words, attempt in refused.items():
        with pytest.raises(SealedFileRefused, match=words):
            await attempt
    with monkeypatch.context() as patched:
        patched.setattr(sealed_file, "FILE_BYTES_MAX", good.stat().st_size - 1)
        with pytest.raises(SealedFileRefused, match="larger"):
            await taking.take(good)
    bench.clock.advance(timedelta(days=1))
    with pytest.raises(SealedFileRefused, match="ended"):
        await taking.take(good)

    assert await taking.rows("card_imports") == []


def replace_struct(key: sealed_file.Recipient, **changes: Any) -> sealed_file.Recipient:
    values = {name: getattr(key, name) for name in key.__struct_fields__}
    return sealed_file.Recipient(**{**values, **changes})


@pytest.mark.control("UC-T.4")
async def test_a_date_moved_in_the_database_opens_no_file(taking: Desk, bench: Bench):
    file = await taking.file(card())
    (row,) = await taking.rows("import_keys")
    later = json.loads(row["document"]) | {"good_until": "2099-01-01T00:00:00Z"}
    owner = bench.databases.owner_dsn
    await change_as_owner(owner, taking.person.tenant_id, json.dumps(later))

    with pytest.raises(SealedFileRefused, match="does not open any more"):
        await taking.take(file)


async def change_as_owner(dsn: str, tenant_id: str, document: str) -> None:
    sql = "UPDATE import_keys SET document = :document RETURNING 1"
    assert await rows(dsn, sql, tenant_id, document=document)


async def test_a_file_that_was_put_in_the_place_of_the_one_that_was_told_of_is_not_opened(taking: Desk):
    """Its sender has the public key, as everybody may."""
    file = await taking.file(card())
    digest = digest_of(file)
    sealed(file, await taking.key(), written(card(AMEX)))

    with pytest.raises(SealedFileRefused, match="not the one"):
        await taking.take(file, digest=digest)

    assert [await taking.rows(name) for name in ("card_imports", "cards")] == [[], []]


async def test_an_id_names_one_file_and_one_brand(taking: Desk, monkeypatch: pytest.MonkeyPatch):
    batch_id, key = new_id("bat"), await taking.key()
    monkeypatch.setattr(sealed_file, "new_id", lambda _: batch_id)
    first = sealed(taking.folder / "first", key, written(card()))
    second = sealed(taking.folder / "second", key, written(card(AMEX)))
    await taking.take(first)
    before = await everything(taking)

    with pytest.raises(SealedFileRefused, match="another file"):
        await taking.take(second)
    with pytest.raises(SealedFileRefused, match="another brand"):
        await taking.take(first, brand_id="brd_other")

    assert await everything(taking) == before


async def test_of_two_imports_of_a_tenant_at_once_the_second_is_told_to_wait(taking: Desk, bench: Bench):
    file = await taking.file(card())

    async with bench.vault.keeping.store.alone(f"card import {taking.person.tenant_id}") as ours:
        assert ours
        with pytest.raises(ImportBusy):
            await taking.take(file)

    assert (await taking.take(file)).stored == 1


@pytest.mark.control("UC-T.4")
async def test_after_a_rotation_a_file_sealed_before_is_taken_under_the_next_key(taking: Desk, bench: Bench):
    """The importer has seals reserved under the key that was meanwhile emptied and destroyed."""
    key = await taking.key()
    first, second = (sealed(taking.folder / name, key, written(card(reference=name))) for name in ("first", "second"))
    await taking.take(first)
    moved = await bench.vault.keeping.rotation.rotate(taking.person.tenant_id, "operator ada")

    done = await taking.take(second, brand_id="brd_other")

    assert (moved.destroyed, done.stored) == ((1,), 1)
    assert {row["key_version"] for row in await taking.rows("cards")} == {2}


async def test_a_shredded_tenants_files_open_no_more(taking: Desk, bench: Bench):
    file = await taking.file(card())
    await taking.take(file)
    await bench.vault.keeping.shredding.shred_tenant(taking.person.tenant_id, "operator ada")
    bench.clock.advance(HELD_FOR)

    with pytest.raises(SealedFileRefused, match="does not open any more"):
        await taking.take(file)


POINTS = (
    ("import_begun", 0),
    ("import_lot_sealed", 0),
    ("import_lot_sealed:2", 100),
    ("import_lot_taken", 200),
    ("import_all_taken", 250),
    ("import_finished", 250),
)
"""Where the command is killed, one after another on the same file → how many lines are there by then."""


@pytest.mark.control("UC-T.4")
async def test_killed_at_every_step_each_line_is_taken_once(taking: Desk, bench: Bench, tmp_path: Path):
    lines = [card(subject_id=new_id("sub"), reference=f"cus {place}") for place in range(249)] + [card("1")]
    file, tenant = await taking.file(*lines), taking.person.tenant_id
    command = command_of(bench, tmp_path)
    asked = ("tokens", "import", str(file), "--tenant", tenant, "--brand", "brd_lamps", "--result", str(taking.result))

    for point, there in POINTS:
        environment = {**command.environment, "UNDERCROFT_VAULT_CRASH_POINTS": point}
        ran = replace(command, environment=environment).run(*asked)
        assert ran.code == KILLED, (point, ran.errors)
        assert len(await taking.rows("card_import_lines")) == there, point
        assert not taking.result.exists()
    done = command.run(*asked)

    assert (done.code, "249 stored, 0 were there, 1 refused" in done.out) == (0, True), done.errors
    told = taking.told()
    tokens = [one["token_id"] for one in told[:-1]]
    assert len(set(tokens)) == 249
    assert {row["token_id"] for row in await taking.rows("cards")} == set(tokens)
    assert len([row for row in await taking.rows("outbox_events") if row["kind"] == "card.stored"]) == 249
    assert [one["reference"] for one in told[:-1]] == [line["reference"] for line in lines[:-1]]
    assert taking.result.stat().st_mode & 0o777 == 0o600


@pytest.mark.control("UC-T.4")
async def test_the_commands_from_key_to_result(bench: Bench, tmp_path: Path):
    """As the two sides do it: no house, then no settings at all for the sender."""
    command, tenant = command_of(bench, tmp_path), new_id("tnt")
    plain, key, out, result = (tmp_path / name for name in ("cards", "key", "sealed", "result"))
    plain.write_bytes(b"\n".join(written(card(), card(MASTERCARD))) + b"\n")

    made = command.run("tokens", "import-key", tenant, "--suite", "x25519")
    key.write_text(made.out)
    seal = ("tokens", "seal", str(plain), "--to", str(key), "--out", str(out))
    sent = replace(command, environment={}).run(*seal)
    digest = sent.out.split("SHA-256 ")[1][:64]
    asked = ("tokens", "import", str(out), "--tenant", tenant, "--brand", "brd_lamps", "--result", str(result))
    other = command.run(*asked, "--sha256", digest[::-1])
    before = result.exists()
    taken = command.run(*asked, "--sha256", digest)
    plain.write_bytes(b"\n".join(written(card(), card(cvv="123"))) + b"\n")
    with_code = replace(command, environment={}).run(*seal)
    elsewhere = command.run(
        "tokens", "import", str(out), "--tenant", "tnt_none", "--brand", "brd_lamps", "--result", str(result)
    )

    assert (other.code, f"another SHA-256, {digest}" in other.errors, before) == (1, True, False)
    assert (made.code, sent.code, taken.code) == (0, 0, 0), (made.errors, sent.errors, taken.errors)
    assert taken.out.rstrip().endswith(digest)
    assert "2 of 2 lines" in taken.errors
    assert len(result.read_text().splitlines()) == 2
    assert (with_code.code, with_code.errors) == (1, "tokens: line 2: code_given\n")
    assert (elsewhere.code, "another tenant's" in elsewhere.errors) == (1, True)
    assert VISA not in made.out + sent.out + taken.out + taken.errors + with_code.errors
