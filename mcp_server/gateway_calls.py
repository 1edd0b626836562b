"""What mcp_server asks the gateway. Every call says in whose name; refusals come back in the tools' words."""

from typing import TypeVar
from urllib.parse import urlencode

import msgspec

from gateway.contract import (
    PurchasePage,
    PurchaseRequest,
    PurchaseView,
    QuoteRequest,
    QuoteView,
    RecallRequest,
    RecallView,
    RememberedView,
    RememberRequest,
)
from infra.chassis import logs
from infra.chassis.client import PeerClient, PeerRefused
from infra.chassis.problems import PeerUnreachable
from infra.chassis.secret import Secret
from mcp_server.errors import (
    CardNumberInText,
    GatewayRefused,
    MemoryRefused,
    PaymentUnderWay,
    SignInEnded,
    ToolRefused,
    Unavailable,
)
from mcp_server.identity import Caller, Exchange

V = TypeVar("V")
IN_TOOL_WORDS: dict[str, type[ToolRefused]] = {
    "card_number_refused": CardNumberInText,
    "purchase_under_way": PaymentUnderWay,
    "memory_refused": MemoryRefused,
    "subject_full": MemoryRefused,
}
log = logs.get_logger()


class GatewayCalls:
    def __init__(self, gateway: PeerClient, exchange: Exchange) -> None:
        self._gateway = gateway
        self._exchange = exchange

    async def register_quote(self, caller: Caller, checkout_id: str, quote: QuoteRequest) -> QuoteView:
        """In the assistant's name, so that nobody but its person can pay: what this checkout costs now."""
        return await self._call(caller, "PUT", f"/v1/quotes/{checkout_id}", QuoteView, quote)

    async def buy(self, caller: Caller, request: PurchaseRequest) -> PurchaseView:
        """In the assistant's name: pay, or go on paying."""
        return await self._call(caller, "POST", "/v1/purchases", PurchaseView, request)

    async def paid_purchases(self, brand_id: str, after: str) -> PurchasePage:
        """In our own name: the brand's paid purchases that came after the cursor."""
        query = urlencode({"state": "paid", "brand_id": brand_id} | ({"after": after} if after else {}))
        return await self._call(None, "GET", f"/v1/purchases?{query}", PurchasePage)

    async def recall(self, caller: Caller, request: RecallRequest) -> RecallView:
        return await self._call(caller, "POST", "/v1/recalls", RecallView, request)

    async def remember(self, caller: Caller, request: RememberRequest) -> RememberedView:
        return await self._call(caller, "POST", "/v1/memories", RememberedView, request)

    async def _call(
        self, caller: Caller | None, method: str, path: str, answer: type[V], body: msgspec.Struct | None = None
    ) -> V:
        """A bearer the gateway has just stopped accepting is replaced once."""
        bearer = await self._bearer(caller)
        try:
            return await self._send(bearer, method, path, answer, body)
        except SignInEnded:
            self._exchange.forget(bearer)
        try:
            return await self._send(await self._bearer(caller), method, path, answer, body)
        except SignInEnded:
            raise SignInEnded if caller is not None else Unavailable from None

    async def _bearer(self, caller: Caller | None) -> Secret[str]:
        try:
            return await (self._exchange.for_ourselves() if caller is None else self._exchange.for_caller(caller))
        except PeerUnreachable:
            raise Unavailable from None

    async def _send(
        self, bearer: Secret[str], method: str, path: str, answer: type[V], body: msgspec.Struct | None
    ) -> V:
        headers = {"Authorization": f"Bearer {bearer.reveal()}"}
        try:
            return await self._gateway.call(method, path, answer, body=body, headers=headers)
        except PeerUnreachable:
            raise Unavailable from None
        except PeerRefused as refusal:
            log.info("gateway_refused", status=refusal.status, code=refusal.code)
            raise _in_tool_words(refusal) from None


def _in_tool_words(refusal: PeerRefused) -> ToolRefused:
    if refusal.status == 401:  # noqa: PLR2004 - RFC 9110: not authenticated
        return SignInEnded()
    if refusal.status >= 500:  # noqa: PLR2004 - the gateway could not, rather than would not
        return Unavailable()
    words = IN_TOOL_WORDS.get(refusal.code)
    return words() if words is not None else GatewayRefused(code=refusal.code)
