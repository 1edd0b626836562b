"""People and machines at the front doors of a running house; each test is another person."""

from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import aiohttp
import pytest
from mcp import Client
from mcp.shared.exceptions import MCPError
from mcp_types import URL_ELICITATION_REQUIRED, CallToolResult

from infra.chassis.ids import new_id
from infra.dev.demo.agent import ChatAgent
from infra.dev.demo.assistant import Keeper, call, connect
from infra.dev.demo.conversation import BRAND
from infra.dev.demo.person import FormSender, Inbox
from infra.dev.demo.purchase import SHIP_TO, SLUG
from infra.dev.house import House
from infra.dev.provisioning import agent_id
from tests.support.waiting import wait_until

PLENTY = "LL-LAMP-FOLIO"
"""Of which the demo brand has most among what costs enough to matter; every test of a worker buys from one stock."""


@dataclass(slots=True)
class Shopper:
    """A signed-in assistant and its person, who types a card whenever a link is shown."""

    client: Client
    inbox: Inbox
    address: str
    person: FormSender
    links: list[str] = field(default_factory=list)

    async def checkout(self, sku: str = PLENTY, quantity: int = 1) -> dict[str, Any]:
        return await call(self.client, "create_checkout", items=[{"sku": sku, "quantity": quantity}], ship_to=SHIP_TO)

    async def pay(self, checkout: dict[str, Any]) -> dict[str, Any]:
        return await call(self.client, "pay", checkout_id=checkout["checkout_id"])

    async def buy(self, sku: str = PLENTY, quantity: int = 1) -> dict[str, Any]:
        return await self.pay(await self.checkout(sku, quantity))

    async def try_tool(self, tool: str, **arguments: Any) -> CallToolResult:
        result = await self.client.call_tool(tool, arguments)
        assert isinstance(result, CallToolResult)
        return result

    async def link_for(self, checkout: dict[str, Any]) -> str:
        """In the 2025 era a link comes as an error that lists what to open (-32042)."""
        with pytest.raises(MCPError) as asked:
            await self.client.call_tool("pay", {"checkout_id": checkout["checkout_id"]})
        assert asked.value.error.code == URL_ELICITATION_REQUIRED
        return str(asked.value.error.data["elicitations"][0]["url"])


@dataclass(slots=True)
class Returning:
    """An assistant that opens a connection for each call, as after a crash; it stays signed in."""

    open: Callable[[], AbstractAsyncContextManager[Client]]

    async def result_of(self, tool: str, **arguments: Any) -> CallToolResult:
        async with self.open() as client:
            result = await client.call_tool(tool, arguments)
            assert isinstance(result, CallToolResult)
            return result

    async def call(self, tool: str, **arguments: Any) -> dict[str, Any]:
        async with self.open() as client:
            return await call(client, tool, **arguments)

    async def try_call(self, tool: str, **arguments: Any) -> dict[str, Any] | None:
        """None when the call broke in whatever way: the other side may have been killed."""
        try:
            return await self.call(tool, **arguments)
        except Exception:  # noqa: BLE001 - the SDK raises groups of transport errors; the caller tries again
            return None

    async def checkout(self) -> dict[str, Any]:
        return await self.call("create_checkout", items=[{"sku": PLENTY, "quantity": 1}], ship_to=SHIP_TO)

    async def buy(self) -> dict[str, Any]:
        return await self.call("pay", checkout_id=(await self.checkout())["checkout_id"])


@dataclass(slots=True)
class Street:
    """Outside the house."""

    house: House
    http: aiohttp.ClientSession

    @asynccontextmanager
    async def shopper(self, *, mode: str = "auto") -> AsyncIterator[Shopper]:
        address = f"{new_id('ada')}@example.com"
        inbox = Inbox(self.house.urls["inbox"], self.http)
        async with aiohttp.ClientSession(cookie_jar=aiohttp.CookieJar(unsafe=True)) as browser:
            person = FormSender(browser, inbox)
            links: list[str] = []

            async def authorize(url: str) -> None:
                await person.agree(url, address)

            async def show(url: str) -> None:
                links.append(url)
                await person.type_card(url)

            async with connect(self.endpoint, Keeper(), authorize, show, mode=mode) as client:
                yield Shopper(client, inbox, address, person, links)

    @asynccontextmanager
    async def returning(self) -> AsyncIterator[Returning]:
        address, keeper = f"{new_id('ada')}@example.com", Keeper()
        async with aiohttp.ClientSession(cookie_jar=aiohttp.CookieJar(unsafe=True)) as browser:
            person = FormSender(browser, Inbox(self.house.urls["inbox"], self.http))

            async def authorize(url: str) -> None:
                await person.agree(url, address)

            async def show(url: str) -> None:
                await person.type_card(url)

            yield Returning(lambda: connect(self.endpoint, keeper, authorize, show))

    async def agent(self) -> ChatAgent:
        agent = ChatAgent(self.http, self.house.urls["gateway"], agent_id(BRAND), self.house.agent_key(BRAND))
        await agent.sign_in()
        return agent

    async def fault(self, fault: str, *, times: int = 1, operation: str | None = None) -> None:
        order: dict[str, Any] = {"fault": fault, "times": times}
        if operation is not None:
            order["operation"] = operation
        async with self.http.post(f"{self.processor}/_sandbox/faults", json=order) as answer:
            assert answer.status == 200, await answer.text()

    async def held(self, at_least: int = 1) -> None:
        """Wait until the processor holds a request: the charge is under way."""

        async def is_held() -> bool:
            async with self.http.get(f"{self.processor}/_sandbox/faults") as answer:
                return bool((await answer.json())["held"] >= at_least)

        await wait_until(is_held)

    async def release(self) -> None:
        async with self.http.delete(f"{self.processor}/_sandbox/faults"):
            pass
        async with self.http.post(f"{self.processor}/_sandbox/release"):
            pass

    async def charges(self) -> list[dict[str, Any]]:
        """All that succeeded at the processor."""
        async with self.http.get(f"{self.processor}/_sandbox/charges") as answer:
            found: list[dict[str, Any]] = (await answer.json())["charges"]
            return [charge for charge in found if charge["status"] == "settled"]

    @property
    def endpoint(self) -> str:
        return f"{self.house.urls['mcp_server']}/brands/{SLUG}/mcp"

    @property
    def processor(self) -> str:
        return self.house.urls["processor"]


@pytest.fixture
async def street(house: House) -> AsyncIterator[Street]:
    async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=60)) as http:
        here = Street(house, http)
        yield here
        await here.release()
