"""Root keys of software key services, for tests."""

import secrets
from pathlib import Path


def root_file(folder: Path, root: bytes | None = None) -> Path:
    """A root of 32 bytes, fresh unless given, in a file of its own, which only we may read."""
    path = folder / f"root-{secrets.token_hex(4)}.key"
    path.touch(mode=0o600)
    path.write_bytes(root or secrets.token_bytes(32))
    return path
