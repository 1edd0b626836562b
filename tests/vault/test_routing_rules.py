"""The order of processors: by position, by weight and by the charge's id, and the same every time."""

from collections import Counter
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from infra.chassis.clock import FixedClock
from vault.routing.breakers import Breaker, in_line
from vault.routing.rules import Asked, Route, order_of

NAMES = ("stripe", "airwallex", "third")


@pytest.fixture
def clock() -> FixedClock:
    return FixedClock(datetime(2026, 11, 21, tzinfo=UTC))


def asked(**changes: Any) -> Asked:
    values: dict[str, Any] = {
        "charge_id": "chg_a",
        "brand_id": "brd_lamps",
        "currency": "USD",
        "card_brand": "visa",
        "amount_minor": 500,
    }
    return Asked(**(values | changes))


def route(processor: str, position: int = 1, weight: int = 1, **fits: Any) -> Route:
    return Route(route_id=f"rte_{processor}_{position}", position=position, processor=processor, weight=weight, **fits)


def test_without_a_route_that_fits_the_default_charges_alone():
    assert order_of([], asked(), "stripe") == ("stripe",)
    assert order_of([route("airwallex", currency="EUR")], asked(), "stripe") == ("stripe",)


@pytest.mark.parametrize(
    ("fits", "misses"),
    [
        ({"currency": "USD"}, {"currency": "EUR"}),
        ({"brand_id": "brd_lamps"}, {"brand_id": "brd_other"}),
        ({"card_brand": "visa"}, {"card_brand": "amex"}),
        ({"amount_from_minor": 500}, {"amount_minor": 499}),
        ({"amount_to_minor": 500}, {"amount_minor": 501}),
        ({"amount_from_minor": 400, "amount_to_minor": 600, "currency": "USD"}, {"amount_minor": 601}),
    ],
)
def test_a_route_takes_what_fits_it_and_nothing_else(fits: dict[str, Any], misses: dict[str, Any]):
    routes = [route("airwallex", **fits)]

    assert order_of(routes, asked(), "stripe") == ("airwallex",)
    assert order_of(routes, asked(**misses), "stripe") == ("stripe",)


def test_lower_positions_come_first_and_every_processor_once():
    routes = [route("third", 3), route("stripe", 2), route("airwallex", 1), route("stripe", 3)]

    assert order_of(routes, asked(), "stripe") == ("airwallex", "stripe", "third")


def test_weights_are_shares_over_many_charges():
    routes = [route("stripe", weight=3), route("airwallex", weight=1)]

    firsts = Counter(order_of(routes, asked(charge_id=f"chg_{n}"), "stripe")[0] for n in range(4_000))

    assert 2_850 < firsts["stripe"] < 3_150
    assert firsts["stripe"] + firsts["airwallex"] == 4_000


@given(
    st.lists(
        st.builds(route, st.sampled_from(NAMES), st.integers(1, 3), st.integers(1, 1000)), max_size=6, unique_by=repr
    ),
    st.text("abcdef", min_size=1, max_size=8),
)
def test_the_order_is_the_same_whatever_order_the_rows_come_in(routes: list[Route], charge: str):
    order = order_of(routes, asked(charge_id=charge), "stripe")

    assert order_of(routes[::-1], asked(charge_id=charge), "stripe") == order
    assert len(set(order)) == len(order) >= 1
    assert set(order) == ({one.processor for one in routes} or {"stripe"})


def test_more_weight_for_one_takes_no_charge_away_from_it():
    light = [route("stripe", weight=2), route("airwallex", weight=2)]
    heavy = [route("stripe", weight=5), route("airwallex", weight=2)]

    for n in range(500):
        if order_of(light, asked(charge_id=f"chg_{n}"), "stripe")[0] == "stripe":
            assert order_of(heavy, asked(charge_id=f"chg_{n}"), "stripe")[0] == "stripe"


def test_a_silent_processor_goes_to_the_end_and_is_tried_now_and_then(clock: FixedClock):
    breakers = {name: Breaker(name, clock) for name in NAMES}
    for _ in range(4):
        breakers["stripe"].was_silent()
    still = in_line(NAMES, breakers)
    breakers["stripe"].was_silent()

    opened = [in_line(NAMES, breakers) for _ in range(2)]
    clock.advance(timedelta(seconds=30))
    looked_at = [in_line(NAMES, breakers) for _ in range(2)]
    tried = [breakers["stripe"].lets_through() for _ in range(2)]
    after = in_line(NAMES, breakers)
    breakers["stripe"].answered()

    assert still == in_line(NAMES, breakers) == NAMES
    assert opened == [("airwallex", "third", "stripe")] * 2
    assert (looked_at, tried) == ([NAMES] * 2, [True, False])
    assert after == ("airwallex", "third", "stripe")


def test_one_answer_in_between_keeps_a_breaker_closed_and_a_lonely_processor_is_never_kept_back(clock: FixedClock):
    breaker = Breaker("stripe", clock)
    for _ in range(4):
        breaker.was_silent()
    breaker.answered()
    for _ in range(4):
        breaker.was_silent()
    closed = breaker.is_open
    breaker.was_silent()

    assert (closed, breaker.is_open) == (False, True)
    assert in_line(("stripe",), {"stripe": breaker}) == ("stripe",)


def test_a_charge_that_goes_to_another_first_uses_up_no_trial(clock: FixedClock):
    """Charges of one brand go to Airwallex first and never reach Stripe; those of another would have tried it."""
    breakers = {name: Breaker(name, clock) for name in ("stripe", "airwallex")}
    for _ in range(5):
        breakers["stripe"].was_silent()
    clock.advance(timedelta(seconds=30))

    others = [in_line(("airwallex", "stripe"), breakers) for _ in range(3)]
    tried = in_line(("stripe", "airwallex"), breakers)
    called = breakers["stripe"].lets_through()

    assert others == [("airwallex", "stripe")] * 3
    assert (tried, called) == (("stripe", "airwallex"), True)
    assert in_line(("stripe", "airwallex"), breakers) == ("airwallex", "stripe")
