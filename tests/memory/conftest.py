import secrets
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx2
import msgspec
import pytest
from sqlalchemy.ext.asyncio import AsyncEngine

from infra.chassis.clock import FixedClock
from infra.chassis.engine import create_engine
from infra.chassis.grants import GrantVerifier
from infra.chassis.ids import new_id
from infra.chassis.jwk import JwksFile
from infra.chassis.keys import RingFile, SoftwareKeyService
from infra.chassis.secret import Secret
from infra.dev.postgres import ServiceDatabase
from memory.app import build
from memory.contract import ForgetOrder, Provenance, RecallOrder, RememberOrder, Source, Tier
from memory.prepared import Preparations
from memory.seal import SubjectKeys
from tests.support.database import DatabaseMaker
from tests.support.grants import TestMint
from tests.support.keys import root_file

ISSUER = "http://gateway.test"
ROOT = secrets.token_bytes(32)
"""Of the key service, the same in all memories of a test."""
PATHS = {
    "remember": "/v1/memories",
    "recall": "/v1/recalls",
    "forget": "/v1/erasures",
    "prepare": "/v1/preparations",
    "release": "/v1/releases",
}


class CountedKeys(SoftwareKeyService):
    """A key service that counts: whoever opens memories has to ask it first."""

    unwrapped = 0

    async def unwrap(self, wrapped: bytes, context: bytes) -> Secret[bytes]:
        self.unwrapped += 1
        return await super().unwrap(wrapped, context)


@dataclass(slots=True)
class Bench:
    """The memory over real PostgreSQL, and a mint whose key it trusts."""

    client: httpx2.AsyncClient
    engine: AsyncEngine
    mint: TestMint
    clock: FixedClock
    prepared: Preparations
    keys: CountedKeys
    app_dsn: str
    owner_dsn: str
    trusted: Path
    """The file of the keys it takes grants of."""

    def grant(self, purpose: str, order: Any, **changes: Any) -> str:
        return self.mint.grant(purpose, order, **changes)

    async def send(self, action: str, order: Any, grant: str | None = None) -> httpx2.Response:
        sent = grant if grant is not None else self.grant(action, order)
        headers = self.mint.headers(sent, "POST", PATHS[action])
        return await self.post(action, order, headers)

    async def post(self, action: str, order: Any, headers: Any) -> httpx2.Response:
        """With exactly these headers, a mapping or pairs."""
        given = [*(headers.items() if isinstance(headers, dict) else headers), ("content-type", "application/json")]
        return await self.client.post(PATHS[action], content=msgspec.json.encode(order), headers=given)

    async def remember(self, order: RememberOrder) -> httpx2.Response:
        return await self.send("remember", order)

    async def texts(self, subject: "Subject", query: str = "", tier_max: Tier = Tier.RESTRICTED) -> list[str]:
        answer = await self.send("recall", subject.recall(query, tier_max))
        assert answer.status_code == 200, answer.text
        return [memory["text"] for memory in answer.json()["memories"]]


@dataclass(frozen=True, slots=True)
class Subject:
    tenant_id: str
    subject_id: str
    brand_id: str = "brd_lamps"

    def memory(self, text: str, **changes: Any) -> RememberOrder:
        provenance = Provenance(
            source=Source.SUBJECT,
            channel="chat",
            conversation_id=new_id("cnv"),
            client_id="agt_test",
            confidence_percent=80,
        )
        values: dict[str, Any] = {"memory_id": new_id("mem"), "text": text, "provenance": provenance}
        return RememberOrder(
            tenant_id=self.tenant_id, brand_id=self.brand_id, subject_id=self.subject_id, **(values | changes)
        )

    def recall(self, query: str = "", tier_max: Tier = Tier.RESTRICTED, limit: int = 10) -> RecallOrder:
        return RecallOrder(
            tenant_id=self.tenant_id,
            brand_id=self.brand_id,
            subject_id=self.subject_id,
            query=query,
            tier_max=tier_max,
            limit=limit,
        )

    def forget(self, memory_id: str | None = None) -> ForgetOrder:
        return ForgetOrder(
            tenant_id=self.tenant_id, brand_id=self.brand_id, subject_id=self.subject_id, memory_id=memory_id
        )


@pytest.fixture
def ada() -> Subject:
    return Subject(new_id("tnt"), new_id("sub"))


@asynccontextmanager
async def open_bench(
    databases: ServiceDatabase, folder: Path, mint: TestMint, clock: FixedClock
) -> AsyncIterator[Bench]:
    """A memory of its own on a database that several may share, as several processes do."""
    engine = create_engine(Secret(databases.app_dsn))
    trusted = JwksFile(mint.write_jwks(folder / "grant.jwks"), clock)
    verifier = GrantVerifier(audience="memory", issuer=mint.issuer, keys=trusted, clock=clock)
    keys, prepared = CountedKeys(RingFile(root_file(folder, ROOT)), clock), Preparations(clock)
    app = build(engine=engine, verifier=verifier, keys=SubjectKeys(keys), clock=clock, prepared=prepared)
    transport = httpx2.ASGITransport(app=app)  # type: ignore[arg-type]  # Litestar's and httpx2's scope types differ
    async with httpx2.AsyncClient(transport=transport, base_url="http://memory") as client:
        yield Bench(
            client,
            engine,
            mint,
            clock,
            prepared,
            keys,
            databases.app_dsn,
            databases.owner_dsn,
            folder / "grant.jwks",
        )
    await engine.dispose()


@pytest.fixture
async def bench(database: DatabaseMaker, tmp_path: Path) -> AsyncIterator[Bench]:
    clock = FixedClock(datetime(2026, 11, 20, 12, 0, tzinfo=UTC))
    async with open_bench(database("memory"), tmp_path, TestMint(clock, "memory", ISSUER), clock) as opened:
        yield opened
