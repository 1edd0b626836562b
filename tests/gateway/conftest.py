from collections.abc import AsyncIterator, Iterator

import pytest

from infra.dev.house import House
from tests.gateway.shop import Shop, back_rooms, open_shop
from tests.support.database import DatabaseMaker


@pytest.fixture(scope="session")
def rooms(tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    """Vault, memory and sandbox as processes; no gateway."""
    yield from back_rooms(tmp_path_factory.mktemp("rooms"))


@pytest.fixture
async def shop(rooms: House, database: DatabaseMaker) -> AsyncIterator[Shop]:
    async with open_shop(rooms, database) as opened:
        yield opened
