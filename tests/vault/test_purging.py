"""What is kept no longer than needed goes: counted before, reported after, and never opened for it."""

from collections.abc import AsyncIterator
from datetime import date, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from infra.chassis.clock import FixedClock
from infra.chassis.keys.settings import open_key_service
from tests.sandbox.running import Sandbox
from tests.support.database import DatabaseMaker
from tests.vault.bench import Bench, Person, open_bench, rows
from tests.vault.keys import acts, cards, change
from tests.vault.killing import KILLED, KeysCommand, keys_command
from tests.vault.money import DECLINES
from vault.contract import ChargeOrder, TokenTerms, TokenUses
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

    rest = "captures 0, events 0, grants 0, spent 0, inquiries 0"
    assert untouched == [None, None]
    for person in (ada, bob):
        assert f"{person.tenant_id}: cards 1, {rest} would go" in counted.out
        assert f"{person.tenant_id}: cards 1, {rest} gone" in purged.out
        assert f"{person.tenant_id}: cards 0, {rest} gone" in again.out
    gone = {row["token_id"]: row["shredded_at"] is not None for row in await cards(own.databases, ada.tenant_id)}
    assert gone == {paid.token_id: True, good: False}
    assert (await own.charge(ada.charge(paid.token_id))).json()["reason"] == "card_shredded"
    assert (await own.charge(paid)).json()["state"] == "approved"
    found = await rows(own.databases.app_dsn, "SELECT cause, token_id, final_at FROM shreddings", ada.tenant_id)
    assert found == [{"cause": "expired", "token_id": paid.token_id, "final_at": None}]
    (told,) = [act for act in await acts(own.databases, ada.tenant_id) if act[1] == "purged"]
    assert told[0].startswith("operator ")
    assert told[3] == f"cards 1, {rest}"
    assert "4242" not in counted.out + purged.out + again.out


async def paid(own: Bench, person: Person, **ordered: Any) -> ChargeOrder:
    """`ordered`: of the capture."""
    order = person.charge(await own.new_token(person, **ordered))
    assert (await own.charge(order)).json()["state"] == "approved"
    return order


@pytest.mark.control("UC-3.2.1")
async def test_a_card_for_one_charge_goes_on_the_first_of_the_month_after_it_and_others_stay(own: Bench, ada: Person):
    single = TokenTerms(uses=TokenUses.SINGLE)
    spent = await paid(own, ada, terms=single)
    young, often = await paid(own, ada, terms=single), await paid(own, ada)
    untried, declined = (
        await own.new_token(ada, terms=single),
        await own.new_token(ada, DECLINES, terms=single),
    )
    assert (await own.charge(ada.charge(declined))).json()["state"] == "declined"
    keeping = own.vault.keeping
    month = first_of_month(own.clock.now(), months_back=0)
    sql = "UPDATE charges SET updated_at = CAST(:at AS text)::timestamptz WHERE token_id <> :young"
    last = (month - timedelta(seconds=1)).isoformat()
    await as_owner(own, ada, sql, at=last, young=young.token_id)
    await as_owner(own, ada, sql.replace("<>", "="), at=month.isoformat(), young=young.token_id)

    due = await keeping.purging.due(ada.tenant_id)
    purged = await keeping.purging.purge(ada.tenant_id, "operator ada")
    again = await keeping.purging.purge(ada.tenant_id, "operator ada")

    assert purged is not None
    assert again is not None
    assert (due.spent, purged.spent, purged.cards, again.spent) == (1, 1, 0, 0)
    gone = {row["token_id"] for row in await cards(own.databases, ada.tenant_id) if row["shredded_at"] is not None}
    assert gone == {spent.token_id}
    assert {young.token_id, often.token_id, untried, declined}.isdisjoint(gone)
    found = await rows(own.databases.app_dsn, "SELECT cause, token_id FROM shreddings", ada.tenant_id)
    assert found == [{"cause": "spent", "token_id": spent.token_id}]
    assert (await own.charge(spent)).json()["state"] == "approved"
    assert (await own.refund(ada.refund(spent.charge_id, 7998))).json()["state"] == "refunded"
    assert (await own.charge(ada.charge(spent.token_id))).json()["reason"] == "token_spent"


@pytest.mark.control("UC-3.2.1")
async def test_old_inquiries_at_the_card_updater_go_and_the_database_keeps_this_months(own: Bench, ada: Person):
    token = await own.new_token(ada)
    sql = """INSERT INTO card_inquiries (tenant_id, token_id, month, cause, asked_at, tries, again_at)
        SELECT :tenant, :token, date_trunc('month', at)::date, 'expiring', at, 3, at
        FROM (SELECT now() - CAST(:age AS text)::interval AS at) a"""
    for age in ("5 days", "89 days", "125 days"):
        await as_owner(own, ada, sql, tenant=ada.tenant_id, token=token, age=age)
    purging = own.vault.keeping.purging

    due, purged = await purging.due(ada.tenant_id), await purging.purge(ada.tenant_id, "operator ada")
    await rows(own.databases.app_dsn, "DELETE FROM card_inquiries RETURNING 1", ada.tenant_id)
    left = await rows(own.databases.app_dsn, "SELECT asked_at FROM card_inquiries", ada.tenant_id)

    assert purged is not None
    assert (due.inquiries, purged.inquiries) == (1, 1)
    assert [own.clock.now() - row["asked_at"] < timedelta(days=6) for row in left] == [True]


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

    assert "cards 0, captures 1, events 1, grants 0, spent 0, inquiries 0 would go" in counted.out
    assert "cards 0, captures 1, events 1, grants 0, spent 0, inquiries 0 gone" in purged.out
    left = await rows(own.databases.app_dsn, "SELECT capture_id FROM captures", ada.tenant_id)
    assert {row["capture_id"] for row in left} == {order.capture_id for order in orders[1:]}
    kept = await rows(own.databases.app_dsn, "SELECT event_id FROM inbox_events ORDER BY 1", ada.tenant_id)
    assert [row["event_id"] for row in kept] == ["evt_new", "evt_open"]


@pytest.mark.control("UC-7.2")
async def test_the_database_lets_nobody_delete_what_is_too_young(own: Bench, ada: Person):
    await own.order_capture(ada.capture())

    await rows(own.databases.app_dsn, "DELETE FROM captures RETURNING 1", ada.tenant_id)

    assert len(await rows(own.databases.app_dsn, "SELECT 1 FROM captures", ada.tenant_id)) == 1


@pytest.mark.parametrize(
    "step", ["purge_cards_batch", "purge_spent_batch", "purge_rows_batch", "months_batch_filled_in"]
)
@pytest.mark.control("UC-3.2.1")
async def test_a_purge_killed_at_any_step_is_ended_by_the_next_one(
    own: Bench, ada: Person, command: KeysCommand, step: str
):
    tokens = [await own.new_token(ada) for _ in range(2)]
    await expire(own, ada, tokens[0], "2020-08-31")
    spent = await paid(own, ada, terms=TokenTerms(uses=TokenUses.SINGLE))
    await as_owner(own, ada, "UPDATE charges SET updated_at = updated_at - interval '40 days'")
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
    assert sorted(row["token_id"] for row in shredded) == sorted([tokens[0], spent.token_id])
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
