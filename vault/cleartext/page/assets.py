"""The page's files, read once: path with a digest in it, bytes, type, and the integrity value the page demands."""

import base64
import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Final

_FOLDER: Final = Path(__file__).parent / "static"
_CONTENT_TYPES: Final = {
    "card.css": "text/css; charset=utf-8",
    "card.js": "text/javascript; charset=utf-8",
    "icon.svg": "image/svg+xml",
}
_DIGEST_CHARACTERS: Final = 12
"""Enough to tell two builds apart, and too short to hold a run of digits that could be a card number."""


@dataclass(frozen=True, slots=True)
class StaticAsset:
    """`integrity` is the SRI value (W3C Subresource Integrity, SHA-384) the page's tag carries."""

    path: str
    content: bytes
    content_type: str
    integrity: str

    @property
    def headers(self) -> dict[str, str]:
        """Cached for good: another content has another path."""
        return {
            "Content-Type": self.content_type,
            "X-Content-Type-Options": "nosniff",
            "Cache-Control": "public, max-age=31536000, immutable",
            "Cross-Origin-Resource-Policy": "same-origin",
        }


def _read_asset(name: str, content_type: str) -> StaticAsset:
    content = (_FOLDER / name).read_bytes()
    stem, _, ending = name.partition(".")
    digest = hashlib.sha256(content).hexdigest()[:_DIGEST_CHARACTERS]
    integrity = "sha384-" + base64.b64encode(hashlib.sha384(content).digest()).decode("ascii")
    return StaticAsset(f"/static/{stem}-{digest}.{ending}", content, content_type, integrity)


STATIC: Final[Mapping[str, StaticAsset]] = MappingProxyType(
    {name: _read_asset(name, content_type) for name, content_type in _CONTENT_TYPES.items()}
)
"""By file name. A missing file stops the process at start."""
