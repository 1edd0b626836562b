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
from gateway.record import Record
from gateway.record_verify import verify
from gateway.sealer import Sealer
from infra.chassis.clock import FixedClock
from infra.chassis.engine import create_engine, tenant_transaction
from infra.chassis.ids import new_id
from infra.chassis.secret import Secret
from infra.dev.postgres import Cluster
from tests.support.database import DatabaseMaker

NORTH, SOUTH = "tnt_north", "tnt_south"
START = datetime(2026, 11, 20, 12, 0, tzinfo=UTC)


@dataclass(slots=True)
class RecordHouse:
    engine: AsyncEngine
    cluster: Cluster
    database: str
    app_dsn: str
    clock: FixedClock
    key: Ed25519PrivateKey
    record: Record
    sealer: Sealer
    appended: list[str] = field(default_factory=list)
    """Decision ids, oldest first."""

    async def append(self, tenant_id: str = NORTH, decision_id: str | None = None, **body: Any) -> Receipt:
        named = decision_id or new_id("dec")
        async with tenant_transaction(self.engine, tenant_id) as tx:
            receipt = await self.record.append(tx, tenant_id=tenant_id, decision_id=named, body={"v": 1, **body})
        self.appended.append(named)
        return receipt

    async def sealed(self, *batches: int, tenant_id: str = NORTH) -> None:
        """For each number that many entries, sealed as one batch."""
        for count in batches:
            for _ in range(count):
                await self.append(tenant_id)
            await self.sealer.seal(tenant_id)

    async def verify(self, tenant_id: str = NORTH, kept_elsewhere: str | None = None) -> RecordVerification:
        return await verify(self.engine, self.record, tenant_id, kept_elsewhere=kept_elsewhere)

    async def findings(self, tenant_id: str = NORTH, kept_elsewhere: str | None = None) -> list[str]:
        found = await self.verify(tenant_id, kept_elsewhere)
        assert found.intact == (not found.findings)
        return found.findings

    async def note(self, tenant_id: str = NORTH) -> str:
        """The newest checkpoint, as somebody outside would keep it."""
        async with tenant_transaction(self.engine, tenant_id) as tx:
            statement = "SELECT note FROM record_checkpoints ORDER BY tree_size DESC LIMIT 1"
            return str((await tx.execute(text(statement))).scalar_one())

    async def sql(self, statements: str) -> str:
        """As the superuser: no row-level security, no grants, no mercy."""
        return await asyncio.to_thread(self.cluster.sql, statements, database=self.database)

    async def places(self, tenant_id: str = NORTH) -> list[str]:
        """Decision ids by place in the tree."""
        rows = await self.sql(
            "SELECT decision_id FROM record_leaves JOIN record_entries USING (tenant_id, entry_id) "  # noqa: S608 - constants
            f"WHERE tenant_id = '{tenant_id}' ORDER BY tree_index;"
        )
        return rows.split()


@asynccontextmanager
async def record_house(database: DatabaseMaker, cluster: Cluster) -> AsyncIterator[RecordHouse]:
    made = database("gateway")
    engine = create_engine(Secret(made.app_dsn))
    clock = FixedClock(START)
    key = Ed25519PrivateKey.generate()
    record = Record(key, clock)
    cluster.sql("INSERT INTO tenants VALUES ('tnt_north', 'North'), ('tnt_south', 'South');", database=made.name)
    try:
        yield RecordHouse(
            engine=engine,
            cluster=cluster,
            database=made.name,
            app_dsn=made.app_dsn,
            clock=clock,
            key=key,
            record=record,
            sealer=Sealer(engine, record),
        )
    finally:
        await engine.dispose()
