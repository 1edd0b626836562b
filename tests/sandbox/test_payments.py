"""Payment methods and payment intents through the official SDK."""

from collections.abc import Iterator
from typing import Any, cast

import pytest
import stripe

from tests.sandbox.running import APPROVES, Sandbox, add_card, charge_of, open_intent, pay


def test_a_card_becomes_a_payment_method_that_shows_no_number(client: stripe.StripeClient):
    made = add_card(client, "4242 4242 4242 4242")

    found = client.v1.payment_methods.retrieve(made.id)

    assert made.id.startswith("pm_")
    assert found.card is not None
    assert (found.card.brand, found.card.last4, found.card.exp_month, found.card.exp_year) == ("visa", "4242", 12, 2040)
    assert APPROVES not in str(found)


def test_the_same_card_has_the_same_fingerprint_and_another_card_another(client: stripe.StripeClient):
    first, second, other = (add_card(client, number).card for number in (APPROVES, APPROVES, "5555555555554444"))

    assert first is not None
    assert second is not None
    assert other is not None
    assert first.fingerprint == second.fingerprint != other.fingerprint


def test_an_intent_is_opened_then_confirmed_and_the_money_is_taken(client: stripe.StripeClient):
    intent = open_intent(client, 7_998, metadata={"charge_id": "chg_a"}, description="Two lamps")
    assert intent.status == "requires_payment_method"

    paid = client.v1.payment_intents.confirm(intent.id, {"payment_method": add_card(client, APPROVES).id})

    assert (paid.status, paid.amount_received, paid.amount_capturable) == ("succeeded", 7_998, 0)
    charge = client.v1.charges.retrieve(charge_of(paid))
    assert (charge.paid, charge.captured, charge.amount_captured, charge.status) == (True, True, 7_998, "succeeded")
    assert (charge.description, charge.metadata["charge_id"]) == ("Two lamps", "chg_a")


def test_an_intent_can_be_created_and_confirmed_in_one_call(client: stripe.StripeClient):
    paid = open_intent(client, confirm=True, payment_method=add_card(client, APPROVES).id)

    assert paid.status == "succeeded"


def test_a_telephone_order_is_confirmed_with_the_card_in_the_same_call(client: stripe.StripeClient):
    paid = open_intent(
        client,
        confirm=True,
        payment_method_data={
            "type": "card",
            "card": {"number": "4000002760003184", "exp_month": 12, "exp_year": 2040, "cvc": "123"},
        },
        payment_method_options={"card": {"moto": True}},
    )

    assert paid.status == "succeeded"  # telephone orders are exempt from 3-D Secure


def test_held_money_is_settled_later_in_full(client: stripe.StripeClient):
    held = pay(client, capture_method="manual")
    assert (held.status, held.amount_capturable, held.amount_received) == ("requires_capture", 2_500, 0)

    settled = client.v1.payment_intents.capture(held.id)

    assert (settled.status, settled.amount_capturable, settled.amount_received) == ("succeeded", 0, 2_500)
    assert client.v1.charges.retrieve(charge_of(settled)).captured


def test_held_money_can_be_settled_in_part_but_not_beyond_and_not_twice(client: stripe.StripeClient):
    held = pay(client, capture_method="manual")

    with pytest.raises(stripe.InvalidRequestError) as beyond:
        client.v1.payment_intents.capture(held.id, {"amount_to_capture": 2_501})
    settled = client.v1.payment_intents.capture(held.id, {"amount_to_capture": 1_000})
    with pytest.raises(stripe.InvalidRequestError) as twice:
        client.v1.payment_intents.capture(held.id)

    assert beyond.value.code == "amount_too_large"
    assert settled.amount_received == 1_000
    assert twice.value.code == "payment_intent_unexpected_state"


def test_cancelling_lets_go_of_held_money(client: stripe.StripeClient):
    held = pay(client, capture_method="manual")

    cancelled = client.v1.payment_intents.cancel(held.id, {"cancellation_reason": "abandoned"})

    assert (cancelled.status, cancelled.cancellation_reason) == ("canceled", "abandoned")
    charge = client.v1.charges.retrieve(charge_of(held))
    assert (charge.refunded, charge.captured, charge.amount_refunded) == (True, False, 2_500)


def test_an_unconfirmed_intent_can_be_cancelled_and_then_not_confirmed(client: stripe.StripeClient):
    intent = open_intent(client)
    client.v1.payment_intents.cancel(intent.id)

    with pytest.raises(stripe.InvalidRequestError) as refused:
        client.v1.payment_intents.confirm(intent.id, {"payment_method": add_card(client, APPROVES).id})

    assert refused.value.code == "payment_intent_unexpected_state"
    assert refused.value.error is not None
    assert refused.value.error.payment_intent is not None
    assert refused.value.error.payment_intent.status == "canceled"


@pytest.mark.parametrize("verb", ["confirm", "cancel", "capture"])
def test_a_paid_intent_can_neither_be_confirmed_nor_cancelled_nor_settled(client: stripe.StripeClient, verb: str):
    paid = pay(client)

    with pytest.raises(stripe.InvalidRequestError) as refused:
        getattr(client.v1.payment_intents, verb)(paid.id)

    assert refused.value.code == "payment_intent_unexpected_state"


def test_a_payment_method_without_a_customer_pays_once(client: stripe.StripeClient):
    method = add_card(client, APPROVES)
    open_intent(client, confirm=True, payment_method=method.id)

    with pytest.raises(stripe.InvalidRequestError, match="previously used"):
        open_intent(client, confirm=True, payment_method=method.id)


def test_confirming_without_a_payment_method_is_refused(client: stripe.StripeClient):
    intent = open_intent(client)

    with pytest.raises(stripe.InvalidRequestError, match="missing a payment method"):
        client.v1.payment_intents.confirm(intent.id)


def test_dashboard_payment_methods_need_a_return_url(client: stripe.StripeClient):
    intent = client.v1.payment_intents.create({"amount": 900, "currency": "usd"})
    method = add_card(client, APPROVES).id

    with pytest.raises(stripe.InvalidRequestError, match="return_url"):
        client.v1.payment_intents.confirm(intent.id, {"payment_method": method})
    paid = client.v1.payment_intents.confirm(
        intent.id, {"payment_method": method, "return_url": "https://example.com/back"}
    )

    assert paid.status == "succeeded"


def test_an_intent_is_found_by_our_reference_in_its_metadata(client: stripe.StripeClient):
    wanted = open_intent(client, metadata={"charge_id": "chg_findme", "tenant": "tnt_a"})
    open_intent(client, metadata={"charge_id": "chg_other", "tenant": "tnt_a"})

    found = client.v1.payment_intents.search(
        {"query": "metadata['charge_id']:'chg_findme' AND status:'requires_payment_method' AND -currency:\"eur\""}
    )
    nothing = client.v1.payment_intents.search({"query": "metadata['charge_id']:'chg_findme' AND status:'succeeded'"})

    assert [intent.id for intent in found.data] == [wanted.id]
    assert nothing.data == []


def test_a_search_comes_in_pages(client: stripe.StripeClient):
    made = {open_intent(client, metadata={"batch": "paged"}).id for _ in range(5)}

    found = client.v1.payment_intents.search({"query": "metadata['batch']:'paged'", "limit": 2})

    assert {intent.id for intent in found.auto_paging_iter()} == made


@pytest.mark.parametrize("query", ["charge_id:'x'", "status~'x'", "status:'a' OR status:'b'", "metadata['a']:'b' AND"])
def test_a_search_that_cannot_be_read_is_refused(client: stripe.StripeClient, query: str):
    with pytest.raises(stripe.InvalidRequestError) as refused:
        client.v1.payment_intents.search({"query": query})

    assert refused.value.param == "query"


def test_a_list_is_newest_first_and_comes_in_pages_both_ways(client: stripe.StripeClient):
    made = [open_intent(client).id for _ in range(5)]

    newest = client.v1.payment_intents.list({"limit": 2})
    older = client.v1.payment_intents.list({"limit": 2, "starting_after": newest.data[-1].id})
    newer = client.v1.payment_intents.list({"limit": 2, "ending_before": older.data[0].id})

    assert [intent.id for intent in newest.data] == made[:2:-1]
    assert newest.has_more
    assert [intent.id for intent in older.data] == [made[2], made[1]]
    assert [intent.id for intent in newer.data] == [intent.id for intent in newest.data]


def test_ids_are_expanded_where_stripe_expands_them(client: stripe.StripeClient):
    paid = pay(client)

    found = client.v1.payment_intents.retrieve(paid.id, {"expand": ["payment_method", "latest_charge.payment_intent"]})
    listed = client.v1.payment_intents.list({"limit": 1, "expand": ["data.latest_charge"]})

    assert isinstance(found.payment_method, stripe.PaymentMethod)
    assert isinstance(found.latest_charge, stripe.Charge)
    assert isinstance(found.latest_charge.payment_intent, stripe.PaymentIntent)
    assert isinstance(listed.data[0].latest_charge, stripe.Charge)
    with pytest.raises(stripe.InvalidRequestError, match="cannot be expanded"):
        client.v1.payment_intents.retrieve(paid.id, {"expand": ["metadata"]})


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"amount": 49}, "amount_too_small"),
        ({"amount": 100_000_000}, "amount_too_large"),
        ({"amount": 0}, "parameter_invalid_integer"),
        ({"amount": -5}, "parameter_invalid_integer"),
        ({"amount": "ten"}, "parameter_invalid_integer"),
        ({"colour": "red"}, "parameter_unknown"),
        ({"return_url": "javascript:alert(1)"}, "url_invalid"),
        ({"payment_method": "pm_unknown"}, "resource_missing"),
    ],
)
def test_a_wrong_intent_is_refused_with_a_code(client: stripe.StripeClient, changes: dict[str, object], code: str):
    before = client.v1.payment_intents.list({"limit": 1}).data

    with pytest.raises(stripe.InvalidRequestError) as refused:
        open_intent(client, **changes)

    assert refused.value.code == code
    assert [one.id for one in client.v1.payment_intents.list({"limit": 1}).data] == [one.id for one in before]


def test_the_story_of_the_demo_shows_charges_without_numbers(sandbox: Sandbox, client: stripe.StripeClient):
    paid = pay(client, "5555555555554444", 4_200, metadata={"charge_id": "chg_story"})

    with sandbox.http() as http:
        answer = http.get("/_sandbox/charges")

    charge = answer.json()["charges"][0]
    assert charge["id"] == paid.latest_charge
    assert (charge["brand"], charge["last4"], charge["status"]) == ("mastercard", "4444", "settled")
    assert (charge["amount_minor"], charge["currency"], charge["metadata"]) == (
        4_200,
        "USD",
        {"charge_id": "chg_story"},
    )
    assert "5555555555554444" not in answer.text


def telephone_order(client: stripe.StripeClient, **more: object) -> stripe.PaymentIntent:
    """As the vault gives it: the flag goes with the confirmation."""
    intent = open_intent(client, 2_500, **more)
    method = add_card(client, "4000002760003184").id
    asked = {"payment_method": method, "payment_method_options": {"card": {"moto": True}}}
    return client.v1.payment_intents.confirm(intent.id, cast("Any", asked))


@pytest.fixture
def not_enabled(sandbox: Sandbox) -> Iterator[None]:
    sandbox.plain.delete(f"{sandbox.url}/_sandbox/moto").raise_for_status()
    yield
    sandbox.plain.post(f"{sandbox.url}/_sandbox/moto").raise_for_status()


def test_a_telephone_order_is_said_when_it_is_confirmed_and_shown_to_tests(
    client: stripe.StripeClient, sandbox: Sandbox
):
    paid, plain = telephone_order(client), pay(client)

    shown = sandbox.plain.get(f"{sandbox.url}/_sandbox/charges").json()["charges"]

    assert paid.status == "succeeded"
    assert [one["moto"] for one in shown if one["payment_intent"] == paid.id] == [True]
    assert [one["moto"] for one in shown if one["payment_intent"] == plain.id] == [False]


@pytest.mark.usefixtures("not_enabled")
def test_an_account_that_is_not_enabled_for_telephone_orders_does_not_know_the_parameter(client: stripe.StripeClient):
    """As stripe-dotnet issue 2898 shows Stripe's answer."""
    with pytest.raises(stripe.InvalidRequestError) as refused:
        telephone_order(client)

    assert refused.value.code == "parameter_unknown"
    assert refused.value.param == "payment_method_options[card][moto]"
    assert "Received unknown parameter: payment_method_options[card][moto]" in str(refused.value)


def test_a_telephone_order_is_not_said_before_it_is_confirmed(client: stripe.StripeClient):
    """`This parameter can only be provided during confirmation`, as the SDK's own parameters say."""
    with pytest.raises(stripe.InvalidRequestError) as early:
        open_intent(client, payment_method_options={"card": {"moto": True}})

    assert early.value.param == "payment_method_options[card][moto]"


def test_a_telephone_order_is_not_kept_for_payments_on_session(client: stripe.StripeClient):
    with pytest.raises(stripe.InvalidRequestError) as refused:
        telephone_order(client, setup_future_usage="on_session")

    assert "either off_session or null" in str(refused.value)
