"""What the gateway is told before it first serves: tenants, brands, and the public keys of those who may call it."""

import json
import tomllib
from pathlib import Path
from typing import Any

from infra.dev.keyring import DEMO_AGENT, Keyring
from infra.dev.settings import MCP_CLIENT_ID, ROOT


def write(folder: Path, keyring: Keyring, urls: dict[str, str]) -> Path:
    """Write the manifest for `python -m gateway provision`. It holds no secret."""
    packs = [tomllib.loads(path.read_text(encoding="utf-8")) for path in sorted(BRANDS.glob("*/brand.toml"))]
    path = folder / "manifest.json"
    path.write_text(json.dumps(manifest(packs, keyring, urls), indent=1), encoding="utf-8")
    return path


BRANDS = ROOT / "mcp_server" / "brands"


def manifest(packs: list[dict[str, Any]], keyring: Keyring, urls: dict[str, str]) -> dict[str, Any]:
    return {}
