"""The table of states: the database holds the same one, and no sequence of orders, faults and events leaves it."""

import asyncio
import json
import re
from collections.abc import Coroutine, Iterator
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any, ClassVar, TypeVar

import pytest
from hypothesis import HealthCheck
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule, run_state_machine_as_test

from tests.sandbox.running import APPROVES, Sandbox
from tests.support.cases import cases
from tests.support.database import DatabaseMaker
from tests.vault.authenticating import ALWAYS, Holder
from tests.vault.bench import Bench, Person, open_bench, rows
from tests.vault.events import event_about, post
from tests.vault.killed import checked
from tests.vault.money import DECLINES, DISPUTED, Till
from vault.contract import ChargeOrder
from vault.states import MOVES, MoveForbidden, Mover, may_move, starts_of

HELD_FOR = 7998
T = TypeVar("T")


async def test_the_database_allows_the_moves_of_the_table_and_no_others(bench: Bench):
    (trigger,) = await rows(bench.databases.owner_dsn, "SELECT prosrc FROM pg_proc WHERE proname = 'allow_move'")

    allowed = set(re.findall(r"\('(\w+)', '(\w+)', '(\w+)'\)", trigger["prosrc"]))

    assert allowed == {(move.kind, move.was, move.becomes) for move in MOVES}


def test_nobody_but_the_reconciler_moves_a_dispute_and_nobody_moves_what_has_ended():
    assert not may_move("disputes", "open", "lost", Mover.CARRIER)
    assert not any(move.was in {"approved", "declined", "failed", "settled", "voided", "refunded"} for move in MOVES)
    assert starts_of("charges", "settled", Mover.CARRIER) == ["held"]
    with pytest.raises(MoveForbidden):
        starts_of("disputes", "won", Mover.CARRIER)


@dataclass(slots=True)
class Told:
    """What a charge must come to, once nothing is unknown any more."""

    order: ChargeOrder
    state: str
    taken_minor: int = 0
    refunded_minor: int = 0
    disputed: bool = False
    dispute_seen: bool = False
    unsure: bool = False
    """An answer was lost, so it may be shown as it was before, or as unknown, until the reconciler ran."""

    @property
    def refundable_minor(self) -> int:
        return self.taken_minor - self.refunded_minor


@dataclass(slots=True)
class World:
    """One bench in a loop of its own, for the many short lives of the machine."""

    runner: asyncio.Runner
    bench: Bench
    ada: Person = field(default_factory=Person)
    tokens: dict[str, str] = field(default_factory=dict)

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        return self.runner.run(work)

    @property
    def till(self) -> Till:
        return Till(self.bench, self.ada)

    def token(self, number: str) -> str:
        """A card on file; one that declines has to be typed anew, as its code is used up."""
        if number == DECLINES or number not in self.tokens:
            token = self.run(self.bench.new_token(self.ada, number))
            if number == DECLINES:
                return token
            self.tokens[number] = token
            self.run(self.till.charge(self.ada.charge(token)))
        return self.tokens[number]

    def asking_token(self) -> str:
        """A card on file whose bank asks its holder every time."""
        if ALWAYS not in self.tokens:
            holder = Holder(self.bench, self.bench.processor, self.ada)
            order = self.run(holder.asked(ALWAYS))
            self.run(holder.see_through(order))
            self.tokens[ALWAYS] = order.token_id
        return self.tokens[ALWAYS]

    def at_the_bank(self, charge_id: str, outcome: str) -> None:
        """The holder answers, and nobody of ours hears of it."""
        sql = "SELECT processor_ref FROM charges WHERE charge_id = :charge"
        (row,) = self.run(rows(self.bench.databases.app_dsn, sql, self.ada.tenant_id, charge=charge_id))
        url = f"{self.bench.processor.url}/_sandbox/authenticate/{row['processor_ref']}"
        self.bench.processor.plain.post(url, json={"outcome": outcome}).raise_for_status()

    def reconcile(self) -> None:
        """Twice, because what an event is about may have to be ended first; later, because keys replay their 500s."""
        for _ in range(2):
            self.bench.clock.advance(timedelta(minutes=2))
            self.run(self.bench.vault.reconciler.run_once())


@pytest.fixture
def world(database: DatabaseMaker, processor: Sandbox, tmp_path: Path) -> Iterator[World]:
    """With a database of its own: the reconciler ends whatever it finds, and other tests leave much behind."""
    with asyncio.Runner() as runner:
        opened = open_bench(tmp_path, database("vault"), processor)
        yield World(runner, runner.run(opened.__aenter__()))
        runner.run(opened.__aexit__(None, None, None))


FAULTS = st.sampled_from(["", "", "error_500", "error_500_after_charge"])
"""None, not done, or done and the answer lost."""


class Money(RuleBasedStateMachine):
    """Orders, lost answers and events in any order. `world` is given by a subclass."""

    world: ClassVar[World]

    def __init__(self) -> None:
        super().__init__()
        self.told: list[Told] = []

    def fault(self, fault: str, operation: str) -> None:
        if fault:
            self.world.bench.processor.fault(fault, operation=operation)

    def some(self, *states: str) -> list[Told]:
        return [told for told in self.told if told.state in states and not told.unsure]

    @rule(number=st.sampled_from([APPROVES, DECLINES, DISPUTED]), hold=st.booleans(), fault=FAULTS)
    def charge(self, number: str, hold: bool, fault: str) -> None:
        hold = hold and number != DISPUTED
        order = (self.world.ada.hold if hold else self.world.ada.charge)(self.world.token(number))
        self.fault(fault, "payment_intents.confirm")
        answer = self.world.run(self.world.bench.hold(order) if hold else self.world.till.charge(order))  # type: ignore[arg-type]  # a hold's order is a charge's
        if number == DECLINES:
            state = "failed" if fault == "error_500" else "declined"
        elif fault == "error_500":
            state = "failed"
        else:
            state = "held" if hold else "approved"
        told = Told(order, state, HELD_FOR if state == "approved" else 0, unsure=bool(fault))
        told.disputed = number == DISPUTED and state == "approved"
        assert answer is not None
        self.told.append(told)

    @rule(outcome=st.sampled_from(["pass", "fail", ""]), hold=st.booleans(), fault=FAULTS)
    def be_asked_by_the_bank(self, outcome: str, hold: bool, fault: str) -> None:
        """Their answer, or none in time, is found out about later, whatever happens in between."""
        token = self.world.asking_token()
        order = (self.world.ada.hold if hold else self.world.ada.charge)(token, person_present=True)
        self.fault(fault, "payment_intents.confirm")
        answer = self.world.run(self.world.bench.hold(order) if hold else self.world.bench.charge(order)).json()  # type: ignore[arg-type]  # a hold's order is a charge's
        assert answer["state"] == ("unknown" if fault else "needs_action")
        if fault == "error_500":
            self.told.append(Told(order, "failed", unsure=True))
            return
        if fault:
            self.reconcile()
        if outcome:
            self.world.at_the_bank(order.charge_id, outcome)
        else:
            self.world.bench.clock.advance(timedelta(minutes=15))
        state = ("held" if hold else "approved") if outcome == "pass" else "declined"
        self.told.append(Told(order, state, HELD_FOR if state == "approved" else 0, unsure=True))

    @precondition(lambda self: self.some("held"))
    @rule(data=st.data(), amount=st.integers(1, HELD_FOR), void=st.booleans(), fault=FAULTS)
    def end_hold(self, data: st.DataObject, amount: int, void: bool, fault: str) -> None:
        told = data.draw(st.sampled_from(self.some("held")))
        self.fault(fault, f"payment_intents.{'cancel' if void else 'capture'}")
        self.world.run(self.world.till.void(told.order) if void else self.world.till.settle(told.order, amount))
        told.state, told.taken_minor = ("voided", 0) if void else ("settled", amount)
        told.unsure = bool(fault)

    @precondition(lambda self: self.some("held"))
    @rule(data=st.data())
    def run_out(self, data: st.DataObject) -> None:
        told = data.draw(st.sampled_from(self.some("held")))
        self.world.bench.expire(told.order.charge_id)
        self.tell(told, "payment_intent", "payment_intent.canceled")
        told.state, told.unsure = "expired", True

    @precondition(lambda self: self.some("approved", "settled"))
    @rule(data=st.data(), amount=st.integers(1, HELD_FOR), lost=st.booleans())
    def refund(self, data: st.DataObject, amount: int, lost: bool) -> None:
        told = data.draw(st.sampled_from(self.some("approved", "settled")))
        fits = amount <= told.refundable_minor
        if lost and fits and not told.disputed:
            self.fault("error_500_after_charge", "refunds.create")
            told.unsure = True
        answer = self.world.run(self.world.till.refund(told.order.charge_id, amount))
        if told.dispute_seen:
            assert answer["code"] == "charge_disputed"
        elif not fits:
            assert answer["code"] == "refund_exceeds_charge"
        elif told.disputed:
            assert answer["state"] == "failed"
        else:
            assert answer["state"] == ("unknown" if told.unsure else "refunded")
            told.refunded_minor += amount

    @precondition(lambda self: any(told.disputed for told in self.some("approved")))
    @rule(data=st.data())
    def hear_of_a_dispute(self, data: st.DataObject) -> None:
        told = data.draw(st.sampled_from([told for told in self.some("approved") if told.disputed]))
        self.tell(told, "dispute", "charge.dispute.created")
        self.world.reconcile()
        told.dispute_seen = True
        self.sure()

    @rule()
    def reconcile(self) -> None:
        self.world.reconcile()
        self.sure()

    def sure(self) -> None:
        for told in self.told:
            told.unsure = False

    def tell(self, told: Told, what: str, kind: str) -> None:
        body = event_about(self.world.bench.payment_ref(told.order.charge_id), what, kind)
        assert self.world.run(post(self.world.bench, body)).status_code == 200, json.loads(body)

    @invariant()
    def every_charge_stands_as_told(self) -> None:
        found = {row["charge_id"]: row for row in self.world.run(charges(self.world))}
        for told in self.told:
            row = found[told.order.charge_id]
            if not told.unsure:
                money = (row["state"], row["taken_minor"], row["refunded_minor"])
                assert money == (told.state, told.taken_minor, told.refunded_minor)

    def teardown(self) -> None:
        self.world.reconcile()
        self.sure()
        self.every_charge_stands_as_told()
        assert self.world.run(checked(self.world.bench.databases, self.world.ada.tenant_id))
        for told in self.told:
            assert self.world.bench.taken_minor(told.order.charge_id) == told.taken_minor


async def charges(world: World) -> list[dict[str, Any]]:
    sql = "SELECT charge_id, state, taken_minor, refunded_minor FROM charges"
    return await rows(world.bench.databases.app_dsn, sql, world.ada.tenant_id)


@pytest.mark.control("UC-C.1", "UC-C.2")
def test_no_sequence_of_orders_faults_and_events_loses_or_doubles_money(world: World):
    run_state_machine_as_test(
        type("MoneyOfOneWorld", (Money,), {"world": world}),
        settings=cases(10, *HealthCheck, stateful_step_count=10),
    )
