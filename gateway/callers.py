"""Who is calling: every API route takes a `Caller`, made here from the bearer and the client directory.

`authenticate` is the Litestar dependency `caller`; it needs a ready-made `callers: Callers` beside it.
"""

from dataclasses import dataclass
from typing import Any

from litestar import Request
from litestar.di import NamedDependency

from gateway.bearers import Bearer, BearerRefused, Bearers, CallerKind
from gateway.limits.limiter import Limits
from gateway.oauth.machines import MachineClient, Machines
from infra.chassis.problems import NotFound, Problem

__all__ = ["Caller", "CallerKind", "Callers", "ScopeMissing", "authenticate"]


class ScopeMissing(Problem):
    """RFC 6750 section 3.1; names every scope of the operation, so that the client can ask once for all."""

    status = 403
    code = "scope_missing"
    detail = "The bearer does not cover this operation."

    def __init__(self, *scopes: str) -> None:
        names = " ".join(sorted(scopes))
        super().__init__(headers={"WWW-Authenticate": f'Bearer error="insufficient_scope", scope="{names}"'})


@dataclass(frozen=True, slots=True, kw_only=True)
class Caller:
    kind: CallerKind
    client_id: str
    tenant_id: str
    """Empty for an mcp_server, which has no tenant of its own: an empty tenant sees no row. Its calls name a brand."""
    brand_ids: frozenset[str]
    scopes: frozenset[str]
    subject_id: str | None = None
    conversation_id: str | None = None
    act_client_id: str | None = None
    """The mcp_server that carries an assistant's request."""

    def require_scope(self, *scopes: str) -> None:
        """Raises ScopeMissing (403) unless the bearer has all of them."""
        if not self.scopes.issuperset(scopes):
            raise ScopeMissing(*scopes)

    def require_kind(self, *kinds: CallerKind) -> None:
        """Raises NotFound: a route for others is not there for this caller."""
        if self.kind not in kinds:
            raise NotFound

    def require_brand(self, brand_id: str) -> None:
        """Raises NotFound: a foreign brand and a missing one look the same."""
        if brand_id not in self.brand_ids:
            raise NotFound


class Callers:
    def __init__(self, *, bearers: Bearers, machines: Machines, limits: Limits) -> None:
        self._bearers = bearers
        self._machines = machines
        self._limits = limits

    async def of_bearer(self, compact: str) -> Caller:
        """Raises BearerRefused. A client that was withdrawn is refused before its bearers run out."""
        bearer = self._bearers.check(compact, audience=self._bearers.issuer)
        carrier_id = bearer.act_client_id if bearer.kind is CallerKind.ASSISTANT else bearer.client_id
        if carrier_id is None:
            raise BearerRefused
        machine = await self._machines.find(carrier_id)
        if machine is None:
            raise BearerRefused
        return _assistant(bearer, machine) if bearer.kind is CallerKind.ASSISTANT else _machine(bearer, machine)

    async def admit(self, caller: Caller, tool: str) -> None:
        """Count one request of this caller. Raises LimitReached."""
        await self._limits.admit(
            tenant_id=caller.tenant_id, client_id=caller.client_id, subject_id=caller.subject_id, tool=tool
        )

    async def admit_conversation(self, caller: Caller, conversation_id: str) -> None:
        """Count an agent's request for the subject of the conversation it names. Raises LimitReached."""
        if caller.kind is CallerKind.AGENT:
            await self._limits.admit_conversation(
                tenant_id=caller.tenant_id, client_id=caller.client_id, conversation_id=conversation_id
            )


def _machine(bearer: Bearer, machine: MachineClient) -> Caller:
    if machine.kind is not bearer.kind:
        raise BearerRefused
    return Caller(
        kind=machine.kind,
        client_id=machine.client_id,
        tenant_id=machine.tenant_id,
        brand_ids=machine.brand_ids,
        scopes=bearer.scopes & machine.scopes,
    )


def _assistant(bearer: Bearer, carrier: MachineClient) -> Caller:
    """An assistant reaches us only through an mcp_server that serves the brand, with an exchanged bearer."""
    if carrier.kind is not CallerKind.MCP_SERVER or bearer.brand_id not in carrier.brand_ids:
        raise BearerRefused
    if not (bearer.tenant_id and bearer.brand_id and bearer.subject_id and bearer.conversation_id):
        raise BearerRefused
    return Caller(
        kind=CallerKind.ASSISTANT,
        client_id=bearer.client_id,
        tenant_id=bearer.tenant_id,
        brand_ids=frozenset({bearer.brand_id}),
        scopes=bearer.scopes,
        subject_id=bearer.subject_id,
        conversation_id=bearer.conversation_id,
        act_client_id=carrier.client_id,
    )


async def authenticate(request: Request[Any, Any, Any], callers: NamedDependency[Callers]) -> Caller:
    """The dependency `caller`. Raises BearerRefused (401), LimitReached (429).

    Limits count after authentication, by who the caller is: a new bearer begins nothing anew.
    """
    header = request.headers.get("authorization")
    if header is None:
        raise BearerRefused(presented=False)
    scheme, _, compact = header.partition(" ")
    if scheme.lower() != "bearer" or not compact:
        raise BearerRefused(presented=False)
    caller = await callers.of_bearer(compact)
    await callers.admit(caller, f"{request.method} {request.scope['path_template']}")
    return caller
