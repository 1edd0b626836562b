"""The demo pack, a store on a fresh database of its own, and assistants at the running house's endpoint."""

import secrets
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, cast

import httpx2
import jwt
import pytest
from mcp import Client
from mcp.client.streamable_http import streamable_http_client
from mcp_types import ElicitRequestParams, ElicitRequestURLParams, ElicitResult

import mcp_server.brands
from infra.chassis.clock import FixedClock
from infra.chassis.engine import create_engine
from infra.chassis.secret import Secret
from infra.dev.house import House
from mcp_server.brands.pack import BrandPack, load_packs
from mcp_server.store import Owner, Store
from tests.support.assistants import Person, new_person
from tests.support.database import DatabaseMaker
from tests.support.waiting import BUSY_SECONDS_MAX

Mint = Callable[..., str]
Connect = Callable[..., AbstractAsyncContextManager[Client]]


@pytest.fixture(scope="session")
def pack() -> BrandPack:
    return load_packs(Path(mcp_server.brands.__file__).parent)["lumen-and-loom"]


@pytest.fixture
def clock() -> FixedClock:
    return FixedClock(datetime(2026, 11, 20, 12, tzinfo=UTC))


@pytest.fixture
async def store(database: DatabaseMaker) -> AsyncIterator[Store]:
    engine = create_engine(Secret(database("mcp_server").app_dsn))
    yield Store(engine)
    await engine.dispose()


@pytest.fixture
def owner(pack: BrandPack) -> Owner:
    return Owner(tenant_id=pack.brand.tenant_id, brand_id=pack.brand.brand_id, subject_id="sub_ada")


@pytest.fixture(scope="session")
def endpoint(house: House) -> str:
    return f"{house.urls['mcp_server']}/brands/lumen-and-loom/mcp"


@pytest.fixture(scope="session")
def mint(house: House, endpoint: str) -> Mint:
    """Bearers signed with the gateway's own key, right in every way but what a test changes."""

    def minted(*, key: Any = None, header: dict[str, str] | None = None, without: str = "", **changes: Any) -> str:
        now = int(time.time())
        claims = {
            "iss": house.urls["gateway"],
            "aud": endpoint,
            "iat": now,
            "exp": now + 600,
            "jti": secrets.token_urlsafe(12),
            "sub": "sub_minted",
            "client_id": "ast_minted",
            "scope": "catalog purchase memory",
            "kind": "assistant",
            "tenant": "tnt_halden",
            "brand": "brd_lumenloom",
            "cnv": "cnv_minted",
            **changes,
        }
        claims.pop(without, None)
        signing = house.keyring.private_key("gateway/keys/bearer.pem")
        key_id = house.keyring.public_jwk("gateway/keys/bearer.pem")["kid"]
        return jwt.encode(
            claims, key or signing, algorithm="EdDSA", headers={"typ": "at+jwt", "kid": key_id, **(header or {})}
        )

    return minted


@pytest.fixture
async def http() -> AsyncIterator[httpx2.AsyncClient]:
    async with httpx2.AsyncClient(timeout=BUSY_SECONDS_MAX) as client:
        yield client


@pytest.fixture
def assistant(endpoint: str) -> Connect:
    """`async with assistant(bearer, mode)`: the official client, with a bearer it already has."""

    @asynccontextmanager
    async def connected(
        bearer: str, mode: str = "2026-07-28", on_link: Callable[[str], Awaitable[str]] | None = None
    ) -> AsyncIterator[Client]:
        async def elicited(_context: Any, asked: ElicitRequestParams) -> ElicitResult:
            assert isinstance(asked, ElicitRequestURLParams)
            assert on_link is not None
            return ElicitResult(action=cast("Any", await on_link(asked.url)))

        headers = {"Authorization": f"Bearer {bearer}"}
        async with httpx2.AsyncClient(headers=headers, timeout=BUSY_SECONDS_MAX) as client:
            transport = streamable_http_client(endpoint, http_client=client)
            callback = cast("Any", elicited if on_link is not None else None)
            async with Client(transport, mode=cast("Any", mode), elicitation_callback=callback) as connected:
                yield connected

    return connected


@pytest.fixture
async def person(house: House, endpoint: str) -> AsyncIterator[Person]:
    async with new_person(house, endpoint) as made:
        yield made
