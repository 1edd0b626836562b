"""A verified person in conversation with a brand's agent, and what that agent asks of the gateway."""

import json
from dataclasses import dataclass
from datetime import timedelta
from http import HTTPStatus
from typing import Any

import aiohttp
import msgspec

from gateway import mandates
from gateway.contract import DecisionView, Outcome, PurchaseEnquiry, PurchaseRequest, QuoteRequest
from infra.bench.callers import agent_headers, first_brand, mcp_server_headers
from infra.bench.measuring import BenchFailed, Call
from infra.bench.stage import Door
from infra.chassis.clock import SystemClock
from infra.chassis.engine import create_engine, tenant_transaction
from infra.chassis.ids import new_id
from infra.chassis.secret import Secret
from infra.dev.demo.person import Inbox
from infra.dev.house import House

ADDRESS = "ada@example.com"
CART = "0" * 64
AMOUNT_MINOR = 7_998


@dataclass(frozen=True, slots=True)
class Conversation:
    """A verified person without a mandate talks to the brand's agent about a checkout that has a quote."""

    house: House
    door: Door
    headers: dict[str, str]
    tenant_id: str
    brand_id: str
    conversation_id: str
    subject_id: str
    checkout_id: str

    async def mandates(self) -> Call:
        path = f"/v1/mandates?conversation_id={self.conversation_id}"
        return lambda: self.door.send("GET", path, None, self.headers)

    async def purchase(self) -> Call:
        request = PurchaseRequest(checkout_id=self.checkout_id, cart_sha256=CART, conversation_id=self.conversation_id)
        body = msgspec.json.encode(request)
        return lambda: self.door.post("/v1/purchases", body, self.headers)

    async def enquiry(self) -> Call:
        """The whole of a decision that is allowed: `grant` first."""
        asked = PurchaseEnquiry(checkout_id=self.checkout_id, cart_sha256=CART, conversation_id=self.conversation_id)
        body = msgspec.json.encode(asked)

        async def allowed() -> None:
            answer = await self.door.post("/v1/decisions", body, self.headers)
            if msgspec.json.decode(answer, type=DecisionView).outcome is not Outcome.ALLOW:
                raise BenchFailed("the purchase that was to be allowed was denied")

        return allowed

    async def grant(self) -> str:
        """The person's mandate for the brand's agents, as the consent page grants it; its id."""
        engine, now = create_engine(Secret(self.house.databases["gateway"].app_dsn)), SystemClock().now()
        async with tenant_transaction(engine, self.tenant_id) as tx:
            mandate_id = await mandates.grant(
                tx,
                tenant_id=self.tenant_id,
                subject_id=self.subject_id,
                brand_id=self.brand_id,
                currency="USD",
                payment_cap_minor=2 * AMOUNT_MINOR,
                day_cap_minor=4 * AMOUNT_MINOR,
                delegates=[f"agents:{self.brand_id}"],
                granted_at=now,
                expires_at=now + timedelta(days=30),
                granted_in=self.conversation_id,
            )
        await engine.dispose()
        return mandate_id


async def conversation(house: House, http: aiohttp.ClientSession, address: str = ADDRESS) -> Conversation:
    """Through the front door, code and all; with the person of that e-mail address."""
    tenant_id, brand = first_brand(house)
    door, headers = Door(http, house.urls["gateway"]), agent_headers(house, brand)

    async def ask(path: str, body: dict[str, Any], expect: int = HTTPStatus.CREATED) -> dict[str, Any]:
        answer: dict[str, Any] = json.loads(await door.post(path, json.dumps(body).encode(), headers, expect=expect))
        return answer

    claim = {"kind": "email", "value": address}
    opened = await ask("/v1/conversations", {"brand_id": brand.brand_id, "channel": "chat", "contact_point": claim})
    conversation_id = str(opened["conversation_id"])
    challenge = await ask(f"/v1/conversations/{conversation_id}/challenges", {"method": "email_code"})
    code = await Inbox(house.urls["inbox"], http).code_for(address)
    await ask(f"/v1/challenges/{challenge['challenge_id']}/answers", {"code": code}, HTTPStatus.OK)
    checkout_id = new_id("chk")
    quote = QuoteRequest(
        brand_id=brand.brand_id, cart_sha256=CART, amount_minor=AMOUNT_MINOR, currency="USD", description="A lamp"
    )
    await door.send("PUT", f"/v1/quotes/{checkout_id}", msgspec.json.encode(quote), mcp_server_headers(house))
    subject_id = house.clusters["house"].sql(
        f"SELECT subject_id FROM conversations WHERE conversation_id = '{conversation_id}'",  # noqa: S608 - an id of ours
        database=house.databases["gateway"].name,
    )
    return Conversation(
        house, door, headers, tenant_id, brand.brand_id, conversation_id, subject_id.strip(), checkout_id
    )
