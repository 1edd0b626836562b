"""Where the sealed texts of a card belong: what each is bound to, besides the version of its key."""

from typing import Final

from vault.envelope import Context

SCHEMA: Final = "card-1"
RECORD_KEY_VERSION: Final = 1
"""A record key is never rotated in place: a card that is typed anew gets a new one."""


def place(tenant_id: str, token_id: str, field: str) -> Context:
    """`field`: `record_key` (under the tenant's key); `number`, `details`, `fingerprint` (under the record key)."""
    return Context(tenant_id=tenant_id, token_id=token_id, field=field, schema=SCHEMA)
