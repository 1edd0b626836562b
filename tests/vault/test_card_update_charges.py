"""A card is replaced while it is charged or forwarded: each step is forced, and money is of one whole card."""

import asyncio
from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path

import pytest

from infra.dev.postgres import ServiceDatabase
from tests.sandbox.running import APPROVES, Sandbox
from tests.support.database import DatabaseMaker
from tests.vault.authenticating import ALWAYS, Holder
from tests.vault.bench import Bench, Person, open_bench
from tests.vault.destination import Forwarding
from tests.vault.processor_rigs import open_rig
from tests.vault.test_airwallex_charges import airwallex_settings
from tests.vault.updates import AMEX, MASTERCARD, around, last4_told, opened, replaced, row_of, told
from vault.cleartext.forwarding import network
from vault.cleartext.pan import CardDetails, VerificationCode
from vault.cleartext.processors.airwallex import AirwallexProcessor
from vault.cleartext.processors.stripe import StripeProcessor

NEW = (MASTERCARD, 3, 2038)
PATIENT_SECONDS = 60
"""A processor that is waited for however busy the machine is."""


@pytest.fixture
async def patient(shared_database: ServiceDatabase, processor: Sandbox, tmp_path: Path) -> AsyncIterator[Bench]:
    async with open_bench(tmp_path, shared_database, processor, processor_timeout_seconds=PATIENT_SECONDS) as running:
        yield running


@pytest.mark.control("UC-T.3")
@pytest.mark.parametrize("on_file", [False, True])
@pytest.mark.parametrize(("step", "when"), [("open_payment", "before"), ("present_card", "after")])
async def test_a_card_is_not_charged_once_another_one_has_its_place(
    patient: Bench, ada: Person, monkeypatch: pytest.MonkeyPatch, step: str, when: str, *, on_file: bool
):
    """Also when it lies at the processor already, presented and not yet confirmed."""
    token = (await patient.paid_charge(ada)).token_id if on_file else await patient.new_token(ada)
    around(monkeypatch, StripeProcessor, step, **{when: lambda: replaced(patient, ada, token)})
    charge = ada.charge(token)

    answer = await told(patient, charge)

    assert answer == ("failed", "card_replaced")
    assert patient.processor_charges(charge.charge_id) == []
    assert await last4_told(patient, charge) == "4242"
    after = ada.charge(token)
    assert await told(patient, after) == ("approved", None), "the new card, with its code"
    assert await last4_told(patient, after) == "4444"


@pytest.mark.control("UC-T.3")
async def test_a_card_that_waits_in_memory_for_its_confirmation_is_not_charged_either(
    database: DatabaseMaker, processor: Sandbox, tmp_path: Path, ada: Person, monkeypatch: pytest.MonkeyPatch
):
    async with open_rig("airwallex", processor) as rig:
        changes = {
            "processors": airwallex_settings(tmp_path, rig.sandbox, default_processor="airwallex"),
            "processor_timeout_seconds": PATIENT_SECONDS,
        }
        async with open_bench(tmp_path, database("vault"), processor, **changes) as bench:
            token = await bench.new_token(ada)
            around(monkeypatch, AirwallexProcessor, "present_card", after=lambda: replaced(bench, ada, token))
            charge = ada.charge(token)

            answers = [await told(bench, charge), await told(bench, ada.charge(token))]

            assert answers == [("failed", "card_replaced"), ("approved", None)]
            assert rig.taken_minor(charge.charge_id) == 0


@pytest.mark.control("UC-T.3")
@pytest.mark.parametrize("fault", [None, "timeout_after_charge"])
async def test_a_charge_that_is_on_its_way_stays_the_old_cards_and_puts_the_new_one_on_no_file(
    database: DatabaseMaker, processor: Sandbox, tmp_path: Path, ada: Person, fault: str | None,
    monkeypatch: pytest.MonkeyPatch,
):  # fmt: skip
    async with open_bench(
        tmp_path, database("vault"), processor, processor_timeout_seconds=1 if fault else PATIENT_SECONDS
    ) as bench:
        token = await bench.new_token(ada)
        around(monkeypatch, StripeProcessor, "confirm_payment", before=lambda: replaced(bench, ada, token))
        if fault is not None:
            bench.processor.fault(fault)
        charge = ada.charge(token)

        first = await told(bench, charge)
        await bench.vault.reconciler.run_once()
        ended = await told(bench, charge)

        row = await row_of(bench, ada, token)
        assert (first, ended) == ((("unknown" if fault else "approved"), None), ("approved", None))
        assert bench.taken_minor(charge.charge_id) == charge.amount_minor
        assert await last4_told(bench, charge) == "4242"
        assert (row["generation"], row["on_file_since"]) == (2, None)
        assert bench.vault.codes.holds(ada.tenant_id, token, 2), "its code is still to be asked for"


@pytest.mark.control("UC-T.3")
async def test_of_charges_and_updates_at_once_each_charge_is_with_one_whole_card(
    patient: Bench, ada: Person, monkeypatch: pytest.MonkeyPatch
):
    typed = {
        APPROVES: (12, 2040, "123"), MASTERCARD: (3, 2038, "456"), AMEX: (5, 2037, "7890"),
    }  # fmt: skip
    presented: list[tuple[str, int, int, str | None]] = []
    present = StripeProcessor.present_card

    async def noted(itself: StripeProcessor, key: str, card: CardDetails, code: VerificationCode | None) -> str:
        number = bytes(card.number.reveal()).decode()
        typed_code = None if code is None else bytes(code.reveal()).decode()
        presented.append((number, card.exp_month, card.exp_year, typed_code))
        return await present(itself, key, card, code)

    async def update() -> None:
        for number in (MASTERCARD, AMEX):
            month, year, code = typed[number]
            await replaced(patient, ada, token, number, expiry=f"{month:02}/{year % 100}", code=code)

    monkeypatch.setattr(StripeProcessor, "present_card", noted)
    token = (await patient.paid_charge(ada)).token_id

    updating = asyncio.ensure_future(update())
    answers = await asyncio.gather(*(told(patient, ada.charge(token)) for _ in range(8)))
    await updating
    last = await told(patient, ada.charge(token))

    reasons = {reason for _, reason in answers}
    assert reasons <= {None, "card_replaced", "verification_code_missing"}, "one of them has the new card's code"
    assert last in {("approved", None), ("failed", "verification_code_missing")}
    for number, month, year, code in presented:
        assert (month, year) == typed[number][:2]
        assert code in {None, typed[number][2]}
    assert await opened(patient, ada, token) == (AMEX, 5, 2037)


@pytest.mark.control("UC-T.3")
async def test_a_card_that_is_replaced_before_it_is_forwarded_goes_nowhere(
    ready: Forwarding, bench: Bench, monkeypatch: pytest.MonkeyPatch
):
    async def replace() -> None:
        await replaced(bench, ready.person, ready.token_id)

    around(monkeypatch, network.Network, "addresses", after=replace)

    first, second = await ready.sent(), await ready.sent()

    assert (first["state"], first["reason"]) == ("failed", "card_unavailable")
    assert second["state"] == "forwarded"
    assert [MASTERCARD in one.body.decode() for one in ready.company.received] == [True]


@pytest.mark.control("UC-T.3")
async def test_an_order_to_charge_that_is_given_again_after_the_update_is_answered_as_it_was(
    patient: Bench, ada: Person
):
    charge = await patient.paid_charge(ada)
    await replaced(patient, ada, charge.token_id)
    patient.clock.advance(timedelta(minutes=1))

    again = await told(patient, charge)
    refunded = (await patient.refund(ada.refund(charge.charge_id, 1000))).json()["state"]

    assert (again, refunded) == (("approved", None), "refunded")
    assert len(patient.processor_charges(charge.charge_id)) == 1


@pytest.mark.control("UC-T.3")
async def test_a_charge_that_waits_for_its_bank_while_the_card_is_replaced_stays_the_old_cards(
    patient: Bench, ada: Person
):
    """Its holder confirms that charge, of that card, at the bank; the new card is not on file by it."""
    holder = Holder(patient, patient.processor, ada)
    waiting = await holder.asked()
    await replaced(patient, ada, waiting.token_id)

    await holder.see_through(waiting)
    ended = await holder.repeat(waiting)

    row = await row_of(patient, ada, waiting.token_id)
    assert (ended["state"], ended["taken_minor"]) == ("approved", waiting.amount_minor)
    assert await last4_told(patient, waiting) == ALWAYS[-4:]
    assert (row["generation"], row["last4"], row["on_file_since"]) == (2, "4444", None)
    assert await told(patient, ada.charge(waiting.token_id)) == ("approved", None), "with the new card's code"
