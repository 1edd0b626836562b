"""A killed sandbox forgets nothing, a stopped one stops, and neither ever wrote a card number down."""

import base64
import sqlite3
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing

import pytest
import stripe

from tests.sandbox.running import (
    APPROVES,
    ROOT,
    Sandbox,
    add_card,
    card,
    charge_of,
    make_sandbox,
    open_intent,
    pay,
    wait_until,
)
from tests.support.waiting import BUSY_SECONDS_MAX


def test_a_killed_sandbox_remembers_everything(own_sandbox: Sandbox):
    client = own_sandbox.client()
    paid = pay(client, metadata={"charge_id": "chg_kept"})
    intent, method = open_intent(client), add_card(client, APPROVES)
    key = {"idempotency_key": "kept"}
    confirmed = client.v1.payment_intents.confirm(intent.id, {"payment_method": method.id}, key)  # type: ignore[arg-type]  # a plain dict
    own_sandbox.plain.post(
        f"{own_sandbox.inbox_url}/messages", json={"to": "a@example.com", "subject": "s", "text": "t"}
    )
    fingerprint = add_card(client, APPROVES).card

    own_sandbox.kill()
    own_sandbox.start()

    again = client.v1.payment_intents.confirm(intent.id, {"payment_method": method.id}, key)  # type: ignore[arg-type]  # a plain dict
    assert again.latest_charge == confirmed.latest_charge
    assert client.v1.charges.retrieve(charge_of(paid)).metadata["charge_id"] == "chg_kept"
    assert len(own_sandbox.plain.get(f"{own_sandbox.inbox_url}/messages").json()["messages"]) == 1
    fingerprint_again = add_card(client, APPROVES).card
    assert fingerprint is not None
    assert fingerprint_again is not None
    assert fingerprint.fingerprint == fingerprint_again.fingerprint


def test_no_card_number_or_code_is_ever_written_down(own_sandbox: Sandbox):
    client = own_sandbox.client()
    number, code = "4000056655665556", "739"
    pay(client, number)
    own_sandbox.fault("echo_card_number")
    for place, refused in enumerate((card(number, cvc=code), card(number, exp_year=2020), card("4000056655665557"))):
        with pytest.raises(stripe.CardError):
            client.v1.payment_methods.create(refused, {"idempotency_key": f"key {place}"})  # type: ignore[arg-type]  # a plain dict
    with own_sandbox.http() as http:
        http.post("/v1/payment_intents", data={"amount": "1000", "currency": "usd", f"x{number}": number})
        http.get(f"/v1/payment_intents/{number}", params={"client_secret": number})
        http.post(f"/v1/payment_intents/{number}/confirm", headers={"Idempotency-Key": "path"})
        http.post("/v1/refunds", data={"charge": number}, headers={"Idempotency-Key": "parameter"})
    own_sandbox.kill()

    written = b"".join(path.read_bytes() for path in own_sandbox.folder.rglob("*") if path.is_file())

    forms = (number, " ".join(number[at : at + 4] for at in range(0, 16, 4)), number.encode().hex())
    found = [form for form in forms if form.encode() in written]
    assert found == []
    assert base64.b64encode(number.encode()).rstrip(b"=")[:-1] not in written


def test_a_held_request_does_not_keep_the_sandbox_from_stopping(own_sandbox: Sandbox):
    client = own_sandbox.client()
    intent, method = open_intent(client), add_card(client, APPROVES)
    own_sandbox.fault("timeout_before_charge")

    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(client.v1.payment_intents.confirm, intent.id, {"payment_method": method.id})
        wait_until(lambda: own_sandbox.plain.get(f"{own_sandbox.url}/_sandbox/faults").json()["held"] == 1)
        status = own_sandbox.stop()
        problem = waiting.exception()

    assert status == 0
    assert isinstance(problem, stripe.StripeError)
    own_sandbox.start()
    assert client.v1.payment_intents.retrieve(intent.id).status == "requires_payment_method"


def start_with(sandbox: Sandbox, **changes: str) -> subprocess.CompletedProcess[str]:
    environment = sandbox.environment | {f"UNDERCROFT_SANDBOX_{name}": value for name, value in changes.items()}
    command = [sys.executable, "-m", "infra.sandbox"]
    return subprocess.run(
        command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=BUSY_SECONDS_MAX, check=False
    )


@pytest.mark.parametrize("name", ["BIND", "INBOX_BIND"])
@pytest.mark.parametrize("address", ["0.0.0.0:7500", "192.168.1.4:7500", "[::]:7500", "localhost:7500", "127.0.0.1"])
def test_an_address_that_is_not_loopback_is_refused(tmp_path_factory: pytest.TempPathFactory, name: str, address: str):
    sandbox = make_sandbox(tmp_path_factory.mktemp("refused"))

    ended = start_with(sandbox, **{name: address})

    assert ended.returncode == 2
    assert f"UNDERCROFT_SANDBOX_{name}" in ended.stderr


def test_every_missing_setting_is_named_at_once(tmp_path_factory: pytest.TempPathFactory):
    sandbox = make_sandbox(tmp_path_factory.mktemp("incomplete"))

    ended = start_with(sandbox, BIND="", STATE_FOLDER="", API_KEY_FILE="/nowhere", WEBHOOK_URL="http://127.0.0.1:1/")

    assert ended.returncode == 2
    for name in ("BIND", "STATE_FOLDER", "API_KEY_FILE", "WEBHOOK_SECRET_FILE"):
        assert f"UNDERCROFT_SANDBOX_{name}" in ended.stderr


def test_a_taken_port_is_named_instead_of_shared(sandbox: Sandbox, tmp_path_factory: pytest.TempPathFactory):
    late = make_sandbox(tmp_path_factory.mktemp("late"))

    ended = start_with(late, INBOX_BIND=sandbox.environment["UNDERCROFT_SANDBOX_INBOX_BIND"])

    assert ended.returncode == 1
    assert sandbox.inbox_url in ended.stderr


def test_state_of_another_version_is_refused_with_what_to_do(own_sandbox: Sandbox):
    own_sandbox.stop()
    with closing(sqlite3.connect(own_sandbox.folder / "state" / "processor.sqlite")) as database:
        database.execute("PRAGMA user_version = 99")

    ended = start_with(own_sandbox)

    assert ended.returncode == 1
    assert "remove the state folder" in ended.stderr
