"""Bearers and grants as the gateway mints them, from the house's own keyring: signing in is not what is measured."""

from typing import Any

import msgspec

from gateway.bearers import Bearer, Bearers, CallerKind
from gateway.grants import GrantMint
from gateway.settings import load_keys
from infra.bench.stage import JSON
from infra.chassis.clock import SystemClock
from infra.chassis.ids import new_id
from infra.dev.house import House
from infra.dev.provisioning import AGENT_SCOPES, Brand, agent_id
from infra.dev.settings import MCP_CLIENT_ID


def first_brand(house: House) -> tuple[str, Brand]:
    """A tenant's id and a brand of it."""
    tenant_id, own = next(iter(house.brands.items()))
    return tenant_id, own[0]


def agent_headers(house: House, brand: Brand) -> dict[str, str]:
    """Of the brand's own chat agent at the gateway."""
    client_id, scopes = agent_id(brand.brand_id), frozenset(AGENT_SCOPES)
    at_gateway = house.urls["gateway"]
    return _bearing(house, Bearer(kind=CallerKind.AGENT, client_id=client_id, audience=at_gateway, scopes=scopes))


def mcp_server_headers(house: House) -> dict[str, str]:
    bearer = Bearer(
        kind=CallerKind.MCP_SERVER,
        client_id=MCP_CLIENT_ID,
        audience=house.urls["gateway"],
        scopes=frozenset({"quote"}),
    )
    return _bearing(house, bearer)


def assistant_headers(house: House, tenant_id: str, brand: Brand) -> dict[str, str]:
    """Of an assistant at the brand's MCP endpoint, with nobody's data behind it."""
    bearer = Bearer(
        kind=CallerKind.ASSISTANT,
        client_id="ast_bench",
        audience=brand.resource_url,
        scopes=frozenset({"catalog"}),
        tenant_id=tenant_id,
        brand_id=brand.brand_id,
        subject_id=new_id("sub"),
        conversation_id=new_id("cnv"),
    )
    return _bearing(house, bearer)


class Grants:
    """`headers` carry a grant and our proof for exactly this order, which has tenant_id, brand_id and subject_id."""

    def __init__(self, house: House, audience: str) -> None:
        keys = load_keys(house.keyring.path("gateway/keys"))
        self._mint = GrantMint(keys.grant, house.urls["gateway"], SystemClock(), keys.sender)
        self._audience = audience

    def headers(self, action: str, order: Any, path: str) -> dict[str, str]:
        return {**JSON, **self._mint.headers(self.compact(action, order, order), method="POST", path=path)}

    def compact(self, action: str, order: Any, parameters: msgspec.Struct | dict[str, str]) -> str:
        return self._mint.mint(
            audience=self._audience,
            action=action,
            actor="agt_bench",
            tenant_id=order.tenant_id,
            brand_id=order.brand_id,
            subject_id=order.subject_id,
            decision_id=new_id("dec"),
            parameters=parameters,
        )


def _bearing(house: House, bearer: Bearer) -> dict[str, str]:
    keys = load_keys(house.keyring.path("gateway/keys"))
    bearers = Bearers(key=keys.bearer, issuer=house.urls["gateway"], clock=SystemClock())
    return {**JSON, "Authorization": f"Bearer {bearers.mint(bearer)}"}
