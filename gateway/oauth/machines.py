"""Machine clients: brands' agents and MCP servers, known by a public key that provisioning wrote.

The directory has no row-level security: a client is looked up before any tenant is known. The application role may
only read it.
"""

from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy import RowMapping, text
from sqlalchemy.ext.asyncio import AsyncEngine

from gateway.bearers import CallerKind
from infra.chassis.clock import Clock
from infra.chassis.engine import directory_transaction

FRESH_SECONDS = 10
"""How long a withdrawn client may go on; saves a query on nearly every request."""
KEPT_MAX = 1_000

MACHINE_BY_ID = text(
    """
    SELECT d.client_id, d.kind, d.tenant_id, d.name, d.scopes, d.public_jwk, d.next_jwk,
           coalesce(array_agg(b.brand_id) FILTER (WHERE b.brand_id IS NOT NULL), '{}') AS brand_ids
    FROM client_directory d LEFT JOIN client_brands b USING (client_id)
    WHERE d.client_id = :client_id AND d.withdrawn_at IS NULL
    GROUP BY d.client_id
    """
)


@dataclass(frozen=True, slots=True, kw_only=True)
class MachineClient:
    client_id: str
    kind: CallerKind
    tenant_id: str
    """Empty for an mcp_server."""
    name: str
    scopes: frozenset[str]
    public_jwks: tuple[Mapping[str, str], ...]
    """One; two while the client changes from one to the other. Any of them proves it."""
    brand_ids: frozenset[str]


def machine_of(row: RowMapping) -> MachineClient:
    """From a row of MACHINE_BY_ID."""
    return MachineClient(
        client_id=row["client_id"],
        kind=CallerKind(row["kind"]),
        tenant_id=row["tenant_id"] or "",
        name=row["name"],
        scopes=frozenset(row["scopes"]),
        public_jwks=(row["public_jwk"], row["next_jwk"]) if row["next_jwk"] else (row["public_jwk"],),
        brand_ids=frozenset(row["brand_ids"]),
    )


class Machines:
    """Looks machine clients up, remembering each answer (also a miss) for FRESH_SECONDS."""

    def __init__(self, *, engine: AsyncEngine, clock: Clock) -> None:
        self._engine = engine
        self._clock = clock
        self._kept: OrderedDict[str, tuple[datetime, MachineClient | None]] = OrderedDict()

    async def find(self, client_id: str) -> MachineClient | None:
        now = self._clock.now()
        kept = self._kept.get(client_id)
        if kept is not None and kept[0] > now:
            return kept[1]
        async with directory_transaction(self._engine) as tx:
            row = (await tx.execute(MACHINE_BY_ID, {"client_id": client_id})).mappings().one_or_none()
        found = machine_of(row) if row is not None else None
        self._kept[client_id] = (now + timedelta(seconds=FRESH_SECONDS), found)
        self._kept.move_to_end(client_id)
        while len(self._kept) > KEPT_MAX:
            self._kept.popitem(last=False)
        return found
