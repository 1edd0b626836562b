"""What the gateway is told before it first serves: tenants, brands, and the public keys of those who may call it."""

import itertools
import json
import tomllib
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from infra.dev.keyring import Keyring
from infra.dev.settings import BRANDS, MCP_CLIENT_ID

OPENID_REALM, OPENID_CLIENT_ID = "people", "undercroft-gateway"
AGENT_SCOPES = ("conversation", "memory", "purchase", "record", "refund")


@dataclass(frozen=True, slots=True)
class Brand:
    """As the gateway knows it. `resource_url` is its MCP endpoint, and so the audience of its assistants' bearers."""

    brand_id: str
    name: str
    slug: str
    resource_url: str
    currency: str


def brands(mcp_server_url: str) -> dict[str, list[Brand]]:
    """Read the brand packs: tenant id → its brands."""
    packs = [tomllib.loads(path.read_text(encoding="utf-8")) for path in sorted(BRANDS.glob("*/brand.toml"))]
    packs.sort(key=lambda pack: str(pack["tenant_id"]))
    return {
        tenant_id: [
            Brand(
                brand_id=pack["brand_id"],
                name=pack["name"],
                slug=pack["slug"],
                resource_url=f"{mcp_server_url}/brands/{pack['slug']}/mcp",
                currency=pack["currency"],
            )
            for pack in own
        ]
        for tenant_id, own in itertools.groupby(packs, key=lambda pack: str(pack["tenant_id"]))
    }


def agent_id(brand_id: str) -> str:
    """Name the brand's own chat agent; its key is `agents/<agent id>.pem` on the keyring."""
    return "agt_" + brand_id.removeprefix("brd_")


def write(folder: Path, keyring: Keyring, mcp_server_url: str, inbox_url: str) -> Path:
    """Write the manifest for `python -m gateway provision`. It holds no secret."""
    tenants = brands(mcp_server_url)
    server = {
        "client_id": MCP_CLIENT_ID,
        "name": "MCP server",
        "brand_ids": [brand.brand_id for own in tenants.values() for brand in own],
        "public_jwk": keyring.public_jwk("mcp_server/client.pem"),
    }
    manifest = {"tenants": [_tenant(*item, keyring, inbox_url) for item in tenants.items()], "mcp_servers": [server]}
    path = folder / "manifest.json"
    path.write_text(json.dumps(manifest, indent=1), encoding="utf-8")
    return path


def _tenant(tenant_id: str, own: list[Brand], keyring: Keyring, inbox_url: str) -> dict[str, Any]:
    agents = [
        {
            "client_id": agent_id(brand.brand_id),
            "name": f"{brand.name}: chat",
            "brand_ids": [brand.brand_id],
            "scopes": AGENT_SCOPES,
            "public_jwk": keyring.public_jwk(f"agents/{agent_id(brand.brand_id)}.pem"),
        }
        for brand in own
    ]
    name = tenant_id.removeprefix("tnt_").title()
    known = [{**asdict(brand), "openid": provider(inbox_url)} for brand in own]
    return {"tenant_id": tenant_id, "name": name, "brands": known, "agents": agents}


def provider(inbox_url: str) -> dict[str, Any]:
    """The sandbox's OpenID provider, as a brand's entry in the manifest."""
    return {
        "name": "Sandbox",
        "issuer": f"{inbox_url}/openid/{OPENID_REALM}",
        "client_id": OPENID_CLIENT_ID,
        "credential": "sandbox",
        "acr_levels": {"urn:sandbox:password": "verified", "urn:sandbox:two-factors": "strong"},
        "first_link": "verified_email",
        "phone_approval": True,
    }


def write_openid_clients(keyring: Keyring, gateway_url: str, brand_ids: Iterable[str]) -> None:
    """Register the gateway at the sandbox's OpenID provider, as one does at a real one: by hand, with a public key."""
    client = {
        "client_id": OPENID_CLIENT_ID,
        "redirect_uris": [f"{gateway_url}/openid/{brand_id}/callback" for brand_id in brand_ids],
        "public_jwk": keyring.public_jwk("gateway/keys/openid/sandbox.pem"),
    }
    keyring.write("sandbox/openid-clients.json", json.dumps({OPENID_REALM: [client]}).encode())
