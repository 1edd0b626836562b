from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import httpx2
import jwt
import msgspec
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from sqlalchemy.ext.asyncio import AsyncEngine

from gateway.bearers import public_jwk, thumbprint
from gateway.grants import GrantMint
from infra.chassis.clock import FixedClock
from infra.chassis.engine import create_engine
from infra.chassis.grants import GrantVerifier
from infra.chassis.ids import new_id
from infra.chassis.keys import SoftwareKeyService, new_key
from infra.chassis.secret import Secret
from memory.app import build
from memory.contract import ForgetOrder, Provenance, RecallOrder, RememberOrder, Source, Tier
from memory.seal import SubjectKeys
from tests.support.database import DatabaseMaker

ISSUER = "http://gateway.test"
PATHS = {"remember": "/v1/memories", "recall": "/v1/recalls", "forget": "/v1/erasures"}


@dataclass(slots=True)
class Bench:
    """The memory over real PostgreSQL, and a mint whose key it trusts."""

    client: httpx2.AsyncClient
    engine: AsyncEngine
    mint: GrantMint
    clock: FixedClock
    app_dsn: str
    owner_dsn: str

    def grant(self, purpose: str, order: Any, **changes: Any) -> str:
        values = {
            "audience": "memory",
            "action": purpose,
            "actor": "agt_test",
            "tenant_id": order.tenant_id,
            "brand_id": order.brand_id,
            "subject_id": order.subject_id,
            "decision_id": new_id("dec"),
            "parameters": order,
        }
        return self.mint.mint(**(values | changes))

    async def send(self, action: str, order: Any, grant: str | None = None) -> httpx2.Response:
        sent = grant if grant is not None else self.grant(action, order)
        return await self.client.post(
            PATHS[action],
            content=msgspec.json.encode(order),
            headers={"content-type": "application/json", "Undercroft-Grant": sent},
        )

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


@pytest.fixture
async def bench(database: DatabaseMaker) -> AsyncIterator[Bench]:
    databases = database("memory")
    engine = create_engine(Secret(databases.app_dsn))
    key = Ed25519PrivateKey.generate()
    clock = FixedClock(datetime(2026, 11, 20, 12, 0, tzinfo=UTC))
    public = jwt.PyJWK(
        jwt.algorithms.OKPAlgorithm.to_jwk(key.public_key(), as_dict=True) | {"alg": "EdDSA"}, algorithm="EdDSA"
    )
    verifier = GrantVerifier(audience="memory", issuer=ISSUER, keys={thumbprint(public_jwk(key)): public}, clock=clock)
    keys = SubjectKeys(SoftwareKeyService(new_key()))
    app = build(engine=engine, verifier=verifier, keys=keys, clock=clock)
    transport = httpx2.ASGITransport(app=app)  # type: ignore[arg-type]  # Litestar's and httpx2's scope types differ
    async with httpx2.AsyncClient(transport=transport, base_url="http://memory") as client:
        yield Bench(client, engine, GrantMint(key, ISSUER, clock), clock, databases.app_dsn, databases.owner_dsn)
    await engine.dispose()
