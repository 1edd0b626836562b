"""A token nobody was ever given: whoever uses it learns nothing, and we learn of it."""

import re
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy

from infra.chassis.ids import new_id
from infra.chassis.keys.ringfile import decode, encode
from infra.chassis.secret import Secret
from tests.sandbox.running import Sandbox
from tests.support.database import DatabaseMaker
from tests.support.waiting import wait_until
from tests.vault.bench import Bench, Person, open_bench, rows
from tests.vault.commanding import command_of
from tests.vault.destination import Forwarding
from tests.vault.keys import cards
from vault.canary_marks import CanaryMarks
from vault.canary_planting import Planting
from vault.fingerprint import Fingerprints


def planting_of(bench: Bench) -> Planting:
    """What the command line builds, on the bench's own clock."""
    fingerprints = Fingerprints(bench.settings.fingerprint_key)
    return Planting(
        store=bench.vault.keeping.store,
        ring=bench.vault.keeping.ring,
        marks=CanaryMarks(fingerprints.keys()),
        fingerprints=fingerprints,
        clock=bench.clock,
    )


async def planted(bench: Bench, person: Person) -> tuple[str, Person]:
    """A canary of the person's tenant and brand, and the subject its row names."""
    token = await planting_of(bench).plant(person.tenant_id, person.brand_id, "operator ada")
    (row,) = [row for row in await cards(bench.databases, person.tenant_id) if row["token_id"] == token]
    return token, replace(person, subject_id=row["subject_id"])


async def uses(bench: Bench, person: Person) -> list[dict[str, Any]]:
    return await rows(bench.databases.app_dsn, "SELECT * FROM canary_uses ORDER BY used_at", person.tenant_id)


@pytest.mark.control("UC-T.2")
async def test_a_canary_is_answered_like_a_token_that_is_not_there(bench: Bench, ada: Person):
    await bench.new_token(ada)
    token, nobody = await planted(bench, ada)
    unknown = ada.charge(new_id("tok"))
    orders = [nobody.charge(token), ada.charge(token), replace(ada, brand_id="brd_x").charge(token)]

    expected = await bench.charge(unknown)
    answers = [await bench.charge(order) for order in orders] + [await bench.hold(nobody.hold(token))]

    assert (expected.status_code, expected.json()["code"]) == (404, "not_found")
    assert {scrubbed(answer) for answer in answers} == {scrubbed(expected)}
    assert [answer for order in orders for answer in bench.processor_charges(order.charge_id)] == []
    assert await rows(bench.databases.app_dsn, "SELECT * FROM charges", ada.tenant_id) == []


def scrubbed(answer: Any) -> tuple[int, str, str]:
    """Status, headers and body, but for the request's own id."""
    request_id = answer.json()["request_id"]
    headers = str(sorted(answer.headers.multi_items())).replace(request_id, "")
    return answer.status_code, headers, answer.text.replace(request_id, "")


@contextmanager
def statements_of(bench: Bench) -> Iterator[list[str]]:
    """What is asked of the database, in order."""
    seen: list[str] = []

    def note(_connection: Any, _cursor: Any, statement: str, *_: Any) -> None:
        seen.append(statement)

    engine = bench.vault.engine.sync_engine
    sqlalchemy.event.listen(engine, "before_cursor_execute", note)
    try:
        yield seen
    finally:
        sqlalchemy.event.remove(engine, "before_cursor_execute", note)


@pytest.mark.control("UC-T.2")
async def test_until_it_is_answered_a_canary_costs_what_an_unknown_token_costs(bench: Bench, ada: Person):
    await bench.new_token(ada)
    token, nobody = await planted(bench, ada)
    found = len(await uses(bench, ada))

    with statements_of(bench) as for_unknown:
        await bench.charge(ada.charge(new_id("tok")))
    with statements_of(bench) as for_canary:
        await bench.charge(nobody.charge(token))
        asked = list(for_canary)
        await wait_until(lambda: written(bench, ada, found + 1))

    assert len(for_unknown) > 2
    assert asked[: len(for_unknown)] == for_unknown
    assert "canary_uses" not in "".join(asked[: len(for_unknown)])


async def written(bench: Bench, person: Person, count: int) -> bool:
    return len(await uses(bench, person)) == count


@pytest.mark.control("UC-T.2")
async def test_a_use_is_an_error_in_the_log_counted_and_written_down(
    bench: Bench, ada: Person, capsys: pytest.CaptureFixture[str]
):
    await bench.new_token(ada)
    token, nobody = await planted(bench, ada)
    order = nobody.charge(token)

    await bench.charge(order, bench.mint.grant("charge", order, actor="agt_thief"))

    logged = capsys.readouterr().out
    metrics = (await bench.api.get("/metrics")).text
    await wait_until(lambda: written(bench, ada, 1))
    (use,) = await uses(bench, ada)
    (event,) = await rows(
        bench.databases.app_dsn, "SELECT * FROM outbox_events WHERE kind = 'canary.used'", ada.tenant_id
    )
    line = next(line for line in logged.splitlines() if "canary_used" in line)
    assert re.search(r"\berror\b", line)
    assert token in line
    assert "agt_thief" in line
    assert "vault_canaries_used_total 1.0" in metrics
    assert (event["about"], order.purchase_id in event["payload"]) == (token, True)
    assert (use["token_id"], use["act"], use["reference"], use["agent_id"], use["used_at"]) == (
        token,
        "charge",
        order.charge_id,
        "agt_thief",
        bench.clock.now(),
    )


async def test_a_canary_under_an_id_that_was_used_raises_the_alarm_too(bench: Bench, ada: Person):
    paid = await bench.paid_charge(ada)
    token, nobody = await planted(bench, ada)
    again = nobody.charge(token, charge_id=paid.charge_id)

    answer = await bench.charge(again)

    assert answer.json()["code"] == "charge_id_reused"
    await wait_until(lambda: written(bench, ada, 1))


@pytest.mark.control("UC-T.2")
async def test_a_canary_is_forwarded_to_nobody_and_raises_the_alarm(ready: Forwarding, bench: Bench):
    token, nobody = await planted(bench, ready.person)

    unknown = await ready.send(ready.order(token_id=new_id("tok")))
    answers = [
        await ready.send(ready.order(token_id=token, subject_id=person.subject_id)) for person in (nobody, ready.person)
    ]

    await wait_until(lambda: written(bench, ready.person, 2))
    assert {(status, view["code"]) for status, view in (unknown, *answers)} == {(404, "not_found")}
    assert ready.company.received == []


async def test_an_alarm_that_cannot_be_written_down_is_still_in_the_log(
    bench: Bench, ada: Person, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    await bench.new_token(ada)
    token, nobody = await planted(bench, ada)

    async def fail(*_: object) -> None:
        raise OSError("no room")

    monkeypatch.setattr("vault.canaries.note_use", fail)
    answer = await bench.charge(nobody.charge(token))
    await bench.vault.workers.drain(5)

    logged = capsys.readouterr().out
    assert answer.status_code == 404
    assert "canary_used" in logged
    assert "canary_use_not_written" in logged
    assert "no room" not in logged


@pytest.fixture
async def own(database: DatabaseMaker, processor: Sandbox, tmp_path: Path) -> AsyncIterator[Bench]:
    async with open_bench(tmp_path, database("vault"), processor) as opened:
        yield opened


@pytest.mark.control("UC-T.2")
async def test_in_the_database_a_canary_has_what_every_card_on_file_has(own: Bench, ada: Person):
    """Same columns filled, same lengths; and nothing anywhere says which it is."""
    paid = await own.paid_charge(ada)
    token, _ = await planted(own, ada)

    found = {row["token_id"]: row for row in await cards(own.databases, ada.tenant_id)}
    card, canary = found[paid.token_id], found[token]
    shape = {name: (type(value), len(value) if isinstance(value, bytes) else None) for name, value in card.items()}
    assert {name: (type(value), shape[name][1]) for name, value in canary.items()} == shape
    lengths = ("fingerprint", "wrapped_key", "sealed_number", "sealed_fingerprint")
    assert [len(canary[name]) for name in lengths] == [len(card[name]) for name in lengths]
    assert re.fullmatch(r"tok_[b-df-hj-np-tv-z]{26}", token)
    others = [f"TABLE {name}" for name in ("key_acts", "captures", "charges", "canary_uses", "shreddings")]
    assert token not in str([await rows(own.databases.app_dsn, sql, ada.tenant_id) for sql in others])


@pytest.mark.control("UC-T.2")
async def test_a_canary_goes_through_rotations_and_new_fingerprint_keys_and_still_sings(
    own: Bench, ada: Person, tmp_path: Path
):
    await own.new_token(ada)
    token, nobody = await planted(own, ada)
    moved = await own.vault.keeping.rotation.rotate(ada.tenant_id, "operator ada")
    ring = Secret(encode(decode(own.settings.fingerprint_key.reveal()).rotated(own.clock.now())))

    (tmp_path / "next").mkdir()
    others: dict[str, Any] = {"keys": own.settings.keys, "fingerprint_key": ring}
    async with open_bench(tmp_path / "next", own.databases, own.processor, **others) as after:
        answer = await after.charge(nobody.charge(token))
        await wait_until(lambda: written(own, ada, 1))

    assert (moved.cards, moved.stuck) == (2, 0)
    assert answer.status_code == 404


async def test_a_canary_of_one_tenant_is_none_of_another(own: Bench, ada: Person):
    await own.new_token(ada)
    token, _ = await planted(own, ada)
    marks = CanaryMarks(Fingerprints(own.settings.fingerprint_key).keys())

    assert marks.is_canary(ada.tenant_id, token)
    assert not marks.is_canary("tnt_other", token)
    assert not CanaryMarks([Secret(b"x" * 32)]).is_canary(ada.tenant_id, token)
    for broken in (token[:-1], token[:-1] + ("b" if token[-1] != "b" else "c"), "", "tok_", f"{token}b"):
        assert not marks.is_canary(ada.tenant_id, broken)


def test_a_token_that_would_be_a_canary_by_chance_is_drawn_again(monkeypatch: pytest.MonkeyPatch):
    marks = CanaryMarks([Secret(b"k" * 32)])
    unlucky, other = marks.new_canary("tnt_a"), new_id("tok")
    drawn = iter([unlucky, other])
    monkeypatch.setattr("vault.canary_marks.new_id", lambda _: next(drawn))

    assert marks.new_token("tnt_a") == other


async def test_the_command_plants_and_tells_of_uses(own: Bench, ada: Person, tmp_path: Path):
    await own.new_token(ada)
    command = command_of(own, tmp_path)

    made = command.run("tokens", "canary", ada.tenant_id, ada.brand_id, "--count", "2")
    answers = [await own.charge(ada.charge(token)) for token in made.lines]
    await wait_until(lambda: written(own, ada, 2))
    told = command.run("tokens", "canary-uses", ada.tenant_id)
    unknown = command.run("tokens", "canary", "tnt_missing", "brd_x")
    too_many = command.run("tokens", "canary", ada.tenant_id, "brd_x", "--count", "1001")

    assert (made.code, len(set(made.lines)), told.code, unknown.code, too_many.code) == (0, 2, 0, 1, 1)
    assert [answer.status_code for answer in answers] == [404, 404]
    assert sorted(line.split("  ")[1] for line in told.lines) == sorted(made.lines)
