"""Everything of mcp_server, built by hand from its settings."""

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from typing import Any

from litestar.types import ASGIApp, ControllerRouterHandler
from mcp.server.streamable_http_manager import StreamableHTTPSessionManager

from infra.chassis.client import PeerClient
from infra.chassis.clock import Clock
from infra.chassis.engine import answers, create_engine
from infra.chassis.http import build_app
from mcp_server.brands.pack import BrandPack, load_packs
from mcp_server.carried import Carried
from mcp_server.checkout.poller import Poller
from mcp_server.checkout.stock import Stock
from mcp_server.endpoint import BODY_BYTES_MAX, Address, Endpoint, transport_security
from mcp_server.gateway_calls import GatewayCalls
from mcp_server.identity import BearerCheck, ClientKey, Exchange
from mcp_server.routes import brand_routes
from mcp_server.server import BrandServer
from mcp_server.settings import Settings
from mcp_server.signing_keys import SigningKeys
from mcp_server.store import Store
from mcp_server.tools.catalogue import Catalogue
from mcp_server.tools.checkouts import Checkouts
from mcp_server.tools.memories import Memories
from mcp_server.tools.orders import Orders
from mcp_server.tools.payment import Payments
from mcp_server.tools.tool import Tool

GATEWAY_SECONDS = 20
"""Longer than the gateway waits for the vault (10 s), so that its answer about an unknown outcome still reaches us."""


@dataclass(frozen=True, slots=True)
class McpServer:
    app: ASGIApp
    poller: Poller


@asynccontextmanager
async def open_mcp_server(settings: Settings, clock: Clock) -> AsyncIterator[McpServer]:
    """Ready to serve inside the block; connections are closed after it. Raises BrandPackInvalid before it."""
    packs = load_packs(settings.brands_folder)
    engine = create_engine(settings.database_url)
    gateway = PeerClient("gateway", settings.gateway_url, timeout_seconds=GATEWAY_SECONDS)
    key = ClientKey(settings.client_key_file, client_id=settings.client_id, issuer=settings.issuer, clock=clock)
    calls = GatewayCalls(gateway, Exchange(gateway, key, issuer=settings.issuer, clock=clock))
    bearers = BearerCheck(
        SigningKeys(gateway, issuer=settings.issuer, clock=clock), issuer=settings.issuer, clock=clock
    )
    store = Store(engine)
    tools = build_tools(store, calls, clock, public_url=settings.public_url)
    async with AsyncExitStack() as opened:
        opened.push_async_callback(engine.dispose)
        opened.push_async_callback(gateway.close)
        routes: list[ControllerRouterHandler] = []
        for pack in packs.values():
            brand = _Brand(pack, settings, tools, bearers)
            await opened.enter_async_context(brand.sessions.run())
            routes += brand.routes()
        app = build_app(
            service="mcp_server",
            routes=routes,
            ready={"database": lambda: answers(engine)},
            body_bytes_max=BODY_BYTES_MAX,
        )
        yield McpServer(app, Poller(packs=list(packs.values()), gateway=calls, store=store, clock=clock))


def build_tools(store: Store, gateway: GatewayCalls, clock: Clock, *, public_url: str) -> list[Tool[Any]]:
    """In the order of `tools/list`, which never changes."""
    stock = Stock(store, clock)
    return [
        *Catalogue(stock, public_url=public_url).tools(),
        *Checkouts(store=store, stock=stock, gateway=gateway, clock=clock).tools(),
        *Payments(store=store, stock=stock, gateway=gateway, clock=clock).tools(),
        *Orders(store).tools(),
        *Memories(gateway).tools(),
    ]


class _Brand:
    """One brand's endpoint with the SDK behind it."""

    def __init__(self, pack: BrandPack, settings: Settings, tools: list[Tool[Any]], bearers: BearerCheck) -> None:
        carried = Carried(settings.state_key)
        self._pack = pack
        self._issuer = settings.issuer
        self._address = Address(settings.public_url, pack.brand.slug)
        scopes_of_tools = {tool.name: tool.scopes for tool in tools}
        self._scopes = sorted({scope for scopes in scopes_of_tools.values() for scope in scopes})
        self.sessions = StreamableHTTPSessionManager(
            BrandServer(pack, tools, self._address.metadata_url).sdk_server(carried, self._address.url),
            stateless=True,
            json_response=False,
            security_settings=transport_security(settings.public_url),
            max_request_body_size=BODY_BYTES_MAX,
        )
        self._endpoint = Endpoint(
            pack=pack,
            address=self._address,
            sessions=self.sessions,
            bearers=bearers,
            carried=carried,
            scopes_of_tools=scopes_of_tools,
        )

    def routes(self) -> list[ControllerRouterHandler]:
        return brand_routes(self._pack, self._address, self._endpoint, issuer=self._issuer, scopes=self._scopes)
