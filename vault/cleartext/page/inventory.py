"""The inventory of the card page: every file a browser loads for it and why, and the headers it comes with.

PCI DSS 6.4.3 asks for the scripts with a reason and their integrity, 11.6.1 for noticing when a script or a header is
another one as a browser receives it. Committed as `inventory.json`, so that a change is reviewed as what it is, and
`page_check.py` compares a running page with the file and not with its own idea.
"""

import hashlib
import json
import tomllib
from pathlib import Path
from typing import Any, Final

from vault.cleartext.page.assets import STATIC
from vault.cleartext.page.render import PAGE_HEADERS

INVENTORY: Final = Path(__file__).parent / "inventory.json"
_REASONS: Final = Path(__file__).parent / "reasons.toml"
_MANIFEST: Final = Path(__file__).parent / "static" / "manifest.json"


def inventory_text() -> str:
    """What `inventory.json` must hold. Raises KeyError for a file without a reason, and for a reason without a file."""
    reasons = tomllib.loads(_REASONS.read_text(encoding="utf-8"))
    contents = json.loads(_MANIFEST.read_text(encoding="utf-8"))
    if reasons.keys() != STATIC.keys():
        raise KeyError(f"files and reasons differ: {', '.join(sorted(reasons.keys() ^ STATIC.keys()))}")
    files = [_entry(name, reasons[name], contents.get(name, {})) for name in STATIC]
    return json.dumps({"headers": PAGE_HEADERS, "files": files}, indent=2, ensure_ascii=False) + "\n"


def read_inventory() -> dict[str, Any]:
    """The committed one: `headers` by name; `files`, each with `kind`, `path`, `sha256`, `integrity`."""
    inventory: dict[str, Any] = json.loads(INVENTORY.read_text(encoding="utf-8"))
    return inventory


def _entry(name: str, why: dict[str, str], made_of: dict[str, Any]) -> dict[str, Any]:
    asset = STATIC[name]
    return {
        "name": name,
        "kind": why["kind"],
        "reason": why["reason"],
        "path": asset.path,
        "sha256": hashlib.sha256(asset.content).hexdigest(),
        "integrity": asset.integrity,
        "contains": [f"{part['name']} {part['version']} ({part['licence']})" for part in made_of.get("contains", [])],
    }
