"""One shop for all tests that keep to their own people; a new one for those that look at everything or move time."""

from collections.abc import AsyncIterator, Iterator

import pytest

from infra.dev.house import House
from tests.gateway.shop import Ground, Shop, back_rooms, open_shop, prepare
from tests.support.database import DatabaseMaker


@pytest.fixture(scope="session")
def rooms(tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    """Vault, memory and sandbox as processes; no gateway."""
    yield from back_rooms(tmp_path_factory.mktemp("rooms"))


@pytest.fixture(scope="session")
async def shop(rooms: House, database: DatabaseMaker) -> AsyncIterator[Shop]:
    async with open_shop(await prepare(rooms, database)) as opened:
        yield opened


@pytest.fixture
async def ground(rooms: House, database: DatabaseMaker) -> Ground:
    """For tests that open several gateways on one database."""
    return await prepare(rooms, database)


@pytest.fixture
async def new_shop(ground: Ground) -> AsyncIterator[Shop]:
    async with open_shop(ground) as opened:
        yield opened
