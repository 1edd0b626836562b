"""The provider in a brand's entry of the manifest. It holds no secret: keys and secrets are files of the gateway."""

import json
from datetime import datetime
from typing import Annotated, Final, Literal

import msgspec
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from gateway.factors.providers import ClientAuth, FirstLink

MAX_AGE_SECONDS_MAX: Final = 43_200
"""Twelve hours: as long as a login counts for anything at all (assurance.MAX_AGE)."""

Issuer = Annotated[str, msgspec.Meta(pattern=r"^https?://[^\s#?]{1,400}\Z")]
"""OpenID Connect Core 1.0 section 1.2: no query, no fragment. Plain http is refused where the gateway is no sandbox."""
Text = Annotated[str, msgspec.Meta(min_length=1, max_length=200)]
Level = Literal["verified", "strong"]


class OpenIdEntry(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """`acr_levels`, `amr_levels`: what each value of `acr` or `amr` is worth; `unmapped`: what any other is worth."""

    name: Text
    issuer: Issuer
    client_id: Text
    client_auth: ClientAuth = ClientAuth.PRIVATE_KEY_JWT
    credential: Annotated[str, msgspec.Meta(pattern=r"^[a-z0-9-]{1,60}\Z")]
    signing_alg: Literal["RS256", "PS256", "ES256", "EdDSA"] = "RS256"
    acr_levels: dict[Text, Level] = {}
    amr_levels: dict[Text, Level] = {}
    unmapped: Literal["verified"] | None = None
    first_link: FirstLink = FirstLink.VERIFIED_CONVERSATION
    max_age_seconds: Annotated[int, msgspec.Meta(ge=60, le=MAX_AGE_SECONDS_MAX)] = 900
    phone_approval: bool = False
    withdrawn: bool = False


async def write_provider(
    tx: AsyncConnection, tenant_id: str, brand_id: str, entry: OpenIdEntry | None, now: datetime
) -> None:
    """Leaves a provider that the manifest does not mention as it is."""
    if entry is None:
        return
    row = {
        **msgspec.structs.asdict(entry),
        "tenant_id": tenant_id,
        "brand_id": brand_id,
        "client_auth": entry.client_auth.value,
        "first_link": entry.first_link.value,
        "acr_levels": json.dumps(entry.acr_levels, sort_keys=True),
        "amr_levels": json.dumps(entry.amr_levels, sort_keys=True),
        "withdrawn_at": now if entry.withdrawn else None,
    }
    await tx.execute(_PROVIDER, row)


_CHANGED: Final = ", ".join(
    f"{name} = excluded.{name}"
    for name in (
        "name", "issuer", "client_id", "client_auth", "credential", "signing_alg", "acr_levels", "amr_levels",
        "unmapped", "first_link", "max_age_seconds", "phone_approval", "withdrawn_at",
    )
)  # fmt: skip
_PROVIDER = text(
    "INSERT INTO openid_providers (tenant_id, brand_id, name, issuer, client_id, client_auth, credential, signing_alg,"  # noqa: S608 - our own names
    " acr_levels, amr_levels, unmapped, first_link, max_age_seconds, phone_approval, withdrawn_at)"
    " VALUES (:tenant_id, :brand_id, :name, :issuer, :client_id, :client_auth, :credential, :signing_alg,"
    " CAST(:acr_levels AS jsonb), CAST(:amr_levels AS jsonb), :unmapped, :first_link, :max_age_seconds,"
    f" :phone_approval, :withdrawn_at) ON CONFLICT (tenant_id, brand_id) DO UPDATE SET {_CHANGED}"
)
