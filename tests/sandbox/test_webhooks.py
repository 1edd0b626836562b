"""Events and their signed webhooks, received by a small server of the test's own."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import pytest
import stripe

from tests.sandbox.running import WEBHOOK_SECRET, Sandbox, charge_of, make_sandbox, pay, wait_until


@dataclass(slots=True)
class Receiver:
    """Keeps what came; answers 500 as often as told first."""

    url: str
    failures: int = 0
    attempts: int = 0
    received: list[tuple[bytes, str]] = field(default_factory=list)

    def events(self) -> list[stripe.Event]:
        return [
            stripe.Webhook.construct_event(body, signature, WEBHOOK_SECRET) for body, signature in list(self.received)
        ]

    def types(self) -> list[str]:
        return sorted(event.type for event in self.events())


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            kept.attempts += 1
            refused = kept.attempts <= kept.failures
            if not refused:
                kept.received.append((body, self.headers["Stripe-Signature"]))
            self.send_response(500 if refused else 200)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002  # the name is the parent's
            """Say nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    kept = Receiver(f"http://127.0.0.1:{server.server_port}/webhooks")
    thread = Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield kept
    server.shutdown()
    server.server_close()
    thread.join()


@pytest.fixture
def sending(tmp_path: Path, receiver: Receiver) -> Iterator[Sandbox]:
    sandbox = make_sandbox(tmp_path, webhook_url=receiver.url)
    sandbox.start()
    yield sandbox
    sandbox.end()


def test_every_event_is_delivered_with_a_signature_the_sdk_accepts(sending: Sandbox, receiver: Receiver):
    client = sending.client()
    paid = pay(client)
    client.v1.refunds.create({"payment_intent": paid.id})
    expected = [
        "charge.refunded",
        "charge.succeeded",
        "payment_intent.created",
        "payment_intent.succeeded",
        "refund.created",
    ]

    wait_until(lambda: receiver.types() == expected)

    by_type = {event.type: event for event in receiver.events()}
    assert by_type["payment_intent.succeeded"].data.object["id"] == paid.id
    assert by_type["charge.refunded"].data.object["amount_refunded"] == 2_500
    wait_until(lambda: all(event.pending_webhooks == 0 for event in client.v1.events.list().data))


def test_a_signature_made_with_another_secret_is_refused_by_the_sdk(sending: Sandbox, receiver: Receiver):
    pay(sending.client())
    wait_until(lambda: bool(receiver.received))
    body, signature = receiver.received[0]

    with pytest.raises(stripe.SignatureVerificationError):
        stripe.Webhook.construct_event(body, signature, "whsec_another")


def test_a_failed_delivery_is_tried_again_until_it_succeeds(sending: Sandbox, receiver: Receiver):
    receiver.failures = 4
    pay(sending.client())

    wait_until(lambda: len({event.id for event in receiver.events()}) == 3)

    assert receiver.attempts == receiver.failures + 3


def test_what_was_not_delivered_is_delivered_after_a_restart(sending: Sandbox, receiver: Receiver):
    receiver.failures = 1_000
    pay(sending.client())
    wait_until(lambda: receiver.attempts >= 3)
    sending.kill()
    receiver.failures = 0

    sending.start()

    wait_until(lambda: len({event.id for event in receiver.events()}) == 3)


def test_a_webhook_can_be_delivered_twice(sending: Sandbox, receiver: Receiver):
    sending.fault("duplicate_webhook", times=3)
    pay(sending.client())

    wait_until(lambda: len(receiver.received) == 6)

    assert len({event.id for event in receiver.events()}) == 3


def test_events_tell_the_story_of_a_decline_newest_first(client: stripe.StripeClient):
    with pytest.raises(stripe.CardError):
        pay(client, "4000000000009995")

    events = client.v1.events.list({"limit": 3}).data

    assert [event.type for event in events] == [
        "payment_intent.payment_failed",
        "charge.failed",
        "payment_intent.created",
    ]
    assert client.v1.events.retrieve(events[0].id).data.object["status"] == "requires_payment_method"


def test_an_event_names_the_request_and_the_key_that_caused_it(client: stripe.StripeClient):
    intent = client.v1.payment_intents.create({"amount": 900, "currency": "usd"}, {"idempotency_key": "key-event"})

    event = client.v1.events.list({"type": "payment_intent.created", "limit": 1}).data[0]

    assert event.data.object["id"] == intent.id
    assert event.request is not None
    assert event.request.idempotency_key == "key-event"
    assert event.request.id == (intent.last_response.request_id if intent.last_response else None)


def test_settling_held_money_is_an_event_of_its_own(client: stripe.StripeClient):
    held = pay(client, capture_method="manual")
    client.v1.payment_intents.capture(held.id)

    types = [event.type for event in client.v1.events.list({"limit": 3}).data]

    assert types == ["payment_intent.succeeded", "charge.captured", "payment_intent.amount_capturable_updated"]
    assert charge_of(held) == client.v1.events.list({"type": "charge.captured"}).data[0].data.object["id"]
