"""The vault's pages as the gateway knows them: which person may open which, and for what amount.

A capture is the page on which a card is typed; an authentication is the way to the bank that asks about a charge.
"""

from dataclasses import dataclass
from typing import Final

from sqlalchemy import RowMapping, TextClause, text
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


@dataclass(frozen=True, slots=True)
class AuthenticationDoor:
    """What the door to a bank's question shows and checks. `state` is the purchase's."""

    charge_id: str
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
        row = await self._row(_TENANT_OF_CAPTURE, _CAPTURE_FOR_DOOR, {"capture_id": capture_id})
        return None if row is None else DoorView(**row)

    def entry_grant(self, door: DoorView, client_id: str) -> str:
        """A grant with which the person's browser enters the vault's card page, once."""
        return self._entry(Action.OPEN_CAPTURE, door, client_id, capture_id=door.capture_id)

    def authentication_url(self, charge_id: str) -> str:
        return f"{self._public_url}/authentications/{charge_id}"

    async def authentication_door(self, charge_id: str) -> AuthenticationDoor | None:
        """None for a charge nobody was ever asked about, and for one its purchase has left behind."""
        row = await self._row(_TENANT_OF_CHARGE, _CHARGE_FOR_DOOR, {"charge_id": charge_id})
        return None if row is None else AuthenticationDoor(**row)

    def authentication_grant(self, door: AuthenticationDoor, client_id: str) -> str:
        """A grant with which the person's browser enters the vault's page for this charge, once."""
        return self._entry(Action.OPEN_AUTHENTICATION, door, client_id, charge_id=door.charge_id)

    async def _row(self, tenant_of: TextClause, for_door: TextClause, key: dict[str, str]) -> RowMapping | None:
        """None for what no tenant has, and for what has no door any more."""
        async with directory_transaction(self._engine) as tx:
            tenant_id = (await tx.execute(tenant_of, key)).scalar_one_or_none()
        if tenant_id is None:
            return None
        async with tenant_transaction(self._engine, tenant_id) as tx:
            return (await tx.execute(for_door, {**key, "tenant_id": tenant_id})).mappings().one_or_none()

    def _entry(self, action: Action, door: DoorView | AuthenticationDoor, client_id: str, **named: str) -> str:
        return self._mint.mint(
            audience=VAULT,
            action=action,
            actor=client_id,
            tenant_id=door.tenant_id,
            brand_id=door.brand_id,
            subject_id=door.subject_id,
            decision_id=door.decision_id,
            parameters={**named, "subject_id": door.subject_id},
        )


_TENANT_OF_CHARGE = text("SELECT tenant_id FROM charge_directory WHERE charge_id = :charge_id")
_CHARGE_FOR_DOOR = text(
    "SELECT p.charge_id, p.tenant_id, p.brand_id, p.subject_id, p.decision_id, b.name AS brand_name, p.amount_minor,"
    " p.currency, p.state FROM purchases p JOIN brands b ON b.tenant_id = p.tenant_id AND b.brand_id = p.brand_id"
    " WHERE p.tenant_id = :tenant_id AND p.charge_id = :charge_id"
)
_TENANT_OF_CAPTURE = text("SELECT tenant_id FROM capture_directory WHERE capture_id = :capture_id")
_CAPTURE_FOR_DOOR = text(
    "SELECT c.capture_id, c.tenant_id, c.brand_id, c.subject_id, p.decision_id, b.name AS brand_name, c.amount_minor,"
    " c.currency, c.state FROM captures c JOIN purchases p USING (tenant_id, purchase_id)"
    " JOIN brands b ON b.tenant_id = c.tenant_id AND b.brand_id = c.brand_id"
    " WHERE c.tenant_id = :tenant_id AND c.capture_id = :capture_id AND c.channel = 'page'"
)
