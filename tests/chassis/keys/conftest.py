from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.chassis.keys.worlds import WORLDS, World


@pytest.fixture(params=WORLDS)
async def world(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[World]:
    async with WORLDS[request.param](tmp_path) as opened:
        yield opened
