"""A brand's OpenID provider, as it was provisioned: whom to ask, how to prove ourselves, and what its word is worth."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from gateway.contract import AssuranceLevel


class FirstLink(StrEnum):
    """When somebody the provider names for the first time may become a subject of ours."""

    VERIFIED_CONVERSATION = "verified_conversation"
    """Only beside living evidence of the conversation's subject."""
    VERIFIED_EMAIL = "verified_email"
    """Also by the `email` claim, where `email_verified` is true: for providers whose word about addresses is good."""


class ClientAuth(StrEnum):
    PRIVATE_KEY_JWT = "private_key_jwt"
    CLIENT_SECRET_BASIC = "client_secret_basic"  # noqa: S105 - the name of a method


LEVELS: Final[Mapping[str, AssuranceLevel]] = {
    "verified": AssuranceLevel.VERIFIED,
    "strong": AssuranceLevel.STRONG,
}
"""What a provider's word can be worth. Never `confirmed`: it has not seen the request."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Provider:
    """`credential` names a file in the folder `openid` of the gateway's keys; it is no secret itself."""

    tenant_id: str
    brand_id: str
    name: str
    issuer: str
    client_id: str
    client_auth: ClientAuth
    credential: str
    signing_alg: str
    acr_levels: Mapping[str, str]
    amr_levels: Mapping[str, str]
    unmapped: str | None
    first_link: FirstLink
    max_age_seconds: int
    phone_approval: bool

    def level_of(self, acr: str | None, amr: Sequence[str]) -> AssuranceLevel | None:
        """The highest level that what the provider said is mapped to; None when that is worth nothing."""
        named = [self.acr_levels[acr]] if acr is not None and acr in self.acr_levels else []
        named += [self.amr_levels[method] for method in amr if method in self.amr_levels]
        if not named and self.unmapped is not None:
            named = [self.unmapped]
        return max((LEVELS[name] for name in named if name in LEVELS), default=None)


async def provider_of(tx: AsyncConnection, tenant_id: str, brand_id: str) -> Provider | None:
    row = (await tx.execute(_PROVIDER, {"tenant_id": tenant_id, "brand_id": brand_id})).mappings().one_or_none()
    if row is None:
        return None
    made = {**row, "client_auth": ClientAuth(row["client_auth"]), "first_link": FirstLink(row["first_link"])}
    return Provider(**made)


_PROVIDER = text(
    "SELECT tenant_id, brand_id, name, issuer, client_id, client_auth, credential, signing_alg, acr_levels, amr_levels,"
    " unmapped, first_link, max_age_seconds, phone_approval FROM openid_providers"
    " WHERE tenant_id = :tenant_id AND brand_id = :brand_id AND withdrawn_at IS NULL"
)
