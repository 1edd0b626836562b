"""One shop for all tests that keep to their own people; a new one for those that look at everything or move time."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable

import httpx2
import pytest

from infra.dev.house import House
from infra.dev.postgres import Cluster
from tests.gateway.points import Point
from tests.gateway.shop import AUTHZEN_URL, NORTH, POINT, Ground, Shop, open_shop, prepare
from tests.support.database import DatabaseMaker


@pytest.fixture(scope="session")
async def shop(house: House, database: DatabaseMaker) -> AsyncIterator[Shop]:
    async with open_shop(await prepare(house, database)) as opened:
        yield opened


@pytest.fixture
async def ground(house: House, database: DatabaseMaker) -> Ground:
    """For tests that open several gateways on one database."""
    return await prepare(house, database)


@pytest.fixture
async def new_shop(ground: Ground) -> AsyncIterator[Shop]:
    async with open_shop(ground) as opened:
        yield opened


@pytest.fixture(scope="session")
def as_owner(clusters: dict[str, Cluster]) -> Callable[[Shop, str], Awaitable[str]]:
    """Statements in the shop's database as the owner of its tables, who may do what nobody may at run time."""

    async def run(opened: Shop, statements: str, tenant_id: str = NORTH) -> str:
        database = opened.ground.app_dsn.rpartition("@/")[2].partition("?")[0]
        entered = f"SET ROLE gateway_owner; SET undercroft.tenant = '{tenant_id}'; {statements}"
        return await asyncio.to_thread(clusters["house"].sql, entered, database=database)

    return run


@pytest.fixture
async def authzen(shop: Shop) -> AsyncIterator[httpx2.AsyncClient]:
    transport = httpx2.ASGITransport(app=shop.gateway.authzen)  # type: ignore[arg-type]  # two spellings of ASGI
    async with httpx2.AsyncClient(transport=transport, base_url=AUTHZEN_URL) as client:
        yield client


@pytest.fixture
async def point(shop: Shop, authzen: httpx2.AsyncClient) -> Point:
    return Point(authzen, await shop.bearer(POINT))
