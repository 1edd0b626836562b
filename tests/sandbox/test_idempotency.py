"""Idempotency keys, over plain HTTP because the SDK hides the headers."""

from concurrent.futures import ThreadPoolExecutor

import httpx2
import pytest
import stripe

from tests.sandbox.running import APPROVES, Sandbox, add_card, open_intent, wait_until

INTENT = {"amount": "1000", "currency": "usd", "payment_method_types[]": "card"}


def send(http: httpx2.Client, path: str, key: str, data: dict[str, str]) -> httpx2.Response:
    return http.post(path, data=data, headers={"Idempotency-Key": key})


def test_the_same_call_under_the_same_key_gets_the_same_answer(sandbox: Sandbox, client: stripe.StripeClient):
    with sandbox.http() as http:
        first = send(http, "/v1/payment_intents", "key-same", INTENT)
        second = send(http, "/v1/payment_intents", "key-same", dict(reversed(INTENT.items())))

    assert first.content == second.content
    assert "idempotent-replayed" not in first.headers
    assert second.headers["idempotent-replayed"] == "true"
    assert second.headers["original-request"] == first.headers["request-id"]
    assert second.headers["request-id"] != first.headers["request-id"]
    assert first.headers["idempotency-key"] == second.headers["idempotency-key"] == "key-same"
    assert client.v1.payment_intents.list({"limit": 1}).data[0].id == first.json()["id"]


def test_other_parameters_under_the_same_key_are_an_error(sandbox: Sandbox):
    with sandbox.http() as http:
        send(http, "/v1/payment_intents", "key-parameters", INTENT)
        other = send(http, "/v1/payment_intents", "key-parameters", {**INTENT, "amount": "1001"})

    assert other.status_code == 400
    assert other.json()["error"]["type"] == "idempotency_error"


def test_another_endpoint_under_the_same_key_is_an_error(sandbox: Sandbox):
    with sandbox.http() as http:
        intent = send(http, "/v1/payment_intents", "key-endpoint", INTENT).json()
        other = send(http, f"/v1/payment_intents/{intent['id']}/cancel", "key-endpoint", {})

    assert other.status_code == 400
    assert other.json()["error"]["type"] == "idempotency_error"


def test_the_sdk_sees_an_idempotency_error_as_its_own_kind(client: stripe.StripeClient):
    client.v1.payment_intents.create({"amount": 900, "currency": "usd"}, {"idempotency_key": "key-sdk"})

    with pytest.raises(stripe.IdempotencyError):
        client.v1.payment_intents.create({"amount": 901, "currency": "usd"}, {"idempotency_key": "key-sdk"})


def test_a_decline_is_repeated_under_its_key_without_a_second_attempt(sandbox: Sandbox, client: stripe.StripeClient):
    intent = open_intent(client)
    body = {"payment_method": add_card(client, "4000000000000002").id}

    with sandbox.http() as http:
        answers = [send(http, f"/v1/payment_intents/{intent.id}/confirm", "key-decline", body) for _ in range(3)]

    assert {answer.status_code for answer in answers} == {402}
    assert len({answer.content for answer in answers}) == 1
    assert len(client.v1.charges.list({"payment_intent": intent.id}).data) == 1


def test_a_wrong_parameter_does_not_use_up_the_key(sandbox: Sandbox):
    with sandbox.http() as http:
        wrong = send(http, "/v1/payment_intents", "key-wrong", {**INTENT, "amount": "ten"})
        right = send(http, "/v1/payment_intents", "key-wrong", INTENT)

    assert (wrong.status_code, right.status_code) == (400, 200)


def test_two_at_once_under_one_key_charge_once_and_the_second_is_told_to_wait(
    sandbox: Sandbox, client: stripe.StripeClient
):
    intent = open_intent(client)
    body = {"payment_method": add_card(client, APPROVES).id}
    path = f"/v1/payment_intents/{intent.id}/confirm"
    sandbox.fault("timeout_during_charge")

    with sandbox.http() as http, ThreadPoolExecutor(1) as pool:
        first = pool.submit(send, http, path, "key-twice", body)
        wait_until(lambda: http.get("/_sandbox/faults").json()["held"] == 1)
        second = send(http, path, "key-twice", body)
        http.post("/_sandbox/release")
        done = first.result()
        third = send(http, path, "key-twice", body)

    assert second.status_code == 409
    assert second.json()["error"]["code"] == "idempotency_key_in_use"
    assert (done.status_code, done.json()["status"]) == (200, "succeeded")
    assert third.headers["idempotent-replayed"] == "true"
    assert len(client.v1.charges.list({"payment_intent": intent.id}).data) == 1


def test_many_at_once_under_one_key_charge_once(sandbox: Sandbox, client: stripe.StripeClient):
    intent = open_intent(client)
    body = {"payment_method": add_card(client, APPROVES).id}

    with sandbox.http() as http, ThreadPoolExecutor(8) as pool:
        path = f"/v1/payment_intents/{intent.id}/confirm"
        answers = list(pool.map(lambda _: send(http, path, "key-many", body), range(16)))

    assert {answer.status_code for answer in answers} <= {200, 409}
    assert len({answer.content for answer in answers if answer.status_code == 200}) == 1
    assert len(client.v1.charges.list({"payment_intent": intent.id}).data) == 1


@pytest.mark.parametrize("key", ["k" * 256, APPROVES])
def test_a_key_too_long_or_like_a_card_number_is_refused(sandbox: Sandbox, key: str):
    with sandbox.http() as http:
        answer = send(http, "/v1/payment_intents", key, INTENT)

    assert answer.status_code == 400
    assert APPROVES not in answer.text
