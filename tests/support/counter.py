"""A brand's agent at the gateway of a running house, over HTTP, and people it talks to."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Final

import aiohttp
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from gateway import mandates
from infra.bench.callers import agent_headers, first_brand, mcp_server_headers
from infra.chassis.clock import SystemClock
from infra.chassis.engine import create_engine, tenant_transaction
from infra.chassis.ids import new_id
from infra.chassis.secret import Secret
from infra.dev.demo.person import Inbox
from infra.dev.house import House

CART: Final = "0" * 64
AMOUNT_MINOR: Final = 1_000


@dataclass(slots=True)
class Counter:
    """Where the agent stands: what it asks of the gateway, and a look at the rows behind it."""

    house: House
    http: aiohttp.ClientSession
    engine: AsyncEngine
    headers: dict[str, str]
    quoting: dict[str, str]
    tenant_id: str
    brand_id: str

    async def send(self, method: str, path: str, body: Any = None, headers: Any = None) -> tuple[int, Any]:
        url = self.house.urls["gateway"] + path
        async with self.http.request(method, url, json=body, headers=headers or self.headers) as answer:
            return answer.status, await answer.json(content_type=None)

    async def done(self, method: str, path: str, body: Any = None, headers: Any = None) -> Any:
        status, answer = await self.send(method, path, body, headers)
        assert status in {200, 201}, answer
        return answer

    async def rows(self, query: str, **values: Any) -> list[dict[str, Any]]:
        async with tenant_transaction(self.engine, self.tenant_id) as tx:
            return [dict(row) for row in (await tx.execute(text(query), values)).mappings()]

    def superuser(self, statement: str) -> None:
        self.house.clusters["house"].sql(statement, database=self.house.databases["gateway"].name)


@dataclass(frozen=True, slots=True)
class Buyer:
    """A verified person in a conversation with the agent, who gave the brand's agents a mandate."""

    counter: Counter
    conversation_id: str
    subject_id: str

    async def quoted(self) -> dict[str, str]:
        """An order for a checkout that mcp_server just priced."""
        checkout_id = new_id("chk")
        quote = {"brand_id": self.counter.brand_id, "cart_sha256": CART, "amount_minor": AMOUNT_MINOR}
        quote |= {"currency": "USD", "description": "A lamp"}
        await self.counter.done("PUT", f"/v1/quotes/{checkout_id}", quote, self.counter.quoting)
        return self.order(checkout_id)

    def order(self, checkout_id: str) -> dict[str, str]:
        return {"checkout_id": checkout_id, "cart_sha256": CART, "conversation_id": self.conversation_id}


@asynccontextmanager
async def opened(house: House) -> AsyncIterator[Counter]:
    tenant_id, brand = first_brand(house)
    engine = create_engine(Secret(house.databases["gateway"].app_dsn), pool_size=4)
    jar = aiohttp.DummyCookieJar()
    async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=60), cookie_jar=jar) as http:
        headers, quoting = agent_headers(house, brand), mcp_server_headers(house)
        yield Counter(house, http, engine, headers, quoting, tenant_id, brand.brand_id)
    await engine.dispose()


async def buyer(at: Counter) -> Buyer:
    """Verified by a code, with a mandate that outlasts the test."""
    address = f"{new_id('ada')}@example.com"
    claim = {"kind": "email", "value": address}
    opening = {"brand_id": at.brand_id, "channel": "chat", "contact_point": claim}
    conversation_id = (await at.done("POST", "/v1/conversations", opening))["conversation_id"]
    path = f"/v1/conversations/{conversation_id}/challenges"
    challenge_id = (await at.done("POST", path, {"method": "email_code"}))["challenge_id"]
    code = await Inbox(at.house.urls["inbox"], at.http).code_for(address)
    await at.done("POST", f"/v1/challenges/{challenge_id}/answers", {"code": code})
    (found,) = await at.rows("SELECT subject_id FROM conversations WHERE conversation_id = :c", c=conversation_id)
    now = SystemClock().now()
    async with tenant_transaction(at.engine, at.tenant_id) as tx:
        await mandates.grant(
            tx,
            tenant_id=at.tenant_id,
            subject_id=found["subject_id"],
            brand_id=at.brand_id,
            currency="USD",
            payment_cap_minor=AMOUNT_MINOR,
            day_cap_minor=1_000 * AMOUNT_MINOR,
            delegates=[f"agents:{at.brand_id}"],
            granted_at=now,
            expires_at=now + timedelta(days=1),
            granted_in=conversation_id,
        )
    return Buyer(at, conversation_id, found["subject_id"])
