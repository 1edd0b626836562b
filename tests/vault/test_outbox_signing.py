"""Who gets a webhook can check whose it is, with the official library or with a public key."""

from datetime import UTC, datetime, timedelta

import pytest
import standardwebhooks

from infra.chassis.ids import new_id
from tests.vault.bench import Bench, Person, rows
from tests.vault.receiver import Receiver, Taken, deliver, endpoint, events, happen, owed
from vault.outbox.endpoints import Shown


@pytest.mark.control("UC-W.1")
async def test_an_event_is_delivered_once_and_checks_with_either_key(alone: Bench, ada: Person, receiver: Receiver):
    shown = await endpoint(alone, ada.tenant_id, receiver.url)
    await alone.paid_charge(ada)

    attempts = [await deliver(alone), await deliver(alone)]

    assert attempts == [2, 0]
    verified = {one.event_id: one.verify_shared(shown.shared_secret) for one in receiver.taken}
    assert verified == {event["id"]: event for event in await events(alone, ada.tenant_id)}
    assert all(one.is_signed_by(shown.public_key) for one in receiver.taken)
    assert [one.event["id"] for one in receiver.taken] == [one.event_id for one in receiver.taken]
    assert len({one.delivery_id for one in receiver.taken} | {one.event_id for one in receiver.taken}) == 4
    assert {row["state"] for row in await owed(alone, ada.tenant_id)} == {"delivered"}


@pytest.mark.control("UC-W.1")
async def test_what_was_changed_on_its_way_or_is_old_does_not_check(alone: Bench, ada: Person, receiver: Receiver):
    shown = await endpoint(alone, ada.tenant_id, receiver.url)
    other = await endpoint(alone, ada.tenant_id, f"{receiver.url}/other")
    await happen(alone, ada, new_id("tok"))
    await deliver(alone)
    (came,) = receiver.at("/")
    official = standardwebhooks.Webhook(shown.shared_secret)

    changed = [
        (came.body.replace(b"canary", b"charge"), {}),
        (came.body, {"webhook-id": new_id("evt")}),
        (came.body, {"webhook-timestamp": str(int(came.headers["webhook-timestamp"]) + 1)}),
        (came.body, {"webhook-timestamp": str(int(came.headers["webhook-timestamp"]) - 301)}),
    ]

    for body, headers in changed:
        with pytest.raises(standardwebhooks.WebhookVerificationError):
            official.verify(body, {**came.headers, **headers})
    with pytest.raises(standardwebhooks.WebhookVerificationError):
        came.verify_shared(other.shared_secret)
    assert not came.is_signed_by(other.public_key)


async def test_nothing_is_sent_unsigned(alone: Bench, ada: Person, receiver: Receiver):
    await endpoint(alone, ada.tenant_id, receiver.url)
    sql = "UPDATE endpoint_keys SET ends_at = now() - interval '1 day' RETURNING version"
    assert len(await rows(alone.databases.app_dsn, sql, ada.tenant_id)) == 1
    await happen(alone, ada, new_id("tok"))

    await deliver(alone)

    assert receiver.taken == []
    assert [row["state"] for row in await owed(alone, ada.tenant_id)] == ["waiting"]


async def test_while_a_key_retires_both_sign_and_then_only_the_new_one(alone: Bench, ada: Person, receiver: Receiver):
    old = await endpoint(alone, ada.tenant_id, receiver.url)
    new = await alone.vault.outbox.endpoints.rotate(ada.tenant_id, old.endpoint_id, timedelta(hours=24))
    await happen(alone, ada, new_id("tok"))
    await deliver(alone)
    alone.clock.advance(timedelta(hours=24))
    await happen(alone, ada, new_id("tok"))
    await deliver(alone)

    during, after = receiver.taken
    assert during.verify_shared(old.shared_secret) == during.verify_shared(new.shared_secret) == during.event
    assert [checks(during, old), checks(during, new)] == [True, True]
    assert [checks(after, old), checks(after, new)] == [False, True]
    assert len(during.headers["webhook-signature"].split(" ")) == 4


def checks(taken: Taken, shown: Shown) -> bool:
    """By the public key; and the shared secret's signature is there, or is not, alike."""
    shared = standardwebhooks.Webhook(shown.shared_secret)
    at = datetime.fromtimestamp(int(taken.headers["webhook-timestamp"]), UTC)
    mac = shared.sign(taken.event_id, at, taken.body.decode())
    assert (mac in taken.headers["webhook-signature"].split(" ")) == taken.is_signed_by(shown.public_key)
    return taken.is_signed_by(shown.public_key)
