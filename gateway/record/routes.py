"""The record's API, for the tenant's own agents with the scope `record`. Other tenants' entries are not found."""

import asyncio
from typing import Final

from litestar import Router, get, post
from litestar.di import NamedDependency, Provide
from litestar.params import FromPath, FromQuery
from litestar.types import ControllerRouterHandler
from sqlalchemy.ext.asyncio import AsyncEngine

from gateway.callers import Caller, CallerKind, authenticate
from gateway.contract import RecordCheckpoint, RecordEntry, RecordInclusion, RecordVerification
from gateway.record import store
from gateway.record.entries import Record, origin_of
from gateway.record.notes import verifier_key
from gateway.record.proofs import Inclusion, checkpoint, inclusion_proof
from gateway.record.store import CheckpointRow
from gateway.record.verify import verify
from gateway.routes import checked
from infra.chassis.engine import tenant_transaction
from infra.chassis.problems import NotFound

SCOPE: Final = "record"
_one_verification = asyncio.Semaphore(1)
"""A process recomputes one record at a time: it is the one call whose cost the caller's history sets."""


@get("/checkpoint")
async def newest_checkpoint(
    caller: NamedDependency[Caller],
    engine: NamedDependency[AsyncEngine],
    record: NamedDependency[Record],
    cosigned: FromQuery[bool] = False,
) -> RecordCheckpoint:
    """The newest signed tree head, or the newest that a witness cosigned.

    Keep it somewhere else: it shows later whether anything before it was touched.
    """
    require_reader(caller)
    async with tenant_transaction(engine, caller.tenant_id) as tx:
        newest = await checkpoint(tx, caller.tenant_id, cosigned=cosigned)
    return _view(newest, caller.tenant_id, record)


@get("/entries/{decision_id:str}")
async def entry_of_decision(
    decision_id: FromPath[str],
    caller: NamedDependency[Caller],
    engine: NamedDependency[AsyncEngine],
    record: NamedDependency[Record],
) -> RecordEntry:
    """The entry as it was hashed; once sealed, with its place and the proof that the checkpoint covers it."""
    require_reader(caller)
    async with tenant_transaction(engine, caller.tenant_id) as tx:
        entry = await store.entry_of_decision(tx, caller.tenant_id, checked(decision_id))
        if entry is None or entry.canonical is None or entry.leaf is None:
            raise NotFound
        sealed = entry.tree_index
        proof = None if sealed is None else await inclusion_proof(tx, caller.tenant_id, sealed)
    return RecordEntry(
        decision_id=decision_id,
        canonical=entry.canonical.decode(),
        leaf_sha256=entry.leaf.hex(),
        inclusion=None if proof is None else _proven(proof, caller.tenant_id, record),
    )


@post("/verifications", status_code=200)
async def verification(
    caller: NamedDependency[Caller], engine: NamedDependency[AsyncEngine], record: NamedDependency[Record]
) -> RecordVerification:
    """Everything recomputed from the stored entries. We say so ourselves; the proofs let others check it."""
    require_reader(caller)
    async with _one_verification:
        return await verify(engine, record, caller.tenant_id)


def require_reader(caller: Caller) -> None:
    caller.require_kind(CallerKind.AGENT)
    caller.require_scope(SCOPE)


def _proven(proof: Inclusion, tenant_id: str, record: Record) -> RecordInclusion:
    return RecordInclusion(
        tree_index=proof.tree_index,
        path_sha256=[beside.hex() for beside in proof.path],
        checkpoint=_view(proof.checkpoint, tenant_id, record),
    )


def _view(row: CheckpointRow, tenant_id: str, record: Record) -> RecordCheckpoint:
    return RecordCheckpoint(
        tree_size=row.size,
        root_sha256=row.root.hex(),
        note=row.note,
        verifier_key=verifier_key(origin_of(tenant_id), record.public_key),
    )


ROUTES: list[ControllerRouterHandler] = [
    Router(
        path="/v1/record",
        dependencies={"caller": Provide(authenticate)},
        route_handlers=[newest_checkpoint, entry_of_decision, verification],
    )
]
