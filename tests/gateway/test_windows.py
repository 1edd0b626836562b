"""Rolling windows: split as one likes, what is taken within the window stays within it, by the store's count too."""

from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given as over
from hypothesis import strategies as st
from sqlalchemy import text
from sqlalchemy.exc import IntegrityError

from gateway import ledger
from gateway.cards import Card
from gateway.contract import SpendingPurpose
from gateway.mandates import MoreLimits
from gateway.store import purchase_for_update
from gateway.windows import TAKINGS_MAX, Relief, Taken, Taking, Window, relief, taken_at
from infra.chassis.engine import tenant_transaction
from infra.chassis.ids import new_id
from tests.gateway.shop import LARKSPUR, NORTH, OTHER_AGENT, TSUBAKI, Shop, Talk
from tests.support.cases import cases

NOON = datetime(2026, 11, 20, 12, 0, tzinfo=UTC)
HOUR = timedelta(hours=1)
AsOwner = Callable[[Shop, str], Awaitable[str]]
AN_HOUR = Window(seconds=3_600, cap_minor=5_000)
CARD = Card(token_id="tok_made_up", card_brand="visa", last4="4242")


def reasons(view: dict[str, Any]) -> list[str]:
    return list(view["decision"]["reasons"])


def remedies(view: dict[str, Any]) -> dict[str, dict[str, Any]]:
    return {remedy["kind"]: remedy for remedy in view["decision"]["remedies"]}


async def buyer(shop: Shop, window: Window, *, payment_cap: int = 2_000, day_cap: int = 90_000) -> Talk:
    talk = await shop.verified_chat()
    await shop.mandate(talk, payment_cap=payment_cap, day_cap=day_cap, more=MoreLimits(window=window))
    return talk


@pytest.mark.control("UC-D.2")
async def test_splitting_a_purchase_under_the_cap_for_one_payment_is_caught_by_the_window(shop: Shop):
    talk = await buyer(shop, AN_HOUR)

    views = [await talk.buy(await shop.checkout(2_000)) for _ in range(4)]

    assert [view["state"] for view in views] == ["needs_card", "needs_card", "denied", "denied"]
    assert reasons(views[2]) == ["over_window_cap"]
    assert remedies(views[2])["lower_amount"]["amount_minor_max"] == 1_000
    assert await shop.taken(talk) == 4_000


async def test_the_window_slides_and_the_answer_says_when_there_is_room_again(shop: Shop, as_owner: AsOwner):
    """What was bought is made older: the clock stays with the vault's, and the person stays verified."""
    talk = await buyer(shop, AN_HOUR)
    began = shop.now
    assert (await talk.buy(await shop.checkout(2_000)))["state"] == "needs_card"
    await make_older(shop, as_owner, talk, minutes=40)
    assert (await talk.buy(await shop.checkout(2_000)))["state"] == "needs_card"

    full = await talk.buy(await shop.checkout(2_000))
    until = datetime.fromisoformat(remedies(full)["wait_until"]["until"])
    await make_older(shop, as_owner, talk, minutes=15)
    early = await talk.buy(await shop.checkout(2_000))
    await make_older(shop, as_owner, talk, minutes=5)
    in_time = await talk.buy(await shop.checkout(2_000))

    assert reasons(full) == reasons(early) == ["over_window_cap"]
    assert timedelta(minutes=20) <= until - began < timedelta(minutes=24)
    assert in_time["state"] == "needs_card"


async def make_older(shop: Shop, as_owner: AsOwner, talk: Talk, *, minutes: int) -> None:
    at = f"reserved_at - interval '{minutes} minutes'"
    await as_owner(
        shop,
        f"UPDATE reservations SET reserved_at = {at}, day = (({at}) AT TIME ZONE 'UTC')::date"  # noqa: S608 - own words
        f" WHERE subject_id = '{talk.subject_id}'",
    )


async def test_a_window_may_count_purchases(shop: Shop):
    talk = await buyer(shop, Window(seconds=3_600, count_max=2))

    views = [await talk.buy(await shop.checkout(10)) for _ in range(3)]

    assert [view["state"] for view in views] == ["needs_card", "needs_card", "denied"]
    assert reasons(views[2]) == ["over_window_count"]
    assert "lower_amount" not in remedies(views[2])


@pytest.mark.control("UC-D.2")
async def test_consenting_again_forgets_nothing_that_was_spent(shop: Shop):
    talk = await shop.buyer(payment_cap=5_000, day_cap=5_000)
    await talk.buy(await shop.checkout(5_000))
    await shop.mandate(talk, payment_cap=5_000, day_cap=5_000)
    again = await talk.buy(await shop.checkout(5_000))
    await shop.mandate(talk, payment_cap=5_000, day_cap=5_000, delegates=[f"agents:{LARKSPUR}", "ast_registered_anew"])
    anew = await talk.buy(await shop.checkout(5_000))

    assert reasons(again) == reasons(anew) == ["over_day_cap"]
    assert await shop.taken(talk) == 5_000


async def test_a_larger_consent_is_larger_by_what_it_adds(shop: Shop):
    talk = await shop.buyer(payment_cap=5_000, day_cap=5_000)
    await talk.buy(await shop.checkout(5_000))
    await shop.mandate(talk, payment_cap=5_000, day_cap=7_000)

    view = await talk.buy(await shop.checkout(5_000))

    assert remedies(view)["lower_amount"]["amount_minor_max"] == 2_000


async def test_one_mandate_for_two_brands_is_one_limit_for_both(shop: Shop):
    email = f"{new_id('per')}@example.com"
    talk = await shop.verified_chat(email)
    other = await shop.verified_chat(email, agent=OTHER_AGENT, brand_id=TSUBAKI)
    more = MoreLimits(payees=frozenset({TSUBAKI}), window=AN_HOUR)
    delegates = [f"agents:{LARKSPUR}", f"agents:{TSUBAKI}"]
    await shop.mandate(talk, payment_cap=5_000, day_cap=9_000, more=more, delegates=delegates)

    first = await talk.buy(await shop.checkout(3_000))
    second = await other.buy(await shop.checkout(3_000, brand_id=TSUBAKI))

    assert (first["state"], reasons(second)) == ("needs_card", ["over_window_cap"])


async def test_what_a_mandate_is_not_for_is_not_bought(shop: Shop):
    talk = await shop.verified_chat()
    goods = MoreLimits(purposes=frozenset({SpendingPurpose.GOODS}))
    await shop.mandate(talk, payment_cap=5_000, day_cap=9_000, more=goods)

    card = await talk.buy(await shop.checkout(1_000, purposes=["goods", "gift_cards"]))
    lamp = await talk.buy(await shop.checkout(1_000, purposes=["goods"]))

    assert (reasons(card), lamp["state"]) == (["purpose_not_covered"], "needs_card")


async def test_a_reservation_that_ends_makes_room_but_not_while_its_charge_is_under_way(new_shop: Shop):
    talk = await buyer(new_shop, AN_HOUR, payment_cap=3_000)
    waiting = await talk.buy(await new_shop.checkout(3_000))
    charged = await talk.buy(await new_shop.checkout(2_000))
    async with tenant_transaction(new_shop.gateway.engine, NORTH) as tx:
        purchase = await purchase_for_update(tx, NORTH, charged["purchase_id"])
        await ledger.begin_charge(tx, purchase, CARD, new_shop.now)

    async with tenant_transaction(new_shop.gateway.engine, NORTH) as tx:
        ended = await ledger.void_stale(tx, NORTH, new_shop.now + timedelta(hours=2))

    assert ended == [waiting["purchase_id"]]
    assert await new_shop.taken(talk) == 2_000
    assert (await talk.buy(await new_shop.checkout(3_000)))["state"] == "needs_card"


@pytest.mark.parametrize(
    "wrong",
    [
        {"amount_minor": 2_001},
        {"currency": "EUR"},
        {"brand_id": TSUBAKI},
        {"subject_id": "sub_nobody"},
    ],
    ids=str,
)
@pytest.mark.control("UC-D.2")
async def test_the_database_refuses_a_reservation_beyond_its_mandate(shop: Shop, wrong: dict[str, Any]):
    """As a mistaken or hostile program with the gateway's own database role would make it."""
    talk = await buyer(shop, AN_HOUR)
    await reserve_by_hand(shop, talk)

    with pytest.raises(IntegrityError, match="beyond its mandate"):
        await reserve_by_hand(shop, talk, **wrong)


@pytest.mark.control("UC-D.2")
async def test_the_database_counts_again_and_keeps_what_is_closed_closed(shop: Shop):
    talk = await buyer(shop, AN_HOUR)
    await reserve_by_hand(shop, talk)
    await reserve_by_hand(shop, talk)
    with pytest.raises(IntegrityError, match="beyond its mandate"):
        await reserve_by_hand(shop, talk)
    await shop.rows("UPDATE reservations SET state = 'voided', closed_at = now() WHERE subject_id = :s RETURNING 1",
                    s=talk.subject_id)  # fmt: skip

    with pytest.raises(IntegrityError, match="does not open"):
        await shop.rows("UPDATE reservations SET state = 'held', closed_at = NULL WHERE subject_id = :s RETURNING 1",
                        s=talk.subject_id)  # fmt: skip


async def reserve_by_hand(shop: Shop, talk: Talk, **changes: Any) -> None:
    row = {
        "t": NORTH,
        "id": new_id("rsv"),
        "subject_id": talk.subject_id,
        "brand_id": LARKSPUR,
        "currency": "USD",
        "purchase": new_id("pur"),
        "amount_minor": 2_000,
        "now": shop.now,
        "day": shop.now.date(),
        "s": talk.subject_id,
        **changes,
    }
    async with tenant_transaction(shop.gateway.engine, NORTH) as tx:
        await tx.execute(_BY_HAND, row)


_BY_HAND = text(
    "INSERT INTO reservations (tenant_id, reservation_id, mandate_id, subject_id, brand_id, currency, purchase_id, day,"
    " amount_minor, state, reserved_at, expires_at) SELECT :t, :id, mandate_id, :subject_id, :brand_id, :currency,"
    " :purchase, CAST(:day AS date), :amount_minor, 'held', CAST(:now AS timestamptz), CAST(:now AS timestamptz)"
    " FROM mandates WHERE subject_id = :s"
)
TAKINGS = st.lists(
    st.builds(
        Taking, st.integers(0, 3_000_000).map(lambda second: NOON - timedelta(seconds=second)), st.integers(1, 3_000)
    ),
    max_size=12,
)


@cases(100)
@over(TAKINGS, st.integers(1, 4_000), st.integers(3_600, 2_678_400), st.integers(1, 6))
def test_relief_is_the_first_moment_at_which_there_is_room(
    takings: list[Taking], amount_minor: int, seconds: int, count_max: int
):
    window = Window(seconds=seconds, cap_minor=6_000, count_max=count_max)

    found = relief(takings, amount_minor, day_cap_minor=5_000, window=window, now=NOON)

    if found is None:
        assert amount_minor > 5_000 or count_max < 1
        return
    assert fits(takings, amount_minor, window, found.at)
    assert found.taken == taken_at(takings, found.at, seconds)
    between = [taking.at + timedelta(seconds=seconds - 1) for taking in takings] + [found.at - timedelta(seconds=1)]
    for moment in between:
        if NOON < moment < found.at and not fits(takings, amount_minor, window, NOON):
            assert not fits(takings, amount_minor, window, moment)


def fits(takings: list[Taking], amount_minor: int, window: Window, moment: datetime) -> bool:
    taken = taken_at(takings, moment, window.seconds)
    return (
        taken.today_minor + amount_minor <= 5_000
        and taken.in_window_minor + amount_minor <= window.cap_minor
        and taken.bought_in_window < window.count_max
    )


def test_with_too_many_takings_to_look_at_nobody_is_told_when():
    takings = [Taking(NOON, 1)] * (TAKINGS_MAX + 1)

    assert relief(takings, 1, day_cap_minor=10, window=AN_HOUR, now=NOON) is None


def test_relief_is_named_in_whole_seconds_when_the_taking_has_left():
    at = NOON - HOUR + timedelta(minutes=5, microseconds=1)

    found = relief([Taking(at, 5_000)], 1_000, day_cap_minor=90_000, window=AN_HOUR, now=NOON)

    left = NOON + timedelta(minutes=5, seconds=1)
    assert found == Relief(at=left, taken=Taken(today_minor=5_000, in_window_minor=0, bought_in_window=0))
