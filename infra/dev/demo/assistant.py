"""The assistant: the official Python `mcp` client, with OAuth as it comes."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import httpx2
from aiohttp import web
from mcp import Client
from mcp.client import ClientRequestContext
from mcp.client.auth import AuthorizationCodeResult, OAuthClientProvider
from mcp.client.streamable_http import streamable_http_client
from mcp.shared.auth import OAuthClientInformationFull, OAuthClientMetadata, OAuthToken
from mcp_types import CallToolResult, ElicitRequestParams, ElicitRequestURLParams, ElicitResult
from pydantic import AnyUrl

from infra.dev.demo.story import DidNotHappen
from infra.dev.ports import HOST, free_ports

CALLBACK_SECONDS_MAX = 30.0
Authorize = Callable[[str], Awaitable[None]]
ShowLink = Callable[[str], Awaitable[None]]


class Callback:
    """The address the assistant registered; the person's browser ends up there with the code."""

    def __init__(self) -> None:
        (self._port,) = free_ports(1)
        self._arrived: asyncio.Future[AuthorizationCodeResult] = asyncio.get_running_loop().create_future()

    @property
    def url(self) -> str:
        return f"http://{HOST}:{self._port}/callback"

    async def result(self) -> AuthorizationCodeResult:
        return await asyncio.wait_for(self._arrived, CALLBACK_SECONDS_MAX)

    @asynccontextmanager
    async def open(self) -> AsyncIterator[None]:
        app = web.Application()
        app.router.add_get("/callback", self._arrive)
        runner = web.AppRunner(app, access_log=None)
        await runner.setup()
        await web.TCPSite(runner, HOST, self._port).start()
        try:
            yield
        finally:
            await runner.cleanup()

    async def _arrive(self, request: web.Request) -> web.Response:
        query = request.query
        if "code" not in query:
            self._arrived.set_exception(DidNotHappen(f"the answer to the assistant was {query.get('error', 'empty')}"))
        elif not self._arrived.done():
            result = AuthorizationCodeResult(code=query["code"], state=query.get("state"), iss=query.get("iss"))
            self._arrived.set_result(result)
        return web.Response(text="You can go back to your assistant.")


class Keeper:
    """Keeps the client registration and the bearer in memory, as the SDK asks."""

    def __init__(self) -> None:
        self.tokens: OAuthToken | None = None
        self.client: OAuthClientInformationFull | None = None

    async def get_tokens(self) -> OAuthToken | None:
        return self.tokens

    async def set_tokens(self, tokens: OAuthToken) -> None:
        self.tokens = tokens

    async def get_client_info(self) -> OAuthClientInformationFull | None:
        return self.client

    async def set_client_info(self, client_info: OAuthClientInformationFull) -> None:
        self.client = client_info


@asynccontextmanager
async def connect(
    endpoint: str, keeper: Keeper, authorize: Authorize, show_link: ShowLink, *, mode: str = "auto"
) -> AsyncIterator[Client]:
    """Connected and signed in. `show_link` gets what URL elicitation asks the assistant to show."""
    callback = Callback()
    metadata = OAuthClientMetadata(
        client_name="Example Assistant",
        redirect_uris=[AnyUrl(callback.url)],
        grant_types=["authorization_code", "refresh_token"],
        response_types=["code"],
        token_endpoint_auth_method="none",  # noqa: S106 - the name of a method, not a password
    )
    provider = OAuthClientProvider(
        endpoint, metadata, keeper, redirect_handler=authorize, callback_handler=callback.result
    )

    async def elicited(context: ClientRequestContext, params: ElicitRequestParams) -> ElicitResult:
        del context  # the same for every request of this connection
        if not isinstance(params, ElicitRequestURLParams):
            return ElicitResult(action="decline")
        await show_link(str(params.url))
        return ElicitResult(action="accept")

    async with callback.open(), httpx2.AsyncClient(auth=provider, timeout=30) as http:
        transport = streamable_http_client(endpoint, http_client=http)
        async with Client(transport, mode=mode, elicitation_callback=elicited) as client:
            yield client


async def call(client: Client, tool: str, **arguments: Any) -> dict[str, Any]:
    """The structured content of a successful call. Raises DidNotHappen with the tool's own words otherwise."""
    result: CallToolResult = await client.call_tool(tool, arguments)
    if result.is_error:
        words = " ".join(getattr(part, "text", "") for part in result.content)
        raise DidNotHappen(f"{tool} was refused: {words}")
    return dict(result.structured_content or {})
