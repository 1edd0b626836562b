"""What cannot be looked up does not keep others waiting: those not looked at come first, and who fails waits longer."""

from datetime import timedelta

import pytest

from tests.vault.authenticating import Holder
from tests.vault.bench import Bench, Person, rows
from tests.vault.money import Till
from vault.authentications.answering import LOOK_EVERY
from vault.cleartext.processors import Payment, ProcessorSilent
from vault.cleartext.processors.stripe import StripeProcessor
from vault.holds.keeping import SILENT_FOR


class Unanswered:
    """A processor that never says how some payments stand; counts how often it was asked about them."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.refs: set[str] = set()
        self.asked = 0
        look_up = StripeProcessor.look_up_payment

        async def looked_up(processor: StripeProcessor, ref: str) -> Payment:
            if ref in self.refs:
                self.asked += 1
                raise ProcessorSilent
            return await look_up(processor, ref)

        monkeypatch.setattr(StripeProcessor, "look_up_payment", looked_up)


async def payments_of(bench: Bench, person: Person) -> set[str]:
    found = await rows(bench.databases.app_dsn, "SELECT processor_ref FROM charges", person.tenant_id)
    return {row["processor_ref"] for row in found}


@pytest.fixture
def unanswered(monkeypatch: pytest.MonkeyPatch) -> Unanswered:
    return Unanswered(monkeypatch)


@pytest.mark.parametrize("their_time_is_up", [False, True])
async def test_three_charges_that_cannot_be_looked_up_do_not_keep_a_fourth_from_its_end(
    alone: Bench, ada: Person, unanswered: Unanswered, their_time_is_up: bool
):
    holder = Holder(alone, alone.processor, ada)
    for _ in range(3):
        await holder.asked()
    unanswered.refs = await payments_of(alone, ada)
    alone.clock.advance(timedelta(microseconds=1))
    fourth = await holder.asked()
    if not their_time_is_up:
        holder.answer(await holder.link(fourth))
    alone.clock.advance(timedelta(minutes=15) if their_time_is_up else LOOK_EVERY)

    rounds = [await alone.vault.reconciler.run_once() for _ in range(2)]

    state = (await holder.repeat(fourth))["state"]
    assert (rounds, state) == ([0, 1], "declined" if their_time_is_up else "approved")


async def test_a_charge_whose_time_is_up_and_that_cannot_be_looked_up_is_asked_about_less_and_less(
    alone: Bench, ada: Person, unanswered: Unanswered
):
    holder = Holder(alone, alone.processor, ada)
    order = await holder.asked()
    unanswered.refs = await payments_of(alone, ada)
    alone.clock.advance(timedelta(minutes=15))

    asked = []
    for _ in range(4):
        for _ in range(15):
            alone.clock.advance(timedelta(minutes=1))
            await alone.vault.reconciler.run_once()
        asked.append(unanswered.asked)
    unanswered.refs = set()
    alone.clock.advance(timedelta(minutes=5))
    await alone.vault.reconciler.run_once()

    each = [after - before for before, after in zip([0, *asked], asked, strict=False)]
    assert each[0] <= 10
    assert each[2:] == [3, 3], "every five minutes"
    assert (await holder.repeat(order))["state"] == "declined"


async def test_three_holds_that_cannot_be_looked_up_do_not_keep_a_fourth_from_its_end(
    alone: Bench, ada: Person, unanswered: Unanswered
):
    till = Till(alone, ada)
    for _ in range(3):
        await till.held()
    unanswered.refs = await payments_of(alone, ada)
    alone.clock.advance(timedelta(microseconds=1))
    fourth = await till.held()
    alone.clock.advance(timedelta(days=7))
    alone.expire(fourth.charge_id)

    rounds = [await alone.vault.reconciler.run_once() for _ in range(2)]
    asked = unanswered.asked
    alone.clock.advance(SILENT_FOR)
    await alone.vault.reconciler.run_once()

    assert (rounds, (await alone.hold(fourth)).json()["state"]) == ([0, 1], "expired")
    assert (asked, unanswered.asked) == (3, 6)
