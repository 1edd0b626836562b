"""What every benchmark needs: a house of its own, the floors beside it, a door to knock at."""

import json
import secrets
import sys
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from http import HTTPStatus

import aiohttp

from infra.bench import floors
from infra.bench.measuring import BenchFailed, Call, Comparison, Figure, Prepare, measure
from infra.chassis.ids import new_id
from infra.cli.arguments import DATA
from infra.cli.console import Progress, step
from infra.dev import readiness, state
from infra.dev.house import DATABASE_CLUSTER, House, Options
from infra.dev.ports import HOST, Ports, free_ports
from infra.dev.processes import spawn
from infra.dev.settings import ROOT, basic

READY_SECONDS_MAX = 60.0
TIMEOUT = aiohttp.ClientTimeout(total=30)
ROW_LENGTH = 400
"""Characters: about what one of our requests carries."""
JSON = {"Content-Type": "application/json"}


@contextmanager
def fresh_house(*services: str) -> Iterator[House]:
    """Only these services, on new data that reaches the disk as in production; nothing of it is left afterwards."""
    folder = DATA / f"bench-{secrets.token_hex(3)}"
    try:
        with House(folder, Ports.free(), Options(services=services), report=step) as house:
            yield house
    finally:
        state.remove(folder)


@asynccontextmanager
async def floors_beside(house: House, service: str, tenant_id: str = "") -> AsyncIterator[str]:
    """The URL of the floors: a process of its own on the database of `service`, so the same disk and the same rights.

    With a `tenant_id` it sees that tenant's rows.
    """
    database = house.databases[service]
    cluster = house.clusters[DATABASE_CLUSTER[service]]
    cluster.sql(f"{floors.TABLE}; GRANT INSERT ON floor_rows TO {service}_app;", database=database.name)
    url = house.keyring.write("floors/database.url", database.app_dsn.replace("+asyncpg", "").encode())
    (port,) = free_ports(1)
    child = spawn(
        [sys.executable, "-P", floors.__file__, str(port), url, tenant_id],
        environment=basic(),
        log=house.logs / "floors.log",
        folder=ROOT,
    )
    try:
        if not readiness.wait(lambda: readiness.accepts(port), alive=lambda: child.alive, seconds=READY_SECONDS_MAX):
            raise BenchFailed(f"the floors did not start:\n{house.log_tail('floors')}")
        yield f"http://{HOST}:{port}"
    finally:
        child.stop()


@dataclass(frozen=True, slots=True)
class Door:
    """One service's address. Ours and the floor are asked through the same client, whose cost so is in both."""

    http: aiohttp.ClientSession
    url: str

    async def post(
        self, path: str, body: bytes, headers: Mapping[str, str] = JSON, *, expect: int = HTTPStatus.OK
    ) -> bytes:
        return await self.send("POST", path, body, headers, expect=expect)

    async def send(
        self, method: str, path: str, body: bytes | None, headers: Mapping[str, str], *, expect: int = HTTPStatus.OK
    ) -> bytes:
        """The answer's body. Raises BenchFailed when its status is another one, or there is no answer."""
        url = self.url + path
        try:
            async with self.http.request(method, url, data=body, headers=headers, allow_redirects=False) as answer:
                content = await answer.read()
        except (aiohttp.ClientError, TimeoutError) as error:
            raise BenchFailed(f"{method} {path} was not answered: {type(error).__name__}") from None
        if answer.status != expect:
            words = content[:300].decode(errors="replace")
            raise BenchFailed(f"{method} {path} was answered {answer.status}, not {expect}: {words}")
        return content


def client() -> aiohttp.ClientSession:
    """Keeps connections and no cookies."""
    return aiohttp.ClientSession(timeout=TIMEOUT, cookie_jar=aiohttp.DummyCookieJar())


async def measured(comparison: Comparison) -> Figure:
    """Measure, and show how far it is."""
    with Progress(comparison.figure) as progress:
        return await measure(comparison, progress.show)


def insertion(floors: Door) -> Prepare:
    """Insert one row of the size of a request."""

    async def prepare() -> Call:
        body = json.dumps({"row_id": new_id("row"), "body": "x" * ROW_LENGTH}).encode()
        return lambda: floors.post("/insert", body)

    return prepare
