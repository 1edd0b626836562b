"""Captures as the gateway knows them: which person may open which card page, and for what amount."""

from dataclasses import dataclass
from typing import Final

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from gateway.grants import GrantMint
from infra.chassis.engine import directory_transaction, tenant_transaction
from vault.contract import Action

VAULT: Final = "vault"


@dataclass(frozen=True, slots=True)
class DoorView:
    """What the capture's door page shows and checks. `state` is open, completed or expired."""

    capture_id: str
    tenant_id: str
    brand_id: str
    subject_id: str
    decision_id: str
    brand_name: str
    amount_minor: int
    currency: str
    state: str


class Captures:
    def __init__(self, engine: AsyncEngine, mint: GrantMint, public_url: str) -> None:
        self._engine = engine
        self._mint = mint
        self._public_url = public_url.rstrip("/")

    def door_url(self, capture_id: str) -> str:
        return f"{self._public_url}/captures/{capture_id}"

    async def door(self, capture_id: str) -> DoorView | None:
        """None for an unknown capture, and for one by phone, which has no page and so no door.

        The id is unguessable and names no tenant, so the tenant is looked up first.
        """
        async with directory_transaction(self._engine) as tx:
            tenant_id = (await tx.execute(_TENANT_OF_CAPTURE, {"capture_id": capture_id})).scalar_one_or_none()
        if tenant_id is None:
            return None
        async with tenant_transaction(self._engine, tenant_id) as tx:
            key = {"tenant_id": tenant_id, "capture_id": capture_id}
            row = (await tx.execute(_CAPTURE_FOR_DOOR, key)).mappings().one_or_none()
        return None if row is None else DoorView(**row)

    def entry_grant(self, door: DoorView, client_id: str) -> str:
        """A grant with which the person's browser enters the vault's card page, once."""
        return self._mint.mint(
            audience=VAULT,
            action=Action.OPEN_CAPTURE,
            actor=client_id,
            tenant_id=door.tenant_id,
            brand_id=door.brand_id,
            subject_id=door.subject_id,
            decision_id=door.decision_id,
            parameters={"capture_id": door.capture_id, "subject_id": door.subject_id},
        )


_TENANT_OF_CAPTURE = text("SELECT tenant_id FROM capture_directory WHERE capture_id = :capture_id")
_CAPTURE_FOR_DOOR = text(
    "SELECT c.capture_id, c.tenant_id, c.brand_id, c.subject_id, p.decision_id, b.name AS brand_name, c.amount_minor,"
    " c.currency, c.state FROM captures c JOIN purchases p USING (tenant_id, purchase_id)"
    " JOIN brands b ON b.tenant_id = c.tenant_id AND b.brand_id = c.brand_id"
    " WHERE c.tenant_id = :tenant_id AND c.capture_id = :capture_id AND c.channel = 'page'"
)
