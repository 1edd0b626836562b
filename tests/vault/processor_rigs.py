"""Both processors behind one handle: the adapter, the sandbox it speaks to, and what that says was charged."""

import hashlib
import hmac
import json
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import stripe

from infra.chassis.clock import SystemClock
from infra.chassis.ids import new_id
from infra.chassis.secret import Secret
from infra.sandbox.settings import AIRWALLEX_CLIENT_ID
from tests.sandbox.running import AIRWALLEX_KEY, API_KEY, WEBHOOK_SECRET, Sandbox
from vault.cleartext.pan import CardDetails, CardNumber, VerificationCode
from vault.cleartext.processors import Payment, PaymentOrder, Processor, RefundRequest
from vault.cleartext.processors.airwallex import AirwallexProcessor
from vault.cleartext.processors.held import HeldCards
from vault.cleartext.processors.stripe import StripeProcessor

NAMES = ("stripe", "airwallex")
PATIENT_SECONDS, IMPATIENT_SECONDS = 20, 1


def made(
    name: str, url: str, timeout_seconds: float = PATIENT_SECONDS, action_origins: frozenset[str] | None = None
) -> Processor:
    """`action_origins`: where a card's holder may be sent; unless said, to the processor's own."""
    secret, origins = Secret(WEBHOOK_SECRET), frozenset({url}) if action_origins is None else action_origins
    if name == "stripe":
        return StripeProcessor(
            url=url,
            api_key=Secret(API_KEY),
            webhook_secret=secret,
            timeout_seconds=timeout_seconds,
            action_origins=origins,
        )
    return AirwallexProcessor(
        url=url,
        client_id=AIRWALLEX_CLIENT_ID,
        api_key=Secret(AIRWALLEX_KEY),
        webhook_secret=secret,
        timeout_seconds=timeout_seconds,
        clock=SystemClock(),
        held=HeldCards(SystemClock()),
        action_origins=origins,
    )


def typed(number: str) -> tuple[CardDetails, VerificationCode]:
    """What somebody typed on the card page."""
    code = "1234" if number.startswith(("34", "37")) else "123"
    return CardDetails(CardNumber(number), 12, 2040, "Ada Byron"), VerificationCode(code)


def order(amount_minor: int = 7998, currency: str = "USD", **changes: Any) -> PaymentOrder:
    charge_id = new_id("chg")
    values = {"key": f"tnt_rig:{charge_id}:open", "tenant_id": "tnt_rig", "charge_id": charge_id, **changes}
    return PaymentOrder(amount_minor=amount_minor, currency=currency, **values)


@dataclass(frozen=True, slots=True)
class Rig:
    """`impatient` is another adapter to the same processor, for calls that are to run into their time."""

    name: str
    processor: Processor
    impatient: Processor
    url: str
    sandbox: Sandbox

    def fault(self, fault: str, operation: str | None = None, times: int = 1) -> None:
        aimed: dict[str, Any] = {"times": times} | ({} if operation is None else {"operation": operation})
        self.sandbox.plain.post(f"{self.url}/_sandbox/faults", json={"fault": fault, **aimed}).raise_for_status()

    def by_hand(self, path: str, **asked: str) -> None:
        self.sandbox.plain.post(f"{self.url}/_sandbox/{path}", json=asked).raise_for_status()

    def charges(self, charge_id: str) -> list[dict[str, Any]]:
        """What the sandbox says was attempted for a charge of ours."""
        found = self.sandbox.plain.get(f"{self.url}/_sandbox/charges").json()["charges"]
        return [one for one in found if one["metadata"].get("charge_id") == charge_id]

    def taken_minor(self, charge_id: str) -> int:
        return sum(one["amount_settled_minor"] for one in self.charges(charge_id))

    async def confirm(self, opened: PaymentOrder, ref: str, number: str, by: Processor | None = None) -> Payment:
        processor, (card, code) = by or self.processor, typed(number)
        method_ref = await processor.present_card(f"{opened.key}:card", card, code)
        return await processor.confirm_payment(f"{opened.key}:confirm", ref, method_ref, return_url=opened.return_url)

    async def paid(self, number: str, **changes: Any) -> tuple[PaymentOrder, Payment]:
        opened = order(**changes)
        return opened, await self.confirm(opened, await self.processor.open_payment(opened), number)

    def signed(self, body: bytes, *, age: int = 0, secret: str = WEBHOOK_SECRET) -> str:
        """As `Processor.read_event` takes it."""
        at = int(time.time()) - age
        if self.name == "stripe":
            return str(stripe.WebhookSignature.generate_signature_header(body.decode(), secret, at))
        return airwallex_signature(body, at * 1000, secret)

    def event(self, ref: str, tenant_id: str) -> bytes:
        shown = {"id": ref, "object": "payment_intent", "metadata": {"tenant_id": tenant_id}}
        if self.name == "stripe":
            return json.dumps(
                {"id": "evt_abcdefgh", "type": "payment_intent.succeeded", "data": {"object": shown}}
            ).encode()
        numbered = "evt_100_2019102201549020043_8321220011893766"
        return json.dumps({"id": numbered, "name": "payment_intent.succeeded", "data": {"object": shown}}).encode()


def airwallex_signature(body: bytes, milliseconds: int, secret: str = WEBHOOK_SECRET) -> str:
    mac = hmac.new(secret.encode(), str(milliseconds).encode() + body, hashlib.sha256).hexdigest()
    return f"t={milliseconds},v1={mac}"


def refund_of(ref: str, amount_minor: int, currency: str = "USD") -> RefundRequest:
    refund_id = new_id("ref")
    return RefundRequest(f"tnt_rig:{refund_id}", "tnt_rig", refund_id, ref, amount_minor, currency)


@asynccontextmanager
async def open_rig(name: str, sandbox: Sandbox) -> AsyncIterator[Rig]:
    url = sandbox.url if name == "stripe" else sandbox.airwallex_url
    processor, impatient = made(name, url), made(name, url, IMPATIENT_SECONDS)
    try:
        yield Rig(name, processor, impatient, url, sandbox)
    finally:
        sandbox.plain.delete(f"{url}/_sandbox/faults")
        sandbox.plain.post(f"{url}/_sandbox/release")
        await processor.close()
        await impatient.close()
