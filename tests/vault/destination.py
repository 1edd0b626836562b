"""The other company: whoever a card is forwarded to. Bytes in, bytes out, so that it can answer in any way there is."""

import asyncio
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import msgspec

from infra.chassis.clock import Clock
from infra.chassis.engine import create_engine
from infra.chassis.ids import new_id
from infra.chassis.secret import Secret
from infra.dev.postgres import ServiceDatabase
from tests.vault.bench import Doors, Person
from vault.contract import ForwardOrder
from vault.forwarding.commands import add, withdraw
from vault.forwarding.destinations import BodyKind, Method, Part, Registration
from vault.store import Store

AGENT = "agt_test"
"""Whom the tests' mint names."""
PATH = "/v1/guarantees"
FIELDS = {
    "/card/number": Part.NUMBER,
    "/card/month": Part.EXP_MONTH,
    "/card/year": Part.EXP_YEAR,
    "/card/name": Part.HOLDER,
    "/card/code": Part.CODE,
}
TEMPLATE = '{"booking":"bk-7","card":{"number":"{{card.number}}","month":"{{card.exp_month}}"}}'
WITH_CODE = '{"card":{"number":"{{card.number}}","code":"{{card.code}}"}}'


@dataclass(frozen=True, slots=True)
class Received:
    """One request as it came over the wire. `over` comes when the test ends."""

    line: str
    headers: dict[str, str]
    body: bytes
    over: asyncio.Event


Answering = Callable[[Received, asyncio.StreamWriter], Awaitable[None]]


def answer(
    body: bytes, content_type: str | None = "application/json", status: str = "200 OK", **headers: str
) -> Answering:
    """A whole answer; `headers` with underscores for hyphens."""

    async def write(_request: Received, writer: asyncio.StreamWriter) -> None:
        given = {name.replace("_", "-"): value for name, value in headers.items()}
        kind = {} if content_type is None else {"content-type": content_type}
        writer.write(head(status, {**kind, "content-length": str(len(body)), **given}) + body)

    return write


def echo(_how: Callable[[bytes], bytes] = bytes, **headers: str) -> Answering:
    """What was received comes back as the value of a JSON object, written in some way."""

    async def write(request: Received, writer: asyncio.StreamWriter) -> None:
        await answer(_how(request.body), **headers)(request, writer)

    return write


def head(status: str, headers: dict[str, str]) -> bytes:
    lines = [f"HTTP/1.1 {status}", *(f"{name}: {value}" for name, value in headers.items())]
    return "\r\n".join([*lines, "", ""]).encode("latin-1")


@dataclass(slots=True)
class Company:
    """A destination that listens on this machine."""

    port: int = 0
    scheme: str = "http"
    answering: Answering = field(default_factory=lambda: answer(b'{"ok":true}'))
    received: list[Received] = field(default_factory=list)
    connections: int = 0
    over: asyncio.Event = field(default_factory=asyncio.Event)

    @property
    def url(self) -> str:
        return f"{self.scheme}://127.0.0.1:{self.port}{PATH}"

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        try:
            request = await _request(reader, self.over)
            self.received.append(request)
            await self.answering(request, writer)
            await writer.drain()
        except (ConnectionError, asyncio.IncompleteReadError):
            return
        finally:
            writer.close()


async def _request(reader: asyncio.StreamReader, over: asyncio.Event) -> Received:
    line, *lines = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")[:-2]
    headers = {name.lower(): value for name, _, value in (one.partition(": ") for one in lines)}
    return Received(line, headers, await reader.readexactly(int(headers.get("content-length", "0"))), over)


@asynccontextmanager
async def company(tls: ssl.SSLContext | None = None) -> AsyncIterator[Company]:
    there = Company(scheme="http" if tls is None else "https")
    server = await asyncio.start_server(there.serve, "127.0.0.1", 0, ssl=tls)
    there.port = server.sockets[0].getsockname()[1]
    try:
        yield there
    finally:
        there.over.set()
        server.close()


def registration(person: Person, url: str, **changes: Any) -> Registration:
    values: dict[str, Any] = {
        "tenant_id": person.tenant_id,
        "destination_id": new_id("dst"),
        "brand_id": person.brand_id,
        "url": url,
        "method": Method.POST,
        "body": BodyKind.JSON,
        "fields": FIELDS,
        "agents": [AGENT],
    }
    return msgspec.convert(values | changes, Registration)


async def register(databases: ServiceDatabase, new: Registration, clock: Clock) -> str:
    """As the operator's command does, as the owner of the database."""
    engine = create_engine(Secret(databases.owner_dsn), pool_size=1)
    try:
        await add(Store(engine), new, clock)
    finally:
        await engine.dispose()
    return new.destination_id


async def close(databases: ServiceDatabase, tenant_id: str, destination_id: str, clock: Clock) -> None:
    engine = create_engine(Secret(databases.owner_dsn), pool_size=1)
    try:
        await withdraw(Store(engine), tenant_id, destination_id, clock)
    finally:
        await engine.dispose()


@dataclass(slots=True)
class Forwarding:
    """One person's card, one destination, and the vault between them."""

    doors: Doors
    databases: ServiceDatabase
    person: Person
    company: Company
    token_id: str
    destination_id: str

    def order(self, template: str = TEMPLATE, **changes: Any) -> ForwardOrder:
        values: dict[str, Any] = {
            "tenant_id": self.person.tenant_id,
            "brand_id": self.person.brand_id,
            "subject_id": self.person.subject_id,
            "forward_id": new_id("fwd"),
            "destination_id": self.destination_id,
            "token_id": self.token_id,
            "template": template,
        }
        return ForwardOrder(**(values | changes))

    async def send(self, order: ForwardOrder, **grant: Any) -> tuple[int, dict[str, Any]]:
        compact = self.doors.mint.grant("forward", order, **grant)
        answered = await self.doors.send("/v1/forward", "forward", order, compact)
        found: dict[str, Any] = answered.json()
        return answered.status_code, found

    async def sent(self, template: str = TEMPLATE, **changes: Any) -> dict[str, Any]:
        status, view = await self.send(self.order(template, **changes))
        assert status == 200, view
        return view

    async def registered(self, **changes: Any) -> str:
        new = registration(self.person, changes.pop("url", self.company.url), **changes)
        return await register(self.databases, new, self.doors.mint.clock)


async def forwarding(doors: Doors, databases: ServiceDatabase, person: Person, there: Company) -> Forwarding:
    """With a card typed just now and the company registered."""
    token_id = await doors.new_token(person)
    destination_id = await register(databases, registration(person, there.url), doors.mint.clock)
    return Forwarding(doors, databases, person, there, token_id, destination_id)
