"""One shop for all tests that keep to their own people; a new one for those that look at everything or move time."""

from collections.abc import AsyncIterator

import pytest

from infra.dev.house import House
from tests.gateway.shop import Ground, Shop, open_shop, prepare
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
