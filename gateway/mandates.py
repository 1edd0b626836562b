"""Mandates: a subject's standing consent to spend, and the money held under it."""

from collections.abc import Sequence
from datetime import datetime

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from infra.chassis.ids import new_id


async def grant(
    tx: AsyncConnection,
    *,
    tenant_id: str,
    subject_id: str,
    brand_id: str,
    currency: str,
    payment_cap_minor: int,
    day_cap_minor: int,
    delegates: Sequence[str],
    granted_at: datetime,
    expires_at: datetime,
    granted_in: str,
) -> str:
    """The new mandate's id. An earlier one for the same subject, brand and any of the delegates is revoked with it.

    `delegates` are client ids of assistants and `agents:<brand_id>` for the brand's own agents; `granted_in` is the
    conversation in which the subject consented. What was spent today under the earlier mandate does not count here.
    """
    row = {
        "tenant_id": tenant_id,
        "mandate_id": new_id("mnd"),
        "subject_id": subject_id,
        "brand_id": brand_id,
        "currency": currency,
        "payment_cap_minor": payment_cap_minor,
        "day_cap_minor": day_cap_minor,
        "delegates": list(delegates),
        "granted_at": granted_at,
        "expires_at": expires_at,
        "granted_in": granted_in,
    }
    await tx.execute(_REVOKE_OVERLAPPING, row)
    await tx.execute(_NEW_MANDATE, row)
    return str(row["mandate_id"])


async def revoke(
    tx: AsyncConnection, *, tenant_id: str, subject_id: str, mandate_id: str, revoked_at: datetime
) -> bool:
    """Whether there was such a mandate of this subject; revoking twice keeps the first time."""
    row = {"tenant_id": tenant_id, "subject_id": subject_id, "mandate_id": mandate_id, "revoked_at": revoked_at}
    return (await tx.execute(_REVOKE, row)).scalar_one_or_none() is not None


_REVOKE_OVERLAPPING = text(
    "UPDATE mandates SET revoked_at = :granted_at WHERE tenant_id = :tenant_id AND subject_id = :subject_id"
    " AND brand_id = :brand_id AND delegates && CAST(:delegates AS text[]) AND revoked_at IS NULL"
)
_NEW_MANDATE = text(
    "INSERT INTO mandates (tenant_id, mandate_id, subject_id, brand_id, currency, payment_cap_minor, day_cap_minor,"
    " delegates, granted_in, granted_at, expires_at) VALUES (:tenant_id, :mandate_id, :subject_id, :brand_id,"
    " :currency, :payment_cap_minor, :day_cap_minor, :delegates, :granted_in, :granted_at, :expires_at)"
)
_REVOKE = text(
    "UPDATE mandates SET revoked_at = coalesce(revoked_at, :revoked_at) WHERE tenant_id = :tenant_id"
    " AND subject_id = :subject_id AND mandate_id = :mandate_id RETURNING mandate_id"
)
