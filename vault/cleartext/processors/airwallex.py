"""Airwallex, through its HTTP API; it has no SDK for Python. Nothing it wrote as text leaves `airwallex_shapes.py`.

Three things are unlike Stripe. A card and its confirmation are one call, so a presented card waits in memory for it
(`held.py`). A key of ours that was used before is refused (`duplicate_request`) and not answered again, so after it we
ask what became of the first request. Amounts are in units (79.98), not in minor units.

Calls need a bearer, which is had for the client id and key and lives for half an hour. One that is refused is had anew,
once: whoever is refused at the door has done nothing.
"""

import asyncio
import hashlib
import hmac
import re
from collections.abc import AsyncIterator, Mapping
from datetime import datetime, timedelta
from typing import Any, Final, TypeVar
from urllib.parse import urlencode

import msgspec

from infra.chassis.clock import Clock
from infra.chassis.ids import new_id
from infra.chassis.secret import Secret
from vault.cleartext.pan import CardDetails, VerificationCode
from vault.cleartext.processors import (
    CardRefused,
    Dispute,
    EventRefused,
    Payment,
    PaymentOrder,
    PaymentState,
    ProcessorEvent,
    ProcessorRefused,
    ProcessorSilent,
    RefundRequest,
    RefundResult,
)
from vault.cleartext.processors import airwallex_shapes as shapes
from vault.cleartext.processors.held import HeldCard, HeldCards
from vault.cleartext.processors.noted import NOTHING
from vault.cleartext.processors.redirects import led_to_the_bank
from vault.cleartext.processors.transport import NoAnswer, Wire
from vault.contract import ChargeReason, is_identifier

API_VERSION: Final = "2024-08-07"
"""Shapes are dated; this is the one `airwallex_shapes.py` reads."""
LOGIN: Final = "/api/v1/authentication/login"
PAYMENTS: Final = "/api/v1/pa/payment_intents"
REFUNDS: Final = "/api/v1/pa/refunds"
DISPUTES: Final = "/api/v1/pa/payment_disputes"
BEARER_MARGIN: Final = timedelta(minutes=2)
PAGE_SIZE: Final = 100
PAGES_MAX: Final = 50
"""A list that is longer is not believed to end; who looked for something in it has had no answer."""
SIGNATURE_AGE_MAX: Final = timedelta(minutes=5)
UNAUTHORIZED: Final = 401
REQUEST_ID_LENGTH: Final = 48
"""Of 64 at most, and our keys are longer. 48 letters of 16 are 192 bits."""
_SIGNATURE: Final = re.compile(r"t=([0-9]{10,15}),v1=([0-9a-f]{64})")
_EVENT_KIND: Final = re.compile(r"[a-z_]{2,40}(?:\.[a-z_]{2,60}){1,4}")
_NO_DIGITS: Final = str.maketrans("0123456789", "ghijklmnop")
_JSON: Final = msgspec.json.Encoder(decimal_format="number")
_S = TypeVar("_S", bound=msgspec.Struct)


class AirwallexProcessor:
    def __init__(
        self,
        *,
        url: str,
        client_id: str,
        api_key: Secret[str],
        webhook_secret: Secret[str],
        timeout_seconds: float,
        clock: Clock,
        held: HeldCards,
        action_origins: frozenset[str] = frozenset(),
    ) -> None:
        """`action_origins`: as Stripe's."""
        self._action_origins = action_origins
        self._url = url.rstrip("/")
        self._client_id = client_id
        self._api_key = api_key
        self._webhook_secret = webhook_secret
        self._clock = clock
        self._timeout_seconds = timeout_seconds
        self._wire = Wire(timeout_seconds)
        self._held = held
        self._bearer: tuple[Secret[str], datetime] | None = None
        self._at_the_door = asyncio.Lock()

    async def open_payment(self, order: PaymentOrder) -> str:
        try:
            intent = await self._post(
                f"{PAYMENTS}/create",
                order.key,
                shapes.Intent,
                amount=shapes.major(order.amount_minor, order.currency),
                currency=order.currency,
                merchant_order_id=order.charge_id,
                metadata={"tenant_id": order.tenant_id, "charge_id": order.charge_id},
                payment_method_options={"card": _card_options(order)},
            )
        except shapes.UsedBefore:
            found = await self.find_payments(order.tenant_id, order.charge_id)
            if len(found) != 1:
                raise ProcessorSilent from None
            return found[0].ref
        return shapes.reference(intent.id)

    async def present_card(self, key: str, card: CardDetails, code: VerificationCode | None) -> str:  # noqa: ARG002 - nothing is sent yet, so there is nothing to name
        """Nothing is sent yet: the card goes with its confirmation."""
        return self._held.hold(card, code)

    async def confirm_payment(
        self,
        key: str,
        ref: str,
        method_ref: str,
        *,
        by_phone: bool = False,  # noqa: ARG002 - said when it was opened
        return_url: str | None = None,
    ) -> Payment:
        """A card whose bank wants to ask is declined, and its payment cancelled, when nobody can be sent there.

        In this version the card itself says where its holder comes back to; the payment's own `return_url` is for other
        ways of paying. After that nothing is posted any more: Airwallex charges when its page is through.
        """
        held = self._held.take(method_ref)
        if held is None:
            raise ProcessorRefused(ChargeReason.PROCESSOR_ERROR)
        try:
            method = {"type": "card", "card": _typed(held, return_url)}
            intent = await self._post(f"{PAYMENTS}/{ref}/confirm", key, shapes.Intent, payment_method=method)
        finally:
            held.wipe()
        confirmed = self._payment(intent)
        if confirmed.state is PaymentState.NEEDS_AUTHENTICATION and return_url is None:
            await self.cancel_payment(ref)
            raise CardRefused(ChargeReason.AUTHENTICATION_REQUIRED)
        return confirmed

    async def look_up_payment(self, ref: str) -> Payment:
        return self._payment(await self._get(f"{PAYMENTS}/{ref}", shapes.Intent))

    async def find_payments(self, tenant_id: str, charge_id: str) -> list[Payment]:
        """By our charge id, which two tenants may both have chosen: the metadata says whose it is."""
        pages = self._pages(PAYMENTS, shapes.Intents, merchant_order_id=charge_id)
        return [
            self._payment(intent)
            async for page in pages
            for intent in page.items
            if intent.metadata is not None
            and (intent.metadata.tenant_id, intent.metadata.charge_id) == (tenant_id, charge_id)
        ]

    async def settle_payment(self, key: str, ref: str, amount_minor: int, currency: str) -> Payment:
        amount = shapes.major(amount_minor, currency)
        return shapes.payment(await self._post(f"{PAYMENTS}/{ref}/capture", key, shapes.Intent, amount=amount))

    async def cancel_payment(self, ref: str, key: str | None = None) -> None:
        try:
            intent = await self._post(
                f"{PAYMENTS}/{ref}/cancel", key or new_id("cnl"), shapes.Intent, cancellation_reason="requested"
            )
        except shapes.UsedBefore:
            intent = await self._get(f"{PAYMENTS}/{ref}", shapes.Intent)
        if shapes.payment(intent).state is not PaymentState.CANCELLED:
            raise ProcessorSilent

    async def disputes_of(self, ref: str) -> list[Dispute]:
        pages = self._pages(DISPUTES, shapes.Disputes, payment_intent_id=ref)
        return [shapes.dispute(one) async for page in pages for one in page.items]

    async def refund(self, request: RefundRequest) -> RefundResult:
        try:
            refund = await self._post(
                f"{REFUNDS}/create",
                request.key,
                shapes.Refund,
                payment_intent_id=request.payment_ref,
                amount=shapes.major(request.amount_minor, request.currency),
                metadata={"tenant_id": request.tenant_id, "refund_id": request.refund_id},
            )
        except shapes.UsedBefore:
            found = await self.find_refund(request)
            if found is None:
                raise ProcessorSilent from None
            return found
        return shapes.refund_result(refund)

    async def find_refund(self, request: RefundRequest) -> RefundResult | None:
        async for page in self._pages(REFUNDS, shapes.Refunds, payment_intent_id=request.payment_ref):
            for refund in page.items:
                if (refund.metadata or NOTHING).refund_id == request.refund_id:
                    return shapes.refund_result(refund)
        return None

    def read_event(self, body: bytes, signature: str | None) -> ProcessorEvent:
        """`signature` is `t=<x-timestamp>,v1=<x-signature>`: milliseconds, and an HMAC-SHA256 over them and the body.

        Airwallex's event ids are long runs of digits, which a card number could hide among; ours is made from theirs.
        """
        self._check_signature(body, signature)
        try:
            event = msgspec.json.decode(body, type=shapes.Event)
        except (msgspec.MsgspecError, UnicodeDecodeError):
            raise EventRefused from None
        if not event.id or not _EVENT_KIND.fullmatch(event.name):
            raise EventRefused
        about = event.data.object
        tenant_id = (about.metadata or NOTHING).tenant_id
        return ProcessorEvent(
            f"evt_{_letters(event.id)}",
            event.name,
            tenant_id if tenant_id.startswith("tnt_") and is_identifier(tenant_id) else None,
            shapes.payment_reference(about.payment_intent_id or about.id),
        )

    async def close(self) -> None:
        await self._wire.close()

    def _payment(self, intent: shapes.Intent) -> Payment:
        """With the page that leads to the card's bank, where one is named that may be shown."""
        url = None if intent.next_action is None else intent.next_action.page
        return led_to_the_bank(shapes.payment(intent), url, self._action_origins)

    def _check_signature(self, body: bytes, signature: str | None) -> None:
        found = _SIGNATURE.fullmatch(signature or "")
        if found is None:
            raise EventRefused
        sent_at, claimed = found.groups()
        expected = hmac.new(self._webhook_secret.reveal().encode(), sent_at.encode() + body, hashlib.sha256).hexdigest()
        if not hmac.compare_digest(expected, claimed):
            raise EventRefused
        if self._clock.now().timestamp() - int(sent_at) / 1000 > SIGNATURE_AGE_MAX.total_seconds():
            raise EventRefused

    async def _pages(self, path: str, kind: type[_S], **wanted: str) -> AsyncIterator[_S]:
        """Raises ProcessorSilent when there is no end of it."""
        for number in range(PAGES_MAX):
            query = urlencode({**wanted, "page_num": number, "page_size": PAGE_SIZE})
            page = await self._get(f"{path}?{query}", kind)
            yield page
            if not getattr(page, "has_more", False):
                return
        raise ProcessorSilent

    async def _get(self, path: str, kind: type[_S]) -> _S:
        return await self._call("GET", path, None, kind)

    async def _post(self, path: str, key: str, kind: type[_S], **fields: Any) -> _S:
        return await self._call("POST", path, _JSON.encode({"request_id": _request_id(key), **fields}), kind)

    async def _call(self, method: str, path: str, content: bytes | None, kind: type[_S]) -> _S:
        """With a login before it, or another one, it still takes no longer than one call may."""
        try:
            async with asyncio.timeout(self._timeout_seconds):
                body, status = await self._send(method, path, content)
                if status == UNAUTHORIZED:
                    self._bearer = None
                    body, status = await self._send(method, path, content)
        except TimeoutError:
            raise ProcessorSilent from None
        return _read(body, status, kind)

    async def _send(self, method: str, path: str, content: bytes | None) -> tuple[bytes, int]:
        headers = {"authorization": f"Bearer {(await self._enter()).reveal()}"}
        return await self._ask(method, path, headers, content)

    async def _enter(self) -> Secret[str]:
        """A bearer good for a while yet; one login at a time."""
        async with self._at_the_door:
            if self._bearer is not None and self._clock.now() < self._bearer[1]:
                return self._bearer[0]
            headers = {"x-client-id": self._client_id, "x-api-key": self._api_key.reveal()}
            body, status = await self._ask("POST", LOGIN, headers, None)
            bearer = _read(body, status, shapes.Bearer)
            try:
                until = datetime.fromisoformat(bearer.expires_at) - BEARER_MARGIN
            except ValueError:
                raise ProcessorSilent from None
            if until.tzinfo is None:
                raise ProcessorSilent
            self._bearer = Secret(bearer.token), until
            return self._bearer[0]

    async def _ask(
        self, method: str, path: str, headers: Mapping[str, str], content: bytes | None
    ) -> tuple[bytes, int]:
        always = {"content-type": "application/json", "x-api-version": API_VERSION}
        try:
            body, status, _ = await self._wire.ask(method, self._url + path, {**always, **headers}, content)
        except NoAnswer:
            raise ProcessorSilent from None
        return body, status


def _read(body: bytes, status: int, kind: type[_S]) -> _S:
    """What we read of an answer, or one of our two exceptions."""
    if status not in {200, 201}:
        raise shapes.refusal(status, body)
    try:
        return msgspec.json.decode(body, type=kind)
    except (msgspec.MsgspecError, UnicodeDecodeError):
        raise ProcessorSilent from None


def _card_options(order: PaymentOrder) -> dict[str, Any]:
    """`card_input_via` is `ecommerce` unless said."""
    options: dict[str, Any] = {"auto_capture": not order.hold}
    return options | {"card_input_via": "moto"} if order.by_phone else options


def _typed(held: HeldCard, return_url: str | None) -> dict[str, Any]:
    card = held.details
    fields: dict[str, Any] = {
        "number": str(card.number.reveal(), "ascii"),
        "expiry_month": f"{card.exp_month:02d}",
        "expiry_year": str(card.exp_year),
    }
    if card.holder:
        fields["name"] = card.holder
    if return_url is not None:
        fields["three_ds"] = {"return_url": return_url}
    return fields if held.code is None else {**fields, "cvc": str(held.code.reveal(), "ascii")}


def _request_id(key: str) -> str:
    """The same key always gives the same id, also after a restart; no digits, so no card number by chance."""
    return _letters(key)[:REQUEST_ID_LENGTH]


def _letters(identifier: str) -> str:
    return hashlib.sha256(identifier.encode()).hexdigest().translate(_NO_DIGITS)
