"""What is kept no longer than needed goes: counted before, reported after, and never opened for it."""

from collections.abc import AsyncIterator
from datetime import date, datetime, timedelta
from pathlib import Path

import pytest

from infra.chassis.clock import FixedClock
from infra.chassis.keys.settings import open_key_service
from tests.sandbox.running import Sandbox
from tests.support.database import DatabaseMaker
from tests.vault.bench import Bench, Person, open_bench, rows
from tests.vault.keys import acts, cards, change
from tests.vault.killing import KILLED, KeysCommand, keys_command
from vault.keys.keeping import build_keeping
from vault.keys.purging import first_of_month
from vault.keys.settings import LifecycleSettings
from vault.store import Store


@pytest.fixture
async def own(database: DatabaseMaker, processor: Sandbox, tmp_path: Path) -> AsyncIterator[Bench]:
    async with open_bench(tmp_path, database("vault"), processor) as opened:
        yield opened


@pytest.fixture
def command(own: Bench, tmp_path: Path) -> KeysCommand:
    return keys_command(tmp_path, own.databases, own.settings.keys)


async def expire(own: Bench, person: Person, token_id: str, good_through: str) -> None:
    """As if the card had been typed years ago: the page takes no expired one."""
    sql = "UPDATE cards SET good_through = CAST(:day AS text)::date WHERE token_id = :token_id"
    await change(own.databases, person.tenant_id, sql, day=good_through, token_id=token_id)


@pytest.mark.control("UC-3.2.1")
async def test_a_card_long_expired_is_shredded_and_a_report_says_how_many_and_no_digit(
    own: Bench, ada: Person, command: KeysCommand
):
    bob = Person()
    paid = await own.paid_charge(ada)
    good, theirs = await own.new_token(ada), await own.new_token(bob)
    for person, token in ((ada, paid.token_id), (bob, theirs)):
        await expire(own, person, token, "2020-08-31")

    counted = command.run("purge", "--dry-run")
    untouched = [row["shredded_at"] for row in await cards(own.databases, ada.tenant_id)]
    purged = command.run("purge")
    again = command.run("purge")

    assert untouched == [None, None]
    for person in (ada, bob):
        assert f"{person.tenant_id}: cards 1, captures 0, events 0, grants 0 would go" in counted.out
        assert f"{person.tenant_id}: cards 1, captures 0, events 0, grants 0 gone" in purged.out
        assert f"{person.tenant_id}: cards 0, captures 0, events 0, grants 0 gone" in again.out
    gone = {row["token_id"]: row["shredded_at"] is not None for row in await cards(own.databases, ada.tenant_id)}
    assert gone == {paid.token_id: True, good: False}
    assert (await own.charge(ada.charge(paid.token_id))).json()["reason"] == "card_shredded"
    assert (await own.charge(paid)).json()["state"] == "approved"
    found = await rows(own.databases.app_dsn, "SELECT cause, token_id, final_at FROM shreddings", ada.tenant_id)
    assert found == [{"cause": "expired", "token_id": paid.token_id, "final_at": None}]
    (told,) = [act for act in await acts(own.databases, ada.tenant_id) if act[1] == "purged"]
    assert told[0].startswith("operator ")
    assert told[3] == "cards 1, captures 0, events 0, grants 0"
    assert "4242" not in counted.out + purged.out + again.out


def test_a_card_is_kept_for_whole_months_after_its_own():
    def kept(day: date, months: int, now: str) -> bool:
        from_day = FixedClock(datetime.fromisoformat(f"{now}T12:00:00+00:00")).now()
        return day >= first_of_month(from_day, months_back=months).date()

    august = date(2026, 8, 31)

    assert kept(august, 3, "2026-11-30")
    assert not kept(august, 3, "2026-12-01")
    assert kept(august, 0, "2026-08-31")
    assert not kept(august, 0, "2026-09-01")
    assert kept(date(2025, 12, 31), 12, "2026-12-31")
    assert not kept(date(2025, 12, 31), 12, "2027-01-01")


@pytest.mark.control("UC-3.2.1")
async def test_spent_captures_and_handled_events_go_and_what_may_still_be_needed_stays(
    own: Bench, ada: Person, command: KeysCommand
):
    orders = [ada.capture() for _ in range(3)]
    for order in orders:
        await own.order_capture(order)
    for order, age in zip(orders, ("31 days", "29 days", "0 days"), strict=True):
        sql = "UPDATE captures SET expires_at = now() - CAST(:age AS text)::interval WHERE capture_id = :id"
        await as_owner(own, ada, sql, age=age, id=order.capture_id)
    for event, age, handled in (
        ("evt_old", "91 days", True),
        ("evt_new", "89 days", True),
        ("evt_open", "91 days", False),
    ):
        sql = """INSERT INTO inbox_events (tenant_id, event_id, kind, received_at, handled_at)
            VALUES (:tenant, :id, 'x', now() - CAST(:age AS text)::interval, CASE WHEN :handled THEN now() END)"""
        await as_owner(own, ada, sql, tenant=ada.tenant_id, id=event, age=age, handled=handled)

    counted, purged = command.run("purge", "--dry-run"), command.run("purge")

    assert "cards 0, captures 1, events 1, grants 0 would go" in counted.out
    assert "cards 0, captures 1, events 1, grants 0 gone" in purged.out
    left = await rows(own.databases.app_dsn, "SELECT capture_id FROM captures", ada.tenant_id)
    assert {row["capture_id"] for row in left} == {order.capture_id for order in orders[1:]}
    kept = await rows(own.databases.app_dsn, "SELECT event_id FROM inbox_events ORDER BY 1", ada.tenant_id)
    assert [row["event_id"] for row in kept] == ["evt_new", "evt_open"]


@pytest.mark.control("UC-7.2")
async def test_the_database_lets_nobody_delete_what_is_too_young(own: Bench, ada: Person):
    await own.order_capture(ada.capture())

    await rows(own.databases.app_dsn, "DELETE FROM captures RETURNING 1", ada.tenant_id)

    assert len(await rows(own.databases.app_dsn, "SELECT 1 FROM captures", ada.tenant_id)) == 1


@pytest.mark.parametrize("step", ["purge_cards_batch", "purge_rows_batch", "months_batch_filled_in"])
@pytest.mark.control("UC-3.2.1")
async def test_a_purge_killed_at_any_step_is_ended_by_the_next_one(
    own: Bench, ada: Person, command: KeysCommand, step: str
):
    tokens = [await own.new_token(ada) for _ in range(2)]
    await expire(own, ada, tokens[0], "2020-08-31")
    await change(own.databases, ada.tenant_id, "UPDATE cards SET good_through = NULL WHERE token_id = :t", t=tokens[1])
    await as_owner(own, ada, "UPDATE captures SET token_id = NULL, expires_at = now() - interval '40 days'")
    many = """INSERT INTO captures SELECT (c).* FROM (SELECT jsonb_populate_record(captures, jsonb_build_object(
        'capture_id', capture_id || '_' || n)) AS c FROM captures, generate_series(1, 150) n) s"""
    await as_owner(own, ada, many)

    killed = command.run("purge", die_at=step)
    ended = command.run("purge")

    assert killed.code == KILLED
    assert ended.code == 0, ended
    shredded = await rows(own.databases.app_dsn, "SELECT token_id FROM shreddings", ada.tenant_id)
    assert shredded == [{"token_id": tokens[0]}]
    assert await rows(own.databases.app_dsn, "SELECT capture_id FROM captures", ada.tenant_id) == []
    months = {row["token_id"]: row["good_through"] for row in await cards(own.databases, ada.tenant_id)}
    assert months[tokens[1]] == date(2040, 12, 31)


async def test_the_job_purges_once_a_day_and_goes_through_a_round_when_the_oldest_shredding_has_waited(
    own: Bench, ada: Person
):
    token = await own.new_token(ada)
    await expire(own, ada, token, "2020-08-31")
    keys = open_key_service(own.settings.keys, own.clock)
    keeping = build_keeping(Store(own.vault.engine), keys, own.clock, LifecycleSettings(shred_round_hours=24))

    await keeping.lifecycle.run_once()
    waiting = await rows(own.databases.app_dsn, "SELECT final_at FROM shreddings", ada.tenant_id)
    own.clock.advance(timedelta(hours=24))
    await keeping.lifecycle.run_once()
    final = await rows(own.databases.app_dsn, "SELECT final_at FROM shreddings", ada.tenant_id)
    own.clock.advance(timedelta(days=330))
    await keeping.lifecycle.run_once()
    found = await rows(own.databases.app_dsn, "SELECT cause, outcome FROM root_rounds ORDER BY started_at")

    assert [row["final_at"] for row in waiting] == [None]
    assert final[0]["final_at"] is not None
    assert [(row["cause"], row["outcome"]) for row in found] == [("shredding", "final"), ("period", "final")]
    assert [one.version for one in (await keys.describe()).versions if one.destroyed_at is None] == [3]


async def as_owner(own: Bench, person: Person, sql: str, **values: object) -> None:
    await rows(own.databases.owner_dsn, f"{sql} RETURNING 1", person.tenant_id, **values)
