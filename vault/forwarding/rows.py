"""The statements about destinations and forwards. Nothing of a template or of an answer is among the values."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from vault.contract import ForwardOrder
from vault.forwarding.destinations import BodyKind, Method, Part, Registration
from vault.store import Tx


@dataclass(frozen=True, slots=True)
class Destination:
    """A registration as it stands. One that was withdrawn is kept, and takes nothing."""

    tenant_id: str
    destination_id: str
    brand_id: str
    url: str
    method: Method
    body: BodyKind
    fields: Mapping[str, Part]
    agents: tuple[str, ...]
    answer_headers: tuple[str, ...]
    credential_header: str | None
    registered_by: str
    registered_at: datetime
    withdrawn_at: datetime | None


@dataclass(frozen=True, slots=True)
class ForwardRow:
    """`state` is `intended` or a member of contract.ForwardState. `template_sha256` is of the template, before a card.

    `actor` is the client that asked, by its grant.
    """

    tenant_id: str
    forward_id: str
    brand_id: str
    subject_id: str
    destination_id: str
    token_id: str
    template_sha256: bytes
    actor: str
    state: str
    reason: str | None
    http_status: int | None
    withheld: str | None
    redactions: int
    created_at: datetime
    updated_at: datetime
    worked_until: datetime | None


async def destination(tx: Tx, destination_id: str) -> Destination | None:
    sql = f"{_DESTINATION} AND destination_id = :destination_id"
    row = (await tx.run(sql, {"destination_id": destination_id})).mappings().first()
    return None if row is None else _destination(row)


async def destinations(tx: Tx) -> list[Destination]:
    """All of the tenant's, those withdrawn included."""
    return [_destination(row) for row in (await tx.run(f"{_DESTINATION} ORDER BY destination_id", {})).mappings()]


async def insert_destination(tx: Tx, new: Registration, actor: str, now: datetime) -> bool:
    """False when the id is taken, also by one that was withdrawn."""
    row = {
        "destination_id": new.destination_id,
        "brand_id": new.brand_id,
        "url": new.url,
        "method": new.method.value,
        "body": new.body.value,
        "fields": json.dumps({pointer: part.value for pointer, part in new.fields.items()}),
        "agents": new.agents,
        "answer_headers": new.answer_headers,
        "credential_header": new.credential_header,
        "actor": actor,
        "now": now,
    }
    return (await tx.run(_INSERT_DESTINATION, row)).first() is not None


async def withdraw_destination(tx: Tx, destination_id: str, actor: str, now: datetime) -> bool:
    """False when there is none, or it was withdrawn before."""
    row = {"destination_id": destination_id, "actor": actor, "now": now}
    return (await tx.run(_WITHDRAW, row)).first() is not None


async def forward(tx: Tx, forward_id: str) -> ForwardRow | None:
    sql = "SELECT * FROM forwards WHERE tenant_id = :tenant_id AND forward_id = :forward_id"
    return _forward((await tx.run(sql, {"forward_id": forward_id})).mappings().first())


async def insert_forward(
    tx: Tx, order: ForwardOrder, *, template_sha256: bytes, actor: str, now: datetime, worked_until: datetime
) -> ForwardRow | None:
    """The intention. None when the id is taken."""
    row = {
        "forward_id": order.forward_id,
        "brand_id": order.brand_id,
        "subject_id": order.subject_id,
        "destination_id": order.destination_id,
        "token_id": order.token_id,
        "template_sha256": template_sha256,
        "actor": actor,
        "now": now,
        "worked_until": worked_until,
    }
    return _forward((await tx.run(_INSERT_FORWARD, row)).mappings().first())


@dataclass(frozen=True, slots=True)
class Ending:
    """How a forward ended."""

    state: str
    reason: str | None = None
    http_status: int | None = None
    withheld: str | None = None
    redactions: int = 0


async def close_forward(tx: Tx, forward_id: str, ending: Ending, now: datetime) -> ForwardRow | None:
    """None when it had ended already: an end is never rewritten."""
    row = {
        "forward_id": forward_id,
        "state": ending.state,
        "reason": ending.reason,
        "http_status": ending.http_status,
        "withheld": ending.withheld,
        "redactions": ending.redactions,
        "now": now,
    }
    return _forward((await tx.run(_CLOSE_FORWARD, row)).mappings().first())


def _destination(row: Mapping[Any, Any]) -> Destination:
    values = dict(row)
    return Destination(
        **values
        | {
            "method": Method(values["method"]),
            "body": BodyKind(values["body"]),
            "fields": {pointer: Part(part) for pointer, part in values["fields"].items()},
            "agents": tuple(values["agents"]),
            "answer_headers": tuple(values["answer_headers"]),
        }
    )


def _forward(row: Mapping[Any, Any] | None) -> ForwardRow | None:
    return None if row is None else ForwardRow(**row)


_DESTINATION: Final = """SELECT tenant_id, destination_id, brand_id, url, method, body, fields, agents, answer_headers,
        credential_header, registered_by, registered_at, withdrawn_at
    FROM destinations WHERE tenant_id = :tenant_id"""
_INSERT_DESTINATION: Final = """INSERT INTO destinations (tenant_id, destination_id, brand_id, url, method, body,
        fields, agents, answer_headers, credential_header, registered_by, registered_at)
    VALUES (:tenant_id, :destination_id, :brand_id, :url, :method, :body, CAST(:fields AS jsonb), :agents,
        :answer_headers, :credential_header, :actor, :now)
    ON CONFLICT DO NOTHING RETURNING destination_id"""
_WITHDRAW: Final = """UPDATE destinations SET withdrawn_at = :now, withdrawn_by = :actor
    WHERE tenant_id = :tenant_id AND destination_id = :destination_id AND withdrawn_at IS NULL
    RETURNING destination_id"""
_INSERT_FORWARD: Final = """INSERT INTO forwards (tenant_id, forward_id, brand_id, subject_id, destination_id, token_id,
        template_sha256, actor, state, created_at, updated_at, worked_until)
    VALUES (:tenant_id, :forward_id, :brand_id, :subject_id, :destination_id, :token_id, :template_sha256, :actor,
        'intended', :now, :now, :worked_until)
    ON CONFLICT DO NOTHING RETURNING *"""
_CLOSE_FORWARD: Final = """UPDATE forwards SET state = :state, reason = :reason, http_status = :http_status,
        withheld = :withheld, redactions = :redactions, updated_at = :now, worked_until = NULL
    WHERE tenant_id = :tenant_id AND forward_id = :forward_id AND state = 'intended' RETURNING *"""
