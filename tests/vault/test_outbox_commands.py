"""`undercroft webhooks`: endpoints, what is owed, sending it again by hand, and letting old events go."""

from datetime import timedelta
from pathlib import Path

import pytest

from infra.chassis.ids import new_id
from tests.vault.bench import Bench, Person, rows
from tests.vault.commanding import VaultCommand, command_of
from tests.vault.receiver import Receiver, endpoint, events, known_tenant, owed
from vault.outbox.endpoints import ENDPOINTS_MAX, EndpointRefused


@pytest.fixture
def command(alone: Bench, tmp_path: Path) -> VaultCommand:
    return command_of(alone, tmp_path)


async def test_an_endpoint_is_registered_told_rotated_and_disabled_by_command(
    alone: Bench, ada: Person, command: VaultCommand, receiver: Receiver
):
    await known_tenant(alone, ada.tenant_id)
    added = command.run(
        "webhooks", "endpoints", "add", "--tenant", ada.tenant_id, "--kind", "card.stored", receiver.url
    )
    endpoint_id, secret, public = added.lines[0], added.lines[1].split()[1], added.lines[2].split()[1]
    await alone.paid_charge(ada)
    await alone.vault.outbox.courier.run_once()
    rotated = command.run("webhooks", "endpoints", "rotate", "--tenant", ada.tenant_id, endpoint_id)
    listed = command.run("webhooks", "endpoints", "list", "--tenant", ada.tenant_id)
    disabled = command.run("webhooks", "endpoints", "disable", "--tenant", ada.tenant_id, endpoint_id)
    after = command.run("webhooks", "endpoints", "list", "--tenant", ada.tenant_id)

    (taken,) = receiver.taken
    assert taken.verify_shared(secret)["type"] == "card.stored"
    assert taken.is_signed_by(public)
    assert listed.lines[:3] == [f"{endpoint_id} {receiver.url}", "  enabled", "  kinds: card.stored"]
    assert listed.lines[3:] == [f"  {rotated.lines[2].split()[1]}", f"  {public}"]
    assert "whsec_" not in listed.out
    assert (disabled.code, after.lines[1].split(" since ")[0]) == (0, "  disabled (ordered)")


async def test_dead_letters_are_listed_with_every_attempt_and_replayed(
    alone: Bench, ada: Person, command: VaultCommand, receiver: Receiver
):
    await endpoint(alone, ada.tenant_id, receiver.url)
    receiver.script["/"] = [500, 503]
    await alone.new_token(ada)
    await alone.vault.outbox.courier.run_once()
    alone.clock.advance(timedelta(days=1))
    await alone.vault.outbox.courier.run_once()
    (event,) = await events(alone, ada.tenant_id)

    dead = command.run("webhooks", "list", "--tenant", ada.tenant_id, "--state", "dead")
    whole = command.run("webhooks", "list", "--tenant", ada.tenant_id, "--event", event["id"])
    replayed = command.run("webhooks", "replay", "--tenant", ada.tenant_id, "--dead")
    again = command.run("webhooks", "replay", "--tenant", ada.tenant_id, "--dead")
    alone.clock.advance(timedelta(days=1))
    await alone.vault.outbox.courier.run_once()

    assert [event["id"] in line and "busy 503" in line for line in dead.lines] == [True]
    assert [line.split()[4:] for line in whole.lines[1:]] == [["refused", "500"], ["busy", "503"]]
    assert (replayed.out, again.code) == ("1 to be sent; the courier's next round begins with them\n", 1)
    assert [one.event_id for one in receiver.taken] == [event["id"]] * 3
    assert len({one.delivery_id for one in receiver.taken}) == 3
    assert [row["state"] for row in await owed(alone, ada.tenant_id)] == ["delivered"]


async def test_a_new_endpoint_gets_what_happened_before_by_hand_only(
    alone: Bench, ada: Person, command: VaultCommand, receiver: Receiver
):
    await alone.paid_charge(ada)
    shown = await endpoint(alone, ada.tenant_id, receiver.url)
    before = await alone.vault.outbox.courier.run_once()

    replayed = command.run(
        "webhooks", "replay", "--tenant", ada.tenant_id, "--endpoint", shown.endpoint_id, "--since", "2020-01-01"
    )
    alone.clock.advance(timedelta(minutes=1))
    await alone.vault.outbox.courier.run_once()

    assert (before, replayed.code) == (0, 0)
    assert sorted(receiver.kinds()) == ["card.stored", "charge.approved"]


async def test_what_cannot_be_done_is_said_and_changes_nothing(
    alone: Bench, ada: Person, command: VaultCommand, receiver: Receiver
):
    await endpoint(alone, ada.tenant_id, receiver.url)
    here = ["--tenant", ada.tenant_id]

    refused = [
        command.run("webhooks", "list", "--tenant", "tnt_nobody"),
        command.run("webhooks", "endpoints", "add", *here, "http://example.com/"),
        command.run("webhooks", "endpoints", "add", *here, receiver.url),
        command.run("webhooks", "endpoints", "rotate", *here, "ept_unknown"),
        command.run("webhooks", "replay", *here, "--event", "evt_unknown"),
        command.run("webhooks", "replay", *here, "--endpoint", "ept_unknown", "--dead"),
        VaultCommand({}).run("webhooks", "list", *here),
    ]

    assert [ran.code for ran in refused] == [2, 1, 1, 1, 1, 1, 2]
    assert all(len(ran.errors.splitlines()) == 1 and not ran.out for ran in refused)
    assert "OUTBOX_KEY_FILE is missing" in refused[-1].errors
    assert len(await rows(alone.databases.app_dsn, "SELECT 1 FROM webhook_endpoints", ada.tenant_id)) == 1


async def test_a_tenant_has_a_bounded_number_of_endpoints(alone: Bench, ada: Person):
    shown = [await endpoint(alone, ada.tenant_id, f"http://127.0.0.1:1/{number}") for number in range(ENDPOINTS_MAX)]
    endpoints = alone.vault.outbox.endpoints

    with pytest.raises(EndpointRefused):
        await endpoint(alone, ada.tenant_id, "http://127.0.0.1:1/more")
    await endpoints.disable(ada.tenant_id, shown[0].endpoint_id)
    await endpoint(alone, ada.tenant_id, "http://127.0.0.1:1/0")

    for one in (shown[0], shown[0]):
        with pytest.raises(EndpointRefused):
            await endpoints.enable(ada.tenant_id, one.endpoint_id)


@pytest.mark.control("UC-3.2.1")
async def test_a_purge_takes_what_was_delivered_long_ago_and_leaves_what_is_owed_or_dead(
    alone: Bench, ada: Person, receiver: Receiver, command: VaultCommand
):
    shown = await endpoint(alone, ada.tenant_id, receiver.url)
    delivered, given_up, owed_still = [await old_event(alone, ada, shown.endpoint_id, state) for state in
                                       ("delivered", "dead", "waiting")]  # fmt: skip
    ancient = await old_event(alone, ada, shown.endpoint_id, "dead", days=91)
    to_nobody = await old_event(alone, ada, None, "")
    young = await old_event(alone, ada, shown.endpoint_id, "delivered", days=29)
    newest = await old_event(alone, ada, shown.endpoint_id, "delivered", days=6)

    sql = "DELETE FROM outbox_events WHERE event_id = ANY(:events) RETURNING event_id"
    by_hand = await rows(alone.databases.app_dsn, sql, ada.tenant_id, events=[owed_still, newest])
    counted = command.run("webhooks", "purge", "--dry-run")
    await alone.vault.outbox.caretaker.run_once()

    found = await rows(alone.databases.app_dsn, "SELECT event_id FROM outbox_events", ada.tenant_id)
    left = {row["event_id"] for row in found}
    assert counted.out == f"{ada.tenant_id}: 3 events would go\n"
    assert by_hand == [], "the database itself keeps what is owed, and what is young"
    assert left == {given_up, owed_still, young, newest}
    assert not left & {delivered, ancient, to_nobody}
    assert len(await rows(alone.databases.app_dsn, "SELECT 1 FROM dispatches", ada.tenant_id)) == 4


async def old_event(bench: Bench, person: Person, endpoint_id: str | None, state: str, *, days: int = 31) -> str:
    """As it lies there so many days later."""
    event_id, then = new_id("evt"), bench.clock.now() - timedelta(days=days)
    values = {"e": event_id, "t": person.tenant_id, "then": then}
    sql = """INSERT INTO outbox_events (tenant_id, event_id, kind, about, payload, happened_at)
        VALUES (:t, :e, 'card.stored', 'tok_x', '{}', :then) RETURNING 1"""
    await rows(bench.databases.app_dsn, sql, person.tenant_id, **values)
    if endpoint_id is not None:
        ended = None if state == "waiting" else then
        sql = """INSERT INTO dispatches (tenant_id, event_id, endpoint_id, about, position, state, owed_since, next_at,
                ended_at) SELECT :t, event_id, :p, about, position, :s, :then, :then, :ended FROM outbox_events
            WHERE event_id = :e RETURNING 1"""
        await rows(bench.databases.app_dsn, sql, person.tenant_id, **values, p=endpoint_id, s=state, ended=ended)
    return event_id
