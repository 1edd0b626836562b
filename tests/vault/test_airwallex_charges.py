"""Charges through the front door with Airwallex as the processor: the same answers, and the money there."""

from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from infra.sandbox.settings import AIRWALLEX_CLIENT_ID
from tests.sandbox.running import AIRWALLEX_KEY, WEBHOOK_SECRET, Sandbox
from tests.support.database import DatabaseMaker
from tests.vault.bench import Bench, Person, open_bench, rows
from tests.vault.money import Till, ledger_of
from tests.vault.processor_rigs import Rig, airwallex_signature, open_rig
from vault.ledger.check import check
from vault.processors import ProcessorSettings
from vault.store import Store


def airwallex_settings(folder: Path, sandbox: Sandbox, **changes: Any) -> ProcessorSettings:
    (folder / "airwallex.key").write_text(AIRWALLEX_KEY)
    (folder / "airwallex.webhook").write_text(WEBHOOK_SECRET)
    values: dict[str, Any] = {
        "airwallex_url": sandbox.airwallex_url,
        "airwallex_client_id": AIRWALLEX_CLIENT_ID,
        "airwallex_key_file": folder / "airwallex.key",
        "airwallex_webhook_secret_file": folder / "airwallex.webhook",
    }
    return ProcessorSettings(**(values | changes))


@pytest.fixture
async def rig(processor: Sandbox) -> AsyncIterator[Rig]:
    async with open_rig("airwallex", processor) as opened:
        yield opened


IMPATIENT = pytest.mark.parametrize("bench", [1], indirect=True)
"""For calls that are to run into their time."""


@pytest.fixture
async def bench(
    request: pytest.FixtureRequest, database: DatabaseMaker, processor: Sandbox, rig: Rig, tmp_path: Path
) -> AsyncIterator[Bench]:
    """A vault of its own, all of whose charges go to Airwallex."""
    changes = {
        "processors": airwallex_settings(tmp_path, rig.sandbox, default_processor="airwallex"),
        "processor_timeout_seconds": getattr(request, "param", 20),
    }
    async with open_bench(tmp_path, database("vault"), processor, **changes) as opened:
        yield opened


async def test_a_card_is_charged_held_settled_and_given_back_there_and_the_ledger_agrees(
    bench: Bench, rig: Rig, ada: Person
):
    till = Till(bench, ada)
    paid = await bench.paid_charge(ada)
    held = await till.held()

    settled = await till.settle(held, 3_000)
    refunded = await till.refund(paid.charge_id, 1_000)
    again = await bench.charge(paid)
    later = await bench.charge(ada.charge(paid.token_id, amount_minor=500))

    assert (settled["state"], refunded["state"], again.json()["state"], later.json()["state"]) == (
        "done", "refunded", "approved", "approved",
    )  # fmt: skip
    assert [rig.taken_minor(one.charge_id) for one in (paid, held)] == [7998, 3_000]
    assert bench.processor_charges(paid.charge_id) == []
    assert (await ledger_of(bench, ada))["processor_receivable"] == 7998 + 3_000 + 500 - 1_000
    found = await check(Store(bench.vault.engine), ada.tenant_id)
    assert (found.differences, found.unfinished) == ((), 0)


@pytest.mark.parametrize(
    ("number", "reason"),
    [
        ("4000000000009995", "insufficient_funds"),
        ("4000000000000127", "incorrect_verification_code"),
        ("4000002500003155", "authentication_required"),
    ],
)
async def test_a_refused_card_is_declined_and_the_payment_can_never_be_charged(
    bench: Bench, rig: Rig, ada: Person, number: str, reason: str
):
    order = ada.charge(await bench.new_token(ada, number))

    answer = (await bench.charge(order)).json()

    assert (answer["state"], answer["reason"]) == ("declined", reason)
    assert rig.taken_minor(order.charge_id) == 0


@IMPATIENT
@pytest.mark.parametrize(
    ("fault", "operation", "ends"),
    [
        ("timeout_after_charge", None, ("unknown", "approved")),
        ("timeout_before_charge", None, ("unknown", "failed")),
        ("error_503", "payment_intents.create", ("failed", "failed")),
        ("error_500_after_charge", "payment_intents.create", ("failed", "failed")),
    ],
)
@pytest.mark.control("UC-C.1")
async def test_a_lost_answer_ends_in_one_charge_or_in_none(
    bench: Bench, rig: Rig, ada: Person, fault: str, operation: str | None, ends: tuple[str, str]
):
    order = ada.charge(await bench.new_token(ada))
    rig.fault(fault, operation)

    first = (await bench.charge(order)).json()
    await bench.vault.reconciler.run_once()
    known = (await bench.charge(order)).json()

    assert (first["state"], known["state"]) == ends
    assert rig.taken_minor(order.charge_id) == (7998 if ends[1] == "approved" else 0)


async def test_a_bearer_that_is_not_good_any_more_is_had_anew(bench: Bench, rig: Rig, ada: Person):
    first = await bench.paid_charge(ada)
    rig.sandbox.plain.delete(f"{rig.url}/_sandbox/bearers")

    forgotten = await bench.charge(ada.charge(first.token_id))
    bench.clock.advance(timedelta(minutes=29))
    expired = await bench.charge(ada.charge(first.token_id))

    assert [answer.json()["state"] for answer in (forgotten, expired)] == ["approved", "approved"]


async def test_a_dispute_is_learned_from_its_event_and_costs_the_money(bench: Bench, rig: Rig, ada: Person):
    order = ada.charge(await bench.new_token(ada, "4000000000000259"))
    await bench.charge(order)
    (charged,) = rig.charges(order.charge_id)
    named = (
        '{"id": "evt_1", "name": "payment_dispute.requires_response", "data": {"object": {"payment_intent_id": "%s"}}}'
    )
    body = (named % charged["payment_intent"]).encode()
    at = int(bench.clock.now().timestamp() * 1000)
    signature = airwallex_signature(body, at).partition("v1=")[2]

    answers = [
        await bench.webhooks.post("/webhooks/airwallex", content=body, headers=headers)
        for headers in (
            {"x-timestamp": str(at), "x-signature": signature},
            {"x-timestamp": str(at - 1), "x-signature": signature},
            {},
        )
    ]
    await bench.vault.reconciler.run_once()

    assert [answer.status_code for answer in answers] == [200, 400, 400]
    assert (await bench.charge(order)).json()["disputed_minor"] == 7998


@IMPATIENT
async def test_a_charge_stays_with_its_processor_when_the_default_changes(
    bench: Bench, rig: Rig, ada: Person, tmp_path: Path
):
    order = ada.charge(await bench.new_token(ada))
    rig.fault("timeout_after_charge")
    await bench.charge(order)

    states = []
    for chosen in (ProcessorSettings(), airwallex_settings(tmp_path, rig.sandbox)):
        async with open_bench(tmp_path, bench.databases, bench.processor, processors=chosen) as other:
            await other.vault.reconciler.run_once()
        (row,) = await rows(bench.databases.app_dsn, "SELECT state, processor FROM charges", ada.tenant_id)
        states.append((row["state"], row["processor"]))

    assert states == [("unknown", "airwallex"), ("approved", "airwallex")]
