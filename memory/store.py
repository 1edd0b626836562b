"""The statements, each named for what it returns. Every one runs inside a tenant's transaction."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

MEMORIES_PER_SUBJECT_MAX = 5_000
"""A recall opens and ranks them all; `infra bench memory` measures it at 1,000."""


EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class WrappedKeys:
    tenant: bytes
    subject: bytes


@dataclass(frozen=True, slots=True)
class SealedMemory:
    memory_id: str
    brand_id: str
    tier: int
    sealed: bytes
    remembered_at: datetime


async def tenant_key(tx: AsyncConnection, tenant_id: str) -> bytes | None:
    row = await tx.execute(text("SELECT wrapped_key FROM tenants WHERE tenant_id = :t"), {"t": tenant_id})
    found: bytes | None = row.scalar_one_or_none()
    return found


async def add_tenant(tx: AsyncConnection, tenant_id: str, wrapped: bytes) -> None:
    """The first of two racing writers wins; read the key again afterwards."""
    statement = text("INSERT INTO tenants (tenant_id, wrapped_key) VALUES (:t, :k) ON CONFLICT DO NOTHING")
    await tx.execute(statement, {"t": tenant_id, "k": wrapped})


async def add_subject(tx: AsyncConnection, tenant_id: str, subject_id: str, wrapped: bytes, now: datetime) -> None:
    statement = text(
        "INSERT INTO subjects (tenant_id, subject_id, wrapped_key, known_since) VALUES (:t, :s, :k, :now) "
        "ON CONFLICT DO NOTHING"
    )
    await tx.execute(statement, {"t": tenant_id, "s": subject_id, "k": wrapped, "now": now})


async def wrapped_keys(tx: AsyncConnection, tenant_id: str, subject_id: str) -> WrappedKeys | None:
    statement = text(
        "SELECT t.wrapped_key, s.wrapped_key FROM subjects s JOIN tenants t USING (tenant_id) "
        "WHERE s.tenant_id = :t AND s.subject_id = :s"
    )
    row = (await tx.execute(statement, {"t": tenant_id, "s": subject_id})).one_or_none()
    return None if row is None else WrappedKeys(row[0], row[1])


async def memory(tx: AsyncConnection, tenant_id: str, subject_id: str, memory_id: str) -> SealedMemory | None:
    statement = text(
        "SELECT memory_id, brand_id, tier, sealed, remembered_at FROM memories "
        "WHERE tenant_id = :t AND subject_id = :s AND memory_id = :m"
    )
    row = (await tx.execute(statement, {"t": tenant_id, "s": subject_id, "m": memory_id})).one_or_none()
    return None if row is None else SealedMemory(*row)


async def memories_up_to(
    tx: AsyncConnection, tenant_id: str, subject_id: str, brand_id: str, tier_max: int
) -> Sequence[SealedMemory]:
    """Of one subject at one brand, newest first."""
    statement = text(
        "SELECT memory_id, brand_id, tier, sealed, remembered_at FROM memories "
        "WHERE tenant_id = :t AND subject_id = :s AND brand_id = :b AND tier <= :tier_max "
        "ORDER BY remembered_at DESC, memory_id LIMIT :limit"
    )
    found = await tx.execute(
        statement,
        {"t": tenant_id, "s": subject_id, "b": brand_id, "tier_max": tier_max, "limit": MEMORIES_PER_SUBJECT_MAX},
    )
    return [SealedMemory(*row) for row in found]


async def digests_up_to(
    tx: AsyncConnection, tenant_id: str, subject_id: str, brand_id: str, tier_max: int
) -> dict[int, bytes]:
    """By tier, what `digests_of` gives for the memories that are stored now: the bodies do not leave the database."""
    statement = text(
        "SELECT tier, sha256(string_agg(convert_to(memory_id, 'UTF8') || sealed ||"
        " int8send((extract(epoch FROM remembered_at) * 1000000)::bigint), ''::bytea ORDER BY memory_id COLLATE \"C\"))"
        " FROM memories WHERE tenant_id = :t AND subject_id = :s AND brand_id = :b AND tier <= :tier_max GROUP BY tier"
    )
    found = await tx.execute(statement, {"t": tenant_id, "s": subject_id, "b": brand_id, "tier_max": tier_max})
    return {row[0]: row[1] for row in found}


def digests_of(rows: Sequence[SealedMemory]) -> dict[int, bytes]:
    """Tier → SHA-256 over ids, sealed bodies and times. A body is sealed under a fresh nonce: none comes twice."""
    hashes: dict[int, Any] = {}
    for row in sorted(rows, key=lambda row: row.memory_id):
        micros = (row.remembered_at - EPOCH) // timedelta(microseconds=1)
        hashes.setdefault(row.tier, hashlib.sha256()).update(
            row.memory_id.encode() + row.sealed + micros.to_bytes(8, "big", signed=True)
        )
    return {tier: digest.digest() for tier, digest in hashes.items()}


async def count_of(tx: AsyncConnection, tenant_id: str, subject_id: str) -> int:
    statement = text("SELECT count(*) FROM memories WHERE tenant_id = :t AND subject_id = :s")
    return int((await tx.execute(statement, {"t": tenant_id, "s": subject_id})).scalar_one())


async def add_memory(tx: AsyncConnection, tenant_id: str, subject_id: str, memory: SealedMemory) -> None:
    statement = text(
        "INSERT INTO memories (tenant_id, subject_id, memory_id, brand_id, tier, sealed, remembered_at) "
        "VALUES (:t, :s, :m, :b, :tier, :sealed, :at)"
    )
    values = {
        "t": tenant_id,
        "s": subject_id,
        "m": memory.memory_id,
        "b": memory.brand_id,
        "tier": memory.tier,
        "sealed": memory.sealed,
        "at": memory.remembered_at,
    }
    await tx.execute(statement, values)


async def drop_memory(tx: AsyncConnection, tenant_id: str, subject_id: str, memory_id: str) -> None:
    statement = text("DELETE FROM memories WHERE tenant_id = :t AND subject_id = :s AND memory_id = :m")
    await tx.execute(statement, {"t": tenant_id, "s": subject_id, "m": memory_id})


async def shred_subject(tx: AsyncConnection, tenant_id: str, subject_id: str) -> None:
    """The wrapped key goes, and by the foreign key every memory it sealed."""
    statement = text("DELETE FROM subjects WHERE tenant_id = :t AND subject_id = :s")
    await tx.execute(statement, {"t": tenant_id, "s": subject_id})


async def tenants(tx: AsyncConnection) -> Sequence[str]:
    return [row[0] for row in await tx.execute(text("SELECT tenant_id FROM tenants ORDER BY tenant_id"))]


async def drop_expired_grants(tx: AsyncConnection, tenant_id: str, before: datetime) -> None:
    statement = text("DELETE FROM redeemed_grants WHERE tenant_id = :t AND expires_at < :before")
    await tx.execute(statement, {"t": tenant_id, "before": before})
