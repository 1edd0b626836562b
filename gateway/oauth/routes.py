"""The authorization server's routes for clients. Those for people are in `gateway.browser.routes`."""

from typing import Any
from urllib.parse import parse_qsl

from authlib.oauth2.rfc6749 import OAuth2Error
from litestar import MediaType, Request, Response, get, post
from litestar.di import NamedDependency
from litestar.types import ControllerRouterHandler
from sqlalchemy import Connection
from sqlalchemy.ext.asyncio import AsyncEngine

from gateway.oauth import metadata
from gateway.oauth.grants import server_for
from gateway.oauth.registration import register
from gateway.oauth.server import Answer, Parts, read_parameters
from gateway.oauth.server import Request as OAuthRequest
from infra.chassis.engine import directory_transaction

FORM = "application/x-www-form-urlencoded"
FIELDS_MAX = 40
NO_STORE = {"Cache-Control": "no-store", "Pragma": "no-cache"}
JWKS_SECONDS = 60


class AuthorizationServer:
    """The dependency `authorization_server`: one transaction a request, Authlib inside it."""

    def __init__(self, *, engine: AsyncEngine, parts: Parts) -> None:
        self.engine = engine
        self.parts = parts
        self.document = metadata.describe(parts.bearers.issuer)

    async def token(self, pairs: list[tuple[str, str]]) -> Answer:
        return await self._run(pairs, lambda server, request: server.create_token_response(request))

    async def revoke(self, pairs: list[tuple[str, str]]) -> Answer:
        return await self._run(pairs, lambda server, request: server.create_endpoint_response("revocation", request))

    async def register(self, body: bytes) -> Answer:
        async with directory_transaction(self.engine) as tx:
            return await register(tx, body, self.parts.clock)

    async def _run(self, pairs: list[tuple[str, str]], act: Any) -> Answer:
        def inside(connection: Connection) -> Answer:
            answer: Answer = act(server_for(connection, self.parts), OAuthRequest("POST", parameters))
            return answer

        try:
            parameters = read_parameters(pairs)
        except OAuth2Error as error:
            return Answer(400, {"error": error.error, "error_description": error.description})
        async with directory_transaction(self.engine) as tx:
            return await tx.run_sync(inside)


async def form_pairs(request: Request[Any, Any, Any]) -> list[tuple[str, str]]:
    """The form as sent, in order, repeated names and all. Raises ValueError for what is not such a form."""
    if request.headers.get("content-type", "").split(";")[0].strip().lower() != FORM:
        msg = "not a form"
        raise ValueError(msg)
    body = (await request.body()).decode()
    return parse_qsl(body, keep_blank_values=True, max_num_fields=FIELDS_MAX, errors="strict")


@get("/oauth/jwks")
async def jwks(authorization_server: NamedDependency[AuthorizationServer]) -> Response[dict[str, Any]]:
    """RFC 7517: the keys that our bearers are checked with."""
    content = authorization_server.parts.bearers.jwks()
    return Response(content, headers={"Cache-Control": f"public, max-age={JWKS_SECONDS}"})


@post("/oauth/register", status_code=201)
async def register_client(
    request: Request[Any, Any, Any], authorization_server: NamedDependency[AuthorizationServer]
) -> Response[Any]:
    """RFC 7591: register a public client."""
    return _rendered(await authorization_server.register(await request.body()))


@post("/oauth/token", status_code=200)
async def token(
    request: Request[Any, Any, Any], authorization_server: NamedDependency[AuthorizationServer]
) -> Response[Any]:
    """RFC 6749: code, refresh, client credentials; RFC 8693: exchange."""
    try:
        pairs = await form_pairs(request)
    except ValueError:
        return _rendered(_NOT_A_FORM)
    return _rendered(await authorization_server.token(pairs))


@post("/oauth/revoke", status_code=200)
async def revoke(
    request: Request[Any, Any, Any], authorization_server: NamedDependency[AuthorizationServer]
) -> Response[Any]:
    """RFC 7009: end a consent by either of its bearers."""
    try:
        pairs = await form_pairs(request)
    except ValueError:
        return _rendered(_NOT_A_FORM)
    return _rendered(await authorization_server.revoke(pairs))


def routes(issuer: str) -> list[ControllerRouterHandler]:
    """All of them; the metadata's path depends on the issuer's."""

    @get(metadata.well_known_paths(issuer))
    async def well_known(authorization_server: NamedDependency[AuthorizationServer]) -> dict[str, Any]:
        """RFC 8414."""
        return authorization_server.document

    return [well_known, jwks, register_client, token, revoke]


def _rendered(answer: Answer) -> Response[Any]:
    headers = {name: value for name, value in answer.headers.items() if name.lower() != "content-type"}
    return Response(answer.body, status_code=answer.status, headers={**headers, **NO_STORE}, media_type=MediaType.JSON)


_NOT_A_FORM = Answer(400, {"error": "invalid_request", "error_description": "Send a form, urlencoded."})
