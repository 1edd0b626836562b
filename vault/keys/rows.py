"""Statements about tenant keys and about the cards under them. Each names the tenant of its transaction."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from typing import Final

from sqlalchemy.exc import DBAPIError

from infra.chassis.engine import StatementRefused
from vault.keys.states import SEALED_UNDER_RETIRED_KEY, WRAPPED_UNDER_FORMER_ROOT, KeyRetired, KeyState, RootChanged
from vault.store import RowMissing, Tx

COLUMNS: Final = "tenant_id, version, state, wrapped_key, root_version, seals, created_at, retired_at, destroyed_at"


@dataclass(frozen=True, slots=True)
class TenantKeyRow:
    """`wrapped_key` is None once destroyed. `seals` is never less than were made, and may be more after a crash."""

    tenant_id: str
    version: int
    state: KeyState
    wrapped_key: bytes | None = field(repr=False)
    root_version: int
    seals: int
    created_at: datetime
    retired_at: datetime | None
    destroyed_at: datetime | None


@dataclass(frozen=True, slots=True)
class UnderKey:
    """What of a card has to be sealed anew when its tenant's key changes.

    `sealed_fingerprint` is missing on old cards.
    """

    token_id: str
    wrapped_key: bytes = field(repr=False)
    fingerprint: bytes = field(repr=False)
    sealed_fingerprint: bytes | None = field(repr=False)


@dataclass(frozen=True, slots=True)
class Move:
    """A card's new sealing, and the one it replaces: if that is not there any more, nothing is replaced.

    Nor when the card got a newer fingerprint meanwhile.
    """

    token_id: str
    former: bytes = field(repr=False)
    former_fingerprint: bytes = field(repr=False)
    wrapped_key: bytes = field(repr=False)
    fingerprint: bytes = field(repr=False)
    sealed_fingerprint: bytes = field(repr=False)


@contextmanager
def telling_refusals() -> Iterator[None]:
    """Around a transaction or an act of one statement.

    Raises KeyRetired and RootChanged in place of the database's own words for them.
    """
    try:
        yield
    except (DBAPIError, StatementRefused) as error:
        refusal = getattr(error.orig if isinstance(error, DBAPIError) else error, "sqlstate", None)
        if refusal == SEALED_UNDER_RETIRED_KEY:
            raise KeyRetired from None
        if refusal == WRAPPED_UNDER_FORMER_ROOT:
            raise RootChanged from None
        raise


# tenant keys


async def tenant_keys(tx: Tx) -> list[TenantKeyRow]:
    """All versions, oldest first."""
    sql = f"SELECT {COLUMNS} FROM tenant_keys WHERE tenant_id = :tenant_id ORDER BY version"  # noqa: S608 - our own list of columns
    found = (await tx.run(sql, {})).mappings()
    return [TenantKeyRow(**{**row, "state": KeyState(row["state"])}) for row in found]


async def wrapped_key(tx: Tx, version: int) -> bytes | None:
    """None once it was destroyed. Raises RowMissing when there never was one."""
    sql = "SELECT wrapped_key FROM tenant_keys WHERE tenant_id = :tenant_id AND version = :version"
    row = (await tx.run(sql, {"version": version})).first()
    if row is None:
        raise RowMissing("tenant key")
    return None if row[0] is None else bytes(row[0])


async def newest_version(tx: Tx) -> int:
    """0 if there is none."""
    sql = "SELECT coalesce(max(version), 0) FROM tenant_keys WHERE tenant_id = :tenant_id"
    return int((await tx.run(sql, {})).scalar_one())


async def retired_versions(tx: Tx) -> tuple[int, ...]:
    """Those with cards that still wait to be moved, oldest first."""
    sql = "SELECT version FROM tenant_keys WHERE tenant_id = :tenant_id AND state = 'retired' ORDER BY version"
    return tuple((await tx.run(sql, {})).scalars())


async def reserve_seals(
    tx: Tx, count: int, *, seals_max: int | None, born_after: datetime
) -> tuple[int, datetime] | None:
    """Count `count` seals before they are made; the active version they may be made under, and when it was made.

    None when there is no active version, or it is too old, or (with `seals_max`) they would be too many.
    """
    sql = """UPDATE tenant_keys SET seals = seals + :count
        WHERE tenant_id = :tenant_id AND state = 'active' AND created_at > :born_after
            AND (CAST(:seals_max AS bigint) IS NULL OR seals + :count <= :seals_max)
        RETURNING version, created_at"""
    given = {"count": count, "seals_max": seals_max, "born_after": born_after}
    row = (await tx.run(sql, given)).mappings().first()
    return None if row is None else (row["version"], row["created_at"])


async def newest_for_change(tx: Tx) -> int:
    """The newest version (0 if there is none), held against every card on its way in until this transaction ends.

    Asked a second time once it is held: whoever held it before may have made a newer one.
    """
    await tx.run("SELECT 1 FROM tenant_keys WHERE tenant_id = :tenant_id FOR UPDATE", {})
    return await newest_version(tx)


async def retire(tx: Tx, version: int, now: datetime) -> None:
    sql = """UPDATE tenant_keys SET state = 'retired', retired_at = :now
        WHERE tenant_id = :tenant_id AND version = :version AND state = 'active'"""
    await tx.run(sql, {"version": version, "now": now})


async def insert_active(tx: Tx, version: int, wrapped: bytes, root_version: int, now: datetime) -> bool:
    """False when somebody else was quicker."""
    sql = """INSERT INTO tenant_keys (tenant_id, version, state, wrapped_key, root_version, created_at)
        VALUES (:tenant_id, :version, 'active', :wrapped, :root_version, :now)
        ON CONFLICT DO NOTHING RETURNING version"""
    row = {"version": version, "wrapped": wrapped, "root_version": root_version, "now": now}
    return (await tx.run(sql, row)).first() is not None


async def destroy_emptied(tx: Tx, version: int, now: datetime) -> bool:
    """Destroy a retired version with no card under it. Nothing can come under it: the database refuses that."""
    sql = """UPDATE tenant_keys k SET state = 'destroyed', wrapped_key = NULL, destroyed_at = :now
        WHERE tenant_id = :tenant_id AND version = :version AND state = 'retired' AND NOT EXISTS (
            SELECT 1 FROM cards c WHERE c.tenant_id = k.tenant_id AND c.key_version = k.version
                AND c.shredded_at IS NULL)
        RETURNING version"""
    return (await tx.run(sql, {"version": version, "now": now})).first() is not None


async def newest_for_shredding(tx: Tx) -> int:
    """The newest version (0 if there is none), which it stays until this transaction ends. Cards may still come in."""
    await tx.run("SELECT 1 FROM tenant_keys WHERE tenant_id = :tenant_id FOR KEY SHARE", {})
    return await newest_version(tx)


async def destroy_all(tx: Tx, now: datetime) -> int:
    """Destroy every version; the newest there was. Whoever calls has it from `newest_for_change`."""
    sql = """UPDATE tenant_keys SET state = 'destroyed', wrapped_key = NULL, destroyed_at = :now
        WHERE tenant_id = :tenant_id AND state <> 'destroyed'"""
    return (await tx.run(sql, {"now": now})).rowcount


async def replace_wrap(tx: Tx, key: TenantKeyRow, wrapped: bytes, root_version: int) -> bool:
    """Only if it still is the wrap that was read."""
    sql = """UPDATE tenant_keys SET wrapped_key = :wrapped, root_version = :root_version
        WHERE tenant_id = :tenant_id AND version = :version AND wrapped_key = :former RETURNING version"""
    row = {"version": key.version, "former": key.wrapped_key, "wrapped": wrapped, "root_version": root_version}
    return (await tx.run(sql, row)).first() is not None


# cards under them


async def cards_under(tx: Tx, version: int, *, after: str, limit: int) -> list[UnderKey]:
    """By token, after the one named."""
    sql = """SELECT token_id, wrapped_key, fingerprint, sealed_fingerprint FROM cards
        WHERE tenant_id = :tenant_id AND key_version = :version AND shredded_at IS NULL AND token_id > :after
        ORDER BY token_id LIMIT :limit"""
    found = (await tx.run(sql, {"version": version, "after": after, "limit": limit})).mappings()
    return [UnderKey(**row) for row in found]


async def count_cards_under(tx: Tx) -> dict[int, int]:
    """Live cards by version."""
    sql = """SELECT key_version, count(*) AS cards FROM cards WHERE tenant_id = :tenant_id AND shredded_at IS NULL
        GROUP BY key_version"""
    return {row["key_version"]: row["cards"] for row in (await tx.run(sql, {})).mappings()}


async def hold_retired(tx: Tx, version: int) -> bool:
    """Whether it still only waits to be emptied. A tenant that is shredded meanwhile waits for this transaction."""
    sql = "SELECT state FROM tenant_keys WHERE tenant_id = :tenant_id AND version = :version FOR KEY SHARE"
    return str((await tx.run(sql, {"version": version})).scalar_one()) == KeyState.RETIRED


async def move_cards(tx: Tx, moves: Sequence[Move]) -> int:
    """How many were moved; a card that changed since it was read is left as it is."""
    sql = """UPDATE cards c SET wrapped_key = m.wrapped_key, fingerprint = m.fingerprint,
            sealed_fingerprint = m.sealed_fingerprint
        FROM unnest(CAST(:tokens AS text[]), CAST(:former AS bytea[]), CAST(:former_fingerprints AS bytea[]),
            CAST(:wrapped AS bytea[]), CAST(:fingerprints AS bytea[]), CAST(:sealed AS bytea[]))
            AS m (token_id, former, former_fingerprint, wrapped_key, fingerprint, sealed_fingerprint)
        WHERE c.tenant_id = :tenant_id AND c.token_id = m.token_id AND c.wrapped_key = m.former
            AND c.fingerprint = m.former_fingerprint"""
    row = {
        "tokens": [move.token_id for move in moves],
        "former": [move.former for move in moves],
        "former_fingerprints": [move.former_fingerprint for move in moves],
        "wrapped": [move.wrapped_key for move in moves],
        "fingerprints": [move.fingerprint for move in moves],
        "sealed": [move.sealed_fingerprint for move in moves],
    }
    return (await tx.run(sql, row)).rowcount


# how far a move is


async def begin_move(tx: Tx, version: int, now: datetime) -> str:
    """The token after which to go on; empty at the beginning of a pass."""
    sql = """INSERT INTO key_moves (tenant_id, version, started_at, updated_at)
        VALUES (:tenant_id, :version, :now, :now)
        ON CONFLICT (tenant_id, version) DO UPDATE SET updated_at = :now RETURNING after_token_id"""
    return str((await tx.run(sql, {"version": version, "now": now})).scalar_one())


async def note_move(tx: Tx, version: int, *, after: str, moved: int, stuck: int, now: datetime) -> None:
    sql = """UPDATE key_moves SET after_token_id = :after, moved = moved + :moved, stuck = stuck + :stuck,
            updated_at = :now
        WHERE tenant_id = :tenant_id AND version = :version"""
    await tx.run(sql, {"version": version, "after": after, "moved": moved, "stuck": stuck, "now": now})


async def end_pass(tx: Tx, version: int, *, emptied: bool, now: datetime) -> None:
    """The next pass, if there has to be one, begins with the first card again and counts anew what is stuck."""
    sql = """UPDATE key_moves SET after_token_id = '', updated_at = :now, finished_at = :finished_at,
            stuck = CASE WHEN :emptied THEN stuck ELSE 0 END
        WHERE tenant_id = :tenant_id AND version = :version"""
    row = {"version": version, "emptied": emptied, "now": now, "finished_at": now if emptied else None}
    await tx.run(sql, row)


async def moves(tx: Tx) -> list[dict[str, object]]:
    """How far each was, or when it was through."""
    sql = """SELECT version, moved, stuck, after_token_id, started_at, updated_at, finished_at FROM key_moves
        WHERE tenant_id = :tenant_id ORDER BY version"""
    return [dict(row) for row in (await tx.run(sql, {})).mappings()]
