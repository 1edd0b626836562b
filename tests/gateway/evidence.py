"""What several tests about evidence arrange and ask."""

from sqlalchemy import text

from infra.chassis.engine import tenant_transaction
from infra.chassis.ids import new_id
from tests.gateway.shop import Shop, Talk


async def share(shop: Shop, kind: str, value: str, talk: Talk) -> None:
    """Make somebody's contact point also this person's, as it stands after both proved that they hold it."""
    row = {
        "tenant_id": talk.tenant_id,
        "contact_id": new_id("cpt"),
        "subject_id": talk.subject_id,
        "kind": kind,
        "blind": shop.contacts.blind_index(talk.tenant_id, kind, value),
        "sealed": shop.contacts.seal(talk.tenant_id, kind, value),
        "now": shop.now,
    }
    async with tenant_transaction(shop.gateway.engine, talk.tenant_id) as tx:
        await tx.execute(_NEW_CONTACT, row)


async def level_in(talk: Talk) -> str:
    answer = await talk.call("GET", f"/v1/conversations/{talk.conversation_id}")
    assert answer.status_code == 200, answer.text
    return str(answer.json()["assurance_level"])


async def use(talk: Talk) -> bool:
    """Ask for something that needs the person verified; whether it was allowed."""
    answer = await talk.call("GET", "/v1/mandates", conversation_id=talk.conversation_id)
    return bool(answer.json()["decision"]["outcome"] == "allow")


_NEW_CONTACT = text(
    "INSERT INTO contact_points (tenant_id, contact_id, subject_id, kind, blind_index, sealed_value, verified_at)"
    " VALUES (:tenant_id, :contact_id, :subject_id, :kind, :blind, :sealed, :now)"
)
