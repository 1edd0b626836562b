"""What a whole purchase costs, from the assistant's first call to its order, beside the processor's part alone."""

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from typing import Any

import aiohttp
import stripe

from infra.bench.callers import first_brand
from infra.bench.mcp_server import Endpoint
from infra.bench.measuring import BenchFailed, Call, Comparison, Figure
from infra.bench.stage import JSON, TIMEOUT, Door, client, fresh_house, measured
from infra.chassis.ids import new_id
from infra.dev.demo.assistant import Keeper, connect
from infra.dev.demo.person import CARD_CODE, CARD_EXPIRY, CARD_NUMBER, FormSender, Inbox
from infra.dev.demo.purchase import SHIP_TO
from infra.dev.house import SERVICES, House

SKU = "LL-LAMP-FOLIO"
"""Cheap, and 120 of them: a person's day cap of $300 buys nine, with shipping."""
PURCHASES_A_PERSON = 9
AMOUNT_MINOR = 3_090
ON_FILE_BAR = 14.0
"""Ours: 8 to 11 was measured, a quarter is margin. Two tool calls, a quote, a decision, a charge in three transactions
and an order stand beside three round trips."""
TYPED_BAR = 28.0
"""Ours: 16 to 23 was measured, a quarter is margin. As above, with a door, a card page and its form between."""


async def measure() -> list[Figure]:
    with fresh_house(*SERVICES) as house:
        async with client() as http, AsyncExitStack() as leaving, _processor(house) as processor:
            street = _Street(house, http, leaving)

            async def bare() -> Call:
                return processor.charge

            floor_is = "the stripe SDK straight at the processor: payment method, intent, confirmation"
            return [
                await measured(
                    Comparison(
                        figure=figure, floor_is=floor_is, ours=prepare, floor=bare, bar=bar, rounds=12, calls=calls
                    )
                )
                for figure, prepare, bar, calls in (
                    ("purchase: checkout to order, card on file", street.buy_with_card_on_file, ON_FILE_BAR, 4),
                    ("purchase: checkout to order, card typed on the page", street.buy_with_new_card, TYPED_BAR, 1),
                )
            ]


@dataclass(slots=True)
class _Person:
    """Signed in through the front door, with an assistant and a browser that sends what the pages send."""

    endpoint: Endpoint
    browser: FormSender
    bought: int = 0

    async def buy(self) -> None:
        checkout = await self.endpoint.tool("create_checkout", items=[{"sku": SKU, "quantity": 1}], ship_to=SHIP_TO)
        paid = await self._pay(checkout)
        if paid["state"] == "needs_card":
            await self.browser.type_card(paid["card_url"])
            paid = await self._pay(checkout)
        if paid["state"] != "paid" or "order" not in paid:
            raise BenchFailed(f"a purchase ended as {paid['state']}: {paid.get('message')}")
        self.bought += 1

    async def _pay(self, checkout: dict[str, Any]) -> dict[str, Any]:
        return await self.endpoint.tool("pay", checkout_id=checkout["checkout_id"])


class _Street:
    """People outside the house. They stay until `leaving` closes."""

    def __init__(self, house: House, http: aiohttp.ClientSession, leaving: AsyncExitStack) -> None:
        _, brand = first_brand(house)
        self._url = brand.resource_url
        self._http = http
        self._inbox = Inbox(house.urls["inbox"], http)
        self._leaving = leaving
        self._regular: _Person | None = None

    async def buy_with_new_card(self) -> Call:
        return (await self._person()).buy

    async def buy_with_card_on_file(self) -> Call:
        if self._regular is None or self._regular.bought >= PURCHASES_A_PERSON:
            self._regular = await self._person()
            await self._regular.buy()
        return self._regular.buy

    async def _person(self) -> _Person:
        jar = aiohttp.CookieJar(unsafe=True)
        browser = FormSender(
            await self._leaving.enter_async_context(aiohttp.ClientSession(timeout=TIMEOUT, cookie_jar=jar)),
            self._inbox,
        )
        keeper, address = Keeper(), f"{new_id('ada')}@example.com"

        async def agree(url: str) -> None:
            await browser.agree(url, address)

        async def show(url: str) -> None:
            raise BenchFailed(f"signing in led to a link: {url}")

        async with connect(self._url, keeper, agree, show):
            pass
        if keeper.tokens is None:
            raise BenchFailed("the assistant got no bearer")
        headers = {**JSON, "Authorization": f"Bearer {keeper.tokens.access_token}"}
        return _Person(Endpoint(Door(self._http, self._url), headers), browser)


@dataclass(frozen=True, slots=True)
class _Processor:
    """The three calls that no purchase can do without, through the SDK as it comes."""

    api: stripe.StripeClient

    async def charge(self) -> None:
        try:
            status = await self._charge()
        except stripe.StripeError as error:
            raise BenchFailed(f"a bare charge failed: {type(error).__name__}") from None
        if status != "succeeded":
            raise BenchFailed(f"a bare charge ended as {status}")

    async def _charge(self) -> str:
        month, year = CARD_EXPIRY.split("/")
        method = await self.api.v1.payment_methods.create_async(
            {
                "type": "card",
                "card": {
                    "number": CARD_NUMBER,
                    "exp_month": int(month),
                    "exp_year": 2000 + int(year),
                    "cvc": CARD_CODE,
                },
            }
        )
        intent = await self.api.v1.payment_intents.create_async(
            {
                "amount": AMOUNT_MINOR,
                "currency": "usd",
                "automatic_payment_methods": {"enabled": True, "allow_redirects": "never"},
            }
        )
        return (await self.api.v1.payment_intents.confirm_async(intent.id, {"payment_method": method.id})).status


@asynccontextmanager
async def _processor(house: House) -> AsyncIterator[_Processor]:
    transport = stripe.AIOHTTPClient()
    key = house.keyring.path("vault/processor.key").read_text(encoding="ascii")
    addresses: Any = {"api": house.urls["processor"]}
    try:
        yield _Processor(stripe.StripeClient(key, base_addresses=addresses, http_client=transport))
    finally:
        await transport.close_async()  # type: ignore[no-untyped-call]  # as the SDK has it
