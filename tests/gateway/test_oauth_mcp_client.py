"""The official MCP client goes through our authorization server over HTTP; the person's part is played by a browser."""

from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Any

import httpx2
import jwt
import pytest
from litestar import Litestar, Request, Response, get, post
from mcp.client.auth import OAuthClientProvider
from mcp.shared.auth import AuthorizationCodeResult, OAuthClientInformationFull, OAuthClientMetadata, OAuthToken
from pydantic import AnyUrl

from infra.chassis.clock import SystemClock
from tests.support.database import DatabaseMaker
from tests.support.identity import IdentityHouse, Person, caps_of, claims_of, identity_house, query_of
from tests.support.serving import free_port, served

LOOPBACK_CALLBACK = "http://127.0.0.1:33418/callback"


@dataclass(slots=True)
class Kept:
    """The client's memory."""

    tokens: OAuthToken | None = None
    client: OAuthClientInformationFull | None = None

    async def get_tokens(self) -> OAuthToken | None:
        return self.tokens

    async def set_tokens(self, tokens: OAuthToken) -> None:
        self.tokens = tokens

    async def get_client_info(self) -> OAuthClientInformationFull | None:
        return self.client

    async def set_client_info(self, client_info: OAuthClientInformationFull) -> None:
        self.client = client_info


@dataclass(slots=True)
class Assistant:
    """An assistant at a brand's endpoint, and the person who sits in front of it."""

    resource: str
    person: Person
    kept: Kept = field(default_factory=Kept)
    came_back: dict[str, str] = field(default_factory=dict)
    answer: str = "agree"

    def provider(self) -> OAuthClientProvider:
        metadata = OAuthClientMetadata(client_name="Claude", redirect_uris=[AnyUrl(LOOPBACK_CALLBACK)])
        return OAuthClientProvider(self.resource, metadata, self.kept, self.open_browser, self.listen)

    async def open_browser(self, url: str) -> None:
        page = await self.person.log_in(await self.person.get(url))
        answer = await self.person.post(page, answer=self.answer, spending="on", **caps_of(page.text))
        assert answer.headers["location"].startswith(LOOPBACK_CALLBACK)
        self.came_back = query_of(answer.headers["location"])

    async def listen(self) -> AuthorizationCodeResult:
        came_back = self.came_back
        return AuthorizationCodeResult(
            code=came_back.get("code", ""), state=came_back.get("state"), iss=came_back.get("iss")
        )


def resource_app(resource: str, issuer: str) -> Litestar:
    """A brand's endpoint as far as authorization goes: RFC 9728 metadata, 401, and bearers checked by the key set."""

    @get("/.well-known/oauth-protected-resource/larkspur/mcp")
    async def metadata() -> dict[str, Any]:
        scopes = ["catalog", "purchase", "memory"]
        return {"resource": resource, "authorization_servers": [issuer], "scopes_supported": scopes}

    @post("/larkspur/mcp", status_code=200)
    async def endpoint(request: Request[Any, Any, Any]) -> Response[dict[str, Any]]:
        bearer = request.headers.get("authorization", "").removeprefix("Bearer ")
        async with httpx2.AsyncClient() as client:
            keys = (await client.get(f"{issuer}/oauth/jwks")).json()["keys"]
        try:
            claims = jwt.decode(bearer, jwt.PyJWK(keys[0]).key, algorithms=["EdDSA"], audience=resource, issuer=issuer)
        except jwt.PyJWTError:
            place = resource.replace("/larkspur/mcp", "/.well-known/oauth-protected-resource/larkspur/mcp")
            return Response({}, status_code=401, headers={"WWW-Authenticate": f'Bearer resource_metadata="{place}"'})
        return Response({"sub": claims["sub"]})

    return Litestar([metadata, endpoint], logging_config=None, openapi_config=None)


@pytest.fixture
async def house(database: DatabaseMaker) -> AsyncIterator[IdentityHouse]:
    issuer, resources = (f"http://127.0.0.1:{free_port()}" for _ in range(2))
    async with (
        identity_house(database, public_url=issuer, resources=resources, clock=SystemClock()) as made,
        served(made.app, int(issuer.rpartition(":")[2])),
        served(resource_app(f"{resources}/larkspur/mcp", issuer), int(resources.rpartition(":")[2])),
    ):
        yield made


@pytest.fixture
async def assistant(house: IdentityHouse) -> AsyncIterator[Assistant]:
    async with httpx2.AsyncClient(base_url=house.issuer) as browser:
        yield Assistant(f"{house.resources}/larkspur/mcp", Person(house, browser))


@pytest.mark.control("UC-8.1")
async def test_it_registers_asks_and_redeems_for_this_resource(assistant: Assistant):
    async with httpx2.AsyncClient(auth=assistant.provider()) as client:
        answer = await client.post(assistant.resource, json={})

    assert answer.status_code == 200
    assert assistant.kept.client is not None
    assert assistant.kept.tokens is not None
    assert assistant.kept.client.token_endpoint_auth_method == "none"
    assert claims_of(assistant.kept.tokens.access_token)["aud"] == assistant.resource


async def test_it_refreshes_without_asking_the_person_again(assistant: Assistant):
    provider = assistant.provider()
    async with httpx2.AsyncClient(auth=provider) as client:
        first = await client.post(assistant.resource, json={})
        before, assistant.came_back = assistant.kept.tokens, {}
        provider.context.token_expiry_time = 1.0

        second = await client.post(assistant.resource, json={})

    after = assistant.kept.tokens
    assert (first.json(), second.status_code) == (second.json(), 200)
    assert assistant.came_back == {}
    assert before is not None
    assert after is not None
    assert before.refresh_token != after.refresh_token


async def test_a_refusal_reaches_it_as_no_code(assistant: Assistant):
    assistant.answer = "refuse"

    async with httpx2.AsyncClient(auth=assistant.provider()) as client:
        with pytest.raises(Exception, match="No authorization code"):
            await client.post(assistant.resource, json={})

    assert assistant.came_back["error"] == "access_denied"
