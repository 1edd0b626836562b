import tempfile
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from infra.chassis.clock import SystemClock
from infra.dev.browser import Browser, find_chromium, launch
from infra.dev.postgres import ServiceDatabase
from tests.sandbox.running import Sandbox, make_sandbox
from tests.support.card_site import CardSite, serve_card_site
from tests.support.database import DatabaseMaker
from tests.vault.bench import Bench, Person, open_bench
from tests.vault.custody import NAMES, Place, enrolled_place
from tests.vault.destination import Company, Forwarding, company, forwarding
from tests.vault.receiver import Receiver, receiving


@pytest.fixture(scope="session")
def sandbox_process(throwaway_folder: Path) -> Iterator[Sandbox]:
    """The processor, without webhooks: nothing then ends a charge behind a test's back. No disk makes it slow."""
    sandbox = make_sandbox(throwaway_folder / "processor")
    sandbox.start()
    yield sandbox
    assert sandbox.stop() == 0
    sandbox.close()


@pytest.fixture
def processor(sandbox_process: Sandbox) -> Iterator[Sandbox]:
    """The shared process, with every fault switched off again afterwards."""
    yield sandbox_process
    sandbox_process.plain.delete(f"{sandbox_process.url}/_sandbox/faults")
    sandbox_process.plain.delete(f"{sandbox_process.url}/_sandbox/down")
    sandbox_process.plain.post(f"{sandbox_process.url}/_sandbox/release")


@pytest.fixture(scope="session")
def shared_database(database: DatabaseMaker) -> ServiceDatabase:
    return database("vault")


@pytest.fixture
async def bench(shared_database: ServiceDatabase, processor: Sandbox, tmp_path: Path) -> AsyncIterator[Bench]:
    """A vault of the test's own on a database all tests share, each with tenants of its own."""
    async with open_bench(tmp_path, shared_database, processor) as opened:
        yield opened


@pytest.fixture
async def alone(database: DatabaseMaker, processor: Sandbox, tmp_path: Path) -> AsyncIterator[Bench]:
    """As `bench`, with a database of its own: for tests of the reconciler, which ends whatever it finds."""
    async with open_bench(tmp_path, database("vault"), processor) as opened:
        yield opened


@pytest.fixture
def ada() -> Person:
    return Person()


@pytest.fixture(scope="session")
async def browser() -> AsyncIterator[Browser]:
    """A real Chromium, without a vault behind it."""
    chromium = find_chromium()
    if chromium is None:
        pytest.fail("no Chromium on PATH: install it (Debian: apt-get install chromium); .ci/run does")
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as profile:
        async with launch(chromium, profile=Path(profile)) as running:
            yield running


@pytest.fixture
async def site() -> AsyncIterator[CardSite]:
    async with serve_card_site(SystemClock()) as running:
        yield running


@pytest.fixture(scope="session")
def enrolled(tmp_path_factory: pytest.TempPathFactory) -> Place:
    """Three custodians, and a root that lies open; to be copied."""
    return enrolled_place(tmp_path_factory.mktemp("enrolled"))


@pytest.fixture(scope="session")
def generated(enrolled: Place, tmp_path_factory: pytest.TempPathFactory) -> tuple[Place, dict[str, str]]:
    """The root put under their custody, and what each has on paper; to be copied."""
    place = enrolled.copy(tmp_path_factory.mktemp("generated"))
    return place, place.generate(*NAMES)


@pytest.fixture
def place(enrolled: Place, tmp_path: Path) -> Place:
    """Three custodians, and a root that lies open."""
    return enrolled.copy(tmp_path)


@pytest.fixture
def kept(generated: tuple[Place, dict[str, str]], tmp_path: Path) -> Place:
    """A root under custody, any two of three."""
    return generated[0].copy(tmp_path)


@pytest.fixture
def papers(generated: tuple[Place, dict[str, str]]) -> dict[str, str]:
    return dict(generated[1])


@pytest.fixture
async def there() -> AsyncIterator[Company]:
    """Another company, to which cards may be forwarded."""
    async with company() as listening:
        yield listening


@pytest.fixture
async def ready(bench: Bench, ada: Person, there: Company) -> Forwarding:
    return await forwarding(bench, bench.databases, ada, there)


@pytest.fixture
async def receiver() -> AsyncIterator[Receiver]:
    """A tenant's own server, for webhooks."""
    async with receiving() as running:
        yield running
