"""Another card in place of the one on file: the person types it on the page, and the token stays."""

import asyncio
from collections.abc import Awaitable, Callable

import pytest

from tests.gateway.shop import GOOD_CARD, Shop, Talk

AsOwner = Callable[[Shop, str], Awaitable[str]]
MASTERCARD = "5555555555554444"


async def card_of(shop: Shop, talk: Talk) -> tuple[str, str, bool]:
    """The one card that is on file: token, last four, unusable."""
    query = "SELECT token_id, last4, unusable FROM cards WHERE subject_id = :s"
    (row,) = await shop.rows(query, s=talk.subject_id)
    return row["token_id"], row["last4"], row["unusable"]


async def with_card(shop: Shop) -> tuple[Talk, str]:
    """Somebody whose card is remembered, and its token."""
    talk = await shop.buyer(day_cap=50_000)
    assert (await shop.paid(talk, await shop.checkout(1_000), GOOD_CARD))["state"] == "paid"
    return talk, (await card_of(shop, talk))[0]


@pytest.mark.control("UC-T.6")
async def test_a_new_card_takes_the_place_of_the_one_on_file_and_is_shown_from_then_on(shop: Shop):
    talk, token = await with_card(shop)
    checkout = await shop.checkout(1_000)

    asked = await talk.buy(checkout, new_card=True)
    await shop.type_card(asked["capture_id"], MASTERCARD)
    paid = await talk.buy(checkout)
    later = await talk.buy(await shop.checkout(1_000))

    assert asked["state"] == "needs_card"
    assert paid["card"] == later["card"] == {"card_brand": "mastercard", "last4": "4444"}
    assert (paid["state"], later["state"]) == ("paid", "paid")
    assert await card_of(shop, talk) == (token, "4444", False)


@pytest.mark.control("UC-T.6")
async def test_a_card_that_was_found_expired_is_replaced_by_the_next_one_typed(shop: Shop, as_owner: AsOwner):
    talk, token = await with_card(shop)
    await as_owner(shop, f"UPDATE cards SET unusable = true WHERE token_id = '{token}'")  # noqa: S608 - an id of our own
    checkout = await shop.checkout(1_000)

    asked = await talk.buy(checkout)
    await shop.type_card(asked["capture_id"], MASTERCARD)
    paid = await talk.buy(checkout)

    assert (asked["state"], paid["state"], paid["card"]["last4"]) == ("needs_card", "paid", "4444")
    assert await card_of(shop, talk) == (token, "4444", False)


async def test_a_replacement_that_nobody_finishes_leaves_the_card_on_file_to_other_checkouts(shop: Shop):
    talk, token = await with_card(shop)
    checkout = await shop.checkout(1_000)

    asked, again = await talk.buy(checkout, new_card=True), await talk.buy(checkout)
    other = await talk.buy(await shop.checkout(1_000))

    assert (asked["state"], again["state"], again["capture_id"]) == ("needs_card", "needs_card", asked["capture_id"])
    assert (other["state"], other["card"]["last4"]) == ("paid", "4242")
    assert await card_of(shop, talk) == (token, "4242", False)


@pytest.mark.control("UC-T.6")
async def test_a_card_that_was_typed_and_never_came_back_for_is_shown_as_what_was_charged(shop: Shop):
    """The person replaced the card; the agent did not call again, and somebody pays for something else."""
    talk, token = await with_card(shop)
    asked = await talk.buy(await shop.checkout(1_000), new_card=True)
    await shop.type_card(asked["capture_id"], MASTERCARD)

    other = await talk.buy(await shop.checkout(1_000))

    assert (other["state"], other["card"]["last4"]) == ("paid", "4444")
    assert await card_of(shop, talk) == (token, "4444", False)


async def test_of_two_replacements_the_first_counts_and_the_other_is_asked_again(shop: Shop):
    talk, token = await with_card(shop)
    checkouts = [await shop.checkout(1_000) for _ in range(2)]
    first, second = [await talk.buy(checkout, new_card=True) for checkout in checkouts]
    await shop.type_card(first["capture_id"], MASTERCARD)

    asked_again = await talk.buy(checkouts[1])
    await shop.type_card(asked_again["capture_id"], GOOD_CARD)
    paid = [await talk.buy(checkout) for checkout in reversed(checkouts)]

    assert asked_again["capture_id"] != second["capture_id"]
    assert [view["state"] for view in paid] == ["paid", "paid"]
    assert await card_of(shop, talk) == (token, "4242", False)


async def test_paying_at_once_with_the_card_on_file_and_its_replacement_charges_each_checkout_once(shop: Shop):
    talk, _token = await with_card(shop)
    replacing, others = await shop.checkout(1_000), [await shop.checkout(1_000) for _ in range(3)]
    asked = await talk.buy(replacing, new_card=True)

    await asyncio.gather(shop.type_card(asked["capture_id"], MASTERCARD), *(talk.buy(checkout) for checkout in others))
    ended = [await talk.buy(checkout) for checkout in (replacing, *others)]

    assert (ended[0]["state"], ended[0]["card"]["last4"]) == ("paid", "4444")
    paid = [view for view in ended if view["state"] == "paid"]
    assert {view["state"] for view in ended} <= {"paid", "needs_card"}
    assert [await shop.charged(view["purchase_id"]) for view in paid] == [[1_000]] * len(paid)


@pytest.mark.control("UC-T.6")
async def test_nobody_replaces_a_card_that_is_not_theirs(shop: Shop, as_owner: AsOwner):
    """A gateway that is mistaken about whose token it is: the vault has no such card to replace."""
    (eve, hers), (ada, token) = await with_card(shop), await with_card(shop)
    await as_owner(shop, f"UPDATE cards SET token_id = '{token}' WHERE subject_id = '{eve.subject_id}'")  # noqa: S608 - ids of our own
    checkout = await shop.checkout(1_000)

    asked = await eve.buy(checkout, new_card=True)
    await shop.type_card(asked["capture_id"], MASTERCARD)
    paid, others = await eve.buy(checkout), await ada.buy(await shop.checkout(1_000))

    assert (paid["state"], paid["card"]["last4"]) == ("paid", "4444")
    assert (others["state"], others["card"]["last4"]) == ("paid", "4242")
    assert (await card_of(shop, eve))[0] not in {token, hers}
