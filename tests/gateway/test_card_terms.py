"""What the token of a card is good for, from the person's word on the consent page to the vault that refuses.

The attacks edit the gateway's own rows: they stand for a gateway that was taken over, or is mistaken, and asks for more
than the person agreed to.
"""

from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from gateway.mandates import MoreLimits
from tests.gateway.shop import CART, LARKSPUR, Shop, Talk

AsOwner = Callable[[Shop, str], Awaitable[str]]
NOT_REMEMBERED = MoreLimits(remembers_card=False)
HIDDEN = "UPDATE cards SET agent_id = '', terms = NULL WHERE subject_id = '{}'"
"""What the gateway knows of the token's terms is gone."""


async def forgetful(shop: Shop, **changes: Any) -> Talk:
    """Somebody who did not agree to have a card remembered."""
    talk = await shop.verified_chat()
    await shop.mandate(talk, payment_cap=5_000, day_cap=50_000, more=NOT_REMEMBERED, **changes)
    return talk


async def put_on_file(shop: Shop, as_owner: AsOwner, talk: Talk, paid: dict[str, Any]) -> None:
    await as_owner(
        shop,
        "INSERT INTO cards (tenant_id, subject_id, brand_id, token_id, card_brand, last4, kept_at)"  # noqa: S608 - ids of our own
        " SELECT tenant_id, subject_id, brand_id, token_id, card_brand, card_last4, paid_at FROM purchases"
        f" WHERE purchase_id = '{paid['purchase_id']}'",
    )
    await as_owner(shop, f"UPDATE mandates SET remembers_card = true WHERE subject_id = '{talk.subject_id}'")  # noqa: S608 - as above


@pytest.mark.control("UC-T.5")
async def test_a_card_that_is_not_remembered_pays_once_and_is_asked_for_again(shop: Shop):
    talk = await forgetful(shop)

    first = await shop.paid(talk, await shop.checkout(1_000))
    second = await talk.buy(await shop.checkout(1_000))

    assert (first["state"], first["card"]["last4"], second["state"]) == ("paid", "4242", "needs_card")
    assert await shop.rows("SELECT 1 FROM cards WHERE subject_id = :s", s=talk.subject_id) == []


@pytest.mark.control("UC-T.5")
async def test_a_gateway_that_pays_twice_with_a_card_for_one_payment_is_refused_by_the_vault(
    shop: Shop, as_owner: AsOwner
):
    talk = await forgetful(shop)
    first = await shop.paid(talk, await shop.checkout(1_000))
    await put_on_file(shop, as_owner, talk, first)
    checkout = await shop.checkout(1_000)

    refused, next_one = await talk.buy(checkout), await talk.buy(checkout)

    assert (refused["state"], refused["reason"]) == ("failed", "token_spent")
    assert await shop.charged(refused["purchase_id"]) == []
    assert (next_one["state"], "card_url" in next_one) == ("needs_card", True)
    await shop.type_card(next_one["capture_id"])
    assert (await talk.buy(checkout))["state"] == "paid"


@pytest.mark.control("UC-T.5")
async def test_a_card_typed_for_one_amount_is_not_charged_with_another(shop: Shop, as_owner: AsOwner):
    """The price changes after the card was typed: a new page. A gateway that keeps the page is refused by the vault."""
    talk, checkout = await forgetful(shop), await shop.checkout(1_000)
    first = await talk.buy(checkout)
    await shop.type_card(first["capture_id"])
    await shop.checkout(1_100, checkout_id=checkout)
    dearer = "UPDATE captures SET amount_minor = 1100, terms = jsonb_set(terms, '{amount_exact_minor}', '1100')"
    before = "UPDATE captures SET amount_minor = 1000, terms = jsonb_set(terms, '{amount_exact_minor}', '1000')"

    await as_owner(shop, f"{dearer} WHERE capture_id = '{first['capture_id']}'")
    refused = await talk.post("/v1/purchases", checkout_id=checkout, cart_sha256=CART)
    await as_owner(shop, f"{before} WHERE capture_id = '{first['capture_id']}'")
    asked = await talk.buy(checkout)

    assert (refused.status_code, refused.json()["code"]) == (503, "vault_unreachable")
    assert (asked["state"], asked["capture_id"] != first["capture_id"]) == ("needs_card", True)
    (purchase,) = await shop.rows("SELECT charge_id FROM purchases WHERE checkout_id = :c", c=checkout)
    assert purchase["charge_id"] is None, "the vault was never asked to charge"


@pytest.mark.control("UC-T.5")
async def test_a_card_typed_for_an_assistant_is_for_no_other_agent(shop: Shop, as_owner: AsOwner):
    email = "two-agents@example.com"
    agents = await shop.verified_chat(email)
    assistant = await shop.assistant(email)
    await shop.mandate(agents, payment_cap=5_000, day_cap=50_000)
    assert (await shop.paid(assistant, await shop.checkout(1_000)))["state"] == "paid"
    assert (await assistant.buy(await shop.checkout(1_000)))["state"] == "paid"

    asked = await agents.buy(await shop.checkout(1_000))
    await as_owner(shop, HIDDEN.format(agents.subject_id))
    refused = await agents.buy(await shop.checkout(1_000))

    assert asked["state"] == "needs_card"
    assert (refused["state"], refused["reason"]) == ("failed", "token_not_for_agent")


@pytest.mark.control("UC-T.5")
async def test_a_higher_cap_does_not_widen_a_token_that_is_there(shop: Shop, as_owner: AsOwner):
    talk = await shop.buyer(payment_cap=2_000)
    await shop.paid(talk, await shop.checkout(1_000))
    await shop.mandate(talk, payment_cap=9_000, day_cap=50_000)

    within, above = await talk.buy(await shop.checkout(2_000)), await talk.buy(await shop.checkout(2_001))
    await as_owner(shop, HIDDEN.format(talk.subject_id))
    refused = await talk.buy(await shop.checkout(2_001))

    assert (within["state"], above["state"]) == ("paid", "needs_card")
    assert (refused["state"], refused["reason"]) == ("failed", "token_not_for_amount")


async def test_a_mandate_without_remembering_also_leaves_alone_what_was_remembered_before(shop: Shop):
    talk = await shop.buyer()
    await shop.paid(talk, await shop.checkout(1_000))
    await shop.mandate(talk, payment_cap=5_000, day_cap=50_000, more=NOT_REMEMBERED)

    view = await talk.buy(await shop.checkout(1_000))

    assert view["state"] == "needs_card"


async def test_paying_again_for_what_a_card_for_one_payment_has_paid_is_told_as_paid(shop: Shop):
    talk, checkout = await forgetful(shop), await shop.checkout(1_000)
    first = await talk.buy(checkout)
    await shop.type_card(first["capture_id"])

    paid, again = await talk.buy(checkout), await talk.buy(checkout)

    assert (paid["state"], again["state"], again["purchase_id"]) == ("paid", "paid", first["purchase_id"])
    assert await shop.charged(first["purchase_id"]) == [1_000]


@pytest.mark.parametrize(
    ("said", "asked_in"), [({"language": "de-AT"}, "de"), ({"language": "zh-Hant"}, None), ({}, None)]
)
async def test_the_page_is_ordered_in_the_language_of_the_conversation(
    shop: Shop, said: dict[str, str], asked_in: str | None
):
    talk = await forgetful(shop)

    view = await talk.buy(await shop.checkout(1_000), **said)

    (row,) = await shop.rows("SELECT language FROM captures WHERE capture_id = :c", c=view["capture_id"])
    assert row["language"] == asked_in
    await shop.type_card(view["capture_id"])


@pytest.mark.parametrize("language", ["german!", "", "de_AT", "d", "de-" + "a" * 40, "de-12345678-1234", 7])
async def test_what_is_no_language_tag_is_refused(shop: Shop, language: object):
    talk = await forgetful(shop)
    checkout = await shop.checkout(1_000)

    answer = await talk.post("/v1/purchases", checkout_id=checkout, cart_sha256=CART, language=language)

    assert (answer.status_code, answer.json()["fields"]) == (422, ["language"])


async def test_a_card_is_kept_for_the_brand_it_was_typed_for(shop: Shop):
    talk = await shop.buyer()
    await shop.paid(talk, await shop.checkout(1_000))

    (card,) = await shop.rows("SELECT brand_id, agent_id, terms FROM cards WHERE subject_id = :s", s=talk.subject_id)

    assert (card["brand_id"], card["agent_id"]) == (LARKSPUR, "")
    assert {name: card["terms"][name] for name in ("currency", "amount_max_minor", "forwards")} == {
        "currency": "USD",
        "amount_max_minor": 5_000,
        "forwards": True,
    }
