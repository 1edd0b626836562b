"""3-D Secure with Airwallex as the processor: the same states and page, and nothing believed but what it answers."""

import json
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from infra.dev.postgres import ServiceDatabase
from tests.sandbox.running import Sandbox
from tests.support.database import DatabaseMaker
from tests.vault.authenticating import ALWAYS, LINK, THEN_DECLINES, Holder
from tests.vault.bench import Bench, Person, open_bench
from tests.vault.hostile import hostile, whole
from tests.vault.killed import checked
from tests.vault.money import Till, ledger_of
from tests.vault.processor_rigs import Rig, airwallex_signature, made, open_rig
from tests.vault.test_airwallex_charges import airwallex_settings
from vault.authentications.answering import LOOK_EVERY
from vault.cleartext.processors import PaymentState

APPROVES = "4242424242424242"
BANK = "https://pci-api.airwallex.com"


@pytest.fixture
async def rig(processor: Sandbox) -> AsyncIterator[Rig]:
    async with open_rig("airwallex", processor) as opened:
        yield opened


@pytest.fixture
async def bench(shared_database: ServiceDatabase, processor: Sandbox, rig: Rig, tmp_path: Path) -> AsyncIterator[Bench]:
    """A vault all of whose charges go to Airwallex."""
    async with open_bench(tmp_path, shared_database, processor, **_second(tmp_path, rig)) as opened:
        yield opened


@pytest.fixture
async def alone(database: DatabaseMaker, processor: Sandbox, rig: Rig, tmp_path: Path) -> AsyncIterator[Bench]:
    """As `bench`, where the reconciler finds nobody else's charges."""
    async with open_bench(tmp_path, database("vault"), processor, **_second(tmp_path, rig)) as opened:
        yield opened


@pytest.fixture
def holder(bench: Bench, ada: Person) -> Holder:
    return Holder(bench, bench.processor, ada)


@pytest.fixture
def sole(alone: Bench, ada: Person) -> Holder:
    return Holder(alone, alone.processor, ada)


def _second(folder: Path, rig: Rig) -> dict[str, Any]:
    chosen = airwallex_settings(folder, rig.sandbox, default_processor="airwallex")
    return {"processors": chosen, "processor_timeout_seconds": 20}


async def told(bench: Bench, rig: Rig, charge_id: str, tenant_id: str, name: str) -> int:
    """A signed event of Airwallex about a charge's payment; how it was answered."""
    (charge,) = rig.charges(charge_id)
    shown = {"id": charge["payment_intent"], "metadata": {"tenant_id": tenant_id}}
    body = json.dumps({"id": "evt_1", "name": name, "data": {"object": shown}}).encode()
    sent_at, _, mac = airwallex_signature(body, int(bench.clock.now().timestamp() * 1000)).partition(",")
    headers = {"x-timestamp": sent_at.removeprefix("t="), "x-signature": mac.removeprefix("v1=")}
    return (await bench.webhooks.post("/webhooks/airwallex", content=body, headers=headers)).status_code


@pytest.mark.control("UC-C.4")
async def test_a_charge_that_its_holder_confirms_at_their_bank_is_approved_once(
    holder: Holder, bench: Bench, rig: Rig, ada: Person
):
    order = await holder.asked()

    page = await holder.see_through(order)
    known = await holder.repeat(order)

    assert (known["state"], known["taken_minor"]) == ("approved", 7998)
    assert "Your bank confirmed it" in page.text
    assert (rig.taken_minor(order.charge_id), bench.taken_minor(order.charge_id)) == (7998, 0)
    assert len(rig.charges(order.charge_id)) == 1
    assert await ledger_of(bench, ada) == {"processor_receivable": 7998, "sales": -7998}


async def test_the_person_is_sent_to_a_page_of_the_processors_by_a_link_and_posts_nothing(holder: Holder, rig: Rig):
    order = await holder.asked()

    link = await holder.link(order)
    page = await holder.page(order)

    assert link.startswith(f"{rig.url}/_sandbox/authenticate/int_")
    assert "<form" not in page.text
    assert "<iframe" not in page.text


async def test_a_card_whose_bank_does_not_ask_is_charged_at_once_also_when_somebody_is_present(holder: Holder):
    order = await holder.order(APPROVES)

    answer = await holder.repeat(order)

    assert (answer["state"], answer["action_until"]) == ("approved", None)


@pytest.mark.parametrize(
    ("number", "outcome", "reason"),
    [(ALWAYS, "fail", "authentication_failed"), (THEN_DECLINES, "pass", "card_declined")],
)
async def test_a_holder_who_refuses_and_a_bank_that_does_are_declined_and_the_payment_is_cancelled(
    holder: Holder, rig: Rig, number: str, outcome: str, reason: str
):
    order = await holder.asked(number)

    page = await holder.see_through(order, outcome)
    known = await holder.repeat(order)

    assert (known["state"], known["reason"], known["taken_minor"]) == ("declined", reason, 0)
    assert "Nothing was charged" in page.text
    assert [charge["status"] for charge in rig.charges(order.charge_id)] == ["CANCELLED"]


async def test_a_hold_that_its_holder_confirms_is_held_and_then_settled(
    holder: Holder, bench: Bench, rig: Rig, ada: Person
):
    order = await holder.asked(hold=True)

    await holder.see_through(order)
    held = await holder.repeat(order)
    settled = await Till(bench, ada).settle(order, 5000)

    assert (held["state"], settled["charge"]["state"]) == ("held", "settled")
    assert rig.taken_minor(order.charge_id) == 5000


@pytest.mark.parametrize("method", ["GET", "POST"])
@pytest.mark.control("UC-C.4")
async def test_a_return_is_believed_about_nothing_whether_it_is_a_link_or_a_form(
    holder: Holder, bench: Bench, rig: Rig, method: str
):
    order = await holder.asked()
    await holder.enter(order)
    said = {"status": "SUCCEEDED", "succeeded": "true", "cres": "eyJ0cmFuc1N0YXR1cyI6IlkifQ", "url": "//evil.example"}

    form: dict[str, Any] = {"params": said} if method == "GET" else {"data": said}
    returned = await bench.browser.request(method, f"/authentications/{order.charge_id}/return", **form)
    page = await holder.page(order)

    assert (returned.status_code, returned.headers["location"]) == (303, f"/authentications/{order.charge_id}")
    assert LINK.search(page.text)
    assert (await holder.repeat(order))["state"] == "needs_action"
    assert rig.taken_minor(order.charge_id) == 0


@pytest.mark.control("UC-C.4")
async def test_an_abandoned_charge_is_cancelled_at_airwallex_when_its_time_is_up(
    sole: Holder, alone: Bench, rig: Rig, ada: Person
):
    order = await sole.asked()
    link = await sole.link(order)
    alone.clock.advance(timedelta(minutes=15))

    ended = await alone.vault.reconciler.run_once()
    late = sole.answer(link)
    known = await sole.repeat(order)

    assert ended == 1
    assert (known["state"], known["reason"]) == ("declined", "authentication_expired")
    assert late.status_code == 400
    assert [charge["status"] for charge in rig.charges(order.charge_id)] == ["CANCELLED"]
    assert await checked(alone.databases, ada.tenant_id)


async def test_what_was_confirmed_at_the_last_moment_is_not_lost_to_the_time_being_up(
    sole: Holder, alone: Bench, rig: Rig
):
    order = await sole.asked()
    sole.answer(await sole.link(order))
    alone.clock.advance(timedelta(minutes=15))

    ended = await alone.vault.reconciler.run_once()

    assert (ended, (await sole.repeat(order))["state"], rig.taken_minor(order.charge_id)) == (1, "approved", 7998)


@pytest.mark.parametrize("found_by", ["event", "round", "asking_again"])
@pytest.mark.control("UC-C.4")
async def test_who_never_comes_back_from_the_bank_is_found_out_about(
    sole: Holder, alone: Bench, rig: Rig, found_by: str
):
    order = await sole.asked()
    sole.answer(await sole.link(order))

    if found_by == "event":
        assert await told(alone, rig, order.charge_id, order.tenant_id, "payment_intent.succeeded") == 200
        await alone.vault.reconciler.run_once()
    if found_by == "round":
        alone.clock.advance(LOOK_EVERY)
        await alone.vault.reconciler.run_once()

    known = await sole.repeat(order)
    assert (known["state"], rig.taken_minor(order.charge_id)) == ("approved", 7998)


@pytest.mark.parametrize("said", ["payment_intent.succeeded", "payment_attempt.authentication_failed"])
@pytest.mark.control("UC-C.4")
async def test_an_event_that_says_how_it_ended_is_not_believed(sole: Holder, alone: Bench, rig: Rig, said: str):
    order = await sole.asked()

    assert await told(alone, rig, order.charge_id, order.tenant_id, said) == 200
    await alone.vault.reconciler.run_once()

    assert (await sole.repeat(order))["state"] == "needs_action"


async def test_a_lost_answer_to_the_confirmation_ends_with_the_holder_being_asked(sole: Holder, alone: Bench, rig: Rig):
    order = await sole.order()
    rig.fault("error_500_after_charge")

    unknown = await sole.repeat(order)
    await alone.vault.reconciler.run_once()
    asked = await sole.repeat(order)
    await sole.see_through(order)

    assert (unknown["state"], asked["state"]) == ("unknown", "needs_action")
    assert (await sole.repeat(order))["state"] == "approved"
    assert len(rig.charges(order.charge_id)) == 1


@pytest.mark.control("UC-3.1", "UC-C.4")
async def test_a_page_whose_address_says_the_number_is_nobodys_to_visit(sole: Holder, alone: Bench, rig: Rig):
    order = await sole.order()
    rig.fault("echo_in_action")

    unknown = await sole.repeat(order)
    await alone.vault.reconciler.run_once()
    link = await sole.link(order)
    page = await sole.page(order)

    assert unknown["state"] == "unknown"
    assert link.startswith(rig.url)
    assert ALWAYS not in page.text


async def test_a_bank_that_is_not_on_the_list_is_nobodys_to_visit_and_the_charge_is_declined(
    bench: Bench, rig: Rig, ada: Person, tmp_path: Path
):
    """The processor names its page by an address this vault was not told."""
    aliased = replace(bench.settings.processors, airwallex_url=rig.url.replace("127.0.0.1", "localhost"))
    async with open_bench(tmp_path, bench.databases, bench.processor, processors=aliased) as other:
        holder = Holder(other, bench.processor, ada)
        order = await holder.order()

        unknown = await holder.repeat(order)
        known = await holder.repeat(order)

    assert unknown["state"] == "unknown"
    assert (known["state"], known["reason"]) == ("declined", "authentication_required")
    assert rig.taken_minor(order.charge_id) == 0


PAGE = {"type": "redirect_iframe", "method": "GET", "url": f"{BANK}/pa/card3ds/hk/three-ds-method/redirect/start?key=x"}


@pytest.mark.parametrize(
    ("action", "leads"),
    [
        (PAGE, True),
        (PAGE | {"type": "redirect"}, True),
        (PAGE | {"method": "POST"}, True),
        (PAGE | {"data": {}}, True),
        (PAGE | {"data": {"jwt": "x", "stage": "WAITING_DEVICE_DATA_COLLECTION"}}, False),
        (PAGE | {"stage": "WAITING_USER_INFO_INPUT"}, False),
        (PAGE | {"type": "render_qrcode"}, False),
        (PAGE | {"url": PAGE["url"].replace("airwallex.com", "airwallex.com.evil.example")}, False),
        (PAGE | {"url": PAGE["url"].replace("https", "http")}, False),
        (PAGE | {"url": f"{BANK}/start?key={APPROVES}"}, False),
        (PAGE | {"url": None}, False),
        ({}, False),
        (None, False),
    ],
)
@pytest.mark.control("UC-C.4")
async def test_a_person_is_led_by_a_link_to_a_page_on_the_list_or_nowhere(action: dict[str, Any] | None, leads: bool):
    body = {"id": "int_abcdefgh", "status": "REQUIRES_CUSTOMER_ACTION", "currency": "USD", "next_action": action}

    async def answers(_: Any, writer: Any, __: bytes) -> None:
        writer.write(whole("200 OK", json.dumps(body).encode()))

    async with hostile(answers) as stands:
        processor = made("airwallex", stands.url, action_origins=frozenset({BANK}))
        payment = await processor.look_up_payment("int_abcdefgh")
        await processor.close()

    assert payment.state is PaymentState.NEEDS_AUTHENTICATION
    assert payment.action_url == ((action or {})["url"] if leads else None)
