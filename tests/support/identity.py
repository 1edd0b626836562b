"""The identity side of the gateway over real PostgreSQL, with a mailbox in place of the mail provider."""

import base64
import hashlib
import json
import re
import secrets
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, cast
from urllib.parse import parse_qsl, urlsplit

import httpx2
import jwt
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from litestar import get
from litestar.di import NamedDependency, Provide
from litestar.types import ASGIApp
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from gateway.bearers import public_jwk
from gateway.callers import Caller, authenticate
from gateway.captures import Captures
from gateway.challenges import Codes
from gateway.contacts import Contacts
from gateway.contract import ContactKind
from gateway.conversations import Conversations
from gateway.grants import GrantMint
from gateway.identity import build_identity
from gateway.oauth.assertions import ASSERTION_TYPE
from gateway.oauth.clients import TOKEN_EXCHANGE
from gateway.oauth.grants import ACCESS_TOKEN
from gateway.peers import Inbox
from gateway.provision import provision
from gateway.record.entries import Record
from infra.chassis.client import PeerClient
from infra.chassis.clock import FixedClock
from infra.chassis.engine import create_engine, tenant_transaction
from infra.chassis.http import build_app
from infra.chassis.ids import new_id
from infra.chassis.secret import Secret
from tests.support.capture_rows import A_CAPTURE, A_CAPTURE_DIRECTORY, A_PURCHASE, A_QUOTE
from tests.support.database import DatabaseMaker
from tests.support.grants import ring_of
from tests.support.limits import limits_out_of_the_way

ISSUER = "https://gateway.test"
VAULT_PAGE = "https://cards.test"
NORTH, SOUTH = "tnt_north", "tnt_south"
BRAND, YEN_BRAND, SOUTH_BRAND = "brd_larkspur", "brd_tsubaki", "brd_south"
RESOURCES = "https://mcp.test"
RESOURCE, YEN_RESOURCE, SOUTH_RESOURCE = (f"{RESOURCES}/{slug}/mcp" for slug in ("larkspur", "tsubaki", "south"))
CALLBACK = "https://assistant.example/callback"
EMAIL = "ada@example.com"
START = datetime(2026, 11, 20, 12, 0, tzinfo=UTC)


class Mailbox(Inbox):
    """What the mail provider was handed: address → codes, oldest first."""

    def __init__(self) -> None:
        super().__init__(PeerClient("inbox", "http://inbox.invalid"))
        self.codes: dict[str, list[str]] = {}

    async def send_code(self, *, to: str, code: str, **_rest: Any) -> None:
        self.codes.setdefault(to, []).append(code)


@dataclass(slots=True)
class Person:
    """One browser: its cookies, and the forms it is shown."""

    house: "IdentityHouse"
    client: httpx2.AsyncClient

    async def get(self, url: str) -> httpx2.Response:
        return await self._follow(await self.client.get(url))

    async def post(self, page: httpx2.Response, path: str | None = None, **fields: str) -> httpx2.Response:
        """Fill in the page's first form and send it, as a browser does; redirects within the house are followed."""
        action, hidden = form_of(page.text)
        data = {**hidden, **fields}
        return await self._follow(await self.client.post(path or action, data=data))

    async def log_in(self, page: httpx2.Response, email: str = EMAIL) -> httpx2.Response:
        code_page = await self.post(page, email=email)
        return await self.post(code_page, code=self.house.mailbox.codes[email.lower()][-1])

    async def _follow(self, response: httpx2.Response) -> httpx2.Response:
        while response.status_code in {302, 303} and response.headers["location"].startswith("/"):
            response = await self.client.get(response.headers["location"])
        return response


@dataclass(slots=True)
class Pair:
    """PKCE."""

    verifier: str = field(default_factory=lambda: secrets.token_urlsafe(48))

    @property
    def challenge(self) -> str:
        digest = hashlib.sha256(self.verifier.encode()).digest()
        return base64.urlsafe_b64encode(digest).rstrip(b"=").decode()


@dataclass(slots=True)
class IdentityHouse:
    app: ASGIApp
    engine: AsyncEngine
    clock: FixedClock
    mailbox: Mailbox
    client: httpx2.AsyncClient
    contacts: Contacts
    bearer_key: Ed25519PrivateKey
    keys: dict[str, Ed25519PrivateKey]
    owner_dsn: str
    app_dsn: str
    issuer: str = ISSUER
    resources: str = RESOURCES

    async def empty(self) -> None:
        """As it was new: the hour of the start, no people, no registrations. What was provisioned stays."""
        self.clock.advance(START - self.clock.now())
        self.mailbox.codes.clear()
        self.client.cookies.clear()
        engine = create_engine(Secret(self.owner_dsn), pool_size=1)
        async with engine.connect() as connection:
            driver = (await connection.get_raw_connection()).driver_connection
            assert driver is not None
            await driver.execute(_EMPTY)
        await engine.dispose()

    def person(self, base_url: str = "") -> Person:
        return Person(self, in_process(self.app, base_url or self.issuer))

    async def register(self, **changes: Any) -> httpx2.Response:
        metadata = {
            "client_name": "Claude",
            "redirect_uris": [CALLBACK],
            "grant_types": ["authorization_code", "refresh_token"],
            "response_types": ["code"],
            "token_endpoint_auth_method": "none",
        }
        return await self.client.post("/oauth/register", json={**metadata, **changes})

    async def client_id(self, **changes: Any) -> str:
        return str((await self.register(**changes)).json()["client_id"])

    def authorize_url(self, client_id: str, pair: Pair, /, **changes: str | None) -> str:
        wanted: dict[str, str | None] = {
            "response_type": "code",
            "client_id": client_id,
            "redirect_uri": CALLBACK,
            "scope": "catalog purchase memory",
            "state": "st-1",
            "code_challenge": pair.challenge,
            "code_challenge_method": "S256",
            "resource": RESOURCE,
            **changes,
        }
        return str(httpx2.URL("/oauth/authorize", params={k: v for k, v in wanted.items() if v is not None}))

    async def consented(
        self, client_id: str, pair: Pair, /, *, person: Person | None = None, email: str = EMAIL, **changes: str
    ) -> dict[str, str]:
        """What the assistant's callback is called with after a person logged in and agreed."""
        someone = person or self.person()
        consent_page = await someone.log_in(await someone.get(self.authorize_url(client_id, pair, **changes)), email)
        assert consent_page.status_code == 200, consent_page.text
        answer = await someone.post(consent_page, answer="agree", spending="on", **caps_of(consent_page.text))
        assert answer.status_code == 303, answer.text
        return query_of(answer.headers["location"])

    async def redeem(self, client_id: str, code: str, pair: Pair, /, **changes: str) -> httpx2.Response:
        form = {
            "grant_type": "authorization_code",
            "client_id": client_id,
            "code": code,
            "redirect_uri": CALLBACK,
            "code_verifier": pair.verifier,
            "resource": RESOURCE,
        }
        return await self.client.post("/oauth/token", data={**form, **changes})

    async def connected(self, *, email: str = EMAIL, **changes: str) -> tuple[str, dict[str, Any]]:
        """A registered assistant and what the token endpoint gave it."""
        client_id, pair = await self.client_id(), Pair()
        came_back = await self.consented(client_id, pair, person=None, email=email, **changes)
        resource = changes.get("resource", RESOURCE)
        answer = await self.redeem(client_id, came_back["code"], pair, resource=resource)
        assert answer.status_code == 200, answer.text
        return client_id, answer.json()

    async def refresh(self, client_id: str, refresh_token: str, /, **changes: str) -> httpx2.Response:
        form = {"grant_type": "refresh_token", "client_id": client_id, "refresh_token": refresh_token}
        return await self.client.post("/oauth/token", data={**form, **changes})

    def assertion(
        self,
        client_id: str,
        *,
        key: Any = None,
        header: dict[str, Any] | None = None,
        algorithm: str = "EdDSA",
        **changes: Any,
    ) -> str:
        now = int(self.clock.now().timestamp())
        claims = {"iss": client_id, "sub": client_id, "aud": self.issuer, "iat": now, "exp": now + 60}
        claims |= {"jti": secrets.token_hex(8), **changes}
        kept = {name: value for name, value in claims.items() if value is not None}
        return jwt.encode(kept, key or self.keys[client_id], algorithm=algorithm, headers=header)

    async def machine(self, client_id: str, assertion: str | None = None, /, **changes: str) -> httpx2.Response:
        form = {
            "grant_type": "client_credentials",
            "client_assertion_type": ASSERTION_TYPE,
            "client_assertion": assertion or self.assertion(client_id),
        }
        return await self.client.post("/oauth/token", data={**form, **changes})

    async def exchange(self, bearer: str, client_id: str = "mcp_larkspur", /, **changes: str) -> httpx2.Response:
        return await self.machine(
            client_id,
            **{"grant_type": TOKEN_EXCHANGE, "subject_token": bearer, "subject_token_type": ACCESS_TOKEN, **changes},
        )

    async def whoami(self, bearer: str) -> httpx2.Response:
        return await self.client.get("/whoami", headers={"Authorization": f"Bearer {bearer}"})

    async def rows(self, query: str, tenant_id: str = NORTH, **values: Any) -> list[dict[str, Any]]:
        async with tenant_transaction(self.engine, tenant_id) as tx:
            return [dict(row) for row in (await tx.execute(text(query), values)).mappings()]

    async def capture(self, email: str = EMAIL, *, state: str = "open", tenant_id: str = NORTH) -> str:
        """A capture of this person's, with the purchase it belongs to; the person is made if need be."""
        ids = {name: new_id(name[:3]) for name in ("capture_id", "purchase_id", "checkout_id", "charge_id")}
        brand_id = BRAND if tenant_id == NORTH else SOUTH_BRAND
        async with tenant_transaction(self.engine, tenant_id) as tx:
            subject_id = await self.contacts.verified_subject(tx, tenant_id, "email", email)
            row = {**ids, "t": tenant_id, "s": subject_id, "b": brand_id, "now": self.clock.now(), "state": state}
            for statement in (A_QUOTE, A_PURCHASE, A_CAPTURE, A_CAPTURE_DIRECTORY):
                await tx.execute(text(statement), row)
        return ids["capture_id"]


_PEOPLES = (
    "refresh_bearers authorization_codes consents visits browser_logins captures reservations purchases quotes"
    " mandates challenges evidence conversations contact_points subjects"
)
_EMPTY = "; ".join(
    [
        *(
            f"SET undercroft.tenant = '{tenant}'; " + "; ".join(f"DELETE FROM {table}" for table in _PEOPLES.split())  # noqa: S608 - our own names
            for tenant in (NORTH, SOUTH)
        ),
        "DELETE FROM capture_directory",
        "DELETE FROM assistant_clients",
    ]
)


def in_process(app: ASGIApp, base_url: str) -> httpx2.AsyncClient:
    return httpx2.AsyncClient(transport=httpx2.ASGITransport(app=cast("Any", app)), base_url=base_url)


def form_of(html: str) -> tuple[str, dict[str, str]]:
    """Where the first form goes, and its hidden fields."""
    form = re.search(r'<form method="post" action="([^"]+)"[^>]*>(.*?)</form>', html, re.DOTALL)
    assert form is not None, html
    hidden = re.findall(r'<input type="hidden" name="([^"]+)" value="([^"]*)">', form.group(2))
    return form.group(1), dict(hidden)


def caps_of(html: str) -> dict[str, str]:
    """The caps that the consent page suggests; none when it does not ask for purchases."""
    return dict(re.findall(r'name="(payment_cap|day_cap)" type="text" inputmode="decimal" value="([^"]*)"', html))


def query_of(url: str) -> dict[str, str]:
    return dict(parse_qsl(urlsplit(url).query))


def claims_of(bearer: str) -> dict[str, Any]:
    claims: dict[str, Any] = jwt.decode(bearer, options={"verify_signature": False})
    return claims


def manifest(keys: dict[str, Ed25519PrivateKey], resources: str = RESOURCES) -> dict[str, Any]:
    """`resources` is where the brands' MCP endpoints are, without the brand's part of the path."""

    def brand(brand_id: str, name: str, resource_url: str, currency: str) -> dict[str, str]:
        slug = urlsplit(resource_url).path.split("/")[1]
        named = {"brand_id": brand_id, "name": name, "slug": slug}
        return {**named, "resource_url": resource_url.replace(RESOURCES, resources), "currency": currency}

    def client(client_id: str, brand_ids: list[str], **more: Any) -> dict[str, Any]:
        jwk = public_jwk(keys[client_id])
        return {"client_id": client_id, "name": client_id, "brand_ids": brand_ids, "public_jwk": jwk, **more}

    north = [
        brand(BRAND, "Larkspur & Vale", RESOURCE, "USD"),
        brand(YEN_BRAND, "Tsubaki", YEN_RESOURCE, "JPY"),
    ]
    scopes = ["conversation", "purchase", "memory", "refund"]
    return {
        "tenants": [
            {
                "tenant_id": NORTH,
                "name": "North",
                "brands": north,
                "agents": [client("agt_chat", [BRAND], scopes=scopes)],
            },
            {
                "tenant_id": SOUTH,
                "name": "South",
                "brands": [brand(SOUTH_BRAND, "South", SOUTH_RESOURCE, "EUR")],
                "mcp_servers": [client("mcp_south", [SOUTH_BRAND])],
            },
        ],
        "mcp_servers": [client("mcp_larkspur", [BRAND, YEN_BRAND])],
    }


@get("/whoami", dependencies={"caller": Provide(authenticate)})
async def whoami(caller: NamedDependency[Caller]) -> dict[str, Any]:
    return {
        "kind": caller.kind,
        "client_id": caller.client_id,
        "tenant_id": caller.tenant_id,
        "brand_ids": sorted(caller.brand_ids),
        "scopes": sorted(caller.scopes),
        "subject_id": caller.subject_id,
        "conversation_id": caller.conversation_id,
        "act_client_id": caller.act_client_id,
    }


@get("/refunds-only", dependencies={"caller": Provide(authenticate)})
async def refunds_only(caller: NamedDependency[Caller]) -> dict[str, str]:
    caller.require_scope("refund", "purchase")
    return {}


@asynccontextmanager
async def identity_house(
    database: DatabaseMaker,
    *,
    public_url: str = ISSUER,
    vault_page_url: str = VAULT_PAGE,
    resources: str = RESOURCES,
    clock: Any = None,
) -> AsyncIterator[IdentityHouse]:
    made, time = database("gateway"), clock or FixedClock(START)
    keys = {name: Ed25519PrivateKey.generate() for name in ("agt_chat", "mcp_larkspur", "mcp_south")}
    await provision(Secret(made.owner_dsn), json.dumps(manifest(keys, resources)).encode(), time)
    engine = create_engine(Secret(made.app_dsn), pool_size=5)
    key, grant_key = Ed25519PrivateKey.generate(), ring_of(Ed25519PrivateKey.generate())
    record = Record(Ed25519PrivateKey.generate(), time)
    contact_key: Secret[bytes] = Secret(secrets.token_bytes(32))
    contacts, mailbox = Contacts(contact_key, time), Mailbox()
    codes = Codes(engine, contacts, {ContactKind.EMAIL: mailbox}, contact_key, time)
    identity = build_identity(
        engine=engine,
        clock=time,
        bearer_key=ring_of(key),
        grant_key=grant_key,
        limits=limits_out_of_the_way(engine, time),
        public_url=public_url,
        vault_page_url=vault_page_url,
        contacts=contacts,
        codes=codes,
        conversations=Conversations(engine, contacts, codes, time),
        record=record,
        captures=Captures(engine, GrantMint(grant_key, public_url, time, grant_key), public_url),
    )
    routes = [*identity.routes, whoami, refunds_only]
    app = build_app(service="gateway", routes=routes, dependencies=identity.dependencies)
    client = in_process(app, public_url)
    try:
        yield IdentityHouse(
            app=app,
            engine=engine,
            clock=time,
            mailbox=mailbox,
            client=client,
            contacts=contacts,
            bearer_key=key,
            keys=keys,
            owner_dsn=made.owner_dsn,
            app_dsn=made.app_dsn,
            issuer=public_url,
            resources=resources,
        )
    finally:
        await client.aclose()
        await engine.dispose()
