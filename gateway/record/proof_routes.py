"""Proofs, tiles, cosignatures and the export: how others check the record. For agents with the scope `record`."""

from typing import Annotated, Final

from litestar import Response, Router, get, post
from litestar.di import NamedDependency, Provide
from litestar.params import FromPath, FromQuery, JSONBody, QueryParameter
from litestar.response import Stream
from litestar.types import ControllerRouterHandler
from sqlalchemy.ext.asyncio import AsyncEngine

from gateway.callers import Caller, authenticate
from gateway.contract import CosignatureRequest, CosignatureView, RecordConsistency, RecordInclusionPath
from gateway.errors import CosignatureRefused
from gateway.record import cosignatures, proofs, store
from gateway.record.cosignatures import Witnesses
from gateway.record.entries import Record
from gateway.record.export import export
from gateway.record.notes import NoteRefused, checkpoint_of, split_note
from gateway.record.routes import require_reader
from gateway.record.tiles import tile_of
from infra.chassis.engine import tenant_transaction
from infra.chassis.problems import NotFound

CHECKPOINT_TYPE: Final = "text/plain"
"""Litestar adds the charset."""
TILE_TYPE: Final = "application/octet-stream"
EXPORT_TYPE: Final = "application/x-ndjson"
MUTABLE: Final = {"Cache-Control": "private, no-cache", "Vary": "Authorization"}
IMMUTABLE: Final = {"Cache-Control": "private, max-age=31536000, immutable", "Vary": "Authorization"}
"""Private: a bearer stands before each; a shared cache must not hand a tenant's tiles to somebody else."""


@get("/inclusion")
async def inclusion(
    index: FromQuery[int], size: FromQuery[int], caller: NamedDependency[Caller], engine: NamedDependency[AsyncEngine]
) -> RecordInclusionPath:
    """That place `index` is in the tree as it was at `size`, however old; to be held against your own checkpoint."""
    require_reader(caller)
    async with tenant_transaction(engine, caller.tenant_id) as tx:
        path = await proofs.inclusion_in(tx, caller.tenant_id, index, size)
    return RecordInclusionPath(tree_index=index, tree_size=size, path_sha256=[beside.hex() for beside in path])


@get("/consistency")
async def consistency(
    first: Annotated[int, QueryParameter(name="from")],
    second: Annotated[int, QueryParameter(name="to")],
    caller: NamedDependency[Caller],
    engine: NamedDependency[AsyncEngine],
) -> RecordConsistency:
    """That the tree of size `to` only added to the tree of size `from`."""
    require_reader(caller)
    async with tenant_transaction(engine, caller.tenant_id) as tx:
        path = await proofs.consistency(tx, caller.tenant_id, first, second)
    return RecordConsistency(from_size=first, to_size=second, path_sha256=[beside.hex() for beside in path])


@get("/tree/{tenant_id:str}/checkpoint", media_type=CHECKPOINT_TYPE)
async def tree_checkpoint(
    tenant_id: FromPath[str], caller: NamedDependency[Caller], engine: NamedDependency[AsyncEngine]
) -> Response[str]:
    """C2SP tlog-tiles: the newest checkpoint as it is."""
    _require_own(caller, tenant_id)
    async with tenant_transaction(engine, tenant_id) as tx:
        newest = await proofs.checkpoint(tx, tenant_id)
    return Response(newest.note, media_type=CHECKPOINT_TYPE, headers=MUTABLE)


@get("/tree/{tenant_id:str}/tile/{tile_path:path}", media_type=TILE_TYPE)
async def tree_tile(
    tenant_id: FromPath[str],
    tile_path: FromPath[str],
    caller: NamedDependency[Caller],
    engine: NamedDependency[AsyncEngine],
) -> Response[bytes]:
    """C2SP tlog-tiles: `<L>/<N>[.p/<W>]` and `entries/<N>[.p/<W>]`."""
    _require_own(caller, tenant_id)
    tile = tile_of(tile_path.removeprefix("/"))
    if tile is None:
        raise NotFound
    async with tenant_transaction(engine, tenant_id) as tx:
        content = await proofs.tile_bytes(tx, tenant_id, tile)
    return Response(content, media_type=TILE_TYPE, headers=IMMUTABLE)


@post("/cosignatures", status_code=200)
async def cosign(
    data: JSONBody[CosignatureRequest],
    caller: NamedDependency[Caller],
    engine: NamedDependency[AsyncEngine],
    record: NamedDependency[Record],
    witnesses: NamedDependency[Witnesses],
) -> CosignatureView:
    """Keep what witnesses signed below a checkpoint of this record; readers get it with the checkpoint."""
    require_reader(caller)
    now = record.now()
    try:
        body, given = witnesses.cosignatures_on(data.note, now)
        size = checkpoint_of(body).size
    except NoteRefused:
        raise CosignatureRefused from None
    async with tenant_transaction(engine, caller.tenant_id) as tx:
        ours = await store.newest_checkpoint(tx, caller.tenant_id, size=size)
        if ours is None or split_note(ours.note)[0] != body:
            raise CosignatureRefused
        for one in given:
            await cosignatures.add(tx, caller.tenant_id, size, one, now)
    return CosignatureView(tree_size=size, witnesses=sorted(one.witness for one in given))


@get("/export", media_type=EXPORT_TYPE)
async def exported(
    caller: NamedDependency[Caller], engine: NamedDependency[AsyncEngine], record: NamedDependency[Record]
) -> Stream:
    """The whole record, to be checked offline with `undercroft record verify FILE`. See contract.ExportHead."""
    require_reader(caller)
    return Stream(export(engine, record, caller.tenant_id), media_type=EXPORT_TYPE, headers=MUTABLE)


def _require_own(caller: Caller, tenant_id: str) -> None:
    """Raises NotFound: another tenant's tree and one that never was look the same."""
    require_reader(caller)
    if tenant_id != caller.tenant_id:
        raise NotFound


ROUTES: list[ControllerRouterHandler] = [
    Router(
        path="/v1/record",
        dependencies={"caller": Provide(authenticate)},
        route_handlers=[inclusion, consistency, tree_checkpoint, tree_tile, cosign, exported],
    )
]
