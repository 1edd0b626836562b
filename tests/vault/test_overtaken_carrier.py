"""A carrier that comes late: somebody else has taken over its charge meanwhile, and has not ended it yet."""

import asyncio
from datetime import timedelta
from typing import Any

import pytest

from tests.vault.bench import Bench, Person
from vault.cleartext.processors import Payment, PaymentOrder
from vault.cleartext.processors.stripe import StripeProcessor


@pytest.mark.control("UC-C.3")
async def test_a_carrier_whose_charge_was_taken_over_before_it_had_a_name_takes_no_money(
    bench: Bench, ada: Person, monkeypatch: pytest.MonkeyPatch
):
    """The reconciler searches and finds nothing, as Stripe's search does for a minute; only then is the name known."""
    order = ada.charge(await bench.new_token(ada))
    opened, searching, confirmed, ended = (asyncio.Event() for _ in range(4))
    open_payment, confirm_payment = StripeProcessor.open_payment, StripeProcessor.confirm_payment

    async def opened_late(processor: StripeProcessor, asked: PaymentOrder) -> str:
        ref = await open_payment(processor, asked)
        opened.set()
        await searching.wait()
        return ref

    async def confirmed_late(processor: StripeProcessor, key: str, ref: str, method_ref: str, **how: Any) -> Payment:
        payment = await confirm_payment(processor, key, ref, method_ref, **how)
        confirmed.set()
        await ended.wait()
        return payment

    async def not_found_yet(_processor: StripeProcessor, _tenant_id: str, _charge_id: str) -> list[Payment]:
        searching.set()
        waits = [asyncio.ensure_future(confirmed.wait()), carrier]
        await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
        waits[0].cancel()
        return []

    monkeypatch.setattr(StripeProcessor, "open_payment", opened_late)
    monkeypatch.setattr(StripeProcessor, "confirm_payment", confirmed_late)
    monkeypatch.setattr(StripeProcessor, "find_payments", not_found_yet)
    carrier = asyncio.ensure_future(bench.charge(order))
    await opened.wait()
    bench.clock.advance(timedelta(minutes=2))
    row = await bench.vault.reconciler.end_charge(order.tenant_id, order.charge_id)
    ended.set()
    await carrier

    assert (row.state, row.reason) == ("failed", "never_sent")
    assert bench.taken_minor(order.charge_id) == 0
    assert bench.payments(order.charge_id) == ["canceled"]
    assert (await bench.charge(order)).json()["state"] == "failed"
