"""Opaque values that name their tenant: codes, refresh bearers, visits, logins.

`<tenant_id>.<43 random characters>`. The tenant in front lets the row be looked for inside that tenant's wall, without
a directory of secrets that has no wall. It proves nothing: a value with another tenant in front finds no row. Stored is
the SHA-256 of the whole; 256 random bits need no salt and no slow hash.
"""

import hashlib
import re
import secrets

_SHAPE = re.compile(r"^([a-z]{3}_[a-z0-9_]{1,60})\.[A-Za-z0-9_-]{43}\Z")


def new_handle(tenant_id: str) -> str:
    return f"{tenant_id}.{secrets.token_urlsafe(32)}"


def tenant_of(handle: str) -> str | None:
    """The tenant to look in, or None for what cannot be one of ours."""
    match = _SHAPE.match(handle)
    return match.group(1) if match else None


def digest(handle: str) -> bytes:
    """What is stored instead of the value."""
    return hashlib.sha256(handle.encode()).digest()
