"""Callers without a key, requests that make no sense, and callers that are not on this machine."""

import pytest
import stripe

from tests.sandbox.running import API_KEY, APPROVES, Sandbox, open_intent


def test_a_wrong_api_key_is_refused(sandbox: Sandbox):
    with pytest.raises(stripe.AuthenticationError) as refused:
        open_intent(sandbox.client(api_key="sk_test_wrong"))

    assert refused.value.http_status == 401
    assert "sk_test_wrong" not in str(refused.value)


def test_a_missing_api_key_is_refused_in_stripes_shape(sandbox: Sandbox):
    answer = sandbox.plain.get(f"{sandbox.url}/v1/charges")

    assert answer.status_code == 401
    assert answer.json()["error"]["type"] == "invalid_request_error"
    assert answer.headers["request-id"].startswith("req_")


def test_the_key_is_also_taken_as_a_basic_user_name(sandbox: Sandbox):
    answer = sandbox.plain.get(f"{sandbox.url}/v1/charges", auth=(API_KEY, ""))

    assert answer.status_code == 200


@pytest.mark.parametrize(("method", "path"), [("GET", "/v1/customers"), ("GET", "/nothing"), ("DELETE", "/v1/charges")])
def test_an_unknown_url_is_refused_in_stripes_shape(sandbox: Sandbox, method: str, path: str):
    with sandbox.http() as http:
        answer = http.request(method, path)

    assert answer.status_code in {404, 405}
    assert answer.json()["error"]["type"] == "invalid_request_error"


@pytest.mark.parametrize(
    ("body", "content_type"),
    [
        (b'{"amount": 1000, "currency": "usd"}', "application/json"),
        (b"amount=1000&amount=2000&currency=usd", "application/x-www-form-urlencoded"),
        (b"amount=1000&currency=%ff", "application/x-www-form-urlencoded"),
        (b"amount=1000&currency=usd&a[b][c][d][e][f]=1", "application/x-www-form-urlencoded"),
        (b"amount=1000&currency=usd&metadata=1&metadata[a]=1", "application/x-www-form-urlencoded"),
        (b"amount=1000&currency=usd&]=1", "application/x-www-form-urlencoded"),
        (b"&".join(b"a%d=1" % number for number in range(500)), "application/x-www-form-urlencoded"),
    ],
)
def test_a_body_that_cannot_be_read_is_refused(sandbox: Sandbox, body: bytes, content_type: str):
    with sandbox.http() as http:
        answer = http.post("/v1/payment_intents", content=body, headers={"Content-Type": content_type})

    assert answer.status_code == 400
    assert answer.json()["error"]["type"] == "invalid_request_error"


def test_a_body_of_five_megabytes_is_refused(sandbox: Sandbox):
    with sandbox.http() as http:
        answer = http.post(
            "/v1/payment_intents",
            content=b"description=" + b"x" * 5_000_000,
            headers={"Content-Type": "application/x-www-form-urlencoded"},
        )

    assert answer.status_code == 413


@pytest.mark.parametrize("field", ["description", "metadata[note]", "return_url", "receipt_email"])
def test_a_card_number_anywhere_but_in_the_card_is_refused(sandbox: Sandbox, field: str):
    with sandbox.http() as http:
        answer = http.post(
            "/v1/payment_intents", data={"amount": "1000", "currency": "usd", field: "https://x/ 4242-4242-4242-4242"}
        )

    assert answer.status_code == 400
    assert "4242" not in answer.text


def test_too_much_metadata_is_refused(client: stripe.StripeClient):
    with pytest.raises(stripe.InvalidRequestError) as refused:
        open_intent(client, metadata={f"key{number}": "x" for number in range(51)})

    assert refused.value.param == "metadata"


@pytest.mark.parametrize(
    "headers", [{"Host": "rebound.example.com"}, {"Origin": "https://evil.example.com"}, {"Origin": "null"}]
)
def test_pages_of_other_sites_reach_neither_the_switches_nor_the_inbox(sandbox: Sandbox, headers: dict[str, str]):
    switch = sandbox.plain.post(f"{sandbox.url}/_sandbox/down", headers=headers)
    inbox = sandbox.plain.get(f"{sandbox.inbox_url}/messages", headers=headers)

    assert (switch.status_code, inbox.status_code) == (403, 403)
    assert sandbox.plain.get(f"{sandbox.url}/_sandbox/down").json() == {"down": False}


def test_the_version_asked_for_is_the_version_named_in_the_answer(sandbox: Sandbox):
    with sandbox.http() as http:
        answer = http.get("/v1/charges", headers={"Stripe-Version": "2026-10-28.endive"})

    assert answer.headers["stripe-version"] == "2026-10-28.endive"
    assert APPROVES not in answer.text
