"""Tenants are told what happened: one event for each outcome, in the outcome's own transaction."""

import json
import typing
from datetime import timedelta
from typing import Any

import msgspec
import pytest
import sqlalchemy

from infra.chassis.ids import new_id
from tests.sandbox.running import APPROVES
from tests.vault.bench import Bench, Person, rows
from tests.vault.events import event_about, post
from tests.vault.money import DECLINES, DISPUTED, Till
from tests.vault.receiver import endpoint, events, kinds, known_tenant, owed
from vault.outbox.events import VERSION, CanaryData, Kind, add_event, shape_of
from vault.store import Store

UNCHANGEABLE = (
    "UPDATE outbox_events SET payload = '{}'",
    "UPDATE webhook_endpoints SET url = 'http://x'",
    "UPDATE endpoint_keys SET salt = salt",
    "DELETE FROM dispatches",
    "DELETE FROM deliveries",
)
ENVELOPE = {"id", "type", "version", "timestamp", "tenant_id", "data"}


async def test_every_outcome_of_money_is_told_once(alone: Bench, ada: Person):
    till = Till(alone, ada)
    paid = await alone.paid_charge(ada)
    await till.charge(paid)
    declined = ada.charge(await alone.new_token(ada, DECLINES))
    await till.charge(declined)
    settled, voided, lapsed = [await till.held() for _ in range(3)]
    await till.settle(settled, 5000)
    await till.void(voided)
    alone.expire(lapsed.charge_id)
    await post(alone, event_about(alone.payment_ref(lapsed.charge_id), "payment_intent", "payment_intent.canceled"))
    await alone.vault.reconciler.run_once()
    refund = await till.refund(paid.charge_id, 1000)

    told = [event for event in await events(alone, ada.tenant_id) if event["type"] != "card.stored"]
    by_charge = {charge_id: [one["type"] for one in told if one["data"]["charge_id"] == charge_id]
                 for charge_id in {one["data"]["charge_id"] for one in told}}  # fmt: skip

    assert by_charge == {
        paid.charge_id: ["charge.approved", "refund.refunded"],
        declined.charge_id: ["charge.declined"],
        settled.charge_id: ["charge.held", "charge.settled"],
        voided.charge_id: ["charge.held", "charge.voided"],
        lapsed.charge_id: ["charge.held", "charge.expired"],
    }
    assert told[-1]["data"]["refund_id"] == refund["refund_id"]
    assert {frozenset(event) for event in told} == {frozenset(ENVELOPE)}
    assert {(event["version"], event["tenant_id"]) for event in told} == {(VERSION, ada.tenant_id)}


async def test_an_unknown_charge_is_told_when_it_is_known(alone: Bench, ada: Person):
    token = (await alone.paid_charge(ada)).token_id
    alone.processor.fault("timeout_after_charge")
    open_one = ada.charge(token)
    assert (await alone.charge(open_one)).json()["state"] == "unknown"
    before = await kinds(alone, ada.tenant_id)

    await alone.vault.reconciler.run_once()

    assert before == ["card.stored", "charge.approved"]
    assert await kinds(alone, ada.tenant_id) == [*before, "charge.approved"]


async def test_a_dispute_is_told_with_what_the_bank_took(alone: Bench, ada: Person):
    disputed = ada.charge(await alone.new_token(ada, DISPUTED))
    assert (await alone.charge(disputed)).json()["state"] == "approved"
    event = event_about(alone.payment_ref(disputed.charge_id), "dispute", "charge.dispute.created")
    for _ in range(2):
        await post(alone, event)
        await alone.vault.reconciler.run_once()

    told = [one for one in await events(alone, ada.tenant_id) if one["type"].startswith("dispute.")]

    assert [one["type"] for one in told] == ["dispute.open"]
    assert told[0]["data"] | {"dispute_ref": ""} == {
        "dispute_ref": "", "charge_id": disputed.charge_id, "state": "open", "amount_minor": 7998, "currency": "USD",
    }  # fmt: skip


@pytest.mark.control("UC-3.4")
async def test_an_event_names_a_card_by_brand_and_last_four_only(bench: Bench, ada: Person):
    paid = await bench.paid_charge(ada)

    stored, approved = await events(bench, ada.tenant_id)

    assert stored["data"] == {
        "token_id": paid.token_id, "brand_id": ada.brand_id, "subject_id": ada.subject_id, "card_brand": "visa",
        "last4": "4242",
    }  # fmt: skip
    assert approved["data"]["last4"] == "4242"
    assert not {"12/40", "2040", "Ada Byron", APPROVES} & set(json.dumps([stored, approved]).split('"'))


@pytest.mark.control("UC-3.4")
async def test_a_card_number_that_came_as_somebodys_id_is_not_told(bench: Bench, ada: Person):
    """No order with such an id is taken (contract.Order); the event is screened besides."""
    await known_tenant(bench, ada.tenant_id)
    token = new_id("tok")
    data = CanaryData(token_id=token, brand_id=ada.brand_id, subject_id=ada.subject_id, purchase_id=f"pur_{APPROVES}")
    async with Store(bench.vault.engine).transaction(ada.tenant_id) as tx:
        await add_event(tx, Kind.CANARY_USED, data, about=token, at=bench.clock.now())

    (told,) = await events(bench, ada.tenant_id)

    assert APPROVES not in json.dumps(told)
    assert (told["data"]["purchase_id"], told["data"]["token_id"]) == ("pur_[card number removed]", token)


async def test_cards_are_told_of_when_their_month_ends_and_when_they_are_shredded(alone: Bench, ada: Person):
    token = await alone.new_token(ada)
    other = await alone.new_token(ada)
    caretaker = alone.vault.outbox.caretaker
    alone.clock.advance(timedelta(days=366 * 14))  # from before 2027 into 2040, before the month ends
    early = await caretaker.tell_expired_cards(ada.tenant_id)
    while alone.clock.now().year < 2041:
        alone.clock.advance(timedelta(days=20))
    told = [await caretaker.tell_expired_cards(ada.tenant_id) for _ in range(2)]
    await alone.vault.keeping.shredding.shred_card(ada.tenant_id, token, "operator ada")
    await alone.vault.keeping.shredding.shred_tenant(ada.tenant_id, "operator ada")

    found = [(one["type"], one["data"]["token_id"]) for one in await events(alone, ada.tenant_id)]

    assert (early, told) == (0, [2, 0])
    assert found[:2] == [("card.stored", token), ("card.stored", other)]
    assert set(found[2:4]) == {("card.expired", token), ("card.expired", other)}
    assert found[4:] == [("card.shredded", token), ("card.shredded", other)]


async def test_a_card_purged_for_its_age_is_told_with_that_cause(alone: Bench, ada: Person):
    token = await alone.new_token(ada)
    alone.clock.advance(timedelta(days=366 * 15))

    await alone.vault.keeping.purging.purge(ada.tenant_id, "vault")

    last = (await events(alone, ada.tenant_id))[-1]
    assert (last["type"], last["data"]["token_id"], last["data"]["cause"]) == ("card.shredded", token, "expired")


async def test_an_event_is_owed_to_the_tenants_own_enabled_endpoints_that_want_it(bench: Bench, ada: Person):
    every = await endpoint(bench, ada.tenant_id, "http://127.0.0.1:1/every")
    cards = await endpoint(bench, ada.tenant_id, "http://127.0.0.1:1/cards", Kind.CARD_STORED)
    off = await endpoint(bench, ada.tenant_id, "http://127.0.0.1:1/off")
    await bench.vault.outbox.endpoints.disable(ada.tenant_id, off.endpoint_id)
    eve = Person()
    await endpoint(bench, eve.tenant_id, "http://127.0.0.1:1/every")

    await bench.paid_charge(ada)

    found = {(row["kind"], row["endpoint_id"]) for row in await owed(bench, ada.tenant_id)}
    assert found == {
        ("card.stored", every.endpoint_id), ("card.stored", cards.endpoint_id), ("charge.approved", every.endpoint_id),
    }  # fmt: skip
    assert await owed(bench, eve.tenant_id) == []


async def test_an_event_stands_or_falls_with_its_transaction(bench: Bench, ada: Person):
    """A canary's use, as whoever refuses it tells of it."""
    await known_tenant(bench, ada.tenant_id)
    store, now = Store(bench.vault.engine), bench.clock.now()
    data = CanaryData(token_id=new_id("tok"), brand_id="brd_lamps", subject_id=ada.subject_id, purchase_id=None)

    async def fail() -> None:
        async with store.transaction(ada.tenant_id) as tx:
            await add_event(tx, Kind.CANARY_USED, data, about=data.token_id, at=now)
            await tx.run("INSERT INTO tenants (tenant_id) VALUES (:tenant_id)", {})

    with pytest.raises(sqlalchemy.exc.IntegrityError):
        await fail()
    fallen = await events(bench, ada.tenant_id)
    async with store.transaction(ada.tenant_id) as tx:
        event_id = await add_event(tx, Kind.CANARY_USED, data, about=data.token_id, at=now)

    (told,) = await events(bench, ada.tenant_id)
    assert fallen == []
    assert (told["id"], told["type"], told["data"]) == (event_id, "canary.used", msgspec.to_builtins(data))


async def test_data_of_another_kind_is_refused(bench: Bench, ada: Person):
    data = CanaryData(token_id=new_id("tok"), brand_id="brd_lamps", subject_id=ada.subject_id, purchase_id=None)

    async with Store(bench.vault.engine).transaction(ada.tenant_id) as tx:
        for kind in set(Kind) - {Kind.CANARY_USED}:
            with pytest.raises(TypeError):
                await add_event(tx, kind, data, about=data.token_id, at=bench.clock.now())


def test_no_shape_can_hold_more_of_a_card_than_brand_and_last_four():
    members = {name for kind in Kind for name in typing.get_type_hints(shape_of(kind))}

    assert {name for name in members if "card" in name or "last" in name} == {"card_brand", "last4"}
    assert not [name for name in members if "month" in name or "year" in name or "holder" in name or "number" in name]


async def test_an_event_is_never_changed_and_not_deleted_while_it_is_owed(bench: Bench, ada: Person):
    await endpoint(bench, ada.tenant_id, "http://127.0.0.1:1/dead")
    await bench.new_token(ada)
    refusals: list[Any] = []
    for statement in UNCHANGEABLE:
        with pytest.raises(sqlalchemy.exc.ProgrammingError) as refusal:
            await rows(bench.databases.app_dsn, statement, ada.tenant_id)
        refusals.append(refusal.value)
    gone = await rows(bench.databases.app_dsn, "DELETE FROM outbox_events RETURNING event_id", ada.tenant_id)

    assert all("permission denied" in str(refusal) for refusal in refusals)
    assert gone == []
