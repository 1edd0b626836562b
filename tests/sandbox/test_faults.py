"""Every fault switch, seen through the official SDK."""

import pytest
import stripe

from tests.sandbox.running import APPROVES, Sandbox, add_card, card, open_intent, wait_until

IMPATIENT_SECONDS = 1.0


def held(sandbox: Sandbox) -> int:
    count: int = sandbox.plain.get(f"{sandbox.url}/_sandbox/faults").json()["held"]
    return count


def confirm(client: stripe.StripeClient, intent_id: str, method_id: str, key: str) -> stripe.PaymentIntent:
    return client.v1.payment_intents.confirm(intent_id, {"payment_method": method_id}, {"idempotency_key": key})


@pytest.fixture
def impatient(sandbox: Sandbox) -> stripe.StripeClient:
    return sandbox.client(timeout=IMPATIENT_SECONDS)


def test_a_time_out_before_the_charge_charges_nothing(
    sandbox: Sandbox, client: stripe.StripeClient, impatient: stripe.StripeClient
):
    intent, method = open_intent(client), add_card(client, APPROVES)
    sandbox.fault("timeout_before_charge")

    with pytest.raises(stripe.APIConnectionError):
        confirm(impatient, intent.id, method.id, "before")
    wait_until(lambda: held(sandbox) == 0)

    assert client.v1.payment_intents.retrieve(intent.id).status == "requires_payment_method"
    assert client.v1.charges.list({"payment_intent": intent.id}).data == []
    assert confirm(client, intent.id, method.id, "before").status == "succeeded"


def test_a_time_out_after_the_charge_has_charged_and_the_same_key_tells_it(
    sandbox: Sandbox, client: stripe.StripeClient, impatient: stripe.StripeClient
):
    intent, method = open_intent(client), add_card(client, APPROVES)
    sandbox.fault("timeout_after_charge")

    with pytest.raises(stripe.APIConnectionError):
        confirm(impatient, intent.id, method.id, "after")

    assert client.v1.payment_intents.retrieve(intent.id).status == "succeeded"
    assert confirm(client, intent.id, method.id, "after").status == "succeeded"
    assert len(client.v1.charges.list({"payment_intent": intent.id}).data) == 1


def test_a_time_out_during_the_charge_charges_after_the_client_gave_up(
    sandbox: Sandbox, client: stripe.StripeClient, impatient: stripe.StripeClient
):
    intent, method = open_intent(client), add_card(client, APPROVES)
    sandbox.fault("timeout_during_charge")

    with pytest.raises(stripe.APIConnectionError):
        confirm(impatient, intent.id, method.id, "during")

    wait_until(lambda: client.v1.payment_intents.retrieve(intent.id).status == "succeeded")


def test_a_late_charge_is_made_when_the_processor_comes_to_it_and_not_when_its_client_gives_up(
    sandbox: Sandbox, client: stripe.StripeClient, impatient: stripe.StripeClient
):
    intent, method = open_intent(client), add_card(client, APPROVES)
    sandbox.fault("late_charge")

    with pytest.raises(stripe.APIConnectionError):
        confirm(impatient, intent.id, method.id, "still in hand")
    with pytest.raises(stripe.StripeError) as in_use:
        confirm(client, intent.id, method.id, "still in hand")
    meanwhile = held(sandbox), client.v1.payment_intents.retrieve(intent.id).status
    sandbox.plain.post(f"{sandbox.url}/_sandbox/release").raise_for_status()
    wait_until(lambda: held(sandbox) == 0)

    assert in_use.value.http_status == 409
    assert meanwhile == (1, "requires_payment_method")
    assert client.v1.payment_intents.retrieve(intent.id).status == "succeeded"


def test_an_intent_cancelled_while_its_confirmation_is_held_is_never_charged(
    sandbox: Sandbox, client: stripe.StripeClient, impatient: stripe.StripeClient
):
    intent, method = open_intent(client), add_card(client, APPROVES)
    sandbox.fault("timeout_before_charge")
    with pytest.raises(stripe.APIConnectionError):
        confirm(impatient, intent.id, method.id, "late")

    client.v1.payment_intents.cancel(intent.id)
    with pytest.raises(stripe.InvalidRequestError) as refused:
        confirm(client, intent.id, method.id, "late")

    assert refused.value.code == "payment_intent_unexpected_state"
    assert client.v1.charges.list({"payment_intent": intent.id}).data == []


def test_error_500_charges_nothing_and_is_repeated_under_its_key(sandbox: Sandbox, client: stripe.StripeClient):
    intent, method = open_intent(client), add_card(client, APPROVES)
    sandbox.fault("error_500")

    for _ in range(2):
        with pytest.raises(stripe.APIError) as failed:
            confirm(client, intent.id, method.id, "five hundred")
        assert failed.value.http_status == 500

    assert client.v1.payment_intents.retrieve(intent.id).status == "requires_payment_method"
    assert confirm(client, intent.id, method.id, "another key").status == "succeeded"


def test_error_500_after_the_charge_hides_a_charge_that_happened(sandbox: Sandbox, client: stripe.StripeClient):
    intent, method = open_intent(client), add_card(client, APPROVES)
    sandbox.fault("error_500_after_charge")

    with pytest.raises(stripe.APIError):
        confirm(client, intent.id, method.id, "hidden")

    assert client.v1.payment_intents.retrieve(intent.id).status == "succeeded"


@pytest.mark.parametrize(
    ("fault", "status", "kind"),
    [
        ("error_503", 503, stripe.APIError),
        ("rate_limit", 429, stripe.RateLimitError),
        ("not_json", 502, stripe.APIError),
    ],
)
def test_a_refusal_on_the_way_charges_nothing_and_leaves_the_key_free(
    sandbox: Sandbox, client: stripe.StripeClient, fault: str, status: int, kind: type[stripe.StripeError]
):
    intent, method = open_intent(client), add_card(client, APPROVES)
    sandbox.fault(fault)

    with pytest.raises(kind) as failed:
        confirm(client, intent.id, method.id, f"way {fault}")

    assert failed.value.http_status == status
    assert confirm(client, intent.id, method.id, f"way {fault}").status == "succeeded"


def test_a_processor_can_echo_the_card_number_but_keeps_it_nowhere(sandbox: Sandbox, client: stripe.StripeClient):
    sandbox.fault("echo_card_number")

    with pytest.raises(stripe.CardError) as echoed:
        client.v1.payment_methods.create(card(APPROVES), {"idempotency_key": "echo"})  # type: ignore[arg-type]  # a plain dict

    assert APPROVES in str(echoed.value)
    assert APPROVES not in sandbox.log.read_text()
    assert add_card(client, APPROVES).id.startswith("pm_")


def test_a_fault_strikes_as_often_as_asked_and_only_what_it_is_aimed_at(sandbox: Sandbox, client: stripe.StripeClient):
    sandbox.fault("error_503", times=2, operation="refunds.create")

    open_intent(client)
    for _ in range(2):
        with pytest.raises(stripe.APIError):
            client.v1.refunds.create({"charge": "ch_unknown"})
    with pytest.raises(stripe.InvalidRequestError):
        client.v1.refunds.create({"charge": "ch_unknown"})


def test_switches_are_shown_and_cleared(sandbox: Sandbox, client: stripe.StripeClient):
    sandbox.fault("error_500", times=3)
    with sandbox.http() as http:
        shown = http.get("/_sandbox/faults").json()
        cleared = http.delete("/_sandbox/faults").json()

    assert shown["faults"] == [{"fault": "error_500", "aim": "charge", "times": 3}]
    assert cleared["faults"] == []
    assert open_intent(client, confirm=True, payment_method=add_card(client, APPROVES).id).status == "succeeded"


@pytest.mark.parametrize(
    "order",
    [
        {"fault": "meteor"},
        {"fault": "error_500", "times": 0},
        {"fault": "error_500", "operation": "nothing.create"},
        {"fault": "echo_card_number", "operation": "refunds.create"},
        {"fault": "error_500", "colour": "red"},
        {},
        [],
    ],
)
def test_a_fault_that_makes_no_sense_is_refused(sandbox: Sandbox, order: object):
    answer = sandbox.plain.post(f"{sandbox.url}/_sandbox/faults", json=order)

    assert answer.status_code == 400
    assert sandbox.plain.get(f"{sandbox.url}/_sandbox/faults").json()["faults"] == []


def test_a_processor_that_is_down_refuses_everything_until_it_is_up_again(
    sandbox: Sandbox, client: stripe.StripeClient
):
    with sandbox.http() as http:
        http.post("/_sandbox/down").raise_for_status()
        with pytest.raises(stripe.APIError) as refused:
            open_intent(client)
        health = http.get("/_sandbox/health").json()
        http.delete("/_sandbox/down").raise_for_status()

    assert refused.value.http_status == 503
    assert health == {"status": "ok", "down": True}
    assert open_intent(client).status == "requires_payment_method"
