"""An assistant that connects through the shop's own authorization endpoint, and the person who lets it."""

import secrets
from dataclasses import dataclass, field
from typing import Any

import httpx2
import jwt

from gateway.oauth.assertions import ASSERTION_TYPE
from gateway.oauth.clients import TOKEN_EXCHANGE
from gateway.oauth.grants import ACCESS_TOKEN
from tests.gateway.passkey_people import Person
from tests.gateway.shop import MCP, NORTH, Shop, Talk
from tests.support.identity import CALLBACK, Pair, caps_of, claims_of, query_of

RESOURCE = "https://mcp.test/larkspur/mcp"


@dataclass(slots=True)
class Assistant:
    shop: Shop
    client_id: str
    pair: Pair = field(default_factory=Pair)
    refresh: str = ""

    @classmethod
    async def registered(cls, shop: Shop) -> "Assistant":
        metadata = {
            "client_name": "Claude",
            "redirect_uris": [CALLBACK],
            "grant_types": ["authorization_code", "refresh_token"],
            "response_types": ["code"],
            "token_endpoint_auth_method": "none",
        }
        answer = await shop.client.post("/oauth/register", json=metadata)
        assert answer.status_code == 201, answer.text
        return cls(shop, answer.json()["client_id"])

    def url(self, **asked: str) -> str:
        wanted = {
            "response_type": "code",
            "client_id": self.client_id,
            "redirect_uri": CALLBACK,
            "scope": "catalog purchase memory",
            "state": "st-1",
            "code_challenge": self.pair.challenge,
            "code_challenge_method": "S256",
            "resource": RESOURCE,
        }
        return str(httpx2.URL("/oauth/authorize", params={**wanted, **asked}))

    async def connected(self, location: str) -> Talk:
        """From what its callback is called with to a caller of the gateway, as mcp_server makes one."""
        form = {
            "grant_type": "authorization_code",
            "client_id": self.client_id,
            "code": query_of(location)["code"],
            "redirect_uri": CALLBACK,
            "code_verifier": self.pair.verifier,
            "resource": RESOURCE,
        }
        return await self._caller(form)

    async def refreshed(self) -> Talk:
        """The same conversation with a bearer that has not run out."""
        return await self._caller(
            {"grant_type": "refresh_token", "client_id": self.client_id, "refresh_token": self.refresh}
        )

    async def _caller(self, form: dict[str, str]) -> Talk:
        redeemed = await self.shop.client.post("/oauth/token", data=form)
        assert redeemed.status_code == 200, redeemed.text
        self.refresh = redeemed.json()["refresh_token"]
        exchanged = await self._exchanged(redeemed.json()["access_token"])
        claims = claims_of(exchanged)
        return Talk(self.shop, self.client_id, claims["cnv"], NORTH, claims["sub"], exchanged)

    async def _exchanged(self, bearer: str) -> str:
        now = int(self.shop.now.timestamp())
        claims = {"iss": MCP, "sub": MCP, "aud": self.shop.issuer, "iat": now, "exp": now + 60}
        assertion = jwt.encode(
            {**claims, "jti": secrets.token_hex(8)}, self.shop.ground.client_keys[MCP], algorithm="EdDSA"
        )
        form = {
            "grant_type": TOKEN_EXCHANGE,
            "client_assertion_type": ASSERTION_TYPE,
            "client_assertion": assertion,
            "subject_token": bearer,
            "subject_token_type": ACCESS_TOKEN,
        }
        answer = await self.shop.client.post("/oauth/token", data=form)
        assert answer.status_code == 200, answer.text
        return str(answer.json()["access_token"])


async def logged_in(person: Person, url: str) -> httpx2.Response:
    """The page after the login that an authorization request leads to."""
    code_page = await person.get((await person.post(await person.get(url), email=person.email)).headers["location"])
    done = await person.post(code_page, code=await person.shop.code_sent_to(person.email))
    assert done.status_code == 303, done.text
    return await person.get(done.headers["location"])


async def agree(person: Person, page: httpx2.Response) -> str:
    """Where the browser is sent from the consent page."""
    assert 'value="agree"' in page.text, page.text
    fields: dict[str, Any] = caps_of(page.text)
    answer = await person.post(page, answer="agree", spending="on", **fields)
    assert answer.status_code == 303, answer.text
    return str(answer.headers["location"])


async def through(person: Person, answer: httpx2.Response) -> httpx2.Response:
    """The page that a form's answer leads to."""
    assert answer.status_code == 303, answer.text
    return await person.get(answer.headers["location"])


def form_number(page: httpx2.Response, ending: str) -> int:
    """Which of the page's forms goes to an address that ends so."""
    actions = [part.split('"', 1)[0] for part in page.text.split('<form method="post" action="')[1:]]
    return next(place for place, action in enumerate(actions) if action.endswith(ending))
