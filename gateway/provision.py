"""Tenants, brands and machine clients, written from a manifest by the owner role. Repeating it changes nothing.

The manifest holds public keys only. What it leaves out stays as it is; a client is withdrawn by saying so.
"""

import json
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Annotated, Final

import msgspec
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from gateway.bearers import CallerKind
from gateway.contract import Currency, Identifier
from gateway.factors.provisioning import OpenIdEntry, write_provider
from gateway.limits.rules import BURST_MAX, PER_MINUTE_MAX, Scope
from gateway.oauth.assertions import ALGORITHMS
from infra.chassis.clock import Clock
from infra.chassis.engine import create_engine
from infra.chassis.secret import Secret

AGENT_SCOPES: Final = frozenset({"conversation", "purchase", "memory", "refund", "record", "policy", "forward"})
ENFORCEMENT_POINT_SCOPES: Final = ("access",)
MCP_SERVER_SCOPES: Final = ("exchange", "purchase.read", "quote")
JWK_MEMBERS: Final = frozenset({"kty", "crv", "x", "y", "kid", "use", "alg"})

Name = Annotated[str, msgspec.Meta(min_length=1, max_length=120)]
Slug = Annotated[str, msgspec.Meta(pattern=r"^[a-z0-9-]{1,60}\Z")]
PhoneNumber = Annotated[str, msgspec.Meta(pattern=r"^\+[1-9][0-9]{7,14}\Z")]
ResourceUrl = Annotated[str, msgspec.Meta(pattern=r"^https?://[^\s#?]{1,400}\Z")]


class ManifestRefused(Exception):
    """Says what is wrong, by id; nothing was written."""


class BrandEntry(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    brand_id: Identifier
    name: Name
    slug: Slug
    resource_url: ResourceUrl
    """The brand's MCP endpoint: what assistants name as `resource`, byte for byte."""
    currency: Currency
    openid: OpenIdEntry | None = None
    phone_numbers: list[PhoneNumber] = []
    """What it is called at; none: what carriers say is not held against it."""
    phone_orders: bool = False
    """Who calls may key a card in: there is a media guard on its lines, and its processor takes telephone orders."""


class AgentEntry(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    client_id: Identifier
    name: Name
    brand_ids: list[Identifier]
    scopes: list[str]
    public_jwk: dict[str, str]
    next_jwk: dict[str, str] | None = None
    """A second key that proves the client as well, while it changes over; without it only the first does."""
    withdrawn: bool = False


class McpServerEntry(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    client_id: Identifier
    name: Name
    brand_ids: list[Identifier]
    public_jwk: dict[str, str]
    next_jwk: dict[str, str] | None = None
    withdrawn: bool = False


class LimitEntry(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """`name`: a client id or an operation (`POST /v1/purchases`); empty for all of the scope."""

    scope: Scope
    name: Annotated[str, msgspec.Meta(max_length=120)] = ""
    per_minute: Annotated[int, msgspec.Meta(ge=1, le=PER_MINUTE_MAX)]
    burst: Annotated[int, msgspec.Meta(ge=1, le=BURST_MAX)]


class EnforcementPointEntry(McpServerEntry, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Asks on the AuthZEN listener about everything of these brands: trusted to enforce what it is answered."""


class TenantEntry(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    tenant_id: Identifier
    name: Name
    brands: list[BrandEntry] = []
    agents: list[AgentEntry] = []
    mcp_servers: list[McpServerEntry] = []
    limits: list[LimitEntry] | None = None
    """In place of those the tenant has; an empty list leaves it the defaults."""
    enforcement_points: list[EnforcementPointEntry] = []


class Manifest(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    tenants: list[TenantEntry] = []
    mcp_servers: list[McpServerEntry] = []
    """MCP servers that serve brands of several tenants; the same as under a tenant, where one writes it is taste."""


@dataclass(frozen=True, slots=True)
class Provisioned:
    tenants: int
    brands: int
    clients: int


async def provision(owner_url: Secret[str], content: bytes, clock: Clock) -> Provisioned:
    """All of it in one transaction. Raises ManifestRefused."""
    manifest = read_manifest(content)
    engine = create_engine(owner_url, pool_size=1)
    try:
        async with engine.begin() as tx:
            for tenant in manifest.tenants:
                await _write_tenant(tx, tenant, clock)
            for tenant in manifest.tenants:
                await _write_agents(tx, tenant, clock)
            servers = list(_servers(manifest))
            for server in servers:
                await _write_client(tx, server, CallerKind.MCP_SERVER, MCP_SERVER_SCOPES, None, clock)
    finally:
        await engine.dispose()
    agents = sum(len(tenant.agents) + len(tenant.enforcement_points) for tenant in manifest.tenants)
    return Provisioned(len(manifest.tenants), sum(len(t.brands) for t in manifest.tenants), agents + len(servers))


def read_manifest(content: bytes) -> Manifest:
    """Raises ManifestRefused."""
    try:
        manifest = msgspec.json.decode(content, type=Manifest)
    except msgspec.MsgspecError as error:
        raise ManifestRefused(str(error)) from None
    for tenant in manifest.tenants:
        for agent in tenant.agents:
            _check_keys(agent)
            if not AGENT_SCOPES.issuperset(agent.scopes):
                raise ManifestRefused(f"{agent.client_id}: scopes are {', '.join(sorted(AGENT_SCOPES))}")
        for point in tenant.enforcement_points:
            _check_keys(point)
    for server in _servers(manifest):
        _check_keys(server)
    return manifest


def _servers(manifest: Manifest) -> Iterable[McpServerEntry]:
    for tenant in manifest.tenants:
        yield from tenant.mcp_servers
    yield from manifest.mcp_servers


def _check_keys(entry: AgentEntry | McpServerEntry) -> None:
    for name, jwk in (("public_jwk", entry.public_jwk), ("next_jwk", entry.next_jwk)):
        if jwk is not None and not _is_public_key(jwk):
            raise ManifestRefused(f"{entry.client_id}: {name} must be a public Ed25519 or P-256 key and nothing else")


def _is_public_key(jwk: dict[str, str]) -> bool:
    return jwk.keys() <= JWK_MEMBERS and (jwk.get("kty", ""), jwk.get("crv", "")) in ALGORITHMS


async def _write_tenant(tx: AsyncConnection, tenant: TenantEntry, clock: Clock) -> None:
    await tx.execute(_TENANT, {"tenant_id": tenant.tenant_id, "name": tenant.name})
    await tx.execute(_ENTER, {"tenant": tenant.tenant_id})
    for brand in tenant.brands:
        row = {"tenant_id": tenant.tenant_id, **msgspec.structs.asdict(brand)}
        if (await tx.execute(_DIRECTORY, row)).rowcount != 1:
            raise ManifestRefused(f"{brand.brand_id} is another tenant's")
        await tx.execute(_BRAND, row)
        await write_provider(tx, tenant.tenant_id, brand.brand_id, brand.openid, clock.now())
    await _write_limits(tx, tenant)


async def _write_limits(tx: AsyncConnection, tenant: TenantEntry) -> None:
    if tenant.limits is None:
        return
    if len({(limit.scope, limit.name) for limit in tenant.limits}) != len(tenant.limits):
        raise ManifestRefused(f"{tenant.tenant_id}: two limits for the same")
    await tx.execute(_FORGET_LIMITS, {"tenant_id": tenant.tenant_id})
    for limit in tenant.limits:
        row = {"tenant_id": tenant.tenant_id, **msgspec.structs.asdict(limit), "scope": limit.scope.value}
        await tx.execute(_LIMIT, row)


async def _write_agents(tx: AsyncConnection, tenant: TenantEntry, clock: Clock) -> None:
    for agent in tenant.agents:
        await _write_client(tx, agent, CallerKind.AGENT, agent.scopes, tenant.tenant_id, clock)
    for point in tenant.enforcement_points:
        kind, scopes = CallerKind.ENFORCEMENT_POINT, ENFORCEMENT_POINT_SCOPES
        await _write_client(tx, point, kind, scopes, tenant.tenant_id, clock)


async def _write_client(
    tx: AsyncConnection,
    entry: AgentEntry | McpServerEntry,
    kind: CallerKind,
    scopes: Iterable[str],
    tenant_id: str | None,
    clock: Clock,
) -> None:
    row = {
        "client_id": entry.client_id,
        "kind": kind.value,
        "tenant_id": tenant_id,
        "name": entry.name,
        "scopes": sorted(scopes),
        "public_jwk": json.dumps(entry.public_jwk, sort_keys=True),
        "next_jwk": None if entry.next_jwk is None else json.dumps(entry.next_jwk, sort_keys=True),
        "withdrawn_at": clock.now() if entry.withdrawn else None,
    }
    if (await tx.execute(_CLIENT, row)).rowcount != 1:
        raise ManifestRefused(f"{entry.client_id} is another kind of client or another tenant's")
    brands = {"client_id": entry.client_id, "brand_ids": entry.brand_ids, "tenant_id": tenant_id}
    await tx.execute(_FORGET_BRANDS, brands)
    if (await tx.execute(_CLIENT_BRANDS, brands)).rowcount != len(set(entry.brand_ids)):
        raise ManifestRefused(f"{entry.client_id} names a brand that is not there or not its tenant's")


_ENTER = text("SELECT set_config('undercroft.tenant', :tenant, true)")
_TENANT = text(
    "INSERT INTO tenants (tenant_id, name) VALUES (:tenant_id, :name)"
    " ON CONFLICT (tenant_id) DO UPDATE SET name = excluded.name"
)
_DIRECTORY = text(
    "INSERT INTO brand_directory AS known (brand_id, tenant_id, resource_url, name, slug)"
    " VALUES (:brand_id, :tenant_id, :resource_url, :name, :slug) ON CONFLICT (brand_id) DO UPDATE"
    " SET resource_url = excluded.resource_url, name = excluded.name, slug = excluded.slug"
    " WHERE known.tenant_id = excluded.tenant_id"
)
_BRAND = text(
    "INSERT INTO brands (tenant_id, brand_id, name, slug, resource_url, currency, phone_numbers, phone_orders)"
    " VALUES (:tenant_id, :brand_id, :name, :slug, :resource_url, :currency, :phone_numbers, :phone_orders)"
    " ON CONFLICT (tenant_id, brand_id) DO UPDATE SET name = excluded.name, slug = excluded.slug,"
    " resource_url = excluded.resource_url,"
    " currency = excluded.currency, phone_numbers = excluded.phone_numbers, phone_orders = excluded.phone_orders"
)
_CLIENT = text(
    "INSERT INTO client_directory AS known"
    " (client_id, kind, tenant_id, name, scopes, public_jwk, next_jwk, withdrawn_at)"
    " VALUES (:client_id, :kind, :tenant_id, :name, :scopes, CAST(:public_jwk AS jsonb), CAST(:next_jwk AS jsonb),"
    " :withdrawn_at)"
    " ON CONFLICT (client_id) DO UPDATE SET name = excluded.name, scopes = excluded.scopes,"
    " public_jwk = excluded.public_jwk, next_jwk = excluded.next_jwk,"
    " withdrawn_at = CASE WHEN excluded.withdrawn_at IS NULL THEN NULL"
    " ELSE coalesce(known.withdrawn_at, excluded.withdrawn_at) END"
    " WHERE known.kind = excluded.kind AND known.tenant_id IS NOT DISTINCT FROM excluded.tenant_id"
)
_FORGET_LIMITS = text("DELETE FROM rate_limits WHERE tenant_id = :tenant_id")
_LIMIT = text(
    "INSERT INTO rate_limits (tenant_id, scope, name, per_minute, burst)"
    " VALUES (:tenant_id, :scope, :name, :per_minute, :burst)"
)
_FORGET_BRANDS = text("DELETE FROM client_brands WHERE client_id = :client_id")
_CLIENT_BRANDS = text(
    "INSERT INTO client_brands (client_id, brand_id) SELECT :client_id, brand_id FROM brand_directory"
    " WHERE brand_id = ANY(CAST(:brand_ids AS text[]))"
    " AND (CAST(:tenant_id AS text) IS NULL OR tenant_id = CAST(:tenant_id AS text))"
)
