"""A tenant's record over real PostgreSQL, with the superuser at hand to do what nobody may."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from gateway.contract import Receipt, RecordVerification
from gateway.record.entries import Record, entry_bytes
from gateway.record.merkle import leaf_hash
from gateway.record.sealer import Sealer
from gateway.record.store import sealed_entries
from gateway.record.verify import verify
from infra.chassis.clock import FixedClock
from infra.chassis.engine import create_engine, tenant_transaction
from infra.chassis.ids import new_id
from infra.chassis.secret import Secret
from infra.dev.postgres import Cluster, ServiceDatabase

START = datetime(2026, 11, 20, 12, 0, tzinfo=UTC)


@dataclass(slots=True)
class RecordHouse:
    engine: AsyncEngine
    cluster: Cluster
    database: ServiceDatabase
    north: str
    south: str
    """Two tenants that nobody else uses."""
    clock: FixedClock
    key: Ed25519PrivateKey
    record: Record
    sealer: Sealer
    appended: list[str] = field(default_factory=list)
    """Decision ids, oldest first."""

    async def append(self, tenant_id: str | None = None, decision_id: str | None = None, **body: Any) -> Receipt:
        named, tenant = decision_id or new_id("dec"), tenant_id or self.north
        async with tenant_transaction(self.engine, tenant) as tx:
            receipt = await self.record.append(tx, tenant_id=tenant, decision_id=named, body={"v": 1, **body})
        self.appended.append(named)
        return receipt

    async def sealed(self, *batches: int, tenant_id: str | None = None) -> None:
        """For each number that many entries, sealed as one batch."""
        tenant = tenant_id or self.north
        for count in batches:
            async with tenant_transaction(self.engine, tenant) as tx:
                for _ in range(count):
                    self.appended.append(new_id("dec"))
                    await self.record.append(tx, tenant_id=tenant, decision_id=self.appended[-1], body={"v": 1})
            await self.sealer.seal(tenant)

    async def verify(self, tenant_id: str | None = None, kept_elsewhere: str | None = None) -> RecordVerification:
        return await verify(self.engine, self.record, tenant_id or self.north, kept_elsewhere=kept_elsewhere)

    async def findings(self, tenant_id: str | None = None, kept_elsewhere: str | None = None) -> list[str]:
        found = await self.verify(tenant_id, kept_elsewhere)
        assert found.intact == (not found.findings)
        return found.findings

    async def note(self, tenant_id: str | None = None) -> str:
        """The newest checkpoint, as somebody outside would keep it."""
        async with tenant_transaction(self.engine, tenant_id or self.north) as tx:
            statement = "SELECT note FROM record_checkpoints ORDER BY tree_size DESC LIMIT 1"
            return str((await tx.execute(text(statement))).scalar_one())

    async def tamper(self, statements: str) -> str:
        """As the owner of the tables, who may do anything to the rows of `north`."""
        return await self.superuser(f"SET ROLE gateway_owner; SET undercroft.tenant = '{self.north}'; {statements}")

    async def forge(self, place: int, **body: str) -> None:
        """Exchange an entry of `north` together with its hash, each in order by itself."""
        decision_id = (await self.places())[place]
        forged = entry_bytes(
            tenant_id=self.north, decision_id=decision_id, recorded_at=self.clock.now(), body={"v": 1, **body}
        )
        exchanged = f"canonical = '\\x{forged.hex()}', leaf_sha256 = '\\x{leaf_hash(forged).hex()}'"
        await self.tamper(f"UPDATE record_entries SET {exchanged} WHERE decision_id = '{decision_id}';")  # noqa: S608 - ours

    async def superuser(self, statements: str) -> str:
        """To the rows of all tenants."""
        return await asyncio.to_thread(self.cluster.sql, statements, database=self.database.name)

    async def places(self, tenant_id: str | None = None) -> list[str]:
        """Decision ids by place in the tree."""
        async with tenant_transaction(self.engine, tenant_id or self.north) as tx:
            return [entry.decision_id or "" async for entry in sealed_entries(tx, tenant_id or self.north)]


@asynccontextmanager
async def record_house(made: ServiceDatabase, cluster: Cluster) -> AsyncIterator[RecordHouse]:
    engine = create_engine(Secret(made.app_dsn))
    clock = FixedClock(START)
    key = Ed25519PrivateKey.generate()
    record = Record(key, clock)
    north, south = new_id("tnt"), new_id("tnt")
    known = f"INSERT INTO tenants (tenant_id, name) VALUES ('{north}', 'North'), ('{south}', 'South');"  # noqa: S608 - ours
    await asyncio.to_thread(cluster.sql, known, database=made.name)
    try:
        yield RecordHouse(
            engine=engine,
            cluster=cluster,
            database=made,
            north=north,
            south=south,
            clock=clock,
            key=key,
            record=record,
            sealer=Sealer(engine, record),
        )
    finally:
        await engine.dispose()
