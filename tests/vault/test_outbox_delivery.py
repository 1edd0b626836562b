"""What is owed is delivered at least once, in order for each object, and nobody waits for anybody else."""

import asyncio
from collections import Counter
from datetime import timedelta
from email.utils import format_datetime

import pytest
from aiohttp import web

from infra.chassis.ids import new_id
from tests.support.waiting import wait_until
from tests.vault.bench import Bench, Person, rows
from tests.vault.receiver import (
    ENDLESS_SECONDS,
    IMPATIENT_SECONDS,
    Receiver,
    another_courier,
    deliver,
    endpoint,
    happen,
    owed,
    silent,
)
from vault.outbox.courier import CLAIMED_FOR
from vault.outbox.endpoints import EndpointRefused
from vault.outbox.rows import claim, note_failed, owe_again
from vault.outbox.schedule import GIVE_UP_AFTER, PAUSE_FIRST
from vault.store import Store

LATER = timedelta(hours=5)
"""More than any pause."""


async def test_a_failed_delivery_comes_again_as_the_same_event_and_another_delivery(
    alone: Bench, ada: Person, receiver: Receiver
):
    shown = await endpoint(alone, ada.tenant_id, receiver.url)
    receiver.script["/"] = [500, 404, 302]
    (event_id,) = await happen(alone, ada, new_id("tok"))

    attempts = [await deliver(alone), await deliver(alone)]
    for _ in range(3):
        alone.clock.advance(LATER)
        attempts.append(await deliver(alone))

    assert attempts == [1, 0, 1, 1, 1]
    assert {one.event_id for one in receiver.taken} == {event_id}
    assert len({one.delivery_id for one in receiver.taken}) == 4
    assert len({one.headers["webhook-timestamp"] for one in receiver.taken}) == 4
    assert len({one.body for one in receiver.taken}) == 1
    assert all(one.is_signed_by(shown.public_key) for one in receiver.taken)
    (row,) = await owed(alone, ada.tenant_id)
    assert (row["state"], row["attempts"], row["last_status"]) == ("delivered", 4, 204)


async def test_the_first_pause_is_seconds_and_not_a_moment_sooner(alone: Bench, ada: Person, receiver: Receiver):
    await endpoint(alone, ada.tenant_id, receiver.url)
    receiver.script["/"] = [500]
    await happen(alone, ada, new_id("tok"))
    await deliver(alone)
    (row,) = await owed(alone, ada.tenant_id)

    alone.clock.advance(row["next_at"] - alone.clock.now() - timedelta(microseconds=1))
    early = await deliver(alone)
    alone.clock.advance(timedelta(microseconds=1))

    assert (early, await deliver(alone)) == (0, 1)
    assert PAUSE_FIRST / 2 <= row["next_at"] - row["owed_since"] <= PAUSE_FIRST


async def test_of_one_object_the_next_event_follows_when_the_one_before_was_taken(
    alone: Bench, ada: Person, receiver: Receiver
):
    await endpoint(alone, ada.tenant_id, receiver.url)
    one, two = new_id("tok"), new_id("tok")
    receiver.script["/"] = [500]
    (first,) = await happen(alone, ada, one)
    await deliver(alone)
    second, third, other = await happen(alone, ada, one, one, two)
    await deliver(alone)
    before = [taken.event_id for taken in receiver.taken]
    alone.clock.advance(LATER)

    await deliver(alone)

    assert before == [first, other]
    assert [taken.event_id for taken in receiver.taken][2:] == [first, second, third]


async def test_a_silent_endpoint_delays_nobody_else(alone: Bench, ada: Person, receiver: Receiver):
    """Its attempts are still under way when the other endpoints have all their events."""
    courier = another_courier(alone, ENDLESS_SECONDS)
    async with silent() as url:
        await endpoint(alone, ada.tenant_id, url)
        await endpoint(alone, ada.tenant_id, f"{receiver.url}/well")
        eve = Person()
        await endpoint(alone, eve.tenant_id, f"{receiver.url}/eve")
        await happen(alone, ada, *[new_id("tok") for _ in range(30)])
        await happen(alone, eve, new_id("tok"))
        stop = asyncio.Event()
        running = asyncio.ensure_future(courier.run(stop))
        await wait_until(lambda: len(receiver.at("/well")) == 30 and len(receiver.at("/eve")) == 1)
        under_way = await rows(
            alone.databases.app_dsn, "SELECT 1 FROM deliveries WHERE ended_at IS NULL", ada.tenant_id
        )
    stop.set()
    await running

    assert under_way


async def test_a_silent_endpoint_is_asked_one_at_a_time_and_left_in_peace_for_a_while(alone: Bench, ada: Person):
    courier = another_courier(alone, IMPATIENT_SECONDS)
    async with silent() as url:
        await endpoint(alone, ada.tenant_id, url)
        await happen(alone, ada, *[new_id("tok") for _ in range(20)])
        attempts = [await courier.run_once()]
        for _ in range(3):
            alone.clock.advance(timedelta(minutes=6))
            attempts.append(await courier.run_once())
    await courier.close()

    failures = {row["last_failure"] for row in await owed(alone, ada.tenant_id) if row["attempts"]}
    assert (attempts, failures) == ([8, 1, 1, 1], {"timed_out"})


async def test_gone_disables_the_endpoint_for_all_to_see(alone: Bench, ada: Person, receiver: Receiver):
    gone = await endpoint(alone, ada.tenant_id, receiver.url)
    receiver.script["/"] = [410]
    about = new_id("tok")
    await happen(alone, ada, about, about, about)

    attempts = await deliver(alone)
    await happen(alone, ada, about)

    ((found, _),) = await alone.vault.outbox.endpoints.listed(ada.tenant_id)
    assert (found.endpoint_id, found.state, found.disabled_why) == (gone.endpoint_id, "disabled", "gone")
    assert attempts == 1
    assert [row["state"] for row in await owed(alone, ada.tenant_id)] == ["dead"] * 3


async def test_what_was_taken_beside_a_gone_is_taken_and_nothing_is_left_waiting(
    alone: Bench, ada: Person, receiver: Receiver
):
    await endpoint(alone, ada.tenant_id, receiver.url)
    receiver.script["/"] = [410]
    await happen(alone, ada, *[new_id("tok") for _ in range(12)])

    attempts = await deliver(alone)

    states = Counter(row["state"] for row in await owed(alone, ada.tenant_id))
    assert (attempts, states) == (8, {"delivered": 7, "dead": 5})


@pytest.mark.parametrize("as_date", [False, True])
async def test_retry_after_is_honoured_for_all_of_a_busy_endpoints_events(
    alone: Bench, ada: Person, receiver: Receiver, *, as_date: bool
):
    await endpoint(alone, ada.tenant_id, receiver.url)
    until = alone.clock.now() + timedelta(minutes=30)
    value = format_datetime(until, usegmt=True) if as_date else "1800"
    receiver.script["/"] = [web.Response(status=429, headers={"Retry-After": value})]
    await happen(alone, ada, new_id("tok"))
    await deliver(alone)
    await happen(alone, ada, new_id("tok"))

    alone.clock.advance(timedelta(minutes=30) - timedelta(seconds=2))
    early = await deliver(alone)
    alone.clock.advance(timedelta(seconds=2))

    assert (early, await deliver(alone)) == (0, 2)


async def test_after_a_day_it_is_a_dead_letter_and_by_hand_it_comes_once_more(
    alone: Bench, ada: Person, receiver: Receiver
):
    shown = await endpoint(alone, ada.tenant_id, receiver.url)
    receiver.script["/"] = [500] * 100
    (event_id,) = await happen(alone, ada, new_id("tok"))
    began = alone.clock.now()
    while (row := (await owed(alone, ada.tenant_id))[0])["state"] == "waiting":
        alone.clock.advance(row["next_at"] - alone.clock.now())
        await deliver(alone)
    lasted, attempts = alone.clock.now() - began, len(receiver.taken)

    async with Store(alone.vault.engine).transaction(ada.tenant_id) as tx:
        again = await owe_again(
            tx, shown.endpoint_id, event_id=event_id, dead_only=False, since=None, now=alone.clock.now()
        )
    receiver.script["/"] = []
    await deliver(alone)

    assert lasted == GIVE_UP_AFTER
    assert 12 <= attempts <= 21
    assert again == 1
    assert {one.event_id for one in receiver.taken} == {event_id}
    assert (await owed(alone, ada.tenant_id))[0]["state"] == "delivered"


async def test_what_a_dead_endpoint_was_owed_for_a_day_is_given_up_together(alone: Bench, ada: Person):
    await endpoint(alone, ada.tenant_id, "http://127.0.0.1:1/")
    await happen(alone, ada, *[new_id("tok") for _ in range(20)])
    await deliver(alone)
    alone.clock.advance(GIVE_UP_AFTER)
    await happen(alone, ada, new_id("tok"))

    attempts = await deliver(alone)

    states = [row["state"] for row in await owed(alone, ada.tenant_id)]
    assert (attempts, states) == (1, ["dead"] * 20 + ["waiting"])


async def test_two_couriers_at_once_deliver_each_event_once(alone: Bench, ada: Person, receiver: Receiver):
    await endpoint(alone, ada.tenant_id, receiver.url)
    about = new_id("tok")
    made = await happen(alone, ada, *[new_id("tok") for _ in range(40)], about, about)
    other = another_courier(alone)

    attempts = await asyncio.gather(deliver(alone), other.run_once())
    await other.close()

    assert sum(attempts) == 42
    assert sorted(one.event_id for one in receiver.taken) == sorted(made)
    assert [one.event_id for one in receiver.taken if one.event["data"]["token_id"] == about] == made[-2:]


async def test_what_somebody_claimed_who_died_is_sent_when_his_time_is_up(
    alone: Bench, ada: Person, receiver: Receiver
):
    shown = await endpoint(alone, ada.tenant_id, receiver.url)
    (event_id,) = await happen(alone, ada, new_id("tok"))
    async with Store(alone.vault.engine).transaction(ada.tenant_id) as tx:
        now = alone.clock.now()
        (claimed,) = await claim(tx, shown.endpoint_id, now=now, until=now + CLAIMED_FOR, limit=8)

    before = await deliver(alone)
    alone.clock.advance(CLAIMED_FOR)

    assert (before, await deliver(alone)) == (0, 1)
    (taken,) = receiver.taken
    assert taken.event_id == claimed.event_id == event_id
    assert taken.delivery_id != claimed.delivery_id


async def test_a_late_answer_of_an_attempt_given_up_does_not_undo_a_newer_one(
    alone: Bench, ada: Person, receiver: Receiver
):
    shown = await endpoint(alone, ada.tenant_id, receiver.url)
    await happen(alone, ada, new_id("tok"))
    store, now = Store(alone.vault.engine), alone.clock.now()
    async with store.transaction(ada.tenant_id) as tx:
        (claimed,) = await claim(tx, shown.endpoint_id, now=now, until=now + CLAIMED_FOR, limit=8)
    alone.clock.advance(CLAIMED_FOR)
    await deliver(alone)

    async with store.transaction(ada.tenant_id) as tx:
        await note_failed(
            tx, shown.endpoint_id, claimed, status=500, failure="refused", next_at=now, rest_until=None, now=now
        )

    assert [row["state"] for row in await owed(alone, ada.tenant_id)] == ["delivered"]


async def test_another_tenant_neither_sees_nor_is_sent_anything(alone: Bench, ada: Person, receiver: Receiver):
    eve = Person()
    await endpoint(alone, ada.tenant_id, f"{receiver.url}/ada")
    theirs = await endpoint(alone, eve.tenant_id, f"{receiver.url}/eve")
    await happen(alone, ada, new_id("tok"))

    await deliver(alone)

    with pytest.raises(EndpointRefused):
        await alone.vault.outbox.endpoints.rotate(ada.tenant_id, theirs.endpoint_id, timedelta())
    assert (len(receiver.at("/ada")), receiver.at("/eve")) == (1, [])
    assert await owed(alone, eve.tenant_id) == []


async def test_operators_see_how_much_waits_and_for_how_long(alone: Bench, ada: Person, receiver: Receiver):
    await endpoint(alone, ada.tenant_id, receiver.url)
    receiver.script["/"] = [500]
    await happen(alone, ada, new_id("tok"))
    await deliver(alone)
    alone.clock.advance(timedelta(seconds=90))

    await alone.vault.outbox.caretaker.run_once()

    shown = (await alone.api.get("/metrics")).text
    assert "vault_webhook_waiting 1.0" in shown
    assert "vault_webhook_oldest_seconds 90.0" in shown
    assert "vault_webhook_endpoints_failing 1.0" in shown
    assert 'vault_webhook_attempts_total{ending="refused"} 1.0' in shown
