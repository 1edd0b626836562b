"""A shop whose brands have an OpenID provider: the sandbox's own, served in this process with the shop's clock."""

import json
import re
import secrets
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import httpx2
from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, generate_private_key
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from jwt.algorithms import ECAlgorithm
from litestar import Litestar

from gateway.provision import provision
from infra.chassis.secret import Secret
from infra.dev.house import House
from infra.dev.postgres import ServiceDatabase
from infra.sandbox.openid.realm import Realm, realm_of
from infra.sandbox.openid.registered import Client
from infra.sandbox.openid.routes import openid_routes
from infra.sandbox.pages import style_sheet
from tests.gateway.shop import LARKSPUR, TSUBAKI, Ground, Shop, Talk, manifest, open_shop, prepare
from tests.support.database import DatabaseMaker
from tests.support.identity import form_of
from tests.support.serving import free_port, served

ISSUER_HOST = "127.0.0.1"
STRONG_WAY, WEAK_WAY, UNSAID_WAY = "two_factors", "password", "unsaid"
PROVIDER = {
    "name": "People",
    "client_auth": "private_key_jwt",
    "credential": "people",
    "signing_alg": "ES256",
    "acr_levels": {"urn:sandbox:password": "verified", "urn:sandbox:two-factors": "strong"},
    "first_link": "verified_email",
    "phone_approval": True,
}
"""As Larkspur is provisioned; Tsubaki's provider takes a shared secret and links only beside other evidence."""


@dataclass(slots=True)
class Person:
    """A browser, and what its person does in it."""

    world: "World"
    client: httpx2.AsyncClient

    async def get(self, url: str) -> httpx2.Response:
        return await self.client.get(url)

    async def press(self, page: httpx2.Response, answer: str) -> httpx2.Response:
        action, hidden = form_of(page.text)
        return await self.client.post(action, data={**hidden, "answer": answer})

    async def sign_in(self, url: str, email: str, way: str = STRONG_WAY) -> httpx2.Response:
        """From the link to the page at the end."""
        return await self.come_back(await self.at_provider(url), email, way)

    async def at_provider(self, url: str) -> str:
        """The provider's address that the page of the link sends the browser to."""
        left = await self.press(await self.get(url), "go")
        assert left.status_code == 303, left.text
        return str(left.headers["location"])

    async def answered(self, location: str, email: str, way: str = STRONG_WAY, answer: str = "sign_in") -> str:
        """Where the provider sends the browser after the person answered its page."""
        async with httpx2.AsyncClient() as browser:
            page = await browser.get(location)
            assert page.status_code == 200, page.text
            hidden = dict(re.findall(r'<input type="hidden" name="([^"]+)" value="([^"]*)">', page.text))
            asked = {name: value.replace("&amp;", "&") for name, value in hidden.items()}
            done = await browser.post(location, data={**asked, "email": email, "way": way, "answer": answer})
        assert done.status_code == 303, done.text
        return str(done.headers["location"])

    async def come_back(self, location: str, email: str, way: str = STRONG_WAY) -> httpx2.Response:
        return await self.get(await self.answered(location, email, way))


@dataclass(slots=True)
class World:
    shop: Shop
    realm: Realm
    other_realm: Realm
    keys_folder: Path

    def person(self) -> Person:
        transport = httpx2.ASGITransport(app=self.shop.gateway.api)  # type: ignore[arg-type]  # two spellings of ASGI
        return Person(self, httpx2.AsyncClient(transport=transport, base_url=self.shop.issuer))

    async def challenge(self, talk: Talk, method: str = "openid_login", **more: Any) -> dict[str, Any]:
        answer = await self.ask(talk, method, **more)
        assert answer.status_code == 201, answer.text
        body: dict[str, Any] = answer.json()
        return body

    async def ask(self, talk: Talk, method: str, **more: Any) -> httpx2.Response:
        path = f"/v1/conversations/{talk.conversation_id}/challenges"
        return await talk.call("POST", path, {"method": method, **more})

    async def state(self, talk: Talk, challenge: Mapping[str, Any]) -> str:
        answer = await talk.call("GET", f"/v1/challenges/{challenge['challenge_id']}")
        assert answer.status_code == 200, answer.text
        return str(answer.json()["state"])

    async def level(self, talk: Talk) -> str:
        answer = await talk.call("GET", f"/v1/conversations/{talk.conversation_id}")
        assert answer.status_code == 200, answer.text
        return str(answer.json()["assurance_level"])

    async def subject(self, talk: Talk) -> str | None:
        rows = await self.shop.rows(
            "SELECT subject_id FROM conversations WHERE conversation_id = :c", talk.tenant_id, c=talk.conversation_id
        )
        subject: str | None = rows[0]["subject_id"]
        return subject

    async def linked(self, email: str | None = None) -> tuple[Talk, str]:
        """Somebody who has signed in at the provider before, in another conversation; a new one, and their address."""
        email = email or new_email()
        first = await self.shop.chat()
        done = await self.person().sign_in((await self.challenge(first))["url"], email)
        assert done.status_code == 200, done.text
        talk = await self.shop.chat(email)
        talk.subject_id = await self.subject(first)
        return talk, email


def new_email() -> str:
    return f"{secrets.token_hex(6)}@example.com"


def query_of(url: str) -> dict[str, str]:
    return dict(parse_qsl(urlsplit(url).query))


@asynccontextmanager
async def open_world(
    house: House, database: DatabaseMaker, folder: Path, *, public_url: str = ""
) -> AsyncIterator[World]:
    port, gateway_url = free_port(), public_url or house.urls["gateway"]
    url = f"http://{ISSUER_HOST}:{port}"
    ground, owner_dsn = await _prepare(house, database)
    key = generate_private_key(SECP256R1())
    (folder / "openid").mkdir()
    (folder / "openid" / "people.pem").write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    (folder / "openid" / "tsubaki.secret").write_text("s3cret: with a colon\n", encoding="utf-8")
    people = Client(
        client_id="larkspur at people",
        redirect_uris=[f"{gateway_url}/openid/{LARKSPUR}/callback"],
        public_jwk=json.loads(ECAlgorithm.to_jwk(key.public_key())),
        id_token_signed_response_alg="ES256",
    )
    shared = Client(
        client_id="tsubaki",
        redirect_uris=[f"{gateway_url}/openid/{TSUBAKI}/callback"],
        client_secret="s3cret: with a colon",
    )

    def now() -> float:
        return ground.clock.now().timestamp()

    realm, other = realm_of("people", [people], url, now), realm_of("tsubaki", [shared], url, now)
    await provision(Secret(owner_dsn), _manifest(ground, realm, other), ground.clock)
    provider = Litestar(
        [*openid_routes({realm.name: realm, other.name: other}), style_sheet], openapi_config=None, logging_config=None
    )
    async with served(provider, port), open_shop(ground, keys_folder=folder, public_url=gateway_url) as shop:
        yield World(shop, realm, other, folder)


async def _prepare(house: House, database: DatabaseMaker) -> tuple[Ground, str]:
    """As `shop.prepare`, and the owner's way into the database, for provisioning."""
    made: list[ServiceDatabase] = []

    def keeping(service: str) -> ServiceDatabase:
        made.append(database(service))
        return made[0]

    return await prepare(house, keeping), made[0].owner_dsn


def _manifest(ground: Ground, realm: Realm, other: Realm) -> bytes:
    document = json.loads(manifest(ground.client_keys))
    providers = {
        LARKSPUR: {**PROVIDER, "issuer": realm.issuer, "client_id": "larkspur at people"},
        TSUBAKI: {
            "name": "Tsubaki",
            "issuer": other.issuer,
            "client_id": "tsubaki",
            "client_auth": "client_secret_basic",
            "credential": "tsubaki",
            "unmapped": "verified",
        },
    }
    for tenant in document["tenants"]:
        for brand in tenant["brands"]:
            if brand["brand_id"] in providers:
                brand["openid"] = providers[brand["brand_id"]]
    return json.dumps(document).encode()
