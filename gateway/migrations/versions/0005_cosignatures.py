"""What witnesses signed below our checkpoints. Append-only like the record itself."""

from infra.chassis.migrate import run_script, wall_by_tenant

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None

TABLES = """
CREATE TABLE record_cosignatures (
    tenant_id text NOT NULL,
    tree_size bigint NOT NULL CHECK (tree_size > 0),
    witness text NOT NULL,
    line text NOT NULL,
    cosigned_at bigint NOT NULL CHECK (cosigned_at >= 0),
    received_at timestamptz NOT NULL,
    PRIMARY KEY (tenant_id, tree_size, witness)
);
"""


def upgrade() -> None:
    run_script(TABLES)
    wall_by_tenant("record_cosignatures")
    run_script("GRANT SELECT, INSERT ON record_cosignatures TO gateway_app;")
