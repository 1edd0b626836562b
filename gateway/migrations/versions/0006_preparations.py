"""Which recall was prepared in which conversation: an id and its end, one row a conversation, gone once it is used."""

from infra.chassis.migrate import run_script, wall_by_tenant

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None

TABLES = """
CREATE TABLE recall_preparations (
    tenant_id text NOT NULL,
    conversation_id text NOT NULL,
    preparation_id text NOT NULL,
    expires_at timestamptz NOT NULL,
    PRIMARY KEY (tenant_id, conversation_id),
    FOREIGN KEY (tenant_id, conversation_id) REFERENCES conversations
);
CREATE INDEX recall_preparations_by_end ON recall_preparations (tenant_id, expires_at);
"""

GRANTS = """
GRANT SELECT, INSERT, DELETE, UPDATE (preparation_id, expires_at) ON recall_preparations TO gateway_app;
"""


def upgrade() -> None:
    run_script(TABLES)
    wall_by_tenant("recall_preparations")
    run_script(GRANTS)
