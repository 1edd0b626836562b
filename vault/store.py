"""The vault's queries: one statement each, named for what it returns, inside a transaction that sees one tenant.

No parameter of any statement is ever a card number or a verification code: PostgreSQL prints values in its errors.
"""

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from datetime import datetime
from typing import Any, TypeVar

from sqlalchemy import CursorResult, text
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from infra.chassis.at_once import AtOnce
from infra.chassis.engine import directory_transaction, reaching_database, tenant_transaction
from vault import terms
from vault.contract import CaptureOrder, ChargeOrder, RefundOrder
from vault.tables import CaptureRow, CardRow, ChargeRow, RefundRow

_R = TypeVar("_R", CaptureRow, CardRow, ChargeRow, RefundRow)


_TAKE = text("SELECT pg_try_advisory_lock(hashtextextended(:work, 0))")
_LET_GO = text("SELECT pg_advisory_unlock(hashtextextended(:work, 0))")


class RowMissing(LookupError):
    """A row that must be there is not: a fault of ours, never of a caller."""


class Store:
    def __init__(self, engine: AsyncEngine) -> None:
        self._engine = engine
        self._at_once = AtOnce(engine)

    @asynccontextmanager
    async def transaction(self, tenant_id: str) -> AsyncIterator["Tx"]:
        """One transaction in which only this tenant's rows exist. Never held while the processor is called."""
        async with tenant_transaction(self._engine, tenant_id) as connection:
            yield Tx(connection, tenant_id)

    async def at_once(self, call: str, *values: Any) -> list[Any]:
        """The rows of one statement that is a transaction of its own (`at_once.py`).

        It calls a function of the database which names its tenant. Raises StatementRefused and DatabaseUnreachable.
        """
        return await self._at_once.fetch(call, *values)

    async def tenants(self) -> list[str]:
        """Raises DatabaseUnreachable."""
        with reaching_database():
            async with self._engine.connect() as connection:
                return list((await connection.execute(text("SELECT tenant_id FROM tenants ORDER BY 1"))).scalars())

    async def tenant_of_payment(self, processor_ref: str) -> str | None:
        """Whose payment that is; asked before any tenant is known, of a table that shows nothing else."""
        sql = "SELECT tenant_id FROM payment_directory WHERE processor_ref = :ref"
        async with directory_transaction(self._engine) as tx:
            found: str | None = (await tx.execute(text(sql), {"ref": processor_ref})).scalar_one_or_none()
        return found

    @asynccontextmanager
    async def alone(self, work: str) -> AsyncIterator[bool]:
        """Whether nobody else, in any process, is at this work; until the end nobody else will be.

        A lock of the database's connection, and no transaction: whoever is killed lets go of it at once.
        """
        with reaching_database():
            async with self._engine.connect() as connection:
                await connection.execution_options(isolation_level="AUTOCOMMIT")
                ours = bool((await connection.execute(_TAKE, {"work": work})).scalar())
                try:
                    yield ours
                finally:
                    if ours:
                        await connection.execute(_LET_GO, {"work": work})

    async def answers(self) -> bool:
        async with self._engine.connect() as connection:
            return (await connection.execute(text("SELECT 1"))).scalar() == 1


class Tx:
    """The statements of one transaction. Every one of them names the tenant, besides row-level security."""

    def __init__(self, connection: AsyncConnection, tenant_id: str) -> None:
        self._connection = connection
        self.tenant_id = tenant_id

    async def run(self, sql: str, row: Mapping[str, Any]) -> CursorResult[Any]:
        """A statement that is kept beside its subject instead of here; `:tenant_id` is this transaction's."""
        return await self._run(sql, row)

    # grants and tenants

    async def forget_grants_expired_before(self, moment: datetime) -> None:
        """The database itself refuses to forget one that expired less than an hour ago."""
        await self._run("DELETE FROM redeemed_grants WHERE tenant_id = :tenant_id AND expires_at < :m", {"m": moment})

    async def ensure_tenant(self) -> None:
        await self._run("INSERT INTO tenants (tenant_id) VALUES (:tenant_id) ON CONFLICT DO NOTHING", {})

    async def has_tenant(self) -> bool:
        return (await self._run("SELECT 1 FROM tenants WHERE tenant_id = :tenant_id", {})).first() is not None

    # captures

    async def capture(self, capture_id: str) -> CaptureRow | None:
        sql = """SELECT a.*, c.card_brand, c.last4, e.token_id AS earlier_token_id,
                a.token_id IS NULL AND coalesce(r.generation <> a.replaces_generation OR r.shredded_at IS NOT NULL,
                    false) AS overtaken
            FROM captures a LEFT JOIN cards c USING (tenant_id, token_id)
            LEFT JOIN cards e ON e.tenant_id = c.tenant_id AND e.token_id = c.earlier_token_id
                AND e.generation = c.earlier_generation
            LEFT JOIN cards r ON r.tenant_id = a.tenant_id AND r.token_id = a.replaces_card_of
            WHERE a.tenant_id = :tenant_id AND a.capture_id = :capture_id"""
        return _one(CaptureRow, await self._run(sql, {"capture_id": capture_id}))

    async def insert_capture(
        self, order: CaptureOrder, replaced: CardRow | None, now: datetime, expires_at: datetime
    ) -> bool:
        """False when the id is taken. `replaced`: the card of the token that the order names."""
        sql = """INSERT INTO captures (tenant_id, capture_id, brand_id, subject_id, purchase_id, brand_name,
                amount_minor, currency, language, terms, channel, created_at, expires_at, replaces_card_of,
                replaces_generation, replaces_brand, replaces_last4)
            VALUES (:tenant_id, :capture_id, :brand_id, :subject_id, :purchase_id, :brand_name, :amount_minor,
                :currency, :language, :terms, :channel, :now, :expires_at, :replaces_card_of, :generation, :brand,
                :last4)
            ON CONFLICT DO NOTHING RETURNING capture_id"""
        row = _fields(order) | {"terms": terms.ordered(order), "now": now, "expires_at": expires_at}
        row |= {"generation": None, "brand": None, "last4": None}
        if replaced is not None:
            row |= {"generation": replaced.generation, "brand": replaced.card_brand, "last4": replaced.last4}
        return (await self._run(sql, row)).first() is not None

    async def count_capture_attempt(self, capture_id: str, attempts_max: int, now: datetime) -> bool:
        """Whether one more attempt is allowed; it is then counted."""
        sql = """UPDATE captures SET attempts = attempts + 1
            WHERE tenant_id = :tenant_id AND capture_id = :capture_id AND token_id IS NULL
                AND attempts < :attempts_max AND expires_at > :now
            RETURNING attempts"""
        row = {"capture_id": capture_id, "attempts_max": attempts_max, "now": now}
        return (await self._run(sql, row)).first() is not None

    # cards

    async def card(self, token_id: str) -> CardRow | None:
        sql = """SELECT c.*, k.destroyed_at AS key_destroyed_at FROM cards c
            LEFT JOIN tenant_keys k ON k.tenant_id = c.tenant_id AND k.version = c.key_version
            WHERE c.tenant_id = :tenant_id AND c.token_id = :token_id"""
        return _one(CardRow, await self._run(sql, {"token_id": token_id}))

    async def put_on_file(self, token_id: str, generation: int, now: datetime) -> None:
        """That card, unless another one took its place since: of that one nobody has seen the code yet."""
        sql = """UPDATE cards SET on_file_since = :now WHERE tenant_id = :tenant_id AND token_id = :token_id
            AND generation = :generation AND on_file_since IS NULL"""
        await self._run(sql, {"token_id": token_id, "generation": generation, "now": now})

    # charges

    async def charge(self, charge_id: str) -> ChargeRow | None:
        sql = "SELECT * FROM charges WHERE tenant_id = :tenant_id AND charge_id = :charge_id"
        return _one(ChargeRow, await self._run(sql, {"charge_id": charge_id}))

    async def charge_for_update(self, charge_id: str) -> ChargeRow | None:
        sql = "SELECT * FROM charges WHERE tenant_id = :tenant_id AND charge_id = :charge_id FOR UPDATE"
        return _one(ChargeRow, await self._run(sql, {"charge_id": charge_id}))

    async def insert_charge(
        self,
        order: ChargeOrder,
        card: CardRow,
        now: datetime,
        worked_until: datetime,
        *,
        held_first: bool,
        single_use: bool,
        by_phone: bool,
        processor: str,
    ) -> ChargeRow | None:
        """The intention; None when the id is taken, or another charge of the purchase is live or approved.

        With `single_use` also when another charge of the token is.
        """
        sql = """INSERT INTO charges (tenant_id, charge_id, brand_id, subject_id, purchase_id, token_id, amount_minor,
                currency, state, created_at, updated_at, worked_until, held_first, single_use, by_phone,
                processor, card_generation, card_brand, last4, person_present)
            VALUES (:tenant_id, :charge_id, :brand_id, :subject_id, :purchase_id, :token_id, :amount_minor,
                :currency, 'intended', :now, :now, :worked_until, :held_first, :single_use, :by_phone,
                :processor, :generation, :card_brand, :last4, :person_present)
            ON CONFLICT DO NOTHING RETURNING *"""
        row = _fields(order) | {
            "now": now,
            "worked_until": worked_until,
            "held_first": held_first,
            "single_use": single_use,
            "by_phone": by_phone,
            "processor": processor,
            "generation": card.generation,
            "card_brand": card.card_brand,
            "last4": card.last4,
        }
        return _one(ChargeRow, await self._run(sql, row))

    async def name_charge(self, row: ChargeRow, processor_ref: str, now: datetime, worked_until: datetime) -> bool:
        """Note the processor's name of an unfinished charge, and stay at work.

        False when it was ended or taken over since `row` was read: whoever took it over may be about to end it as never
        sent, and a payment with a name is one that will be confirmed.
        """
        sql = """WITH named AS (
                UPDATE charges SET processor_ref = :ref, updated_at = :now, worked_until = :worked_until
                WHERE tenant_id = :tenant_id AND charge_id = :charge_id AND state IN ('intended', 'unknown')
                    AND worked_until = :ours_until
                RETURNING tenant_id, processor_ref),
            attempted AS (UPDATE charge_attempts SET processor_ref = :ref
                WHERE tenant_id = :tenant_id AND charge_id = :charge_id AND state = 'live'
                    AND EXISTS (SELECT 1 FROM named)),
            listed AS (INSERT INTO payment_directory (tenant_id, processor_ref) SELECT * FROM named
                ON CONFLICT DO NOTHING)
            SELECT 1 FROM named"""
        named = {"charge_id": row.charge_id, "ours_until": row.worked_until, "ref": processor_ref}
        return (await self._run(sql, named | {"now": now, "worked_until": worked_until})).first() is not None

    async def close_charge(
        self,
        charge_id: str,
        state: str,
        reason: str | None,
        now: datetime,
        *,
        starts: list[str],
        until: datetime | None,
    ) -> ChargeRow | None:
        """Write an outcome, `unknown` and `needs_action` included. None unless the charge is in one of `starts`.

        `until`: when a hold runs out, or the time to confirm.
        """
        sql = """UPDATE charges SET state = :state, reason = :reason, updated_at = :now, worked_until = NULL,
                taken_minor = CASE WHEN :state = 'approved' THEN amount_minor ELSE 0 END,
                hold_until = CASE WHEN :state = 'held' THEN CAST(:until AS timestamptz) END,
                action_until = CASE WHEN :state = 'needs_action' THEN CAST(:until AS timestamptz)
                    ELSE action_until END
            WHERE tenant_id = :tenant_id AND charge_id = :charge_id
                AND state = ANY(CAST(:starts AS text[])) RETURNING *"""
        row = {"charge_id": charge_id, "state": state, "reason": reason, "now": now, "until": until, "starts": starts}
        return _one(ChargeRow, await self._run(sql, row))

    async def claim_charge(self, charge_id: str, now: datetime, worked_until: datetime) -> ChargeRow | None:
        """An unfinished charge nobody is at work on, now ours until `worked_until`."""
        sql = """UPDATE charges SET worked_until = :worked_until, updated_at = :now
            WHERE tenant_id = :tenant_id AND charge_id = :charge_id
                AND state IN ('intended', 'unknown', 'needs_action')
                AND (worked_until IS NULL OR worked_until <= :now)
            RETURNING *"""
        row = {"charge_id": charge_id, "now": now, "worked_until": worked_until}
        return _one(ChargeRow, await self._run(sql, row))

    async def unattended_charges(self, now: datetime, limit: int) -> list[str]:
        """Ids, longest untouched first. Those that wait for a person are not among them (`authentications/rows.py`)."""
        sql = """SELECT charge_id FROM charges WHERE tenant_id = :tenant_id AND state IN ('intended', 'unknown')
                AND (worked_until IS NULL OR worked_until <= :now) ORDER BY updated_at LIMIT :limit"""
        return list((await self._run(sql, {"now": now, "limit": limit})).scalars())

    # refunds

    async def refund(self, refund_id: str) -> RefundRow | None:
        sql = """SELECT r.tenant_id, r.refund_id, r.charge_id, r.amount_minor, r.currency, r.state, r.processor_ref,
                r.created_at, r.updated_at, r.worked_until, r.key_since, r.asked_at, c.processor_ref AS charge_ref,
                c.processor, c.refunded_minor
            FROM refunds r JOIN charges c USING (tenant_id, charge_id)
            WHERE r.tenant_id = :tenant_id AND r.refund_id = :refund_id"""
        return _one(RefundRow, await self._run(sql, {"refund_id": refund_id}))

    async def promised_minor(self, charge_id: str) -> int:
        """What went back already or may still do so."""
        sql = """SELECT coalesce(sum(amount_minor), 0) FROM refunds
            WHERE tenant_id = :tenant_id AND charge_id = :charge_id AND state <> 'failed'"""
        return int((await self._run(sql, {"charge_id": charge_id})).scalar_one())

    async def insert_refund(self, order: RefundOrder, now: datetime, worked_until: datetime) -> bool:
        """False when the id is taken."""
        sql = """INSERT INTO refunds (tenant_id, refund_id, charge_id, amount_minor, currency, state, created_at,
                updated_at, worked_until, key_since, asked_at)
            VALUES (:tenant_id, :refund_id, :charge_id, :amount_minor, :currency, 'intended', :now, :now,
                :worked_until, :now, :now)
            ON CONFLICT DO NOTHING RETURNING refund_id"""
        return (await self._run(sql, _fields(order) | {"now": now, "worked_until": worked_until})).first() is not None

    async def close_refund(
        self, refund_id: str, state: str, processor_ref: str | None, now: datetime, asked_at: datetime | None
    ) -> bool:
        """Write an outcome, `unknown` included. False when there was a final one already.

        `asked_at`: of the request before, where the last one was answered and did nothing.
        """
        sql = """UPDATE refunds SET state = :state, processor_ref = coalesce(:ref, processor_ref), updated_at = :now,
                worked_until = NULL, asked_at = coalesce(CAST(:asked_at AS timestamptz), asked_at)
            WHERE tenant_id = :tenant_id AND refund_id = :refund_id
                AND state IN ('intended', 'unknown') RETURNING refund_id"""
        row = {"refund_id": refund_id, "state": state, "ref": processor_ref, "now": now, "asked_at": asked_at}
        return (await self._run(sql, row)).first() is not None

    async def add_refunded(self, charge_id: str, amount_minor: int, now: datetime) -> None:
        sql = """UPDATE charges SET refunded_minor = refunded_minor + :amount, updated_at = :now
            WHERE tenant_id = :tenant_id AND charge_id = :charge_id"""
        await self._run(sql, {"charge_id": charge_id, "amount": amount_minor, "now": now})

    async def claim_refund(self, refund_id: str, now: datetime, worked_until: datetime) -> bool:
        """Whether it is unfinished, nobody is at work on it, and it is now ours until `worked_until`."""
        sql = """UPDATE refunds SET worked_until = :worked_until, updated_at = :now
            WHERE tenant_id = :tenant_id AND refund_id = :refund_id AND state IN ('intended', 'unknown')
                AND (worked_until IS NULL OR worked_until <= :now)
            RETURNING refund_id"""
        row = {"refund_id": refund_id, "now": now, "worked_until": worked_until}
        return (await self._run(sql, row)).first() is not None

    async def unattended_refunds(self, now: datetime, limit: int) -> list[str]:
        """Ids, longest untouched first."""
        sql = """SELECT refund_id FROM refunds WHERE tenant_id = :tenant_id AND state IN ('intended', 'unknown')
                AND (worked_until IS NULL OR worked_until <= :now) ORDER BY updated_at LIMIT :limit"""
        return list((await self._run(sql, {"now": now, "limit": limit})).scalars())

    async def _run(self, sql: str, row: Mapping[str, Any]) -> CursorResult[Any]:
        return await self._connection.execute(text(sql), {**row, "tenant_id": self.tenant_id})


def _fields(order: CaptureOrder | ChargeOrder | RefundOrder) -> dict[str, Any]:
    return {name: getattr(order, name) for name in order.__struct_fields__}


def _one(kind: type[_R], result: CursorResult[Any]) -> _R | None:
    row = result.mappings().first()
    return None if row is None else kind(**row)
