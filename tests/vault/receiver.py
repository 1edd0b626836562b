"""A tenant's own server, which takes webhooks and answers as it is told; and the outbox as an operator reads it."""

import asyncio
import base64
import json
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import standardwebhooks
from aiohttp import web
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from prometheus_client import CollectorRegistry

from tests.vault.bench import Bench, Person, rows
from vault.outbox.counters import OutboxCounters
from vault.outbox.courier import Courier
from vault.outbox.endpoints import Shown
from vault.outbox.events import CanaryData, Kind, add_event
from vault.outbox.sending import Sender
from vault.outbox.signing import EndpointKeys
from vault.store import Store

PATIENT_SECONDS, IMPATIENT_SECONDS, ENDLESS_SECONDS = 30, 0.2, 3600


@dataclass(frozen=True, slots=True)
class Taken:
    """One POST as it came."""

    path: str
    headers: Mapping[str, str]
    body: bytes

    @property
    def event_id(self) -> str:
        return self.headers["webhook-id"]

    @property
    def delivery_id(self) -> str:
        return self.headers["Undercroft-Delivery"]

    @property
    def event(self) -> dict[str, Any]:
        event: dict[str, Any] = json.loads(self.body)
        return event

    def verify_shared(self, secret: str) -> Any:
        """With the official library; raises WebhookVerificationError."""
        return standardwebhooks.Webhook(secret).verify(self.body, dict(self.headers))

    def is_signed_by(self, public_key: str) -> bool:
        """As the specification says of `v1a`."""
        key = Ed25519PublicKey.from_public_bytes(base64.b64decode(public_key.removeprefix("whpk_")))
        signed = f"{self.headers['webhook-id']}.{self.headers['webhook-timestamp']}.".encode() + self.body
        for one in self.headers["webhook-signature"].split(" "):
            scheme, _, signature = one.partition(",")
            if scheme == "v1a" and _checks(key, base64.b64decode(signature), signed):
                return True
        return False


def _checks(key: Ed25519PublicKey, signature: bytes, signed: bytes) -> bool:
    try:
        key.verify(signature, signed)
    except InvalidSignature:
        return False
    return True


@dataclass(slots=True)
class Receiver:
    """`script`: the next answers by path, a status or a whole response; afterwards 204."""

    url: str = ""
    taken: list[Taken] = field(default_factory=list)
    script: dict[str, list[int | web.Response]] = field(default_factory=dict)

    def at(self, path: str) -> list[Taken]:
        return [one for one in self.taken if one.path == path]

    def kinds(self, path: str = "/") -> list[str]:
        return [one.event["type"] for one in self.at(path)]

    async def take(self, request: web.Request) -> web.Response:
        self.taken.append(Taken(request.path, request.headers.copy(), await request.read()))
        waiting = self.script.get(request.path)
        answer = waiting.pop(0) if waiting else 204
        return web.Response(status=answer) if isinstance(answer, int) else answer


@asynccontextmanager
async def receiving() -> AsyncIterator[Receiver]:
    receiver = Receiver()
    app = web.Application()
    app.router.add_route("*", "/{path:.*}", receiver.take)
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    host, port = runner.addresses[0][:2]
    receiver.url = f"http://{host}:{port}"
    try:
        yield receiver
    finally:
        await runner.cleanup()


async def endpoint(bench: Bench, tenant_id: str, url: str, *kinds: Kind) -> Shown:
    """Registered; the tenant is made known to the vault, as its first order does."""
    await known_tenant(bench, tenant_id)
    return await bench.vault.outbox.endpoints.add(tenant_id, url, kinds)


async def known_tenant(bench: Bench, tenant_id: str) -> None:
    sql = "INSERT INTO tenants (tenant_id) VALUES (:tenant) ON CONFLICT DO NOTHING RETURNING 1"
    await rows(bench.databases.app_dsn, sql, tenant=tenant_id)


async def events(bench: Bench, tenant_id: str) -> list[dict[str, Any]]:
    """Payloads, in the order they were added."""
    sql = "SELECT payload FROM outbox_events ORDER BY position"
    return [json.loads(row["payload"]) for row in await rows(bench.databases.app_dsn, sql, tenant_id)]


async def kinds(bench: Bench, tenant_id: str) -> list[str]:
    return [event["type"] for event in await events(bench, tenant_id)]


async def owed(bench: Bench, tenant_id: str) -> list[dict[str, Any]]:
    sql = """SELECT d.*, e.kind FROM dispatches d JOIN outbox_events e USING (tenant_id, event_id)
        ORDER BY d.position, d.endpoint_id"""
    return await rows(bench.databases.app_dsn, sql, tenant_id)


def another_courier(bench: Bench, timeout_seconds: float = PATIENT_SECONDS) -> Courier:
    """As a second process of the same vault has one."""
    return Courier(
        store=Store(bench.vault.engine),
        keys=EndpointKeys(bench.settings.outbox.outbox_key),
        sender=Sender(sandbox=True, timeout_seconds=timeout_seconds),
        clock=bench.clock,
        counters=OutboxCounters(CollectorRegistry()),
    )


async def happen(bench: Bench, person: Person, *abouts: str) -> list[str]:
    """Events about these objects, each in a transaction of its own; their ids."""
    made = []
    for about in abouts:
        data = CanaryData(token_id=about, brand_id=person.brand_id, subject_id=person.subject_id, purchase_id=None)
        async with Store(bench.vault.engine).transaction(person.tenant_id) as tx:
            made.append(await add_event(tx, Kind.CANARY_USED, data, about=about, at=bench.clock.now()))
    return made


async def deliver(bench: Bench) -> int:
    return await bench.vault.outbox.courier.run_once()


@asynccontextmanager
async def silent() -> AsyncIterator[str]:
    """A server that takes connections and never says a word."""
    held: list[asyncio.StreamWriter] = []
    server = await asyncio.start_server(lambda _reader, writer: held.append(writer), "127.0.0.1", 0)
    try:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/"
    finally:
        server.close()
        for writer in held:
            writer.close()
        await server.wait_closed()
