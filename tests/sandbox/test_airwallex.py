"""The second processor as Airwallex publishes it: doors, shapes, request ids, and what it never writes down."""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx2
import pytest

from infra.chassis.ids import new_id
from infra.sandbox.settings import AIRWALLEX_CLIENT_ID
from tests.sandbox.running import AIRWALLEX_KEY, APPROVES, NO_TLS, Sandbox, make_sandbox
from tests.support.waiting import BUSY_SECONDS_MAX

FIELDS = json.loads((Path(__file__).parent / "fixtures" / "airwallex_fields.json").read_text())
DISPUTED, DECLINES, ASKS = "4000000000000259", "4000000000000002", "4000002500003155"


@dataclass(slots=True)
class Api:
    """Whoever has logged in."""

    http: httpx2.Client

    def post(self, path: str, **fields: Any) -> httpx2.Response:
        return self.http.post(f"/api/v1/pa/{path}", json={"request_id": new_id("req"), **fields})

    def get(self, path: str, **wanted: str) -> Any:
        return self.http.get(f"/api/v1/pa/{path}", params=wanted).json()

    def opened(self, amount: float = 25.5, currency: str = "USD", **fields: Any) -> str:
        made = self.post(
            "payment_intents/create", amount=amount, currency=currency, merchant_order_id=new_id("chg"), **fields
        )
        assert made.status_code == 201, made.text
        identifier: str = made.json()["id"]
        return identifier

    def confirmed(self, number: str, **fields: Any) -> httpx2.Response:
        return self.confirm(self.opened(**fields), number)

    def confirm(self, identifier: str, number: str, **more: Any) -> httpx2.Response:
        card = {"number": number, "expiry_month": "12", "expiry_year": "2040", "cvc": "123", "name": "Ada Byron"} | more
        return self.post(f"payment_intents/{identifier}/confirm", payment_method={"type": "card", "card": card})


def logged_in(sandbox: Sandbox) -> Api:
    http = httpx2.Client(base_url=sandbox.airwallex_url, verify=NO_TLS, timeout=BUSY_SECONDS_MAX)
    keys = {"x-client-id": AIRWALLEX_CLIENT_ID, "x-api-key": AIRWALLEX_KEY}
    http.headers["authorization"] = f"Bearer {http.post('/api/v1/authentication/login', headers=keys).json()['token']}"
    return Api(http)


@pytest.fixture
def api(shared: Sandbox) -> Iterator[Api]:
    api = logged_in(shared)
    yield api
    api.http.close()


def test_nobody_gets_in_without_the_right_client_and_key(shared: Sandbox):
    url = f"{shared.airwallex_url}/api/v1"
    wrong = [{}, {"x-client-id": AIRWALLEX_CLIENT_ID}, {"x-client-id": AIRWALLEX_CLIENT_ID, "x-api-key": "other"}]

    answers = [shared.plain.post(f"{url}/authentication/login", headers=headers) for headers in wrong]
    answers += [
        shared.plain.get(f"{url}/pa/payment_intents", headers=headers)
        for headers in ({}, {"authorization": "Bearer guessed"}, {"authorization": f"Basic {AIRWALLEX_KEY}"})
    ]

    assert {answer.status_code for answer in answers} == {401}


def test_answers_have_fields_that_airwallex_publishes_and_no_others(api: Api):
    paid, waiting = api.confirmed(APPROVES).json(), api.confirmed(ASKS).json()
    disputed = api.confirmed(DISPUTED).json()
    opened = api.opened()
    declined = api.confirm(opened, DECLINES)
    failed = api.get(f"payment_intents/{opened}")
    refund = api.post("refunds/create", payment_intent_id=paid["id"], amount=5, reason="asked", metadata={"a": "b"})
    cancelled = api.post(f"payment_intents/{waiting['id']}/cancel", cancellation_reason="asked").json()
    (dispute,) = api.get("payment_disputes", payment_intent_id=disputed["id"])["items"]

    intents = [paid, waiting, failed, cancelled]
    attempts = [intent["latest_payment_attempt"] for intent in intents]
    shown = [
        *(("payment_intent", intent) for intent in intents),
        ("next_action", waiting["next_action"]),
        *(("payment_attempt", attempt) for attempt in attempts),
        *(("card", attempt["payment_method"]["card"]) for attempt in attempts),
        ("refund", refund.json()),
        ("payment_dispute", dispute),
        ("error", declined.json()),
    ]
    assert [f"{kind}.{name}" for kind, one in shown for name in one if name not in FIELDS[kind]] == []
    assert [intent["status"] for intent in intents] == [
        "SUCCEEDED", "REQUIRES_CUSTOMER_ACTION", "REQUIRES_PAYMENT_METHOD", "CANCELLED",
    ]  # fmt: skip
    assert (declined.status_code, declined.json()["code"]) == (400, "issuer_declined")
    assert (paid["amount"], paid["captured_amount"], refund.json()["amount"]) == (25.5, 25.5, 5)


def test_a_request_id_is_good_for_one_request(api: Api):
    asked = {"amount": 10, "currency": "USD", "merchant_order_id": new_id("chg"), "request_id": new_id("req")}

    answers = [api.post("payment_intents/create", **asked) for _ in range(2)]
    refused = api.post("payment_intents/create", **(asked | {"amount": 10.001, "request_id": "again"}))
    mended = api.post("payment_intents/create", **(asked | {"request_id": "again-" + new_id("req")}))

    assert [answer.status_code for answer in (*answers, refused, mended)] == [201, 400, 400, 201]
    assert [answer.json()["code"] for answer in (answers[1], refused)] == ["duplicate_request", "validation_error"]


@pytest.mark.parametrize(
    "changes",
    [{"amount": -1}, {"amount": "x"}, {"currency": "usd-"}, {"currency": "XXX"}, {"merchant_order_id": ""},
     {"unheard_of": 1}, {"metadata": {"card": APPROVES}}, {"amount": 1e9}, {"currency": "JPY", "amount": 10.5}],
)  # fmt: skip
def test_what_is_not_in_its_shape_is_refused(api: Api, changes: dict[str, Any]):
    asked = {"amount": 10, "currency": "USD", "merchant_order_id": new_id("chg")}

    answer = api.post("payment_intents/create", **(asked | changes))

    assert (answer.status_code, answer.json()["code"]) == (400, "validation_error")


@pytest.mark.parametrize(
    ("number", "outcome", "ends"),
    [
        (ASKS, "pass", ("SUCCEEDED", None)),
        (ASKS, "fail", ("REQUIRES_PAYMENT_METHOD", "authentication_declined")),
        ("4000008400001629", "pass", ("REQUIRES_PAYMENT_METHOD", "issuer_declined")),
    ],
)
def test_a_bank_asks_on_a_page_and_leads_back_to_where_the_card_said(
    api: Api, shared: Sandbox, number: str, outcome: str, ends: tuple[str, str | None]
):
    back = "https://pay.example/authentications/chg_x/return"
    opened = api.opened()
    action = api.confirm(opened, number, three_ds={"return_url": back}).json()["next_action"]

    asked = shared.plain.get(action["url"])
    answered, again = [shared.plain.post(action["url"], data={"outcome": outcome}) for _ in range(2)]
    ended = api.get(f"payment_intents/{opened}")

    assert (action["type"], action["method"], "stage" in action) == ("redirect_iframe", "GET", False)
    assert ("Do you approve" in asked.text, "refresh" in asked.headers) == (True, False)
    assert (answered.status_code, answered.headers["refresh"]) == (200, f"0; url={back}")
    assert (again.status_code, again.json()["code"]) == (400, "invalid_status_for_operation")
    assert (ended["status"], ended["latest_payment_attempt"].get("failure_code")) == ends
    assert "next_action" not in ended


def test_where_a_person_comes_back_to_is_an_address(api: Api):
    answer = api.confirm(api.opened(), ASKS, three_ds={"return_url": "javascript:alert(1)"})

    assert (answer.status_code, answer.json()["code"]) == (400, "validation_error")


def test_stripe_does_not_send_a_number_with_a_confirmation_so_it_cannot_come_back_with_the_page(shared: Sandbox):
    answers = [
        shared.plain.post(f"{url}/_sandbox/faults", json={"fault": "echo_in_action"})
        for url in (shared.url, shared.airwallex_url)
    ]
    shared.plain.delete(f"{shared.airwallex_url}/_sandbox/faults")

    assert [answer.status_code for answer in answers] == [400, 200]


def test_a_real_looking_card_is_never_taken_and_no_number_is_ever_written_down(tmp_path: Path):
    sandbox = make_sandbox(tmp_path / "own")
    sandbox.start()
    try:
        api = logged_in(sandbox)
        api.confirmed(APPROVES)
        other = api.confirmed("4111" + "1" * 12)
        api.post("payment_intents/create", amount=10, currency="USD", merchant_order_id=APPROVES)
        paid = api.confirmed(APPROVES).json()["id"]
        sandbox.kill()
        sandbox.start()
        again = logged_in(sandbox)
        kept = again.get(f"payment_intents/{paid}")
        again.http.close()
        api.http.close()
    finally:
        sandbox.end()

    assert (other.status_code, other.json()["code"]) == (400, "issuer_declined")
    assert kept["status"] == "SUCCEEDED"
    written = b"".join(path.read_bytes() for path in (tmp_path / "own").rglob("*") if path.is_file())
    assert APPROVES.encode() not in written
