"""What the gateway is told before it first serves: tenants, brands, and the public keys of those who may call it."""

import json
import tomllib
from pathlib import Path
from typing import Any

from infra.dev.keyring import DEMO_AGENT, Keyring
from infra.dev.settings import BRANDS, MCP_CLIENT_ID

AGENT_SCOPES: tuple[str, ...] = ()


def write(folder: Path, keyring: Keyring, urls: dict[str, str]) -> Path:
    """Write the manifest for `python -m gateway provision`. It holds no secret."""
    path = folder / "manifest.json"
    path.write_text(json.dumps(manifest(keyring, urls), indent=1), encoding="utf-8")
    return path


def brands(urls: dict[str, str]) -> list[dict[str, str]]:
    """Read every brand pack's identity; `resource_url` is its MCP endpoint and so the audience of its bearers."""
    packs = [tomllib.loads(path.read_text(encoding="utf-8")) for path in sorted(BRANDS.glob("*/brand.toml"))]
    return [
        {
            **{name: str(pack[name]) for name in ("tenant_id", "brand_id", "name", "slug", "currency")},
            "resource_url": f"{urls['mcp_server']}/brands/{pack['slug']}/mcp",
        }
        for pack in packs
    ]


def manifest(keyring: Keyring, urls: dict[str, str]) -> dict[str, Any]:
    return {"brands": brands(urls), DEMO_AGENT: keyring.public_jwk(f"agents/{DEMO_AGENT}.pem"), "mcp": MCP_CLIENT_ID}
