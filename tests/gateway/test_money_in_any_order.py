"""Reserving, charging, posting, voiding, ending and refunding in any order, held to a list that is counted by hand.

One person, one mandate for two brands. At the first brand a card is on file, so a purchase is reserved and posted by
way of the vault; at the second one purchases hold money and wait, and the store is told what becomes of them.
"""

import asyncio
from collections.abc import Coroutine
from contextlib import AsyncExitStack
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from enum import Enum, auto
from typing import Any, TypeVar

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule, run_state_machine_as_test
from sqlalchemy import text

from gateway import ledger
from gateway.contract import PurchaseState
from gateway.mandates import MoreLimits
from gateway.store import purchase_for_update
from gateway.windows import Window
from infra.chassis.engine import tenant_transaction
from infra.chassis.ids import new_id
from tests.gateway.shop import LARKSPUR, NORTH, OTHER_AGENT, TSUBAKI, Ground, Shop, Talk, open_shop
from tests.gateway.test_windows import CARD, AsOwner, make_older, reasons, remedies
from tests.support.cases import cases
from vault.contract import ChargeReason

T = TypeVar("T")
AN_HOUR = timedelta(hours=1)
PAYMENT_CAP, DAY_CAP, WINDOW_CAP, COUNT_MAX = 2_000, 7_000, 5_000, 4
CHARGE_MIN = 50
"""In US cents; the processor takes no less."""
AGES_MINUTES = 40 * 24 * 60
"""Older than any limit looks back."""
STATES = (
    "SELECT coalesce(sum(amount_minor) FILTER (WHERE state = 'held'), 0)::bigint AS held,"
    " coalesce(sum(amount_minor) FILTER (WHERE state = 'posted'), 0)::bigint AS posted"
    " FROM reservations WHERE subject_id = :s AND reserved_at > now() - interval '31 days'"
)


class Money(Enum):
    HELD = auto()
    CHARGING = auto()
    POSTED = auto()
    FREE = auto()


@dataclass(slots=True)
class Item:
    """A purchase as the list keeps it."""

    purchase_id: str
    checkout_id: str
    amount_minor: int
    at: datetime
    money: Money
    by_vault: bool
    refundable_minor: int = 0


@dataclass(frozen=True, slots=True)
class Counter:
    """The shop in an event loop of its own, in which the machine's steps run one after the other."""

    loop: asyncio.AbstractEventLoop
    shop: Shop
    as_owner: AsOwner
    first: Talk
    second: Talk

    def run(self, step: Coroutine[Any, Any, T]) -> T:
        return self.loop.run_until_complete(step)

    async def reserved_at(self, purchase_id: str) -> datetime:
        query = "SELECT reserved_at FROM reservations JOIN purchases USING (tenant_id, reservation_id)"
        (row,) = await self.shop.rows(f"{query} WHERE purchases.purchase_id = :p", p=purchase_id)
        moment: datetime = row["reserved_at"]
        return moment

    async def charge(self, purchase_id: str) -> None:
        async with tenant_transaction(self.shop.gateway.engine, NORTH) as tx:
            await ledger.begin_charge(tx, await purchase_for_update(tx, NORTH, purchase_id), CARD, self.shop.now)

    async def close(self, purchase_id: str, *, paid: bool) -> None:
        """As `charging.py` does when the vault has answered; the made-up card is not kept on file."""
        async with tenant_transaction(self.shop.gateway.engine, NORTH) as tx:
            purchase = await purchase_for_update(tx, NORTH, purchase_id)
            if paid:
                await ledger.post(tx, purchase, self.shop.now)
                await tx.execute(text("DELETE FROM cards WHERE token_id = :t"), {"t": CARD.token_id})
            else:
                state, reason = PurchaseState.DECLINED, ChargeReason.CARD_DECLINED
                await ledger.void(tx, purchase, self.shop.now, state=state, reason=reason)

    async def end_stale(self) -> list[str]:
        async with tenant_transaction(self.shop.gateway.engine, NORTH) as tx:
            return await ledger.void_stale(tx, NORTH, self.shop.now)

    async def forget(self) -> None:
        """The next run of the machine begins with nothing that counts."""
        await make_older(self.shop, self.as_owner, self.first, minutes=AGES_MINUTES)
        await self.time_is_over(f"subject_id = '{self.first.subject_id}'")
        await self.end_stale()

    async def time_is_over(self, of: str) -> None:
        over = f"UPDATE reservations SET expires_at = reserved_at WHERE {of}"  # noqa: S608 - ids of our own
        await self.as_owner(self.shop, over)


class MoneyInAnyOrder(RuleBasedStateMachine):
    def __init__(self, counter: Counter) -> None:
        super().__init__()
        self.counter = counter
        self.items: list[Item] = []
        counter.run(counter.forget())

    @rule(amount_minor=st.integers(CHARGE_MIN, PAYMENT_CAP + 100))
    def pay(self, amount_minor: int) -> None:
        self._buy(self.counter.first, LARKSPUR, amount_minor)

    @rule(amount_minor=st.integers(1, PAYMENT_CAP + 100))
    def hold(self, amount_minor: int) -> None:
        self._buy(self.counter.second, TSUBAKI, amount_minor)

    @precondition(lambda self: self._all(Money.HELD, Money.FREE))
    @rule(data=st.data())
    def ask_again(self, data: st.DataObject) -> None:
        """What is held for this very purchase does not stand in its way."""
        item = data.draw(st.sampled_from(self._all(Money.HELD, Money.FREE)))
        self._buy(self.counter.second, TSUBAKI, item.amount_minor, item)

    @precondition(lambda self: self._all(Money.HELD))
    @rule(data=st.data())
    def charge(self, data: st.DataObject) -> None:
        item = data.draw(st.sampled_from(self._all(Money.HELD)))
        self.counter.run(self.counter.charge(item.purchase_id))
        item.money = Money.CHARGING

    @precondition(lambda self: self._all(Money.CHARGING))
    @rule(data=st.data(), paid=st.booleans())
    def close(self, data: st.DataObject, *, paid: bool) -> None:
        item = data.draw(st.sampled_from(self._all(Money.CHARGING)))
        self.counter.run(self.counter.close(item.purchase_id, paid=paid))
        item.money = Money.POSTED if paid else Money.FREE

    @precondition(lambda self: self._all(Money.HELD, Money.CHARGING))
    @rule(data=st.data())
    def end(self, data: st.DataObject) -> None:
        """A reservation whose time is over ends, but not while its charge is on its way."""
        item = data.draw(st.sampled_from(self._all(Money.HELD, Money.CHARGING)))
        self.counter.run(self.counter.time_is_over(f"purchase_id = '{item.purchase_id}'"))
        ended = self.counter.run(self.counter.end_stale())
        assert ended == ([item.purchase_id] if item.money is Money.HELD else [])
        item.money = Money.FREE if item.money is Money.HELD else item.money

    @precondition(lambda self: self._refundable())
    @rule(data=st.data(), amount_minor=st.integers(-1, PAYMENT_CAP))
    def refund(self, data: st.DataObject, amount_minor: int) -> None:
        item = data.draw(st.sampled_from(self._refundable()))
        body = {"amount_minor": amount_minor, "request_key": new_id("rq")}
        answer = self.counter.run(self.counter.first.post(f"/v1/purchases/{item.purchase_id}/refunds", **body))
        if amount_minor < 1:
            assert answer.status_code == 422
        else:
            fits = amount_minor <= item.refundable_minor
            assert answer.json()["state"] == ("refunded" if fits else "denied")
            item.refundable_minor -= amount_minor if fits else 0

    @precondition(lambda self: self.items)
    @rule(minutes=st.integers(1, 59))
    def wait(self, minutes: int) -> None:
        counter = self.counter
        counter.run(make_older(counter.shop, counter.as_owner, counter.first, minutes=minutes))
        for item in self.items:
            item.at -= timedelta(minutes=minutes)

    @invariant()
    def what_is_held_and_posted_is_what_the_list_says(self) -> None:
        (row,) = self.counter.run(self.counter.shop.rows(STATES, s=self.counter.first.subject_id))
        held = self._all(Money.HELD, Money.CHARGING)
        assert row["held"] == sum(item.amount_minor for item in held)
        assert row["posted"] == sum(item.amount_minor for item in self._all(Money.POSTED))

    @invariant()
    def no_limit_is_exceeded(self) -> None:
        today, in_window, bought = self._taken(self.counter.shop.now)
        assert today <= DAY_CAP
        assert in_window <= WINDOW_CAP
        assert bought <= COUNT_MAX

    def _buy(self, talk: Talk, brand_id: str, amount_minor: int, earlier: Item | None = None) -> None:
        counter, shop = self.counter, self.counter.shop
        checkout_id = earlier.checkout_id if earlier else counter.run(shop.checkout(amount_minor, brand_id=brand_id))
        before = self._room(shop.now, earlier)
        view = counter.run(talk.buy(checkout_id))
        if before != self._room(shop.now, earlier):  # some of it left a window, or a day began, in this very moment
            before = amount_minor if view["state"] != "denied" else 0
        assert (view["state"] != "denied") == (amount_minor <= before), (view, before)
        if view["state"] == "denied":
            assert set(reasons(view)) <= {"over_payment_cap", "over_day_cap", "over_window_cap", "over_window_count"}
            lower = remedies(view).get("lower_amount", {"amount_minor_max": 0})
            assert lower["amount_minor_max"] == before
            return
        if earlier is not None:
            self.items.remove(earlier)
        posted = view["state"] == "paid"
        at = counter.run(counter.reserved_at(view["purchase_id"]))
        money = Money.POSTED if posted else Money.HELD
        refundable = amount_minor if posted else 0
        self.items.append(Item(view["purchase_id"], checkout_id, amount_minor, at, money, posted, refundable))

    def _room(self, now: datetime, but_for: Item | None) -> int:
        """The largest amount that is allowed; 0 for none."""
        today, in_window, bought = self._taken(now, but_for)
        return min(PAYMENT_CAP, DAY_CAP - today, WINDOW_CAP - in_window) if bought < COUNT_MAX else 0

    def _taken(self, now: datetime, but_for: Item | None = None) -> tuple[int, int, int]:
        taken = [item for item in self.items if item.money is not Money.FREE and item is not but_for]
        today = [item for item in taken if item.at.astimezone(UTC).date() == now.date()]
        recent = [item for item in taken if now - item.at < AN_HOUR]
        return sum(item.amount_minor for item in today), sum(item.amount_minor for item in recent), len(recent)

    def _all(self, *money: Money) -> list[Item]:
        return [item for item in self.items if item.money in money]

    def _refundable(self) -> list[Item]:
        return [item for item in self.items if item.by_vault]


@pytest.mark.control("UC-D.2")
def test_money_moved_in_any_order_keeps_to_the_limits_and_a_void_gives_back_what_was_held(
    ground: Ground, as_owner: AsOwner
):
    loop, stack = asyncio.new_event_loop(), AsyncExitStack()
    few = cases(10, stateful_step_count=12)
    try:
        counter = loop.run_until_complete(opened(ground, as_owner, loop, stack))

        class Here(MoneyInAnyOrder):
            def __init__(self) -> None:
                super().__init__(counter)

        run_state_machine_as_test(Here, settings=few)
    finally:
        loop.run_until_complete(stack.aclose())
        loop.close()


async def opened(ground: Ground, as_owner: AsOwner, loop: asyncio.AbstractEventLoop, stack: AsyncExitStack) -> Counter:
    shop = await stack.enter_async_context(open_shop(ground))
    email = f"{new_id('per')}@example.com"
    first = await shop.verified_chat(email)
    second = await shop.verified_chat(email, agent=OTHER_AGENT, brand_id=TSUBAKI)
    window = Window(seconds=int(AN_HOUR.total_seconds()), cap_minor=WINDOW_CAP, count_max=COUNT_MAX)
    await shop.mandate(
        first,
        payment_cap=PAYMENT_CAP,
        day_cap=DAY_CAP,
        more=MoreLimits(payees=frozenset({TSUBAKI}), window=window),
        delegates=[f"agents:{LARKSPUR}", f"agents:{TSUBAKI}"],
    )
    assert (await shop.paid(first, await shop.checkout(CHARGE_MIN)))["state"] == "paid"
    return Counter(loop, shop, as_owner, first, second)
