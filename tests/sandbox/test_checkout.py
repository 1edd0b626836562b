"""The card updater as Checkout.com publishes it: its door, its shapes, and what it never writes down."""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx2
import pytest
from joserfc import jwe
from joserfc.jwk import RSAKey

from infra.sandbox.settings import CHECKOUT_CLIENT_ID
from tests.sandbox.running import APPROVES, CHECKOUT_SECRET, NO_TLS, Sandbox, updater_pems

FIELDS = json.loads((Path(__file__).parent / "fixtures" / "checkout_fields.json").read_text())
LOGIN = {"grant_type": "client_credentials", "scope": "vault:real-time-account-updater"}
NEXT = "4000056655665556"


@dataclass(slots=True)
class Api:
    http: httpx2.Client

    def ask(self, number: str = APPROVES, **card: Any) -> httpx2.Response:
        asked = {"number": number, "expiry_month": 12, "expiry_year": 2030, **card}
        return self.http.post("/account-updater/cards", json={"source_options": {"card": asked}})

    def knows(self, **known: Any) -> None:
        self.http.post("/_sandbox/cards", json={"number": APPROVES, **known}).raise_for_status()


@pytest.fixture
def api(shared: Sandbox) -> Iterator[Api]:
    http = httpx2.Client(base_url=shared.checkout_url, verify=NO_TLS, timeout=20.0)
    login = http.post("/connect/token", data=LOGIN, auth=(CHECKOUT_CLIENT_ID, CHECKOUT_SECRET)).json()
    http.headers["authorization"] = f"Bearer {login['access_token']}"
    yield Api(http)
    http.delete("/_sandbox/faults")
    http.close()


def test_nobody_gets_in_without_the_right_client_secret_and_scope(shared: Sandbox):
    url, right = f"{shared.checkout_url}/connect/token", (CHECKOUT_CLIENT_ID, CHECKOUT_SECRET)
    refused = [
        shared.plain.post(url, data=LOGIN, auth=(CHECKOUT_CLIENT_ID, "other")),
        shared.plain.post(url, data=LOGIN | {"scope": "vault"}, auth=right),
        shared.plain.post(url, data=LOGIN | {"grant_type": "password"}, auth=right),
    ]
    made = shared.plain.post(url, data=LOGIN, auth=right)
    strangers = [
        shared.plain.post(f"{shared.checkout_url}/account-updater/cards", json={}, headers=headers)
        for headers in ({}, {"authorization": "Bearer guessed"})
    ]

    assert [one.status_code for one in refused] == [400, 400, 400]
    assert set(made.json()) == set(FIELDS["login"])
    assert [one.status_code for one in strangers] == [401, 401]


def test_answers_have_the_members_that_are_published_and_no_others(api: Api):
    answers = []
    for status in FIELDS["statuses"]:
        failure = "UNKNOWN" if status == "UPDATE_FAILED" else None
        api.knows(status=status, new_number=NEXT, failure_code=failure)
        answers.append(api.ask().json())

    members = {name for answer in answers for name in answer}
    cards = [answer["card"] for answer in answers if "card" in answer]

    assert [answer["account_update_status"] for answer in answers] == FIELDS["statuses"]
    assert members == set(FIELDS["answer"])
    assert [set(card) for card in cards] == [set(FIELDS["card"])] * 2


def test_a_new_number_is_sealed_for_who_has_the_private_key(api: Api):
    api.knows(status="CARD_UPDATED", new_number=NEXT)
    card = api.ask().json()["card"]

    key = RSAKey.import_key(updater_pems()[0])
    opened = jwe.decrypt_compact(card["encrypted_card_number"], key, algorithms=["RSA-OAEP-256", "A256GCM"])

    assert opened.plaintext == NEXT.encode()
    assert (card["bin"], card["last4"]) == (NEXT[:6], NEXT[-4:])


def test_what_cannot_be_a_card_is_unprocessable_in_the_published_shape(api: Api):
    refused = [
        api.ask("4242424242424241"),
        api.ask(expiry_month=13),
        api.http.post("/account-updater/cards", json={"source_options": {"instrument": {"id": "src_abc"}}}),
        api.http.post("/account-updater/cards", content=b"{"),
    ]

    assert [one.status_code for one in refused] == [422] * 4
    assert [set(one.json()) for one in refused] == [set(FIELDS["error"])] * 4
    assert api.ask().json() == {"account_update_status": "UPDATE_FAILED", "account_update_failure_code": "UP_TO_DATE"}


def test_no_number_is_in_its_log(shared: Sandbox, api: Api):
    api.knows(status="CARD_UPDATED", new_number=NEXT)
    api.ask()
    api.ask("4242424242424241")

    log = shared.log.read_text()

    assert "checkout inquiries" in log
    assert NEXT not in log
    assert APPROVES not in log
