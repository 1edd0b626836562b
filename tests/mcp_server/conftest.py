"""The demo pack, and a store on a fresh database of its own."""

from collections.abc import AsyncIterator
from datetime import UTC, datetime
from pathlib import Path

import pytest

import mcp_server.brands
from infra.chassis.clock import FixedClock
from infra.chassis.engine import create_engine
from infra.chassis.secret import Secret
from mcp_server.brands.pack import BrandPack, load_packs
from mcp_server.store import Owner, Store
from tests.support.database import DatabaseMaker


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
