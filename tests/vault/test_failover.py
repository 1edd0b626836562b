"""Two processors: a charge goes to the next in line only when the one before provably did nothing."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import nullcontext
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy.exc import DBAPIError

from infra.chassis.ids import new_id
from tests.sandbox.running import Sandbox
from tests.support.database import DatabaseMaker
from tests.vault.authenticating import ALWAYS
from tests.vault.bench import Bench, Person, open_bench, root_away, rows
from tests.vault.money import DECLINES, Till
from tests.vault.processor_rigs import Rig, open_rig
from tests.vault.test_airwallex_charges import airwallex_settings
from vault.cleartext.tokenise import Cards
from vault.contract import ChargeOrder, TokenTerms
from vault.keys.ring import HELD_FOR
from vault.ledger.check import check
from vault.routing.rows import add_route, attempts_of, move_on
from vault.routing.rules import Route
from vault.store import Store
from vault.tables import CardRow


@dataclass(slots=True)
class Both:
    """A vault with two processors, and a tenant whose charges go to Stripe first."""

    bench: Bench
    stripe: Rig
    airwallex: Rig
    ada: Person

    async def order(self, number: str = "4242424242424242", **changes: Any) -> ChargeOrder:
        order = self.ada.charge(await self.bench.new_token(self.ada, number), **changes)
        await self.route("stripe", 1)
        await self.route("airwallex", 2)
        return order

    async def route(self, processor: str, position: int, **fits: Any) -> None:
        route = Route(route_id=new_id("rte"), position=position, processor=processor, weight=1, **fits)
        async with Store(self.bench.vault.engine).transaction(self.ada.tenant_id) as tx:
            await add_route(tx, route)

    async def charge(self, order: ChargeOrder) -> tuple[str, str | None]:
        answer = (await self.bench.charge(order)).json()
        return answer["state"], answer["reason"]

    async def attempts(self, order: ChargeOrder) -> list[tuple[str, str, str | None]]:
        async with Store(self.bench.vault.engine).transaction(self.ada.tenant_id) as tx:
            found = await attempts_of(tx, order.charge_id)
        return [(one.processor, one.state, one.reason) for one in found]

    async def breaker_opens(self, first: ChargeOrder) -> ChargeOrder:
        """Stripe is silent five times in a row; the last charge that went to the other one for it."""
        self.stripe.fault("error_503", "payment_intents.create", times=5)
        for order in (first, *(self.ada.charge(first.token_id) for _ in range(4))):
            assert await self.charge(order) == ("approved", None)
        return order

    def taken(self, order: ChargeOrder) -> tuple[int, int]:
        return self.stripe.taken_minor(order.charge_id), self.airwallex.taken_minor(order.charge_id)


IMPATIENT = pytest.mark.parametrize("both", [1], indirect=True)
"""For calls that are to run into their time."""


@pytest.fixture
async def both(
    request: pytest.FixtureRequest, database: DatabaseMaker, processor: Sandbox, tmp_path: Path, ada: Person
) -> AsyncIterator[Both]:
    settings, seconds = airwallex_settings(tmp_path, processor), getattr(request, "param", 20)
    async with (
        open_rig("stripe", processor) as stripe,
        open_rig("airwallex", processor) as airwallex,
        open_bench(
            tmp_path, database("vault"), processor, processors=settings, processor_timeout_seconds=seconds
        ) as bench,
    ):
        yield Both(bench, stripe, airwallex, ada)


async def test_a_tenant_without_routes_is_charged_at_the_default_and_nowhere_else(both: Both):
    order = both.ada.charge(await both.bench.new_token(both.ada))
    both.stripe.fault("error_503", "payment_intents.create")

    failed = await both.charge(order)
    paid = await both.bench.paid_charge(both.ada)

    assert failed == ("failed", "processor_unreachable")
    assert (both.taken(order), both.taken(paid)) == ((0, 0), (7998, 0))
    assert await both.attempts(order) == [("stripe", "live", None)]


@IMPATIENT
@pytest.mark.parametrize("fault", ["error_503", "timeout_after_charge"])
@pytest.mark.control("UC-C.3")
async def test_who_never_opened_a_payment_that_anybody_can_confirm_is_followed_by_the_next(both: Both, fault: str):
    order = await both.order()
    both.stripe.fault(fault, "payment_intents.create")

    assert await both.charge(order) == ("approved", None)
    assert await both.charge(order) == ("approved", None)
    assert both.taken(order) == (0, 7998)
    assert await both.attempts(order) == [
        ("stripe", "given_up", "processor_unreachable"),
        ("airwallex", "live", None),
    ]
    metrics = (await both.bench.api.get("/metrics")).text
    assert 'vault_failovers_total{processor="airwallex"} 1.0' in metrics


@pytest.mark.control("UC-C.3", "UC-3.3.1")
async def test_who_cancelled_what_it_had_opened_is_followed_with_the_code_of_a_new_card(both: Both):
    order = await both.order()
    both.stripe.fault("error_503", "payment_methods.create")

    assert await both.charge(order) == ("approved", None)
    assert both.taken(order) == (0, 7998)
    (payment,) = await both.stripe.processor.find_payments(order.tenant_id, order.charge_id)
    assert payment.state == "cancelled"


@pytest.mark.control("UC-C.3")
async def test_who_does_not_confirm_the_cancellation_is_not_followed(both: Both):
    order = await both.order()
    both.stripe.fault("error_503", "payment_methods.create")
    both.stripe.fault("error_503", "payment_intents.cancel")

    assert await both.charge(order) == ("failed", "processor_unreachable")
    assert both.taken(order) == (0, 0)
    assert await both.attempts(order) == [("stripe", "live", None)]


@IMPATIENT
@pytest.mark.parametrize(
    ("fault", "ends"),
    [
        ("timeout_after_charge", ("approved", (7998, 0))),
        ("error_503", ("failed", (0, 0))),
    ],
)
@pytest.mark.control("UC-C.3")
async def test_what_is_unknown_never_goes_to_another(both: Both, fault: str, ends: tuple[str, tuple[int, int]]):
    order = await both.order()
    both.stripe.fault(fault)

    unknown = await both.charge(order)
    await both.bench.vault.reconciler.run_once()
    known = await both.charge(order)

    assert unknown == ("unknown", None)
    assert (known[0], both.taken(order)) == ends
    assert await both.attempts(order) == [("stripe", "live", None)]
    assert both.airwallex.charges(order.charge_id) == []


@pytest.mark.parametrize("first", ["stripe", "airwallex"])
@pytest.mark.control("UC-C.3", "UC-C.4")
async def test_a_charge_that_waits_for_its_holder_stays_where_it_is_until_its_end(both: Both, first: str):
    token = await both.bench.new_token(both.ada, ALWAYS)
    for position, name in enumerate(sorted(("stripe", "airwallex"), key=lambda name: name != first), start=1):
        await both.route(name, position)
    order = both.ada.charge(token, person_present=True)

    waiting = await both.charge(order)
    both.bench.clock.advance(timedelta(minutes=15))
    await both.bench.vault.reconciler.run_once()

    assert waiting == ("needs_action", None)
    assert await both.charge(order) == ("declined", "authentication_expired")
    assert await both.attempts(order) == [(first, "live", None)]
    other = both.airwallex if first == "stripe" else both.stripe
    assert await other.processor.find_payments(order.tenant_id, order.charge_id) == []


async def test_a_card_that_is_refused_is_refused_once(both: Both):
    order = await both.order(DECLINES)

    assert await both.charge(order) == ("declined", "card_declined")
    assert await both.attempts(order) == [("stripe", "live", None)]
    assert both.airwallex.charges(order.charge_id) == []


async def test_when_nobody_answers_the_charge_fails_and_the_code_is_kept_for_the_next(both: Both):
    order = await both.order()
    both.stripe.fault("error_503", "payment_intents.create")
    both.airwallex.fault("error_503", "payment_intents.create")

    failed = await both.charge(order)
    later = both.ada.charge(order.token_id)

    assert failed == ("failed", "processor_unreachable")
    assert await both.charge(later) == ("approved", None)
    assert (both.taken(order), both.taken(later)) == ((0, 0), (7998, 0))


@pytest.mark.control("UC-C.3")
async def test_money_goes_back_and_holds_end_where_the_money_was_taken(both: Both):
    till = Till(both.bench, both.ada)
    order = await both.order()
    both.stripe.fault("error_503", "payment_intents.create", times=2)
    await both.charge(order)
    held = both.ada.hold(order.token_id)
    await both.bench.hold(held)

    refunded = await till.refund(order.charge_id, 3_000)
    settled = await till.settle(held, 5_000)

    assert (refunded["state"], settled["state"]) == ("refunded", "done")
    assert both.airwallex.charges(order.charge_id)[0]["amount_refunded_minor"] == 3_000
    assert both.taken(held) == (0, 5_000)
    found = await check(Store(both.bench.vault.engine), both.ada.tenant_id)
    assert (found.differences, found.unfinished) == ((), 0)


async def test_routes_by_currency_network_and_amount_send_charges_where_they_say(both: Both):
    visa, amex = [await both.bench.new_token(both.ada, number) for number in ("4242424242424242", "378282246310005")]
    await both.route("airwallex", 1, currency="EUR")
    await both.route("airwallex", 2, card_brand="amex", amount_to_minor=1_000)
    orders = [
        both.ada.charge(visa, currency="EUR", amount_minor=500),
        both.ada.charge(visa, amount_minor=500),
        both.ada.charge(amex, amount_minor=500),
        both.ada.charge(amex, amount_minor=1_001),
    ]

    states = [await both.charge(order) for order in orders]

    assert states == [("approved", None)] * 4
    assert [both.taken(order) for order in orders] == [(0, 500), (500, 0), (0, 500), (1_001, 0)]


async def test_a_route_to_who_is_not_connected_is_passed_over_and_alone_it_fails(both: Both):
    token = await both.bench.new_token(both.ada)
    await both.route("nobody", 1)
    alone = both.ada.charge(token)

    failed = await both.charge(alone)
    await both.route("airwallex", 2)
    passed = both.ada.charge(token)

    assert failed == ("failed", "processor_unreachable")
    assert await both.charge(passed) == ("approved", None)
    assert both.taken(passed) == (0, 7998)


async def test_after_five_silences_the_others_come_first_until_it_answers(both: Both):
    first = await both.order()
    both.stripe.fault("error_503", "payment_intents.create", times=5)
    assert await both.charge(first) == ("approved", None)
    for _ in range(4):
        assert await both.charge(both.ada.charge(first.token_id)) == ("approved", None)
    opened = (await both.bench.api.get("/metrics")).text

    spared = both.ada.charge(first.token_id)
    await both.charge(spared)
    both.bench.clock.advance(timedelta(seconds=30))
    tried = both.ada.charge(first.token_id)
    await both.charge(tried)
    closed = (await both.bench.api.get("/metrics")).text

    assert 'vault_processor_open{processor="stripe"} 1.0' in opened
    assert await both.attempts(spared) == [("airwallex", "live", None)]
    assert await both.attempts(tried) == [("stripe", "live", None)]
    assert 'vault_processor_open{processor="stripe"} 0.0' in closed
    assert 'vault_processor_calls_total{answer="silent",processor="stripe"} 5.0' in closed


@pytest.mark.parametrize("how", ["terms", "another's", "shredded", "no code", "key service away", "taken purchase"])
async def test_a_charge_that_never_gets_to_a_processor_leaves_its_trial_to_the_next_one(both: Both, how: str):
    bench, ada, paid = both.bench, both.ada, await both.order()
    others = {
        "terms": await bench.new_token(ada, terms=TokenTerms(currency="EUR")),
        "shredded": await bench.new_token(ada),
        "no code": await bench.new_token(ada),
    }
    taken = await both.breaker_opens(paid)
    await bench.vault.keeping.shredding.shred_card(ada.tenant_id, others["shredded"], "operator ada")
    bench.vault.codes.forget(ada.tenant_id, others["no code"])
    bench.clock.advance(HELD_FOR if how == "key service away" else timedelta(seconds=30))
    changes = {"purchase_id": taken.purchase_id} if how == "taken purchase" else {}
    whose = Person(ada.tenant_id, "brd_other") if how == "another's" else ada
    refused, tried = whose.charge(others.get(how, paid.token_id), **changes), ada.charge(paid.token_id)

    with root_away(bench) if how == "key service away" else nullcontext():
        answer = await bench.charge(refused)
    await both.charge(tried)

    assert answer.json().get("state", "failed") == "failed"
    assert bench.payments(refused.charge_id) == []
    assert await both.attempts(tried) == [("stripe", "live", None)]


async def test_while_one_charge_makes_the_trial_the_others_go_elsewhere(both: Both, monkeypatch: pytest.MonkeyPatch):
    """All of them see that it is time for one; only who comes to the call first makes it."""
    paid = await both.order()
    await both.breaker_opens(paid)
    both.bench.clock.advance(timedelta(seconds=30))
    orders, together = [both.ada.charge(paid.token_id) for _ in range(3)], asyncio.Barrier(3)
    check = Cards.check

    async def check_together(cards: Cards, card: CardRow) -> None:
        await check(cards, card)
        await together.wait()

    monkeypatch.setattr(Cards, "check", check_together)
    answers = await asyncio.gather(*(both.charge(order) for order in orders))

    assert answers == [("approved", None)] * 3
    assert sorted(both.taken(order) for order in orders) == [(0, 7998), (0, 7998), (7998, 0)]


@pytest.mark.control("UC-C.3")
async def test_the_same_order_many_times_at_once_fails_over_once(both: Both):
    order = await both.order()
    both.stripe.fault("error_503", "payment_intents.create")

    answers = await asyncio.gather(*(both.charge(order) for _ in range(5)))

    assert set(answers) == {("approved", None)}
    assert both.taken(order) == (0, 7998)
    assert len(await both.attempts(order)) == 2


@pytest.mark.control("UC-C.3")
async def test_the_database_refuses_a_second_live_attempt_and_one_that_would_come_back(both: Both):
    paid = await both.order()
    both.stripe.fault("error_503", "payment_intents.create")
    await both.charge(paid)
    forbidden = (
        """INSERT INTO charge_attempts (tenant_id, charge_id, attempt, processor, state, started_at)
            VALUES (:tenant, :charge, 3, 'third', 'live', now())""",
        """UPDATE charge_attempts SET state = 'live', reason = NULL, ended_at = NULL
            WHERE tenant_id = :tenant AND charge_id = :charge AND attempt = 1""",
        """UPDATE charge_attempts SET state = 'given_up', reason = 'x', ended_at = now()
            WHERE tenant_id = :tenant AND charge_id = :charge AND attempt = 2""",
        "UPDATE charges SET processor = 'stripe' WHERE tenant_id = :tenant AND charge_id = :charge",
        "UPDATE charges SET processor_ref = 'pi_another' WHERE tenant_id = :tenant AND charge_id = :charge",
    )
    named = {"tenant": both.ada.tenant_id, "charge": paid.charge_id}

    for statement in forbidden:
        with pytest.raises(DBAPIError):
            await rows(both.bench.databases.app_dsn, statement, both.ada.tenant_id, **named)

    assert await both.attempts(paid) == [("stripe", "given_up", "processor_unreachable"), ("airwallex", "live", None)]


@pytest.mark.control("UC-C.3")
async def test_a_charge_that_somebody_else_took_over_is_not_given_to_another(both: Both):
    order = both.ada.charge(await both.bench.new_token(both.ada))
    await Till(both.bench, both.ada).intend(order)
    store, now = Store(both.bench.vault.engine), both.bench.clock.now()
    later = now + timedelta(minutes=1)

    async with store.transaction(both.ada.tenant_id) as tx:
        as_we_left_it = await tx.charge(order.charge_id)
        taken_over = await tx.claim_charge(order.charge_id, now, later)
    assert as_we_left_it is not None
    assert taken_over is not None
    async with store.transaction(both.ada.tenant_id) as tx:
        refused = await move_on(tx, as_we_left_it, "airwallex", "processor_unreachable", now, later)
    before = await both.attempts(order)
    async with store.transaction(both.ada.tenant_id) as tx:
        moved = await move_on(tx, taken_over, "airwallex", "processor_unreachable", now, later)

    assert (refused, before) == (None, [("stripe", "live", None)])
    assert moved is not None
    assert (moved.processor, moved.processor_ref, len(await both.attempts(order))) == ("airwallex", None, 2)
