"""Events as the processor signs them."""

import json
import time
from typing import Any

import httpx2
import stripe

from infra.chassis.ids import new_id
from tests.sandbox.running import WEBHOOK_SECRET
from tests.vault.bench import Bench


def event_about(payment_ref: str, what: str, kind: str, **changes: Any) -> bytes:
    """`what` is the kind of object the event shows; all but a payment itself name the payment they belong to."""
    shown: dict[str, Any] = {"object": what, "metadata": {}}
    shown |= {"id": payment_ref} if what == "payment_intent" else {"id": "x", "payment_intent": payment_ref}
    values: dict[str, Any] = {"id": f"evt_{new_id('evt')[4:]}", "object": "event", "type": kind}
    values |= {"data": {"object": shown}} | changes
    values["data"]["object"] = shown | values["data"]["object"]
    return json.dumps(values).encode()


def signed(body: bytes, *, secret: str = WEBHOOK_SECRET, age: int = 0) -> dict[str, str]:
    signature = stripe.WebhookSignature.generate_signature_header(body.decode(), secret, int(time.time()) - age)
    return {"Stripe-Signature": signature}


async def post(bench: Bench, body: bytes, *, secret: str = WEBHOOK_SECRET, age: int = 0) -> httpx2.Response:
    return await bench.webhooks.post("/webhooks/stripe", content=body, headers=signed(body, secret=secret, age=age))
