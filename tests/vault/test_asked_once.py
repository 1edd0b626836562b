"""A request that is still in the processor's hands when we ask again: whatever then happens, it is carried out once."""

from datetime import timedelta

import asyncpg
import pytest

from tests.support.waiting import wait_until
from tests.vault.bench import Bench, Person, rows
from tests.vault.money import Till
from tests.vault.test_vault_database import hostile
from tests.vault.test_vault_refunds import refunded_minor
from vault.cleartext.processors import ProcessorRefused, RefundRequest, RefundResult
from vault.cleartext.processors.stripe import StripeProcessor
from vault.contract import ChargeReason
from vault.refund_keys import KEY_LASTS, QUIET_FOR


def in_its_hands(bench: Bench) -> int:
    held: int = bench.processor.plain.get(f"{bench.processor.url}/_sandbox/faults").json()["held"]
    return held


async def let_it_act(bench: Bench) -> None:
    """The processor comes to the requests it has had all along."""
    bench.processor.plain.post(f"{bench.processor.url}/_sandbox/release").raise_for_status()
    await wait_until(lambda: in_its_hands(bench) == 0)


async def rounds_after(bench: Bench, *waits: timedelta) -> None:
    for wait in waits:
        bench.clock.advance(wait)
        await bench.vault.reconciler.run_once()


async def state_of(bench: Bench, person: Person) -> list[str]:
    return [row["state"] for row in await rows(bench.databases.app_dsn, "SELECT state FROM refunds", person.tenant_id)]


@pytest.mark.control("UC-C.5")
async def test_a_refund_that_stays_in_the_processors_hands_for_a_day_is_made_once(alone: Bench, ada: Person):
    """In none of its lists, so that it cannot be found: over the hour, and to the end of its key's time and beyond."""
    paid = await alone.paid_charge(ada)
    order = ada.refund(paid.charge_id, 2000)
    alone.processor.fault("late_charge", operation="refunds.create")

    unknown = (await alone.refund(order)).json()
    await rounds_after(alone, timedelta(seconds=31), timedelta(hours=1), timedelta(hours=21), timedelta(minutes=90))
    meanwhile, in_hands = await state_of(alone, ada), in_its_hands(alone)
    too_much = await alone.refund(ada.refund(paid.charge_id, 6000))
    await let_it_act(alone)
    await rounds_after(alone, timedelta(seconds=2))
    known = (await alone.refund(order)).json()

    assert (unknown["state"], meanwhile, in_hands) == ("unknown", ["unknown"], 1)
    assert too_much.json()["refundable_minor"] == 5998
    assert (known["state"], known["refunded_minor"]) == ("refunded", 2000)
    assert refunded_minor(alone, paid.charge_id) == 2000


async def test_a_refund_of_which_only_a_500_is_repeated_is_made_when_its_key_is_used_up(alone: Bench, ada: Person):
    paid = await alone.paid_charge(ada)
    order = ada.refund(paid.charge_id, 2000)
    alone.processor.fault("error_500", operation="refunds.create")

    await alone.refund(order)
    await rounds_after(alone, timedelta(hours=1), KEY_LASTS - timedelta(hours=1, microseconds=1))
    before = await state_of(alone, ada), refunded_minor(alone, paid.charge_id)
    await rounds_after(alone, QUIET_FOR)

    assert before == (["unknown"], 0)
    assert (await state_of(alone, ada), refunded_minor(alone, paid.charge_id)) == (["refunded"], 2000)


@pytest.mark.control("UC-C.5")
async def test_a_refusal_while_an_earlier_request_may_act_does_not_end_the_refund(
    alone: Bench, ada: Person, monkeypatch: pytest.MonkeyPatch
):
    """Such as a key of ours that is being changed: what is refused now says nothing about what was taken in before."""
    paid = await alone.paid_charge(ada)
    order = ada.refund(paid.charge_id, 2000)
    alone.processor.fault("late_charge", operation="refunds.create")
    await alone.refund(order)

    async def refused(_processor: StripeProcessor, _request: RefundRequest) -> RefundResult:
        raise ProcessorRefused(ChargeReason.PROCESSOR_ERROR)

    with monkeypatch.context() as patched:
        patched.setattr(StripeProcessor, "refund", refused)
        await rounds_after(alone, timedelta(minutes=1), timedelta(minutes=50))
    second = await alone.refund(ada.refund(paid.charge_id, 6000))
    await let_it_act(alone)
    await rounds_after(alone, timedelta(seconds=2))

    assert (second.status_code, second.json()["refundable_minor"]) == (409, 5998)
    assert (await state_of(alone, ada), refunded_minor(alone, paid.charge_id)) == (["refunded"], 2000)


async def test_a_refund_that_is_refused_when_nothing_else_can_act_has_failed_and_frees_its_amount(
    alone: Bench, ada: Person, monkeypatch: pytest.MonkeyPatch
):
    paid = await alone.paid_charge(ada)
    order = ada.refund(paid.charge_id, 2000)
    alone.processor.fault("timeout_before_charge", operation="refunds.create")
    await alone.refund(order)

    async def refused(_processor: StripeProcessor, _request: RefundRequest) -> RefundResult:
        raise ProcessorRefused(ChargeReason.PROCESSOR_ERROR)

    monkeypatch.setattr(StripeProcessor, "refund", refused)
    await rounds_after(alone, timedelta(minutes=1), QUIET_FOR - timedelta(minutes=1, microseconds=1))
    before = await state_of(alone, ada)
    await rounds_after(alone, timedelta(microseconds=1))
    monkeypatch.undo()
    everything = await alone.refund(ada.refund(paid.charge_id, 7998))

    assert (before, (await alone.refund(order)).json()["state"]) == (["unknown"], "failed")
    assert everything.json()["state"] == "refunded"


@pytest.mark.parametrize("set_to", ["now()", "key_since + interval '1 hour'", "now() + interval '1 hour'"])
@pytest.mark.control("UC-C.5")
async def test_the_database_refuses_a_second_key_for_a_refund_that_may_still_be_made(
    bench: Bench, ada: Person, set_to: str
):
    paid = await bench.paid_charge(ada)
    bench.processor.fault("timeout_before_charge", operation="refunds.create")
    await bench.refund(ada.refund(paid.charge_id, 1000))

    with pytest.raises(asyncpg.CheckViolationError, match="keeps its key"):
        await hostile(bench, ada.tenant_id, f"UPDATE refunds SET key_since = {set_to}")  # noqa: S608 - a test's


@pytest.mark.parametrize("kind", ["settle", "void"])
@pytest.mark.control("UC-C.5")
async def test_the_end_of_a_hold_that_stays_in_the_processors_hands_is_made_once(alone: Bench, ada: Person, kind: str):
    """Asked for again under another key, which takes nothing twice: money is held once, and gone when it is taken."""
    till = Till(alone, ada)
    hold = await till.held()
    alone.processor.fault("late_charge", operation=f"payment_intents.{'capture' if kind == 'settle' else 'cancel'}")

    unknown = await (till.settle(hold, 2000) if kind == "settle" else till.void(hold))
    in_hands = in_its_hands(alone)
    await rounds_after(alone, timedelta(minutes=2))
    at_once = alone.taken_minor(hold.charge_id)
    await let_it_act(alone)
    await rounds_after(alone, timedelta(minutes=2))
    known = (await alone.hold(hold)).json()

    assert (unknown["state"], in_hands) == ("unknown", 1)
    assert known["state"] == ("settled" if kind == "settle" else "voided")
    assert at_once == alone.taken_minor(hold.charge_id) == known["taken_minor"] == (2000 if kind == "settle" else 0)


@pytest.mark.parametrize("held", [False, True])
@pytest.mark.control("UC-C.5")
async def test_a_confirmation_that_stays_in_the_processors_hands_finds_nothing_to_charge(
    alone: Bench, ada: Person, held: bool
):
    token = await alone.new_token(ada)
    order = ada.hold(token) if held else ada.charge(token)
    give = alone.hold if held else alone.charge
    alone.processor.fault("late_charge")

    unknown = (await give(order)).json()  # type: ignore[arg-type]  # a hold's order is a charge's
    in_hands = in_its_hands(alone)
    await rounds_after(alone, timedelta(minutes=1))
    await let_it_act(alone)
    again = await alone.charge(ada.charge(await alone.new_token(ada), purchase_id=order.purchase_id))
    await rounds_after(alone, timedelta(minutes=3), timedelta(hours=2))

    known = (await give(order)).json()  # type: ignore[arg-type]  # a hold's order is a charge's
    assert (unknown["state"], in_hands) == ("unknown", 1)
    assert (known["state"], known["reason"], alone.taken_minor(order.charge_id)) == ("failed", "never_sent", 0)
    assert (alone.payments(order.charge_id), again.json()["state"]) == (["canceled"], "approved")
