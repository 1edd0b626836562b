"""Statements about imports, and about the keys files are sealed to. Each names the tenant of its transaction."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

import msgspec

from vault.store import Store, Tx
from vault.tables import CardRow


@dataclass(frozen=True, slots=True)
class ImportKeyRow:
    """`document` is the key's public half, as it was given out; `sealed_seed` is under the tenant's key."""

    key_id: str
    document: str
    sealed_seed: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class ImportRow:
    """A file that is being imported, or was: `file_digest` is its SHA-256."""

    batch_id: str
    brand_id: str
    file_digest: bytes
    begun_at: datetime
    finished_at: datetime | None


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of a line: a token, or reasons. `was_there`: the card was stored before, and the token is that one's.

    Subject, brand and last four are the token's.
    """

    line: int
    reasons: str | None
    was_there: bool
    token_id: str | None
    subject_id: str | None
    brand_id: str | None
    card_brand: str | None
    last4: str | None


# keys


async def add_import_key(tx: Tx, row: ImportKeyRow, good_until: datetime) -> None:
    sql = """INSERT INTO import_keys (tenant_id, key_id, document, sealed_seed, good_until)
        VALUES (:tenant_id, :key_id, :document, :sealed_seed, :good_until)"""
    given = {"key_id": row.key_id, "document": row.document, "sealed_seed": row.sealed_seed, "good_until": good_until}
    await tx.run(sql, given)


async def import_key(tx: Tx, key_id: str) -> ImportKeyRow | None:
    sql = "SELECT key_id, document, sealed_seed FROM import_keys WHERE tenant_id = :tenant_id AND key_id = :key_id"
    found = (await tx.run(sql, {"key_id": key_id})).mappings().first()
    return None if found is None else ImportKeyRow(**found)


async def import_keys_under(tx: Tx, version: int) -> list[ImportKeyRow]:
    """Those sealed under this version of the tenant's key."""
    sql = """SELECT key_id, document, sealed_seed FROM import_keys
        WHERE tenant_id = :tenant_id AND sealed_under(sealed_seed) = :version ORDER BY key_id"""
    return [ImportKeyRow(**row) for row in (await tx.run(sql, {"version": version})).mappings()]


async def move_import_key(tx: Tx, row: ImportKeyRow, sealed_seed: bytes) -> None:
    """Unless it was moved, or is gone, since it was read."""
    sql = """UPDATE import_keys SET sealed_seed = :sealed_seed
        WHERE tenant_id = :tenant_id AND key_id = :key_id AND sealed_seed = :former"""
    await tx.run(sql, {"key_id": row.key_id, "sealed_seed": sealed_seed, "former": row.sealed_seed})


async def forget_import_keys(tx: Tx, now: datetime) -> int:
    """Those that open nothing any more; how many there were."""
    sql = "DELETE FROM import_keys WHERE tenant_id = :tenant_id AND good_until <= :now"
    return (await tx.run(sql, {"now": now})).rowcount


# files, and what became of their lines


async def begin_import(tx: Tx, batch_id: str, brand_id: str, file_digest: bytes, now: datetime) -> ImportRow:
    """A new one, or the one that has this id already, whatever file it is of."""
    sql = """INSERT INTO card_imports (tenant_id, batch_id, brand_id, file_digest, begun_at)
        VALUES (:tenant_id, :batch_id, :brand_id, :file_digest, :now) ON CONFLICT DO NOTHING"""
    given = {"batch_id": batch_id, "brand_id": brand_id, "file_digest": file_digest, "now": now}
    await tx.run(sql, given)
    sql = """SELECT batch_id, brand_id, file_digest, begun_at, finished_at FROM card_imports
        WHERE tenant_id = :tenant_id AND batch_id = :batch_id"""
    return ImportRow(**(await tx.run(sql, {"batch_id": batch_id})).mappings().one())


async def finish_import(tx: Tx, batch_id: str, now: datetime) -> bool:
    """Whether this was the first time."""
    sql = """UPDATE card_imports SET finished_at = :now
        WHERE tenant_id = :tenant_id AND batch_id = :batch_id AND finished_at IS NULL"""
    return bool((await tx.run(sql, {"batch_id": batch_id, "now": now})).rowcount)


async def outcomes(tx: Tx, batch_id: str, first: int, last: int) -> dict[int, Outcome]:
    """Of the lines from `first` to `last` that have one; by line."""
    sql = """SELECT l.line, l.reasons, l.was_there, l.token_id, c.subject_id, c.brand_id, c.card_brand, c.last4
        FROM card_import_lines l LEFT JOIN cards c USING (tenant_id, token_id)
        WHERE l.tenant_id = :tenant_id AND l.batch_id = :batch_id AND l.line BETWEEN :first AND :last"""
    found = (await tx.run(sql, {"batch_id": batch_id, "first": first, "last": last})).mappings()
    return {row["line"]: Outcome(**row) for row in found}


async def take_lines(store: Store, tenant_id: str, batch_id: str, lines: Sequence[dict[str, Any]]) -> None:
    """Store cards and refusals, each line once and all of them or none; migration `card_imports` has the function.

    Raises StatementRefused, also when a key a card is sealed under was retired meanwhile.
    """
    await store.at_once("SELECT import_cards($1, $2, $3)", tenant_id, batch_id, msgspec.json.encode(lines).decode())


# leaving


async def cards_to_leave(tx: Tx, *, after: str, limit: int) -> list[CardRow]:
    """Cards that can be charged without their code, by token, after the one named.

    Not those whose one use is spent: at another vault they would have it once more.
    """
    sql = """SELECT c.*, k.destroyed_at AS key_destroyed_at FROM cards c
        LEFT JOIN tenant_keys k ON k.tenant_id = c.tenant_id AND k.version = c.key_version
        WHERE c.tenant_id = :tenant_id AND c.token_id > :after AND c.shredded_at IS NULL
            AND c.on_file_since IS NOT NULL AND NOT EXISTS (SELECT 1 FROM charges h
                WHERE h.tenant_id = c.tenant_id AND h.token_id = c.token_id AND h.single_use
                    AND h.state IN ('intended', 'unknown', 'approved', 'held', 'settled', 'needs_action'))
        ORDER BY c.token_id LIMIT :limit"""
    return [CardRow(**row) for row in (await tx.run(sql, {"after": after, "limit": limit})).mappings()]


async def count_left_behind(tx: Tx) -> int:
    """Live cards that were never charged with success: their code is gone, and they have to be typed again anyway."""
    sql = (
        """SELECT count(*) FROM cards WHERE tenant_id = :tenant_id AND shredded_at IS NULL AND on_file_since IS NULL"""
    )
    return int((await tx.run(sql, {})).scalar_one())
