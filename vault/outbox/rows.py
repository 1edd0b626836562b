"""The statements about endpoints, what they are owed, and each attempt. Each names the tenant of its transaction."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Final

from infra.chassis.ids import new_id
from vault.outbox.signing import KeyRow
from vault.store import Tx


@dataclass(frozen=True, slots=True)
class EndpointRow:
    """`kinds` empty: all. `failing_since` is the first of the failures in a row, `failures` how many there were."""

    tenant_id: str
    endpoint_id: str
    url: str
    kinds: list[str]
    state: str
    disabled_why: str | None
    disabled_at: datetime | None
    created_at: datetime
    failing_since: datetime | None
    failures: int
    resting_until: datetime | None


@dataclass(frozen=True, slots=True)
class Claimed:
    """One event to deliver to one endpoint now. `attempt` counts from 1."""

    event_id: str
    delivery_id: str
    attempt: int
    owed_since: datetime
    payload: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class DispatchRow:
    """One event owed to one endpoint; `state` is `waiting`, `delivered` or `dead`."""

    event_id: str
    endpoint_id: str
    kind: str
    about: str
    state: str
    attempts: int
    happened_at: datetime
    next_at: datetime
    ended_at: datetime | None
    last_status: int | None
    last_failure: str | None


@dataclass(frozen=True, slots=True)
class AttemptRow:
    """One attempt. Without an end it was killed, or is under way."""

    delivery_id: str
    endpoint_id: str
    attempt: int
    started_at: datetime
    ended_at: datetime | None
    status: int | None
    failure: str | None


# endpoints


async def endpoints(tx: Tx) -> list[EndpointRow]:
    """Oldest first."""
    return [EndpointRow(**row) for row in (await tx.run(_ENDPOINTS, {})).mappings()]


async def endpoint(tx: Tx, endpoint_id: str) -> EndpointRow | None:
    row = (await tx.run(_ENDPOINT, {"endpoint_id": endpoint_id})).mappings().first()
    return None if row is None else EndpointRow(**row)


async def endpoint_for_update(tx: Tx, endpoint_id: str) -> EndpointRow | None:
    """Held until the transaction ends, so that nobody else changes it or its keys meanwhile."""
    row = (await tx.run(f"{_ENDPOINT} FOR NO KEY UPDATE", {"endpoint_id": endpoint_id})).mappings().first()
    return None if row is None else EndpointRow(**row)


async def insert_endpoint(tx: Tx, endpoint_id: str, url: str, kinds: Sequence[str], now: datetime) -> bool:
    """False when an enabled endpoint has this URL."""
    row = {"endpoint_id": endpoint_id, "url": url, "kinds": list(kinds), "now": now}
    return (await tx.run(_INSERT_ENDPOINT, row)).first() is not None


async def enable(tx: Tx, endpoint_id: str) -> None:
    await tx.run(_ENABLE, {"endpoint_id": endpoint_id})


async def disable(tx: Tx, endpoint_id: str, why: str, now: datetime) -> bool:
    """What it was owed is given up: dead letters, to be sent again by hand. False when it was disabled before."""
    found = (await tx.run(_DISABLE, {"endpoint_id": endpoint_id, "why": why, "now": now})).first()
    await tx.run(_GIVE_UP_ALL, {"endpoint_id": endpoint_id, "now": now})
    return found is not None


async def keys_of(tx: Tx, endpoint_id: str, now: datetime) -> list[KeyRow]:
    """Those that sign now, newest first."""
    found = (await tx.run(_KEYS, {"endpoint_id": endpoint_id, "now": now})).mappings()
    return [KeyRow(**{**row, "salt": bytes(row["salt"])}) for row in found]


async def insert_key(tx: Tx, key: KeyRow) -> None:
    row = {"endpoint_id": key.endpoint_id, "version": key.version, "salt": key.salt, "now": key.made_at}
    await tx.run(_INSERT_KEY, row)


async def end_keys(tx: Tx, endpoint_id: str, ends_at: datetime) -> int:
    """Every version signs until then at most; the newest version."""
    await tx.run(_END_KEYS, {"endpoint_id": endpoint_id, "ends_at": ends_at})
    return int((await tx.run(_NEWEST_KEY, {"endpoint_id": endpoint_id})).scalar_one())


# what is owed


async def endpoints_with_something_due(tx: Tx, now: datetime) -> list[str]:
    return list((await tx.run(_DUE_ENDPOINTS, {"now": now})).scalars())


async def claim(tx: Tx, endpoint_id: str, *, now: datetime, until: datetime, limit: int) -> list[Claimed]:
    """What is due at this endpoint, ours until then; if we are killed it is due again.

    Of one object only the oldest that waits: the next one follows when that was taken or given up.
    """
    due = {"endpoint_id": endpoint_id, "now": now, "limit": limit}
    events = list((await tx.run(_DUE, due)).scalars())
    if not events:
        return []
    ids = [new_id("dlv") for _ in events]
    row = {"endpoint_id": endpoint_id, "events": events, "ids": ids, "now": now, "until": until}
    return [Claimed(**one) for one in (await tx.run(_CLAIM, row)).mappings()]


async def note_delivered(tx: Tx, endpoint_id: str, one: Claimed, status: int | None, now: datetime) -> None:
    """Taken is taken, whoever else may be trying by now."""
    attempt = {"delivery_id": one.delivery_id, "status": status, "now": now}
    await tx.run(_LOCK_ENDPOINT, {"endpoint_id": endpoint_id})
    await tx.run(_END_DELIVERY, attempt | {"failure": None})
    await tx.run(_DELIVERED, attempt | {"endpoint_id": endpoint_id, "event_id": one.event_id})
    await tx.run(_WELL_AGAIN, {"endpoint_id": endpoint_id})


async def note_failed(
    tx: Tx,
    endpoint_id: str,
    one: Claimed,
    *,
    status: int | None,
    failure: str,
    next_at: datetime | None,
    rest_until: datetime | None,
    now: datetime,
) -> None:
    """`next_at` None: given up. The dispatch stays as it is when somebody else is trying by now, or it was taken."""
    attempt = {"delivery_id": one.delivery_id, "status": status, "failure": failure, "now": now}
    await tx.run(_LOCK_ENDPOINT, {"endpoint_id": endpoint_id})
    await tx.run(_END_DELIVERY, attempt)
    await tx.run(_FAILED, attempt | {"endpoint_id": endpoint_id, "event_id": one.event_id, "next_at": next_at})
    await tx.run(_ILL, {"endpoint_id": endpoint_id, "now": now, "rest_until": rest_until})


async def give_up_before(tx: Tx, endpoint_id: str, owed_before: datetime, now: datetime) -> int:
    """All that an endpoint was owed before then, if it has only failed since then; how many."""
    row = {"endpoint_id": endpoint_id, "owed_before": owed_before, "now": now}
    return (await tx.run(_GIVE_UP_OLD, row)).rowcount


async def dispatches(tx: Tx, *, state: str | None, event_id: str | None, limit: int) -> list[DispatchRow]:
    """Newest event first."""
    found = await tx.run(_DISPATCHES, {"state": state, "event_id": event_id, "limit": limit})
    return [DispatchRow(**row) for row in found.mappings()]


async def attempts(tx: Tx, event_id: str) -> list[AttemptRow]:
    """Oldest first."""
    return [AttemptRow(**row) for row in (await tx.run(_ATTEMPTS, {"event_id": event_id})).mappings()]


async def owe_again(
    tx: Tx, endpoint_id: str, *, event_id: str | None, dead_only: bool, since: datetime | None, now: datetime
) -> int:
    """Have events sent to an enabled endpoint again, or for the first time; how many. One that waits just waits."""
    row = {"endpoint_id": endpoint_id, "event_id": event_id, "dead_only": dead_only, "since": since, "now": now}
    return (await tx.run(_OWE_AGAIN, row)).rowcount


_ENDPOINTS: Final = "SELECT * FROM webhook_endpoints WHERE tenant_id = :tenant_id ORDER BY created_at, endpoint_id"
_ENDPOINT: Final = """SELECT * FROM webhook_endpoints WHERE tenant_id = :tenant_id AND endpoint_id = :endpoint_id"""
_INSERT_ENDPOINT: Final = """
INSERT INTO webhook_endpoints (tenant_id, endpoint_id, url, kinds, state, created_at)
VALUES (:tenant_id, :endpoint_id, :url, CAST(:kinds AS text[]), 'enabled', :now)
ON CONFLICT DO NOTHING RETURNING endpoint_id"""
_ENABLE: Final = """
UPDATE webhook_endpoints SET state = 'enabled', disabled_why = NULL, disabled_at = NULL, failing_since = NULL,
    failures = 0, resting_until = NULL
WHERE tenant_id = :tenant_id AND endpoint_id = :endpoint_id AND state = 'disabled'"""
_DISABLE: Final = """
UPDATE webhook_endpoints SET state = 'disabled', disabled_why = :why, disabled_at = :now
WHERE tenant_id = :tenant_id AND endpoint_id = :endpoint_id AND state = 'enabled' RETURNING endpoint_id"""
_GIVE_UP_ALL: Final = """
UPDATE dispatches SET state = 'dead', ended_at = :now
WHERE tenant_id = :tenant_id AND endpoint_id = :endpoint_id AND state = 'waiting'"""
_GIVE_UP_OLD: Final = """
UPDATE dispatches d SET state = 'dead', ended_at = :now FROM webhook_endpoints e
WHERE d.tenant_id = :tenant_id AND d.endpoint_id = :endpoint_id AND d.state = 'waiting'
    AND d.owed_since <= :owed_before AND e.tenant_id = d.tenant_id AND e.endpoint_id = d.endpoint_id
    AND e.failing_since <= :owed_before"""
_LOCK_ENDPOINT: Final = """
SELECT 1 FROM webhook_endpoints WHERE tenant_id = :tenant_id AND endpoint_id = :endpoint_id FOR NO KEY UPDATE"""
"""First in every transaction that ends an attempt: whoever gives up much at once waits for nobody who waits for him."""
_KEYS: Final = """
SELECT * FROM endpoint_keys WHERE tenant_id = :tenant_id AND endpoint_id = :endpoint_id
    AND (ends_at IS NULL OR ends_at > :now) ORDER BY version DESC"""
_INSERT_KEY: Final = """
INSERT INTO endpoint_keys (tenant_id, endpoint_id, version, salt, made_at)
VALUES (:tenant_id, :endpoint_id, :version, :salt, :now)"""
_END_KEYS: Final = """
UPDATE endpoint_keys SET ends_at = :ends_at
WHERE tenant_id = :tenant_id AND endpoint_id = :endpoint_id AND (ends_at IS NULL OR ends_at > :ends_at)"""
_NEWEST_KEY: Final = """
SELECT coalesce(max(version), 0) FROM endpoint_keys WHERE tenant_id = :tenant_id AND endpoint_id = :endpoint_id"""
_DUE_ENDPOINTS: Final = """
SELECT endpoint_id FROM webhook_endpoints e WHERE tenant_id = :tenant_id AND state = 'enabled'
    AND (resting_until IS NULL OR resting_until <= :now)
    AND EXISTS (SELECT 1 FROM dispatches d WHERE d.tenant_id = e.tenant_id AND d.endpoint_id = e.endpoint_id
        AND d.state = 'waiting' AND d.next_at <= :now)
ORDER BY endpoint_id"""
_DUE: Final = """
SELECT event_id FROM dispatches d WHERE tenant_id = :tenant_id AND endpoint_id = :endpoint_id AND state = 'waiting'
    AND next_at <= :now AND NOT EXISTS (SELECT 1 FROM dispatches o WHERE o.tenant_id = d.tenant_id
        AND o.endpoint_id = d.endpoint_id AND o.about = d.about AND o.state = 'waiting' AND o.position < d.position)
ORDER BY next_at, position LIMIT :limit FOR UPDATE OF d SKIP LOCKED"""
_CLAIM: Final = """
WITH taken AS (
    UPDATE dispatches d SET attempts = d.attempts + 1, next_at = :until, delivery_id = m.delivery_id
    FROM unnest(CAST(:events AS text[]), CAST(:ids AS text[])) AS m (event_id, delivery_id)
    WHERE d.tenant_id = :tenant_id AND d.endpoint_id = :endpoint_id AND d.event_id = m.event_id
    RETURNING d.*),
noted AS (
    INSERT INTO deliveries (tenant_id, delivery_id, event_id, endpoint_id, attempt, started_at)
    SELECT tenant_id, delivery_id, event_id, endpoint_id, attempts, :now FROM taken)
SELECT t.event_id, t.delivery_id, t.attempts AS attempt, t.owed_since, e.payload
FROM taken t JOIN outbox_events e USING (tenant_id, event_id) ORDER BY t.position"""
_END_DELIVERY: Final = """
UPDATE deliveries SET ended_at = :now, status = :status, failure = :failure
WHERE tenant_id = :tenant_id AND delivery_id = :delivery_id AND ended_at IS NULL"""
_DELIVERED: Final = """
UPDATE dispatches SET state = 'delivered', ended_at = :now, last_status = :status, last_failure = NULL
WHERE tenant_id = :tenant_id AND endpoint_id = :endpoint_id AND event_id = :event_id AND state <> 'delivered'"""
_FAILED: Final = """
UPDATE dispatches SET last_status = :status, last_failure = :failure, next_at = coalesce(:next_at, next_at),
    state = CASE WHEN CAST(:next_at AS timestamptz) IS NULL THEN 'dead' ELSE 'waiting' END,
    ended_at = CASE WHEN CAST(:next_at AS timestamptz) IS NULL THEN CAST(:now AS timestamptz) END
WHERE tenant_id = :tenant_id AND endpoint_id = :endpoint_id AND event_id = :event_id AND delivery_id = :delivery_id
    AND state = 'waiting'"""
_WELL_AGAIN: Final = """
UPDATE webhook_endpoints SET failures = 0, failing_since = NULL, resting_until = NULL
WHERE tenant_id = :tenant_id AND endpoint_id = :endpoint_id AND failures > 0"""
_ILL: Final = """
UPDATE webhook_endpoints SET failures = failures + 1, failing_since = coalesce(failing_since, :now),
    resting_until = greatest(resting_until, :rest_until)
WHERE tenant_id = :tenant_id AND endpoint_id = :endpoint_id AND state = 'enabled'"""
_DISPATCHES: Final = """
SELECT d.event_id, d.endpoint_id, e.kind, d.about, d.state, d.attempts, e.happened_at, d.next_at, d.ended_at,
    d.last_status, d.last_failure
FROM dispatches d JOIN outbox_events e USING (tenant_id, event_id)
WHERE d.tenant_id = :tenant_id AND (CAST(:state AS text) IS NULL OR d.state = :state)
    AND (CAST(:event_id AS text) IS NULL OR d.event_id = :event_id)
ORDER BY d.position DESC, d.endpoint_id LIMIT :limit"""
_ATTEMPTS: Final = """
SELECT delivery_id, endpoint_id, attempt, started_at, ended_at, status, failure FROM deliveries
WHERE tenant_id = :tenant_id AND event_id = :event_id ORDER BY started_at, delivery_id"""
_OWE_AGAIN: Final = """
INSERT INTO dispatches AS d (tenant_id, event_id, endpoint_id, about, position, state, owed_since, next_at)
SELECT e.tenant_id, e.event_id, n.endpoint_id, e.about, e.position, 'waiting', :now, :now
FROM outbox_events e JOIN webhook_endpoints n USING (tenant_id)
WHERE e.tenant_id = :tenant_id AND n.endpoint_id = :endpoint_id AND n.state = 'enabled'
    AND (n.kinds = '{}' OR e.kind = ANY(n.kinds))
    AND (CAST(:event_id AS text) IS NULL OR e.event_id = :event_id)
    AND (CAST(:since AS timestamptz) IS NULL OR e.happened_at >= :since)
    AND (NOT CAST(:dead_only AS boolean) OR EXISTS (SELECT 1 FROM dispatches o WHERE o.tenant_id = e.tenant_id
        AND o.event_id = e.event_id AND o.endpoint_id = n.endpoint_id AND o.state = 'dead'))
ON CONFLICT (tenant_id, event_id, endpoint_id) DO UPDATE SET state = 'waiting', attempts = 0, owed_since = :now,
    next_at = :now, ended_at = NULL
WHERE d.state <> 'waiting'"""
