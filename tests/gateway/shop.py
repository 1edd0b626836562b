"""The real gateway in this process over real PostgreSQL; the vault, memory and sandbox of a running house behind it.

`Shop` has two tenants: north (brands larkspur and tsubaki, an agent for each and one mcp_server for both) and south.
"""

import json
import re
import secrets
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Any

import httpx2
import jwt
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from sqlalchemy import text

from gateway import mandates
from gateway.app import Gateway, build_gateway
from gateway.assurance import EvidenceKind
from gateway.bearers import Bearer, Bearers, CallerKind, public_jwk
from gateway.captures import Captures
from gateway.challenges import Codes
from gateway.contacts import Contacts
from gateway.conversations import Conversations
from gateway.grants import GrantMint
from gateway.oauth.assertions import ASSERTION_TYPE
from gateway.provision import provision
from gateway.settings import Keys, Settings, load_keys
from infra.chassis.engine import tenant_transaction
from infra.chassis.ids import new_id
from infra.chassis.secret import Secret
from infra.chassis.settings import Bind
from infra.dev.house import House
from infra.dev.settings import TEXTING_FROM
from tests.gateway.moved_clock import MovedClock
from tests.support.card_typing import enter_and_type
from tests.support.database import DatabaseMaker
from tests.support.limits import OUT_OF_THE_WAY

NORTH, SOUTH = "tnt_north", "tnt_south"
LARKSPUR, TSUBAKI, SOUTHERN = "brd_larkspur", "brd_tsubaki", "brd_southern"
AGENT, OTHER_AGENT, SOUTH_AGENT = "agt_larkspur", "agt_tsubaki", "agt_southern"
DESK, SOUTH_DESK = "agt_desk", "agt_south_desk"
"""Agents of the tenants that may change its rules."""
MCP = "mcp_north"
AUTHZEN_URL = "http://authzen.test"
POINT, SOUTH_POINT = "pep_larkspur", "pep_southern"
ASSISTANT = "ast_claude"
TSUBAKI_NUMBER = "+15557770100"
CART = "ab" * 32
GOOD_CARD, DECLINED_CARD = "4242424242424242", "4000000000000002"
AGENT_SCOPES = ["conversation", "purchase", "memory", "refund", "record"]


@dataclass(slots=True)
class Talk:
    """A caller in one conversation: what it says is said in that conversation."""

    shop: "Shop"
    agent: str
    conversation_id: str
    tenant_id: str = NORTH
    subject_id: str | None = None
    own_bearer: str | None = None
    """An assistant's."""

    async def bearer(self) -> str:
        return self.own_bearer or await self.shop.bearer(self.agent)

    async def call(self, method: str, path: str, body: Any = None, **query: str) -> httpx2.Response:
        return await self.shop.call(method, path, await self.bearer(), body, **query)

    async def post(self, path: str, **body: Any) -> httpx2.Response:
        return await self.call("POST", path, {"conversation_id": self.conversation_id, **body})

    async def buy(self, checkout_id: str, **changes: Any) -> dict[str, Any]:
        answer = await self.post("/v1/purchases", **{"checkout_id": checkout_id, "cart_sha256": CART, **changes})
        assert answer.status_code == 200, answer.text
        body: dict[str, Any] = answer.json()
        return body


@dataclass(slots=True)
class Shop:
    gateway: Gateway
    ground: "Ground"
    client: httpx2.AsyncClient
    contacts: Contacts
    bearers: Bearers
    captures: Captures
    conversations: Conversations
    issuer: str
    machine_bearers: dict[str, str] = field(default_factory=dict)
    renewals: dict[str, int] = field(default_factory=dict)

    @property
    def house(self) -> House:
        return self.ground.house

    @property
    def now(self) -> datetime:
        return self.ground.clock.now()

    async def call(self, method: str, path: str, bearer: str, body: Any = None, **query: str) -> httpx2.Response:
        headers = {"Authorization": f"Bearer {bearer}"}
        return await self.client.request(method, path, json=body, headers=headers, params=query or None)

    async def bearer(self, client_id: str) -> str:
        """From the token endpoint, again when half its time is over: a shop may be open for longer than a bearer."""
        now = int(self.now.timestamp())
        if client_id not in self.machine_bearers or now >= self.renewals.get(client_id, 0):
            claims = {"iss": client_id, "sub": client_id, "aud": self.issuer, "iat": now, "exp": now + 60}
            assertion = jwt.encode(
                {**claims, "jti": secrets.token_hex(8)}, self.ground.client_keys[client_id], algorithm="EdDSA"
            )
            form = {
                "grant_type": "client_credentials",
                "client_assertion_type": ASSERTION_TYPE,
                "client_assertion": assertion,
            }
            answer = await self.client.post("/oauth/token", data=form)
            assert answer.status_code == 200, answer.text
            self.machine_bearers[client_id] = answer.json()["access_token"]
            self.renewals[client_id] = now + answer.json()["expires_in"] // 2
        return self.machine_bearers[client_id]

    async def checkout(self, amount_minor: int = 4_000, *, brand_id: str = LARKSPUR, **changes: Any) -> str:
        """A quoted checkout, as mcp_server registers it; its id."""
        checkout_id = changes.pop("checkout_id", None) or new_id("cko")
        quote = {
            "brand_id": brand_id,
            "cart_sha256": CART,
            "amount_minor": amount_minor,
            "currency": "USD",
            "description": "One lamp",
            **changes,
        }
        answer = await self.call("PUT", f"/v1/quotes/{checkout_id}", await self.bearer(MCP), quote)
        assert answer.status_code == 200, answer.text
        return str(checkout_id)

    async def chat(self, email: str | None = None, *, agent: str = AGENT, brand_id: str = LARKSPUR) -> Talk:
        """A conversation that the brand's agent opened; nobody is verified in it."""
        claim = {"contact_point": {"kind": "email", "value": email}} if email else {}
        opening = {"brand_id": brand_id, "channel": "chat", **claim}
        answer = await self.call("POST", "/v1/conversations", await self.bearer(agent), opening)
        assert answer.status_code == 201, answer.text
        return Talk(self, agent, answer.json()["conversation_id"], SOUTH if agent == SOUTH_AGENT else NORTH)

    def later(self, by: timedelta) -> None:
        """Move the gateway's clock; bearers fetched before may have run out. The vault keeps the real time."""
        self.ground.clock.advance(by)
        self.machine_bearers.clear()

    async def verified_chat(self, email: str | None = None, **changes: Any) -> Talk:
        """The person has read out the code that came to the inbox. Without an address, somebody new."""
        email = email or f"{secrets.token_hex(6)}@example.com"
        talk = await self.chat(email, **changes)
        path = f"/v1/conversations/{talk.conversation_id}/challenges"
        sent = await talk.call("POST", path, {"method": "email_code"})
        assert sent.status_code == 201, sent.text
        code = await self.code_sent_to(email)
        answer = await talk.call("POST", f"/v1/challenges/{sent.json()['challenge_id']}/answers", {"code": code})
        assert answer.status_code == 200, answer.text
        talk.subject_id = await self.subject_of(email, talk.tenant_id)
        return talk

    async def buyer(
        self, email: str | None = None, *, payment_cap: int = 5_000, day_cap: int = 9_000, **changes: Any
    ) -> Talk:
        """A verified person who has given the brand's agents a mandate."""
        talk = await self.verified_chat(email, **changes)
        await self.mandate(talk, payment_cap=payment_cap, day_cap=day_cap)
        return talk

    async def mandate(self, talk: Talk, *, payment_cap: int, day_cap: int, **changes: Any) -> str:
        """As the consent page grants it."""
        now = self.now
        assert talk.subject_id is not None
        terms = {
            "brand_id": LARKSPUR,
            "currency": "USD",
            "delegates": [f"agents:{LARKSPUR}", ASSISTANT],
            "expires_at": now + timedelta(days=90),
            **changes,
        }
        async with tenant_transaction(self.gateway.engine, talk.tenant_id) as tx:
            return await mandates.grant(
                tx,
                tenant_id=talk.tenant_id,
                subject_id=talk.subject_id,
                payment_cap_minor=payment_cap,
                day_cap_minor=day_cap,
                granted_at=now,
                granted_in=talk.conversation_id,
                **terms,
            )

    async def assistant(self, email: str, *, scopes: str = "catalog purchase memory") -> Talk:
        """An assistant after the person's login, with the bearer that mcp_server exchanged for it."""
        async with tenant_transaction(self.gateway.engine, NORTH) as tx:
            subject_id = await self.contacts.verified_subject(tx, NORTH, "email", email)
            conversation_id = await self.conversations.open_for_login(
                tx, tenant_id=NORTH, brand_id=LARKSPUR, client_id=ASSISTANT, subject_id=subject_id
            )
            await self.conversations.add_evidence(
                tx,
                tenant_id=NORTH,
                conversation_id=conversation_id,
                subject_id=subject_id,
                kind=EvidenceKind.LOGIN_CODE,
                now=self.now,
            )
        bearer = Bearer(
            kind=CallerKind.ASSISTANT,
            client_id=ASSISTANT,
            audience=self.issuer,
            scopes=frozenset(scopes.split()),
            subject_id=subject_id,
            tenant_id=NORTH,
            brand_id=LARKSPUR,
            conversation_id=conversation_id,
            act_client_id=MCP,
        )
        return Talk(self, ASSISTANT, conversation_id, NORTH, subject_id, self.bearers.mint(bearer))

    async def code_sent_to(self, email: str) -> str:
        async with httpx2.AsyncClient() as inbox:
            answer = await inbox.get(f"{self.house.urls['inbox']}/messages", params={"to": email})
        found = re.search(r"\b\d{6}\b", answer.json()["messages"][0]["text"])
        assert found is not None
        return found.group()

    async def type_card(self, capture_id: str, number: str = GOOD_CARD) -> None:
        """What the person's browser does after the door let it in."""
        door = await self.captures.door(capture_id)
        assert door is not None
        grant = self.captures.entry_grant(door, "browser")
        await enter_and_type(self.house.urls["vault_page"], self.issuer, capture_id, grant, number)

    async def paid(self, talk: Talk, checkout_id: str, number: str = GOOD_CARD) -> dict[str, Any]:
        """Buy, type the card that is asked for, buy again; the last answer."""
        first = await talk.buy(checkout_id)
        if first["state"] != "needs_card":
            return first
        await self.type_card(first["capture_id"], number)
        return await talk.buy(checkout_id)

    async def subject_of(self, email: str, tenant_id: str = NORTH) -> str | None:
        async with tenant_transaction(self.gateway.engine, tenant_id) as tx:
            return await self.contacts.subject_of(tx, tenant_id, "email", email)

    async def rows(self, query: str, tenant_id: str = NORTH, **values: Any) -> list[dict[str, Any]]:
        async with tenant_transaction(self.gateway.engine, tenant_id) as tx:
            return [dict(row) for row in (await tx.execute(text(query), values)).mappings()]

    async def taken(self, talk: Talk) -> int:
        """Held and posted under this person's mandates."""
        query = (
            "SELECT coalesce(sum(r.amount_minor), 0)::bigint AS taken FROM reservations r JOIN mandates m"
            " USING (tenant_id, mandate_id) WHERE r.state <> 'voided' AND m.subject_id = :s"
        )
        (row,) = await self.rows(query, talk.tenant_id, s=talk.subject_id)
        return int(row["taken"])

    async def charged(self, purchase_id: str) -> list[int]:
        """What the processor took for this purchase, charge by charge."""
        (row,) = await self.rows("SELECT charge_id FROM purchases WHERE purchase_id = :p", p=purchase_id)
        async with httpx2.AsyncClient() as processor:
            answer = await processor.get(f"{self.house.urls['processor']}/_sandbox/charges")
        return [
            charge["amount_settled_minor"]
            for charge in answer.json()["charges"]
            if charge["metadata"].get("charge_id") == row["charge_id"] and charge["status"] == "settled"
        ]

    async def fault(self, name: str, operation: str | None = None) -> None:
        """Once, at the processor."""
        async with httpx2.AsyncClient() as processor:
            order = {"fault": name} | ({"operation": operation} if operation else {})
            answer = await processor.post(f"{self.house.urls['processor']}/_sandbox/faults", json=order)
        assert answer.status_code == 200, answer.text


def manifest(keys: dict[str, Ed25519PrivateKey], limits: list[dict[str, Any]] | None = None) -> bytes:
    def brand(brand_id: str, currency: str, *phone_numbers: str) -> dict[str, Any]:
        slug = brand_id.removeprefix("brd_")
        url = f"https://mcp.test/{slug}/mcp"
        return {
            "brand_id": brand_id,
            "name": slug.title(),
            "slug": slug,
            "resource_url": url,
            "currency": currency,
            "phone_numbers": phone_numbers,
            "phone_orders": brand_id == LARKSPUR,
        }

    def client(client_id: str, *brand_ids: str, **more: Any) -> dict[str, Any]:
        jwk = public_jwk(keys[client_id])
        return {"client_id": client_id, "name": client_id, "brand_ids": brand_ids, "public_jwk": jwk, **more}

    north = {
        "tenant_id": NORTH,
        "name": "North",
        "brands": [brand(LARKSPUR, "USD"), brand(TSUBAKI, "USD", TSUBAKI_NUMBER)],
        "agents": [
            client(AGENT, LARKSPUR, scopes=AGENT_SCOPES),
            client(OTHER_AGENT, TSUBAKI, scopes=AGENT_SCOPES),
            client(DESK, LARKSPUR, scopes=["policy", "record"]),
        ],
        "mcp_servers": [client(MCP, LARKSPUR, TSUBAKI)],
        "limits": limits,
        "enforcement_points": [client(POINT, LARKSPUR)],
    }
    south = {
        "tenant_id": SOUTH,
        "name": "South",
        "brands": [brand(SOUTHERN, "USD")],
        "agents": [
            client(SOUTH_AGENT, SOUTHERN, scopes=AGENT_SCOPES),
            client(SOUTH_DESK, SOUTHERN, scopes=["policy", "record"]),
        ],
        "enforcement_points": [client(SOUTH_POINT, SOUTHERN)],
    }
    return json.dumps({"tenants": [north, south]}).encode()


@dataclass(frozen=True, slots=True)
class Ground:
    """What several gateways can stand on together: one database, one set of keys, one clock."""

    house: House
    app_dsn: str
    owner_dsn: str
    keys: Keys
    client_keys: dict[str, Ed25519PrivateKey]
    clock: MovedClock


async def prepare(house: House, database: DatabaseMaker) -> Ground:
    made, clock = database("gateway"), MovedClock()
    client_keys = {
        name: Ed25519PrivateKey.generate()
        for name in (AGENT, OTHER_AGENT, SOUTH_AGENT, DESK, SOUTH_DESK, MCP, POINT, SOUTH_POINT)
    }
    await provision(Secret(made.owner_dsn), manifest(client_keys), clock)
    keys = load_keys(house.keyring.path("gateway/keys"))
    return Ground(house, made.app_dsn, made.owner_dsn, keys, client_keys, clock)


@asynccontextmanager
async def open_shop(ground: Ground, **changes: Any) -> AsyncIterator[Shop]:
    """`changes` are settings, such as another `vault_url`."""
    house, keys, clock, issuer = (
        ground.house,
        ground.keys,
        ground.clock,
        changes.get("public_url", ground.house.urls["gateway"]),
    )
    settings = Settings(
        bind=Bind("127.0.0.1", 0),
        public_url=issuer,
        database_url=Secret(ground.app_dsn),
        vault_url=house.urls["vault"],
        vault_page_url=house.urls["vault_page"],
        memory_url=house.urls["memory"],
        inbox_url=house.urls["inbox"],
        texting_url=house.urls["inbox"],
        texting_account=Secret(house.keyring.path("gateway/texting.account").read_text()),
        texting_from=TEXTING_FROM,
        keys_folder=house.folder,
        carriers_folder=house.keyring.path("gateway/carriers"),
        sandbox=True,
        authzen_url=AUTHZEN_URL,
        **OUT_OF_THE_WAY,
    )
    gateway = build_gateway(replace(settings, **changes), keys, clock)
    transport = httpx2.ASGITransport(app=gateway.api)  # type: ignore[arg-type]  # two spellings of ASGI
    client = httpx2.AsyncClient(transport=transport, base_url=issuer)
    contacts = Contacts(keys.contact, clock)
    codes = Codes(gateway.engine, contacts, {}, keys.contact, clock)
    try:
        yield Shop(
            gateway=gateway,
            ground=ground,
            issuer=issuer,
            client=client,
            contacts=contacts,
            bearers=Bearers(key=keys.bearer, issuer=issuer, clock=clock),
            captures=Captures(gateway.engine, GrantMint(keys.grant, issuer, clock, keys.sender), issuer),
            conversations=Conversations(gateway.engine, contacts, codes, clock),
        )
    finally:
        await client.aclose()
        await gateway.close()
