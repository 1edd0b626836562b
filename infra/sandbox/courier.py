"""Delivers events as signed webhooks, at least once, with growing pauses between attempts."""

import asyncio
import hmac
import time

import aiohttp
import msgspec

from infra.sandbox.documents import Documents
from infra.sandbox.faults import Aim, Fault, Faults
from infra.sandbox.ledger import Delivery, Ledger
from infra.sandbox.logs import say
from infra.sandbox.resources import Event
from infra.sandbox.settings import Webhook

ATTEMPTS_MAX = 60  # with the pauses below about 50 minutes; then the event can only be fetched
_PAUSE_SECONDS_FIRST = 0.25
_PAUSE_SECONDS_MAX = 60.0
_ANSWER_SECONDS_MAX = 10.0
_AT_ONCE = 8
_SUCCESS = range(200, 300)


class Courier:
    """`wake` tells it that there may be something to deliver."""

    def __init__(self, ledger: Ledger, documents: Documents, faults: Faults, webhook: Webhook) -> None:
        self._ledger = ledger
        self._documents = documents
        self._faults = faults
        self._webhook = webhook
        self._woken = asyncio.Event()

    def wake(self) -> None:
        self._woken.set()

    async def run(self) -> None:
        """Deliver until cancelled. What was not delivered is delivered by the next process."""
        timeout = aiohttp.ClientTimeout(total=_ANSWER_SECONDS_MAX)
        async with aiohttp.ClientSession(timeout=timeout) as client:
            while True:
                self._woken.clear()
                due = self._ledger.due_deliveries(time.time(), limit=_AT_ONCE)
                if due:
                    await asyncio.gather(*(self._deliver(client, delivery) for delivery in due))
                else:
                    await self._sleep()

    async def _sleep(self) -> None:
        next_due = self._ledger.next_due()
        pause = None if next_due is None else max(0.0, next_due - time.time())
        try:
            await asyncio.wait_for(self._woken.wait(), pause)
        except TimeoutError:
            return

    async def _deliver(self, client: aiohttp.ClientSession, delivery: Delivery) -> None:
        event = self._ledger.find(Event, delivery.event_id)
        if event is None:
            self._ledger.unschedule(delivery.event_id)
            return
        body = msgspec.json.encode(self._documents.show(event))
        delivered = await self._post(client, body)
        if delivered and self._faults.take(Aim.WEBHOOK) is Fault.DUPLICATE_WEBHOOK:
            await self._post(client, body)
        attempts = delivery.attempts + 1
        if delivered or attempts >= ATTEMPTS_MAX:
            self._ledger.unschedule(event.id)
        else:
            self._ledger.schedule(event.id, due=time.time() + _pause_seconds(attempts), attempts=attempts)
        if not delivered:
            say("webhook_failed", type=event.type, attempts=attempts)

    async def _post(self, client: aiohttp.ClientSession, body: bytes) -> bool:
        headers = {"Content-Type": "application/json", "Stripe-Signature": signature(body, self._webhook.secret)}
        try:
            async with client.post(self._webhook.url, data=body, headers=headers, allow_redirects=False) as answer:
                return answer.status in _SUCCESS
        except (aiohttp.ClientError, TimeoutError):
            return False


def signature(body: bytes, secret: str) -> str:
    """The `Stripe-Signature` header of now (https://docs.stripe.com/webhooks#verify-manually)."""
    timestamp = int(time.time())
    mac = hmac.digest(secret.encode(), f"{timestamp}.".encode() + body, "sha256")
    return f"t={timestamp},v1={mac.hex()}"


def _pause_seconds(attempts: int) -> float:
    return min(_PAUSE_SECONDS_MAX, _PAUSE_SECONDS_FIRST * 2.0 ** min(attempts - 1, 20))
