"""Where the sealed texts of a card belong: what each is bound to, besides the version of its key."""

from typing import Final

from vault.envelope import Context

SCHEMA: Final = "card-1"
SCHEMA_WITH_TERMS: Final = "card-2"
RECORD_KEY_VERSION: Final = 1
"""A record key is never rotated in place: a card that is typed anew gets a new one."""


def place(tenant_id: str, token_id: str, field: str) -> Context:
    """`field`: `record_key` (under the tenant's key) or `fingerprint` (under the record key)."""
    return Context(tenant_id=tenant_id, token_id=token_id, field=field, schema=SCHEMA)


def place_under_terms(tenant_id: str, token_id: str, field: str, terms: str | None) -> Context:
    """`field`: `number` or `details`, which open with the card's own terms only; None for cards of before."""
    schema = SCHEMA if terms is None else SCHEMA_WITH_TERMS
    return Context(tenant_id=tenant_id, token_id=token_id, field=field, schema=schema, terms=terms)
