"""The test-card table: what each class of card does."""

import pytest
import stripe

from tests.sandbox.running import APPROVES, Sandbox, add_card, charge_of, open_intent, pay

SEVERAL_BRANDS = {
    "4242424242424242": "visa",
    "5555555555554444": "mastercard",
    "2223003122003222": "mastercard",
    "378282246310005": "amex",
    "371449635398431": "amex",
    "6011111111111117": "discover",
    "3056930009020004": "diners",
    "3566002020360505": "jcb",
    "6200000000000005": "unionpay",
}
DECLINES = {
    "4000000000000002": ("card_declined", "generic_decline"),
    "4000000000009995": ("card_declined", "insufficient_funds"),
    "4000000000009987": ("card_declined", "lost_card"),
    "4000000000009979": ("card_declined", "stolen_card"),
    "4000000000006975": ("card_declined", "card_velocity_exceeded"),
    "4000000000000069": ("expired_card", "expired_card"),
    "4000000000000127": ("incorrect_cvc", "incorrect_cvc"),
    "4000000000000119": ("processing_error", "processing_error"),
    "4100000000000019": ("card_declined", "fraudulent"),
    "4000000000000341": ("card_declined", "generic_decline"),
}
AUTHENTICATES = ["4000002500003155", "4000002760003184"]


@pytest.mark.parametrize(("number", "brand"), SEVERAL_BRANDS.items())
def test_cards_of_every_network_are_approved(client: stripe.StripeClient, number: str, brand: str):
    paid = pay(client, number)

    method = client.v1.payment_methods.retrieve(str(paid.payment_method))
    assert paid.status == "succeeded"
    assert method.card is not None
    assert (method.card.brand, method.card.last4) == (brand, number[-4:])


@pytest.mark.parametrize(("number", "codes"), DECLINES.items())
def test_a_declining_card_is_taken_in_and_declines_when_charged(
    client: stripe.StripeClient, number: str, codes: tuple[str, str]
):
    intent = open_intent(client)
    method = add_card(client, number)

    with pytest.raises(stripe.CardError) as declined:
        client.v1.payment_intents.confirm(intent.id, {"payment_method": method.id})

    error = declined.value.error
    assert error is not None
    assert (error.code, error.decline_code) == codes
    assert error.payment_intent is not None
    after = client.v1.payment_intents.retrieve(intent.id)
    assert (after.status, after.payment_method, after.amount_received) == ("requires_payment_method", None, 0)
    assert after.last_payment_error is not None
    assert (after.last_payment_error.code, after.last_payment_error.decline_code) == codes
    charge = client.v1.charges.retrieve(charge_of(after))
    assert error.charge == charge.id
    assert (charge.paid, charge.status, charge.failure_code) == (False, "failed", codes[0])


def test_a_fraudulent_card_is_blocked_before_the_network(client: stripe.StripeClient):
    with pytest.raises(stripe.CardError) as declined:
        pay(client, "4100000000000019")

    assert declined.value.error is not None
    charge = client.v1.charges.retrieve(str(declined.value.error.charge))
    assert charge.outcome is not None
    assert (charge.outcome.type, charge.outcome.network_status) == ("blocked", "not_sent_to_network")


def test_a_declined_intent_can_be_paid_with_another_card(client: stripe.StripeClient):
    intent = open_intent(client)
    with pytest.raises(stripe.CardError):
        client.v1.payment_intents.confirm(intent.id, {"payment_method": add_card(client, "4000000000000002").id})

    paid = client.v1.payment_intents.confirm(intent.id, {"payment_method": add_card(client, APPROVES).id})

    assert (paid.status, paid.last_payment_error) == ("succeeded", None)


@pytest.mark.parametrize(
    ("number", "changes", "code"),
    [
        ("4242424242424241", {}, "incorrect_number"),
        ("4242", {}, "invalid_number"),
        ("four thousand", {}, "invalid_number"),
        (APPROVES, {"exp_month": 13}, "invalid_expiry_month"),
        (APPROVES, {"exp_month": 0}, "invalid_expiry_month"),
        (APPROVES, {"exp_month": 12, "exp_year": 2020}, "invalid_expiry_year"),
        (APPROVES, {"exp_year": 2999}, "invalid_expiry_year"),
        (APPROVES, {"cvc": "12"}, "invalid_cvc"),
        (APPROVES, {"cvc": "1234"}, "invalid_cvc"),
        ("378282246310005", {"cvc": "123"}, "invalid_cvc"),
        ("4111111111111111", {}, "card_declined"),
    ],
)
def test_a_card_that_cannot_be_right_is_refused_at_once(
    client: stripe.StripeClient, number: str, changes: dict[str, object], code: str
):
    with pytest.raises(stripe.CardError) as refused:
        add_card(client, number, **changes)

    assert refused.value.code == code
    assert number not in str(refused.value) or not number.isdigit()


@pytest.mark.parametrize(
    ("number", "changes", "before", "after"),
    [
        (APPROVES, {}, "unchecked", "pass"),
        (APPROVES, {"cvc": ""}, None, "unavailable"),
        ("4000000000000101", {}, "unchecked", "fail"),
    ],
)
def test_the_code_is_checked_when_the_card_is_charged(
    client: stripe.StripeClient, number: str, changes: dict[str, object], before: str | None, after: str
):
    method = add_card(client, number, **changes)
    assert method.card is not None
    assert method.card.checks is not None
    paid = open_intent(client, confirm=True, payment_method=method.id)

    charge = client.v1.charges.retrieve(charge_of(paid))

    assert method.card.checks.cvc_check == before
    assert charge.payment_method_details is not None
    assert charge.payment_method_details.card is not None
    assert charge.payment_method_details.card.checks is not None
    assert charge.payment_method_details.card.checks.cvc_check == after


@pytest.mark.parametrize("number", AUTHENTICATES)
def test_a_card_with_3d_secure_waits_for_the_person_and_then_pays(
    sandbox: Sandbox, client: stripe.StripeClient, number: str
):
    waiting = pay(client, number)
    assert waiting.status == "requires_action"
    assert waiting.next_action is not None
    assert waiting.next_action.type == "use_stripe_sdk"

    with sandbox.http() as http:
        http.post(f"/_sandbox/authenticate/{waiting.id}", json={"outcome": "pass"}).raise_for_status()

    assert client.v1.payment_intents.retrieve(waiting.id).status == "succeeded"


def test_a_failed_challenge_fails_the_payment(sandbox: Sandbox, client: stripe.StripeClient):
    waiting = pay(client, "4000002760003184")

    with sandbox.http() as http:
        http.post(f"/_sandbox/authenticate/{waiting.id}", json={"outcome": "fail"}).raise_for_status()
        again = http.post(f"/_sandbox/authenticate/{waiting.id}", json={"outcome": "pass"})

    after = client.v1.payment_intents.retrieve(waiting.id)
    assert after.status == "requires_payment_method"
    assert after.last_payment_error is not None
    assert after.last_payment_error.code == "payment_intent_authentication_failure"
    assert again.status_code == 400


def test_a_card_can_pass_3d_secure_and_still_decline(sandbox: Sandbox, client: stripe.StripeClient):
    waiting = pay(client, "4000008400001629")

    with sandbox.http() as http:
        http.post(f"/_sandbox/authenticate/{waiting.id}", json={"outcome": "pass"}).raise_for_status()

    after = client.v1.payment_intents.retrieve(waiting.id)
    assert after.status == "requires_payment_method"
    assert after.last_payment_error is not None
    assert after.last_payment_error.decline_code == "generic_decline"


def test_a_person_answers_the_challenge_on_the_banks_page(sandbox: Sandbox, client: stripe.StripeClient):
    intent = open_intent(client, return_url="https://example.com/back")
    waiting = client.v1.payment_intents.confirm(intent.id, {"payment_method": add_card(client, "4000002760003184").id})
    assert waiting.next_action is not None
    assert waiting.next_action.redirect_to_url is not None
    url = str(waiting.next_action.redirect_to_url.url)

    with sandbox.http() as http:
        asked = http.get(url)
        answered = http.post(url, data={"outcome": "pass"})

    assert "Approve" in asked.text
    assert "script" not in asked.headers["content-security-policy"]
    assert "https://example.com/back" in answered.text
    assert client.v1.payment_intents.retrieve(waiting.id).status == "succeeded"


@pytest.mark.parametrize("absence", ["off_session", "error_on_requires_action"])
def test_3d_secure_with_nobody_present_is_a_decline(client: stripe.StripeClient, absence: str):
    method = add_card(client, "4000002760003184")

    with pytest.raises(stripe.CardError) as declined:
        open_intent(client, confirm=True, payment_method=method.id, **{absence: True})

    assert declined.value.code == "authentication_required"


@pytest.mark.parametrize(
    ("number", "status"), [("4000000000000259", "needs_response"), ("4000000000001976", "warning_needs_response")]
)
def test_a_disputed_card_pays_and_is_then_disputed(client: stripe.StripeClient, number: str, status: str):
    paid = pay(client, number)

    dispute = client.v1.disputes.list({"charge": charge_of(paid)}).data[0]

    assert paid.status == "succeeded"
    assert (dispute.status, dispute.reason, dispute.amount) == (status, "fraudulent", 2_500)
    assert client.v1.charges.retrieve(charge_of(paid)).disputed
    events = client.v1.events.list({"type": "charge.dispute.created"}).data
    assert events[0].data.object["id"] == dispute.id
