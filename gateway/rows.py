"""The tables that can be listed: which column stands for which attribute of a row, and a row as the engine's entity."""

from collections.abc import Mapping
from typing import Any, Final

from gateway.facts import Entity, entity, ref
from gateway.residuals import BOOL, LONG, TEXT, Column, RowType

PURCHASES: Final = RowType(
    "PurchaseRow",
    Column("p.purchase_id", "PurchaseRow"),
    {
        "brand": Column("p.brand_id", "Brand"),
        "subject": Column("p.subject_id", "Subject"),
        "client_id": Column("p.client_id", TEXT),
        "state": Column("p.state", TEXT),
        "amount_minor": Column("p.amount_minor", LONG),
        "currency": Column("p.currency", TEXT),
    },
)
MANDATES: Final = RowType(
    "MandateRow",
    Column("m.mandate_id", "MandateRow"),
    {
        "brand": Column("m.brand_id", "Brand"),
        "subject": Column("m.subject_id", "Subject"),
        "currency": Column("m.currency", TEXT),
        "revoked": Column("(m.revoked_at IS NOT NULL)", BOOL),
    },
)
CONVERSATIONS: Final = RowType(
    "ConversationRow",
    Column("c.conversation_id", "ConversationRow"),
    {
        "brand": Column("c.brand_id", "Brand"),
        "subject": Column("c.subject_id", "Subject", optional=True),
        "client_id": Column("c.client_id", TEXT),
        "channel": Column("c.channel", TEXT),
        "closed": Column("(c.closed_at IS NOT NULL)", BOOL),
    },
)


def columns_of(row: RowType) -> str:
    """What a query selects so that `entity_of` can make the entity: `row_id`, and `row_<attribute>` for each."""
    named = [f"{column.sql} AS row_{name}" for name, column in row.columns.items()]
    return ", ".join([f"{row.key.sql} AS row_id", *named])


def entity_of(row: RowType, found: Mapping[str, Any]) -> Entity:
    attrs: dict[str, Any] = {}
    for name, column in row.columns.items():
        value = found[f"row_{name}"]
        if value is not None:
            attrs[name] = value if column.kind in {TEXT, LONG, BOOL} else ref(column.kind, value)
    return entity(row.entity, found["row_id"], attrs)
