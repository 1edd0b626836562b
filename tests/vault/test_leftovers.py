"""No payment stays open at a processor: not one whose answer was lost, nor one that could not be cancelled at once."""

import argparse
import asyncio
from collections.abc import MutableMapping
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from structlog.testing import capture_logs

from tests.vault.bench import Bench, Person, rows
from tests.vault.processor_rigs import open_rig, typed
from tests.vault.test_failover import IMPATIENT, Both
from tests.vault.test_failover import both as both  # noqa: PLC0414 - a fixture
from tests.vault.test_token_terms import as_owner
from tests.vault.test_unreadable_cards import edited
from vault import charges
from vault.astray_commands import add_astray, astray
from vault.codes import HELD_AT_MOST
from vault.contract import ChargeOrder
from vault.leftovers import ASTRAY_EVERY, LOOK_AFTER, SILENT_FOR

OPEN, CANCELLED = "requires_payment_method", "canceled"


async def left(bench: Bench, person: Person) -> int:
    return len(await rows(bench.databases.app_dsn, "SELECT 1 FROM leftovers", person.tenant_id))


async def later(bench: Bench, by: timedelta) -> None:
    bench.clock.advance(by)
    await bench.vault.reconciler.run_once()


async def failed_and_taken(bench: Bench, person: Person) -> tuple[ChargeOrder, str]:
    """A charge that failed here, and whose payment somebody confirmed at the processor all the same."""
    order = person.charge(await bench.new_token(person))
    bench.processor.fault("timeout_after_charge", operation="payment_intents.create")
    await bench.charge(order)
    bench.processor.plain.post(f"{bench.processor.url}/_sandbox/release")
    async with open_rig("stripe", bench.processor) as rig:
        (payment,) = await rig.processor.find_payments(order.tenant_id, order.charge_id)
        card = await rig.processor.present_card(f"{order.charge_id}:by-hand", *typed("4242424242424242"))
        await rig.processor.confirm_payment(f"{order.charge_id}:confirmed", payment.ref, card)
    return order, payment.ref


async def test_a_payment_whose_answer_was_lost_is_cancelled_and_looked_for_once_more(alone: Bench, ada: Person):
    order = ada.charge(await alone.new_token(ada))
    alone.processor.fault("timeout_after_charge", operation="payment_intents.create")

    failed = (await alone.charge(order)).json()
    alone.processor.plain.post(f"{alone.processor.url}/_sandbox/release")
    await later(alone, LOOK_AFTER[0] - timedelta(microseconds=1))
    before = alone.payments(order.charge_id)
    await later(alone, timedelta(microseconds=1))
    after, still = alone.payments(order.charge_id), await left(alone, ada)
    await later(alone, LOOK_AFTER[1])

    assert (failed["state"], failed["reason"]) == ("failed", "processor_unreachable")
    assert (before, after, still, await left(alone, ada)) == ([OPEN], [CANCELLED], 1, 0)
    assert alone.taken_minor(order.charge_id) == 0


@IMPATIENT
@pytest.mark.control("UC-C.3")
async def test_after_a_failover_the_first_processors_payment_is_cancelled_and_the_seconds_stays_paid(both: Both):
    order = await both.order()
    both.stripe.fault("timeout_after_charge", "payment_intents.create")

    assert await both.charge(order) == ("approved", None)
    both.bench.processor.plain.post(f"{both.bench.processor.url}/_sandbox/release")
    before = both.bench.payments(order.charge_id)
    for wait in LOOK_AFTER:
        await later(both.bench, wait)

    assert (before, both.bench.payments(order.charge_id)) == ([OPEN], [CANCELLED])
    assert both.taken(order) == (0, 7998)


async def test_what_could_not_be_cancelled_at_once_is_cancelled_when_the_processor_answers_again(
    alone: Bench, ada: Person
):
    order = ada.charge(await alone.new_token(ada))
    alone.processor.fault("error_503", operation="payment_methods.create")
    alone.processor.fault("error_503", operation="payment_intents.cancel", times=2)

    await alone.charge(order)
    await later(alone, LOOK_AFTER[0])
    meanwhile = alone.payments(order.charge_id)
    await later(alone, SILENT_FOR)

    assert (meanwhile, alone.payments(order.charge_id)) == ([OPEN], [CANCELLED])


async def test_a_payment_whose_carrier_goes_after_its_charge_has_failed_is_cancelled_all_the_same(
    alone: Bench, ada: Person, monkeypatch: pytest.MonkeyPatch
):
    """The number that is stored does not open, which is seen when the payment is there."""
    token = await alone.new_token(ada)
    await as_owner(alone, ada.tenant_id, edited("number"), token=token)
    order = ada.charge(token)

    def gone(point: str) -> None:
        if point == "charge_given_up":
            raise RuntimeError

    monkeypatch.setattr(charges, "reach", gone)
    status = (await alone.charge(order)).status_code
    monkeypatch.undo()
    before = alone.payments(order.charge_id)
    await later(alone, LOOK_AFTER[0])

    assert (status, (await alone.charge(order)).json()["reason"]) == (500, "card_unreadable")
    assert (before, alone.payments(order.charge_id)) == ([OPEN], [CANCELLED])


@pytest.mark.control("UC-C.3")
async def test_money_that_was_taken_for_a_charge_that_failed_is_an_alarm_and_stays_for_people_to_see_to(
    alone: Bench, ada: Person
):
    order, ref = await failed_and_taken(alone, ada)

    with capture_logs() as logged:
        await later(alone, LOOK_AFTER[0])

    assert alarms(logged) == [("error", ref)]
    assert "vault_payments_astray_total 1.0" in (await alone.api.get("/metrics")).text
    assert alone.taken_minor(order.charge_id) == 7998


def alarms(logged: list[MutableMapping[str, Any]]) -> list[tuple[str, str]]:
    return [(one["log_level"], one["ref"]) for one in logged if one["event"] == "payment_astray"]


@pytest.mark.control("UC-C.3")
async def test_the_alarm_about_money_astray_comes_each_hour_until_an_operator_says_it_was_seen_to(
    alone: Bench, ada: Person, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    order, ref = await failed_and_taken(alone, ada)
    with capture_logs() as logged:
        for wait in (LOOK_AFTER[0], *[ASTRAY_EVERY] * 4):
            await later(alone, wait)
        given = alarms(logged)
        (tmp_path / "url").write_text(alone.databases.app_dsn)
        environ = {"UNDERCROFT_VAULT_DATABASE_URL_FILE": str(tmp_path / "url")}

        async def said(*arguments: str) -> tuple[int, str]:
            code = await asyncio.to_thread(astray, parsed(*arguments, "--tenant", ada.tenant_id), environ)
            told = capsys.readouterr()
            return code, told.out + told.err

        capsys.readouterr()  # the vault's log until here
        listed, unknown = await said("list"), await said("seen-to", "pi_unknown")
        ended, again = await said("seen-to", ref), await said("seen-to", ref)
        await later(alone, ASTRAY_EVERY)

    assert given == alarms(logged) == [("error", ref)] * 5
    assert listed == (0, f"{ref} stripe took money for {order.charge_id}\n")
    assert ([unknown[0], ended[0], again[0]], await said("list")) == ([1, 0, 1], (0, ""))
    assert await left(alone, ada) == 0


def parsed(*arguments: str) -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    add_astray(parser)
    return parser.parse_args(arguments)


async def test_a_charge_that_was_refused_here_is_looked_for_nowhere(bench: Bench, ada: Person):
    token = await bench.new_token(ada)
    bench.clock.advance(HELD_AT_MOST)

    assert (await bench.charge(ada.charge(token))).json()["reason"] == "verification_code_missing"
    assert await left(bench, ada) == 0
